"""Addresses of the settings: which of them are this machine only, and which are all that it has."""

from __future__ import annotations

import ipaddress

_ANYWHERE = frozenset({"0.0.0.0", "::", "[::]", ""})


def is_anywhere(host: str) -> bool:
    """Whether a service that binds `host` listens on every address of its machine."""
    return host in _ANYWHERE


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine only: `localhost` or a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
