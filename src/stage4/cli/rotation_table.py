"""`stage4 rotation list|plan`: every rotation with how it stands, and what is to be done next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from stage4 import words
from stage4.cli import _run
from stage4.cli._rotation import bundle_option, shown
from stage4.cli.root import Session
from stage4.clock import SystemClock, format_instant, parse_instant
from stage4.errors import ExitCode, Refused

if TYPE_CHECKING:
    from datetime import datetime

    from stage4.app.rotation_table import Registry, RotationTable
    from stage4.audit.rotation_rows import Row

LIST_SCHEMA = "stage4.rotations/1"
PLAN_SCHEMA = "stage4.rotation_plan/1"
_BAR = 10
_COLOURS = {"missing": "red", "overdue": "red", "future": "red", "unknown": "red", "due": "yellow", "fresh": "green"}
_COLUMNS = ("key", "purpose", "last", "interval", "due", "left", "state")

at_option = click.option("--at", metavar="TIME", help="The instant to judge for (RFC 3339; default: now).")


@click.command("list")
@bundle_option
@at_option
@click.pass_obj
def list_(session: Session, bundle: str, at: str | None) -> int:
    """Every key under rotation or on record, the worst first; exit 1 when one is overdue or missing."""
    from stage4.app import rotation_table

    now = _instant(at)
    table = rotation_table.read(session.installation, bundle, now)
    if not session.as_json:
        _print_table(session, table.rows)
        for row in table.rows:
            if row.always_due and row.required:
                session.say(
                    "rotation.window_wide", row=_name(row), warn=_days(row.warn_days), interval=_days(row.interval_days)
                )
    _say_problems(session, table)
    session.emit(
        {
            "schema": LIST_SCHEMA,
            "exit_code": int(table.exit_code),
            "root": str(session.installation.root),
            "at": format_instant(now),
            "rotations": [_facts(row) for row in table.rows],
            "registries": [_registry_facts(session, name, each) for name, each in table.registries.items()],
            "unfinished": None if table.journal is None else table.journal.bundle,
        }
    )
    return table.exit_code


@click.command()
@bundle_option
@at_option
@click.option("--days", type=click.IntRange(0, 36_500), default=30, show_default=True, help="How far ahead to look.")
@click.pass_obj
def plan(session: Session, bundle: str, at: str | None, days: int) -> int:
    """What falls due in the next days, in order, with the command for it; exit 3 when a registry cannot be read."""
    from stage4.app import rotation_table
    from stage4.audit import rotation_rows

    now = _instant(at)
    table = rotation_table.read(session.installation, bundle, now)
    steps = rotation_rows.steps(table.rows, now, timedelta(days=days), bundle=bundle, own=table.own)
    unread = rotation_rows.unread(table.rows)
    if not steps and table.readable:
        session.say("rotation.plan_empty", n=days)
    for step in steps:
        when = "-" if step.due_at is None else format_instant(step.due_at)
        names = ", ".join(map(_name, step.rows))
        session.say("rotation.plan_line", rows=names, due=when, state=session.text(f"rotation.state_{step.state}"))
        session.say(f"rotation.plan_{step.remedy.way}", command=step.remedy.command)
    for row in unread:
        path = shown(session, table.registries[row.registry].path)
        session.say("rotation.plan_unread", row=_name(row), path=path)
    _say_problems(session, table)
    code = ExitCode.DONE if table.readable else ExitCode.CANNOT_TELL
    session.emit(
        {
            "schema": PLAN_SCHEMA,
            "exit_code": int(code),
            "root": str(session.installation.root),
            "at": format_instant(now),
            "days": days,
            "steps": [
                {
                    "command": step.remedy.command,
                    "by_hand": step.remedy.by_hand,
                    "rotations": [_facts(row) for row in step.rows],
                }
                for step in steps
            ],
            "unread": [_facts(row) for row in unread],
            "unfinished": None if table.journal is None else table.journal.bundle,
        }
    )
    return code


def _instant(at: str | None) -> datetime:
    return parse_instant(at) if at else SystemClock().now()


def _say_problems(session: Session, table: RotationTable) -> None:
    from stage4.security.rotation import shown as row_shown
    from stage4.security.rotation_journal import journal_path

    for each in table.registries.values():
        path = shown(session, each.path)
        if each.error is not None:
            told = type(each.error)(each.error.code, **{**each.error.params, "path": path})
            _run.say_error(told, session.language)
        for problem in () if each.content is None else each.content.problems:
            reason = session.text(problem.reason)
            _run.say(session.text("rotation.bad_row", path=path, row=row_shown(problem.row), reason=reason))
    if table.journal is not None:
        bundle = table.journal.bundle
        path = shown(session, journal_path(session.installation.root, bundle))
        _run.say_error(Refused("rotation.unfinished", bundle=bundle, path=path), session.language)


def _name(row: Row) -> str:
    return f"{row.key}::{row.purpose}"


def _days(days: float) -> str:
    return f"{days:g}"


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


def _registry_facts(session: Session, name: str, each: Registry) -> dict[str, Any]:
    problems = () if each.content is None else each.content.problems
    return {
        "name": name,
        "path": shown(session, each.path),
        "problem": None if each.error is None else each.error.code,
        "bad_rows": [{"row": problem.row, "code": problem.reason} for problem in problems],
    }


def _print_table(session: Session, table: Sequence[Row]) -> None:
    lines = [[session.text(f"rotation.column_{name}") for name in _COLUMNS]]
    for row in table:
        state = session.text(f"rotation.state_{row.state}")
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
