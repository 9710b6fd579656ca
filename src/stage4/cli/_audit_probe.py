"""The option `--probe` of the compliance audit: which address it means, and whether it may be probed."""

from __future__ import annotations

import argparse
import math
import os
from typing import TYPE_CHECKING

from stage4.clock import Clock
from stage4.errors import Refused, UsageError

if TYPE_CHECKING:
    from stage4.audit.collect_live import Target
    from stage4.audit.evidence_live import Live
    from stage4.config import Installation

_CONFIGURED = ""  # `--probe` without a value
_SECONDS = 5.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--probe [HOST:PORT]` and `--probe-timeout SECONDS`."""
    parser.add_argument(
        "--probe",
        nargs="?",
        const=_CONFIGURED,
        metavar="HOST:PORT",
        help="probe the running service too, with about sixteen short connections (default: the metrics service)",
    )
    parser.add_argument(
        "--probe-timeout",
        type=_seconds,
        default=_SECONDS,
        metavar="SECONDS",
        help="how long the whole probe may take (5); one connection may take a fifth of it",
    )


def probed(arguments: argparse.Namespace, installation: Installation, clock: Clock) -> Live | None:
    """
    What the probe saw; None where `--probe` was not given.

    Raises UsageError `probe.bad_target`, and Refused `probe.host_refused` where a rehearsal would reach out.
    """
    if arguments.probe is None:
        return None
    from stage4.audit import collect_live
    from stage4.config.addresses import is_loopback

    target = _target(arguments.probe, installation)
    kind = installation.settings.operations.installation
    if kind != "production" and not is_loopback(target.host):
        raise Refused("probe.host_refused", host=target.host, installation=kind)
    return collect_live.collect(
        installation,
        target,
        arguments.mtls_bundle_name,
        environ=os.environ,
        clock=clock,
        seconds=arguments.probe_timeout,
    )


def _target(text: str, installation: Installation) -> Target:
    from stage4.audit.collect_live import Target
    from stage4.config.addresses import is_anywhere

    if text == _CONFIGURED:
        service = installation.settings.runtime.metrics_service
        here = "::1" if ":" in service.host else "127.0.0.1"
        return Target(here if is_anywhere(service.host) else service.host, service.port, configured=True)
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    readable = host.isascii() and host.isprintable() and " " not in host and (bracketed or ":" not in host)
    if not (host and readable and port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65_536):
        raise UsageError("probe.bad_target", target=text)
    return Target(host, int(port), configured=False)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and 0 < seconds <= 600):
        raise ValueError(text)
    return seconds


_seconds.__name__ = "seconds"
