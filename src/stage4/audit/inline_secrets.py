"""
Which headers and addresses carry a secret, by their form.

It knows the names that people give to secrets and the places of an address where a secret may stand; a secret under an
innocent name, or as a part of a path, it does not know.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote_plus

from stage4.audit.reading import seems_drawn

_NAMES: Final = frozenset(
    {
        *("apikey", "auth", "authentication", "authorization", "bearer", "cookie", "credential", "credentials", "jwt"),
        *("key", "passphrase", "passwd", "password", "pwd", "secret", "session", "sid", "sig", "signature", "token"),
    }
)
_SCHEME: Final = re.compile(r"(?:basic|bearer|digest)\s+\S", re.IGNORECASE)
# Drivers take a password with slashes in it (RFC 3986 does not); what looks like a port is none.
_PASSWORD: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@:]*:(?!\d*(?:[/?#]|$))[^@]+@", re.IGNORECASE)
_USER: Final = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#@:]+):?@", re.IGNORECASE)
_PARAMETER: Final = re.compile(r"[?&;#]([^=&;#?]+)=[^&;#]")


def is_secret_header(name: str, value: str) -> bool:
    """Whether a header lets its sender in: by its name, or by a scheme of RFC 9110 11 in its value."""
    return bool(value.strip()) and (_names_secret(name) or _SCHEME.match(value.strip()) is not None)


def has_secret(address: str) -> bool:
    """Whether an address holds a password, a token in the place of a user, or a parameter that is called a secret."""
    if _PASSWORD.match(address):
        return True
    user = _USER.match(address)
    if user is not None and seems_drawn(user.group(1)):
        return True
    return any(_names_secret(unquote_plus(name)) for name in _PARAMETER.findall(address))


def _names_secret(name: str) -> bool:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name.strip())
    words = re.split(r"[^a-z0-9]+", spaced.lower())
    return any(word in _NAMES or word.endswith(("token", "secret", "password", "apikey")) for word in words)
