"""`stage4 schedule list|suspend|resume`: how late each schedule is, and which do not fire, by whom and why."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stage4 import words
from stage4.cli.root import Session
from stage4.clock import SystemClock, format_instant, parse_duration
from stage4.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from stage4.config import Installation
    from stage4.runtime.state import ScheduleState
    from stage4.runtime.suspension import Suspension

LIST_SCHEMA = "stage4.schedules/1"
SUSPEND_SCHEMA = "stage4.suspend/1"
RESUME_SCHEMA = "stage4.resume/1"

_STATES = {
    "enabled": "schedule.state_enabled",
    "suspended": "schedule.state_suspended",
    "disabled": "schedule.state_disabled",
    "warming_up": "schedule.state_warming_up",
    "unknown": "schedule.state_unknown",
}
_HELD_BY = {
    "schedule": "schedule.by_schedule",
    "tag": "schedule.by_tag",
    "failures": "schedule.by_failures",
    "drift": "schedule.by_drift",
    # The scheduler never writes such a file, but somebody might.
    "request": "schedule.by_schedule",
}

tag_option = click.option("--tag", metavar="TAG", help="The schedules with this tag, in place of one schedule.")
reason_option = click.option("--reason", required=True, metavar="TEXT", help="Why; it stands in the log for good.")


@click.group()
def schedule() -> None:
    """The schedules: how late they are, and suspending or resuming one or a tag."""


@schedule.command("list")
@click.pass_obj
def list_(session: Session) -> int:
    """Every schedule with its state, lateness and suspensions; exit 3 when a suspension cannot be read."""
    from stage4.runtime.override_report import last_word
    from stage4.runtime.suspension import holding
    from stage4.runtime.suspension_files import read_all

    installation, clock = session.installation, SystemClock()
    now, standing = clock.now(), read_all(installation.root)
    answer, state = last_word(installation.root, clock)
    word = state.schedules if state is not None and answer == "answers" else {}
    rows = []
    for scheduler in installation.settings.runtime.multi_strategy_schedulers.values():
        for name, settings in scheduler.schedules.items():
            held, said = holding(standing, name, settings.tags, now), word.get(name)
            named = said.state if said is not None else "suspended" if held else "unknown"
            stated = session.text(_STATES[named])
            session.say(
                "schedule.row", name=name, strategy=settings.strategy, cadence=settings.cadence_seconds, state=stated
            )
            for code, params in _lines(session, installation, said, held):
                session.say(code, **params)
            rows.append(
                {
                    "schedule": name,
                    "strategy": settings.strategy,
                    "tags": list(settings.tags),
                    "cadence_seconds": settings.cadence_seconds,
                    "state": named,
                    "suspensions": [_facts(each, now) for each in held],
                    **_measured(said),
                }
            )
    if not word:
        session.say("schedule.no_word")
    unreadable = [each for each in standing if each.fault is not None]
    session.emit(
        {
            "schema": LIST_SCHEMA,
            "at": format_instant(now),
            "scheduler": answer,
            "schedules": rows,
            "suspensions": [_facts(each, now) for each in standing],
        }
    )
    return ExitCode.CANNOT_TELL if unreadable else ExitCode.DONE


@schedule.command()
@click.argument("name", required=False, metavar="[SCHEDULE]")
@tag_option
@reason_option
@click.option("--for", "span", metavar="DURATION", help="It ends by itself after this; default: it does not.")
@click.option("--requested-by", metavar="WHO", help="Who asks (default: the account that runs the command).")
@click.option("--wait", default="2s", show_default=True, metavar="DURATION", help="How long to wait for its word.")
@click.option("--dry-run", is_flag=True, help="Say what would be suspended, change nothing.")
@click.pass_obj
def suspend(
    session: Session,
    name: str | None,
    tag: str | None,
    reason: str,
    span: str | None,
    requested_by: str | None,
    wait: str,
    dry_run: bool,
) -> int:
    """Let a schedule, or those with a tag, fire no more; what it evaluates already ends. It is no stop: see disable."""
    from stage4.app import suspending

    installation, clock = session.installation, SystemClock()
    chosen = suspending.target(installation, name, tag)
    wanted = suspending.suspension_of(
        chosen,
        reason=reason,
        person=requested_by or f"account:{os.getuid()}",
        span=None if span is None else parse_duration(span),
        now=clock.now(),
    )
    patience, file_name = parse_duration(wait), wanted.file_name
    document: dict[str, object] = {"schema": SUSPEND_SCHEMA, "dry_run": dry_run, "schedules": list(chosen.schedules)}
    if dry_run:
        until = _told(session, installation, wanted.expires_at) or session.text("schedule.forever")
        session.say("schedule.dry_suspend", name=chosen.name, until=until, schedules=", ".join(chosen.schedules))
        session.emit(document | {"suspension": _facts(wanted, clock.now()), "file": file_name})
        return ExitCode.DONE
    done = suspending.suspend(installation, wanted, clock, os.environ)
    if done.already:
        session.say("schedule.already", **_who(session, installation, done.suspension))
    else:
        session.say("schedule.suspended", name=chosen.name, file=file_name)
    if done.unlogged is not None:
        session.say("schedule.unlogged", reason=session.text(done.unlogged.code, **done.unlogged.params))
    heard = suspending.confirmation(installation.root, chosen.schedules, wait=patience, clock=clock)
    session.say(heard)
    session.emit(
        document
        | {
            "suspension": _facts(done.suspension, clock.now()),
            "file": file_name,
            "already": done.already,
            "logged": done.unlogged is None,
            "scheduler": heard.removeprefix("schedule."),
        }
    )
    return ExitCode.CANNOT_TELL if heard == "schedule.unconfirmed" else ExitCode.DONE


@schedule.command()
@click.argument("name", required=False, metavar="[SCHEDULE]")
@tag_option
@reason_option
@click.option("--signer", required=True, metavar="PERSON=KEYFILE", help="Somebody of L2 or the Incident Manager.")
@click.option("--dry-run", is_flag=True, help="Say what would be lifted, change nothing.")
@click.pass_obj
def resume(session: Session, name: str | None, tag: str | None, reason: str, signer: str, dry_run: bool) -> int:
    """Let a schedule, or those with a tag, fire again from the next slot; also after failures."""
    from stage4.app import suspending
    from stage4.runtime.suspension import holding
    from stage4.runtime.suspension_files import read_all

    installation, clock = session.installation, SystemClock()
    chosen = suspending.target(installation, name, tag)
    person, separator, key = signer.partition("=")
    if not (separator and person and key):
        raise UsageError("schedule.bad_signer", text=signer)
    lifted = suspending.liftable(installation.root, chosen)
    document = {"schema": RESUME_SCHEMA, "dry_run": dry_run, "lifted": [_facts(each, clock.now()) for each in lifted]}
    suspending.resume(
        installation,
        lifted,
        reason=reason,
        person=person,
        key=Path(key),
        clock=clock,
        environ=os.environ,
        dry_run=dry_run,
    )
    if dry_run:
        for each in lifted:
            session.say("schedule.dry_resume", file=each.file_name, person=person)
        session.emit(document)
        return ExitCode.DONE
    for each in lifted:
        session.say("schedule.resumed", name=chosen.name, file=each.file_name)
    left: dict[str, list[str]] = {}
    standing = read_all(installation.root)
    for scheduler in installation.settings.runtime.multi_strategy_schedulers.values():
        for covered in chosen.schedules:
            held = holding(standing, covered, scheduler.schedules[covered].tags, clock.now())
            left[covered] = [each.file_name for each in held]
            for file_name in left[covered]:
                session.say("schedule.still_held", name=covered, file=file_name)
    session.emit(document | {"still_suspended_by": left})
    return ExitCode.DONE


def _lines(
    session: Session, installation: Installation, said: ScheduleState | None, held: tuple[Suspension, ...]
) -> Iterator[tuple[str, dict[str, object]]]:
    """What people read below a schedule."""
    from stage4.runtime.suspension import UNREADABLE

    if said is not None and said.lateness.count:
        seen = said.lateness
        p99 = "-" if seen.p99_ms is None else f"{seen.p99_ms:.2f}"
        figures = {"p50": f"{seen.p50_ms:.2f}", "p99": p99, "max": f"{seen.max_ms:.2f}"}
        yield "schedule.lateness", {**figures, "n": seen.count, "missed": said.missed_slots}
    if said is not None and said.suspended and not held:
        yield "schedule.by_memory", {}
    for each in held:
        if each.document is None:
            whole = each == UNREADABLE
            yield (
                ("schedule.directory_unreadable", {}) if whole else ("schedule.by_unreadable", {"file": each.file_name})
            )
            continue
        yield _HELD_BY[each.kind if each.kind != "own" else each.cause.value], _who(session, installation, each)
        ends = _told(session, installation, each.expires_at)
        yield ("schedule.ends", {"at": ends}) if ends else ("schedule.ends_never", {})


def _who(session: Session, installation: Installation, each: Suspension) -> dict[str, object]:
    document = each.document
    return {
        "name": each.name,
        "person": "?" if document is None else document.requested_by,
        "at": "?" if document is None else _told(session, installation, document.since),
        "reason": (each.fault or "?") if document is None else document.reason,
    }


def _told(session: Session, installation: Installation, at: datetime | None) -> str:
    return "" if at is None else words.instant(at, installation.settings.operations.time_zone)


def _facts(each: Suspension, now: datetime) -> dict[str, object]:
    document = each.document
    return {
        "kind": each.kind,
        "name": each.name,
        "cause": each.cause.value,
        "reason": None if document is None else document.reason,
        "requested_by": None if document is None else document.requested_by,
        "since": None if document is None else format_instant(document.since),
        "expires_at": None if each.expires_at is None else format_instant(each.expires_at),
        "in_force": each.in_force(now),
        "fault": each.fault,
    }


def _measured(said: ScheduleState | None) -> Mapping[str, object]:
    if said is None:
        return {"missed_slots": None, "lateness": None}
    seen = said.lateness
    return {
        "missed_slots": said.missed_slots,
        "lateness": {"count": seen.count, "p50_ms": seen.p50_ms, "p99_ms": seen.p99_ms, "max_ms": seen.max_ms},
    }
