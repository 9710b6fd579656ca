"""`stage4 rotation list|plan|mark|rotate`: when keys and certificates were replaced, what falls due, and doing it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from stage4 import words
from stage4.cli import _run
from stage4.cli.root import Session
from stage4.clock import SystemClock, format_instant, parse_instant
from stage4.errors import ExitCode, Refused, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from stage4.app.rotating import Followup, Registry
    from stage4.audit.rotation_rows import Row
    from stage4.security.rotating import Bundle, Plan, Renewal
    from stage4.security.rotation_journal import Journal

LIST_SCHEMA = "stage4.rotations/1"
PLAN_SCHEMA = "stage4.rotation_plan/1"
MARK_SCHEMA = "stage4.rotation_mark/1"
ROTATE_SCHEMA = "stage4.rotation/1"
_LONGEST_REASON = 500
_BAR = 10
_COLOURS = {"missing": "red", "overdue": "red", "future": "red", "unknown": "red", "due": "yellow", "fresh": "green"}
_COLUMNS = ("key", "purpose", "last", "interval", "due", "left", "state")

bundle_option = click.option("--bundle", default="core-oem", show_default=True, metavar="NAME", help="The bundle.")
at_option = click.option("--at", metavar="TIME", help="The instant to judge for (RFC 3339; default: now).")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would happen, change nothing.")


@click.group()
def rotation() -> None:
    """Rotations of keys and certificates: list them, plan them, record one, renew a bundle."""


@rotation.command("list")
@bundle_option
@at_option
@click.pass_obj
def list_(session: Session, bundle: str, at: str | None) -> int:
    """Every key under rotation or on record, the worst first; exit 1 when one is overdue or missing."""
    now = _instant(at)
    table, read, journal = _table(session, bundle, now)
    if not session.as_json:
        _print_table(session, table)
        for row in table:
            if row.always_due and row.required:
                session.say(
                    "rotation.window_wide", row=_name(row), warn=_days(row.warn_days), interval=_days(row.interval_days)
                )
    _say_problems(session, read, journal)
    code = _verdict(table, read, journal)
    session.emit(
        {
            "schema": LIST_SCHEMA,
            "exit_code": int(code),
            "root": str(session.installation.root),
            "at": format_instant(now),
            "rotations": [_facts(row) for row in table],
            "registries": [_registry_facts(name, each) for name, each in read.items()],
            "unfinished": None if journal is None else journal.bundle,
        }
    )
    return code


@rotation.command()
@bundle_option
@at_option
@click.option("--days", type=click.IntRange(0, 36_500), default=30, show_default=True, help="How far ahead to look.")
@click.pass_obj
def plan(session: Session, bundle: str, at: str | None, days: int) -> int:
    """What falls due in the next days, in order, with the command for each; exit 3 when a registry cannot be read."""
    from stage4.app import rotating
    from stage4.audit.rotation_rows import in_order

    now = _instant(at)
    table, read, journal = _table(session, bundle, now)
    own = rotating.is_own(session.installation, bundle)
    horizon = timedelta(days=days)
    due = [row for row in in_order(table) if row.required and row.rotation and row.falls_due_within(now, horizon)]
    steps = [
        _facts(row) | {"command": _command(row, bundle, own), "by_hand": not (own and _of(row, bundle))} for row in due
    ]
    if not due:
        session.say("rotation.plan_empty", n=days)
    for step, row in zip(steps, due, strict=True):
        when = "-" if row.due_at is None else format_instant(row.due_at)
        session.say("rotation.plan_line", row=_name(row), due=when, state=_state(session, row))
        session.say("rotation.plan_by_hand" if step["by_hand"] else "rotation.plan_command", command=step["command"])
    _say_problems(session, read, journal)
    unread = any(each.error is not None for each in read.values())
    code = ExitCode.CANNOT_TELL if unread else ExitCode.DONE
    session.emit(
        {
            "schema": PLAN_SCHEMA,
            "exit_code": int(code),
            "root": str(session.installation.root),
            "at": format_instant(now),
            "days": days,
            "steps": steps,
            "unfinished": None if journal is None else journal.bundle,
        }
    )
    return code


@rotation.command()
@click.argument("key", metavar="KEY")
@click.argument("purpose", metavar="PURPOSE")
@click.option("--at", metavar="TIME", help="When it was rotated (RFC 3339; default: now).")
@click.option("--reason", required=True, metavar="TEXT", help="Why and how; it stands in the log for good.")
@dry_run_option
@click.pass_obj
def mark(session: Session, key: str, purpose: str, at: str | None, reason: str, dry_run: bool) -> int:
    """Record a rotation that was done by hand, in the registry and in the decision log."""
    from stage4.app import rotating

    reason = reason.strip()
    if not reason or not reason.isprintable() or len(reason) > _LONGEST_REASON:
        raise UsageError("keyring.bad_reason", longest=_LONGEST_REASON)
    done = rotating.mark(
        session.installation,
        key,
        purpose,
        reason,
        SystemClock(),
        os.environ,
        at=parse_instant(at) if at else None,
        dry_run=dry_run,
    )
    said = {"row": f"{done.key}::{done.purpose}", "at": format_instant(done.at), "path": done.registry}
    if done.seq is None:
        session.say("rotation.would_mark", **said)
    else:
        session.say("rotation.marked", **said, seq=done.seq)
    session.emit(
        {
            "schema": MARK_SCHEMA,
            "exit_code": 0,
            "root": str(session.installation.root),
            "dry_run": dry_run,
            "key": done.key,
            "purpose": done.purpose,
            "rotated_at": format_instant(done.at),
            "previously": None if done.previous is None else format_instant(done.previous),
            "registry": str(done.registry),
            "seq": done.seq,
        }
    )
    return ExitCode.DONE


@rotation.command()
@bundle_option
@dry_run_option
@click.pass_obj
def rotate(session: Session, bundle: str, dry_run: bool) -> int:
    """Replace a bundle of the project's own PKI: a whole new CA, server and client; exit 1 when the old one came back.

    A rotation that was interrupted is finished, or taken back, by the next call.
    """
    from stage4.app import rotating

    installation = session.installation
    meant, asked = rotating.plan(installation, bundle)
    if dry_run:
        _say_plan(session, meant, asked)
        left = list(rotating.followups(installation, meant, None))
        document: dict[str, Any] = {
            "outcome": "planned",
            "unfinished": None if asked.unfinished is None else asked.unfinished.phase.value,
            "files": {role: str(path) for role, path in meant.paths.items()},
            "old_fingerprints": dict(asked.fingerprints),
        }
        code = ExitCode.DONE
    else:
        done, seq = rotating.renew(installation, bundle, SystemClock(), os.environ)
        _say_done(session, done, seq)
        back = done.outcome.value == "rolled_back"
        left = [] if back else list(rotating.followups(installation, meant, done.new["server"]))
        code = ExitCode.NO if back else ExitCode.DONE
        document = {
            "outcome": done.outcome.value,
            "rotation_id": done.rotation_id,
            "rotated_at": format_instant(done.at),
            "backup": str(done.backup),
            "old_fingerprints": dict(done.old),
            "new_fingerprints": dict(done.new),
            "seq": seq,
        }
    if code is ExitCode.DONE:
        _say_consequences(session, meant, left)
    session.emit(
        {
            "schema": ROTATE_SCHEMA,
            "exit_code": int(code),
            "root": str(installation.root),
            "bundle": bundle,
            "dry_run": dry_run,
            **document,
            "followups": [_followup(each) for each in left],
        }
    )
    return code


def _instant(at: str | None) -> datetime:
    return parse_instant(at) if at else SystemClock().now()


def _table(session: Session, bundle: str, now: datetime) -> tuple[Sequence[Row], dict[str, Registry], Journal | None]:
    from stage4.app import rotating
    from stage4.security.rotation_journal import read_journal, require_bundle_name

    require_bundle_name(bundle)
    installation = session.installation
    read = rotating.registries(installation)
    return rotating.table(installation, bundle, read, now), read, read_journal(installation.root, bundle)


def _verdict(table: Sequence[Row], read: dict[str, Registry], journal: Journal | None) -> ExitCode:
    bad_rows = any(each.content is not None and each.content.problems for each in read.values())
    if journal is not None or bad_rows or any(row.wrong for row in table):
        return ExitCode.NO
    return ExitCode.CANNOT_TELL if any(each.error is not None for each in read.values()) else ExitCode.DONE


def _say_problems(session: Session, read: dict[str, Registry], journal: Journal | None) -> None:
    from stage4.security.rotation import shown
    from stage4.security.rotation_journal import journal_path

    for each in read.values():
        if each.error is not None:
            _run.say_error(each.error, session.language)
        for problem in () if each.content is None else each.content.problems:
            reason = session.text(problem.reason)
            _run.say(session.text("rotation.bad_row", path=each.path, row=shown(problem.row), reason=reason))
    if journal is not None:
        path = journal_path(session.installation.root, journal.bundle)
        _run.say_error(Refused("rotation.unfinished", bundle=journal.bundle, path=path), session.language)


def _say_plan(session: Session, meant: Bundle, asked: Plan) -> None:
    from stage4.security.rotating import ORDER
    from stage4.security.rotation_journal import Phase, backups_directory

    if asked.unfinished is not None and asked.unfinished.phase is not Phase.PREPARING:
        session.say("rotation.would_finish", bundle=meant.name, backup=asked.unfinished.backup)
        return
    session.say("rotation.would_rotate", bundle=meant.name)
    session.say("rotation.step_backup", step=1, path=backups_directory(meant.root))
    session.say("rotation.step_make", step=2, names=", ".join(str(name.value) for name in asked.server_names))
    for number, role in enumerate(ORDER, start=3):
        session.say("rotation.step_install", step=number, path=meant.paths[role])
    session.say("rotation.step_registry", step=len(ORDER) + 3, path=meant.registry)
    session.say("rotation.step_log", step=len(ORDER) + 4)


def _say_done(session: Session, done: Renewal, seq: int) -> None:
    session.say(f"rotation.outcome_{done.outcome.value}", bundle=done.bundle, seq=seq, backup=done.backup)
    if done.outcome.value != "rolled_back":
        for role, fingerprint in done.new.items():
            session.say("rotation.fingerprints", role=role, old=done.old[role], new=fingerprint)


def _say_consequences(session: Session, meant: Bundle, left: Sequence[Followup]) -> None:
    session.say("rotation.reloads")
    session.say("rotation.new_authority", ca=meant.paths["ca"])
    for each in left:
        session.say(each.code, **each.params)


def _followup(each: Followup) -> dict[str, Any]:
    return {"code": each.code, "params": {name: str(value) for name, value in each.params.items()}}


def _of(row: Row, bundle: str) -> bool:
    return row.registry == "tls" and row.key.lower() == bundle.lower()


def _command(row: Row, bundle: str, own: bool) -> str:
    if own and _of(row, bundle):
        return shlex.join(["stage4", "rotation", "rotate", "--bundle", bundle])
    return shlex.join(["stage4", "rotation", "mark", row.key, row.purpose, "--reason"]) + " …"


def _name(row: Row) -> str:
    return f"{row.key}::{row.purpose}"


def _days(days: float) -> str:
    return f"{days:g}"


def _state(session: Session, row: Row) -> str:
    return session.text(f"rotation.state_{row.state}")


def _facts(row: Row) -> dict[str, Any]:
    return {
        "key": row.key,
        "purpose": row.purpose,
        "registry": row.registry,
        "required": row.required,
        "last_rotated": None if row.last is None else format_instant(row.last),
        "interval_days": row.interval_days,
        "warn_days": row.warn_days,
        "due_at": None if row.due_at is None else format_instant(row.due_at),
        "days_left": row.days_left,
        "state": row.state,
    }


def _registry_facts(name: str, each: Registry) -> dict[str, Any]:
    problems = () if each.content is None else each.content.problems
    return {
        "name": name,
        "path": str(each.path),
        "problem": None if each.error is None else each.error.code,
        "bad_rows": [{"row": problem.row, "code": problem.reason} for problem in problems],
    }


def _print_table(session: Session, table: Sequence[Row]) -> None:
    lines = [[session.text(f"rotation.column_{name}") for name in _COLUMNS]]
    for row in table:
        state = _state(session, row)
        lines.append(
            [
                row.key,
                row.purpose,
                "-" if row.last is None else format_instant(row.last),
                _days(row.interval_days),
                "-" if row.due_at is None else format_instant(row.due_at),
                "-" if row.days_left is None else f"{row.days_left:.1f}",
                state if row.required else session.text("rotation.not_required", state=state),
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(_COLUMNS))]
    terminal = sys.stdout.isatty()
    for number, line in enumerate(lines):
        cells = [words.visible(cell).ljust(width) for cell, width in zip(line, widths, strict=True)]
        if number and terminal:
            row = table[number - 1]
            cells[-1] = click.style(cells[-1], fg=_COLOURS[row.state]) + "  " + _bar(row)
        _run.out("  ".join(cells).rstrip(), styled=True)


def _bar(row: Row) -> str:
    """How much of the interval is over."""
    if row.days_left is None or row.state == "future":
        return ""
    full = max(0, min(_BAR, round((1 - row.days_left / row.interval_days) * _BAR)))
    return "█" * full + "░" * (_BAR - full)
