"""The option `--probe` of the compliance audit: which address it means, and whether it may be probed."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from stage4.cli._arguments import amount
from stage4.clock import Clock
from stage4.errors import Refused, UsageError

if TYPE_CHECKING:
    from stage4.audit.collect_live import Target
    from stage4.audit.evidence_live import Live
    from stage4.config import Installation

_CONFIGURED = ""  # `--probe` without a value
_SECONDS = 5.0
_MOST_SECONDS = 600


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
        type=amount("--probe-timeout", "arguments.bad_seconds", _MOST_SECONDS),
        default=_SECONDS,
        metavar="SECONDS",
        help="how long the whole probe may take (5); one connection may take a fifth of it",
    )


def target(arguments: argparse.Namespace, installation: Installation) -> Target | None:
    """
    What is to be probed; None where `--probe` was not given.

    Raises UsageError `probe.bad_target`, and Refused `probe.host_refused` where a rehearsal would reach out.
    """
    if arguments.probe is None:
        return None
    from stage4.config.addresses import is_loopback

    meant = _target(arguments.probe, installation)
    kind = installation.settings.operations.installation
    if kind != "production" and not is_loopback(meant.host):
        raise Refused("probe.host_refused", host=meant.host, installation=kind)
    return meant


def probed(
    arguments: argparse.Namespace, meant: Target | None, installation: Installation, clock: Clock
) -> Live | None:
    """What the probe of that target saw; None where there is none."""
    if meant is None:
        return None
    from stage4.audit import collect_live

    return collect_live.collect(
        installation,
        meant,
        arguments.mtls_bundle_name,
        environ=os.environ,
        clock=clock,
        seconds=arguments.probe_timeout,
    )


def again(arguments: argparse.Namespace, document: Mapping[str, object]) -> list[str]:
    """The options for the same target once more, also where stored evidence of a probe was judged."""
    probe = document.get("probe")
    meant = str(probe["target"]) if isinstance(probe, Mapping) else arguments.probe
    if meant is None:
        return []
    options = ["--probe", meant] if meant != _CONFIGURED else ["--probe"]
    if arguments.probe_timeout != _SECONDS:
        options += ["--probe-timeout", str(arguments.probe_timeout).removesuffix(".0")]
    return options


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
