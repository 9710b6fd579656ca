"""
The playbook's commands under the `stage4` name, and what undoes them.

`disable`, `audit`, `loadtest` and `watch` are the same functions as the scripts, with the same options and the same
document; only the way in differs.
"""

from __future__ import annotations

import importlib
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stage4.cli.root import Session
from stage4.clock import SystemClock, format_instant, parse_duration
from stage4.errors import Refused, UsageError

if TYPE_CHECKING:
    from stage4.config import Installation
    from stage4.runtime.faults import FaultKind

_PASSED_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def _door(name: str, module: str, summary: str) -> click.Command:
    @click.command(name, context_settings=_PASSED_ON, help=summary)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_obj
    def command(session: Session, arguments: tuple[str, ...]) -> int:
        if session.root is not None:
            os.environ["STAGE4_ROOT"] = str(session.root)
        if session.lang is not None:
            os.environ["STAGE4_LANG"] = session.lang
        code: int = importlib.import_module(module).main(list(arguments))
        return code

    return command


disable = _door(
    "disable", "stage4.cli.disable_multi_strategy", "Stop the scheduler and wait for its own word (always JSON)."
)
audit = _door("audit", "stage4.cli.audit_stage4_compliance", "Audit the installation (always JSON).")
loadtest = _door("loadtest", "stage4.cli.load_test_scheduler", "Load-test the scheduler (always JSON).")
watch = _door("watch", "stage4.cli.watch_metrics_stream", "Watch the metrics stream (always JSON).")


@click.command()
@click.option(
    "--signer",
    "signers",
    multiple=True,
    metavar="PERSON=KEYFILE",
    help="One who agrees, with the file of their own SSH key; two different people, one of them an Incident Manager.",
)
@click.option("--stop", "stop_name", help="File name of the stop to lift; default: the one that stops everything.")
@click.option("--wait", default="10s", show_default=True, help="How long to wait for the scheduler's own word.")
@click.option("--dry-run", is_flag=True, help="Print the statement that would be signed, and write nothing.")
@click.pass_obj
def enable(session: Session, signers: tuple[str, ...], stop_name: str | None, wait: str, dry_run: bool) -> int:
    """Lift a stop: an order signed by two people, which the scheduler itself carries out."""
    from stage4.runtime import enable as enabling
    from stage4.runtime.stop import ALL, wait_until_enabled
    from stage4.security import sshsig

    installation = session.installation
    clock = SystemClock()
    file_name = stop_name or ALL.file_name
    statement = enabling.prepare(installation.root, file_name, clock=clock)
    if dry_run:
        session.say("control.enable_dry_run", stop=file_name, statement=statement.message.decode("utf-8"))
        session.emit({"schema": "stage4.enable/1", "dry_run": True, "statement": statement.message.decode("utf-8")})
        return 0
    signatures = []
    for signer in signers:
        person, separator, key = signer.partition("=")
        if not separator:
            raise UsageError("control.bad_signer", text=signer)
        signatures.append((person, sshsig.sign(Path(key), statement.message, sshsig.ENABLE)))
    if len({person for person, _ in signatures}) < 2:
        raise Refused("control.two_people")
    since = clock.boottime_ns()
    order = enabling.submit(installation.root, statement, signatures)
    word = wait_until_enabled(
        installation.root, file_name, statement.stop_digest, timeout=parse_duration(wait), since_ns=since, clock=clock
    )
    enabled = word.answer == "enabled"
    if not enabled and enabling.was_refused(order):
        raise Refused("control.order_refused", order=order.name, stop=file_name)
    session.say("control.enabled" if enabled else "control.not_enabled", stop=file_name, order=order.name)
    session.emit(
        {
            "schema": "stage4.enable/1",
            "stop": file_name,
            "order": str(order.relative_to(installation.root)),
            "signers": [person for person, _ in signatures],
            "answer": word.answer,
            "waited_ms": word.waited_ms,
        }
    )
    return 0 if enabled else 3


@click.group()
def fault() -> None:
    """Stage a fault in a demo or drill installation: latency, no_signals, pnl, risk."""


@fault.command()
@click.argument("kind", type=click.Choice(["latency", "no_signals", "pnl", "risk"]))
@click.option("--for", "span", default="2m", show_default=True, help="How long it lasts.")
@click.pass_obj
def inject(session: Session, kind: FaultKind, span: str) -> int:
    """Start a fault; it ends by itself, or with `stage4 fault clear`."""
    installation = session.installation
    ends = _inject(installation, kind, parse_duration(span))
    session.say("control.fault_injected", kind=kind, span=span)
    session.emit({"schema": "stage4.fault/1", "kind": kind, "until": ends})
    return 0


@fault.command()
@click.pass_obj
def clear(session: Session) -> int:
    """End all staged faults."""
    from stage4.runtime import faults

    faults.clear(session.installation)
    session.say("control.faults_cleared")
    session.emit({"schema": "stage4.fault/1", "cleared": True})
    return 0


def _inject(installation: Installation, kind: FaultKind, span: timedelta) -> str:
    from stage4.runtime import faults

    until = SystemClock().now() + span
    faults.stage(installation, kind, until=until)
    return format_instant(until)
