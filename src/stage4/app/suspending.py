"""
Suspending and resuming schedules, as a person asks for it.

Suspending is the safe side: it needs no role, and what prevents its entry in the log does not prevent it. Resuming
needs a signature of somebody of L2 or of the Incident Manager, and stands in the log before it is done. What it cannot
see: a file taken away by hand resumes too; the scheduler's own entry then has no request before it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from stage4 import ids
from stage4.clock import Clock, format_instant
from stage4.config import Installation
from stage4.decisionlog.entry import Draft
from stage4.errors import Conflict, Refused, Stage4Error, Unavailable, UsageError
from stage4.runtime.override_report import last_word
from stage4.runtime.scheduler import SuspensionReason
from stage4.runtime.state import STATE_FILE
from stage4.runtime.suspension import UNREADABLE, Kind, Suspension, SuspensionDocument
from stage4.runtime.suspension_files import lift, place, read_all
from stage4.security import sshsig
from stage4.security.people import People, Role

STATEMENT = "stage4.resume/1"
ROLES = frozenset({Role.L2, Role.INCIDENT_MANAGER})
LONGEST_REASON = 500
POLL_SECONDS = 0.02

Confirmation = Literal["schedule.confirmed", "schedule.unconfirmed", "schedule.at_start"]
"""A catalogue code."""


@dataclass(frozen=True, slots=True)
class Target:
    """A schedule or a tag, with the schedules it covers."""

    kind: Kind
    name: str
    schedules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Suspended:
    """A suspension in force; `already` where another one stood and lasts at least as long."""

    suspension: Suspension
    already: bool
    unlogged: Stage4Error | None


def target(installation: Installation, schedule: str | None, tag: str | None) -> Target:
    """Raises UsageError `schedule.which` unless exactly one is named, `schedule.unknown` for what no setting has."""
    if (schedule is None) == (tag is None):
        raise UsageError("schedule.which")
    tags = {
        name: settings.tags
        for scheduler in installation.settings.runtime.multi_strategy_schedulers.values()
        for name, settings in scheduler.schedules.items()
    }
    if schedule is not None:
        if schedule not in tags:
            raise UsageError("schedule.unknown", name=schedule)
        return Target("schedule", schedule, (schedule,))
    covered = tuple(name for name, of_schedule in tags.items() if tag in of_schedule)
    if tag is None or not covered:
        raise UsageError("schedule.unknown", name=tag)
    return Target("tag", tag, covered)


def suspension_of(chosen: Target, *, reason: str, person: str, span: timedelta | None, now: datetime) -> Suspension:
    """What a request would put in force; raises UsageError `schedule.bad_reason`."""
    document = SuspensionDocument(
        cause=SuspensionReason.REQUEST,
        reason=_one_line(reason),
        requested_by=_one_line(person),
        since=now,
        expires_at=None if span is None else now + span,
    )
    return Suspension(chosen.kind, chosen.name, document)


def suspend(installation: Installation, wanted: Suspension, clock: Clock, environ: Mapping[str, str]) -> Suspended:
    """Put it in force, then enter it in the log; raises what `suspension_files.place` raises."""
    standing = place(installation.root, wanted)
    document = wanted.document
    assert document is not None
    draft = _draft(
        "scheduler_suspension_requested",
        installation,
        wanted,
        status="requested",
        facts={
            "reason": document.reason,
            "requested_by": document.requested_by,
            "expires_at": None if document.expires_at is None else format_instant(document.expires_at),
            "already": standing is not None,
        },
    )
    unlogged = None
    try:
        _append(installation, draft, clock, environ)
    except Stage4Error as error:
        unlogged = error
    return Suspended(standing or wanted, standing is not None, unlogged)


def liftable(root: Path, chosen: Target) -> tuple[Suspension, ...]:
    """What a resume would lift, the scheduler's own suspension included.

    Raises Unavailable `schedule.directory_unreadable`, Conflict `schedule.not_suspended`.
    """
    standing = read_all(root)
    if UNREADABLE in standing:
        raise Unavailable("schedule.directory_unreadable")
    kinds = ("schedule", "own") if chosen.kind == "schedule" else ("tag",)
    found = tuple(each for each in standing if each.kind in kinds and each.name == chosen.name)
    if not found:
        raise Conflict("schedule.not_suspended", name=chosen.name)
    return found


def resume(
    installation: Installation,
    lifted: tuple[Suspension, ...],
    *,
    reason: str,
    person: str,
    key: Path,
    clock: Clock,
    environ: Mapping[str, str],
    dry_run: bool = False,
) -> None:
    """Enter it in the log, signed by `person`, then lift it.

    Raises Refused `schedule.role_missing`, `security.*`, UsageError `schedule.bad_reason`, and what the log raises:
    nothing is lifted then.
    """
    from stage4.decisionlog.canonical import canonical

    now, names = clock.now(), [each.file_name for each in lifted]
    statement = canonical(
        {
            "schema": STATEMENT,
            "installation_id": installation.settings.operations.installation_id,
            "suspensions": names,
            "reason": _one_line(reason),
            "at": format_instant(now),
            "nonce": ids.short_id(),
        }
    )
    signature = sshsig.sign(key, statement, sshsig.ENABLE)
    people = People.load(installation.path(installation.settings.operations.operators_file))
    signer = people.verify(person, signature, statement, sshsig.ENABLE, now)
    if not signer.roles & ROLES:
        raise Refused("schedule.role_missing", person=person)
    if dry_run:
        return
    for each in lifted:
        facts: dict[str, object] = {
            "reason": _one_line(reason),
            "requested_by": person,
            "statement": statement.decode("utf-8"),
            "signature": signature,
        }
        draft = _draft("scheduler_resume_requested", installation, each, status="requested", facts=facts)
        _append(installation, draft, clock, environ)
        lift(installation.root, each)


def confirmation(root: Path, schedules: tuple[str, ...], *, wait: timedelta, clock: Clock) -> Confirmation:
    """Whether the running scheduler says within `wait` that all `schedules` are suspended."""
    ends_ns = clock.monotonic_ns() + round(wait.total_seconds() * 1e9)
    while True:
        answer, state = last_word(root, clock)
        # A word that is there and cannot be read may be a living scheduler's.
        if answer == "ended" or (state is None and not os.path.lexists(root / STATE_FILE)):
            return "schedule.at_start"
        word = {} if state is None else state.schedules
        if answer == "answers" and all(name in word and word[name].suspended for name in schedules):
            return "schedule.confirmed"
        if clock.monotonic_ns() >= ends_ns:
            return "schedule.unconfirmed"
        clock.sleep(POLL_SECONDS)


def _one_line(text: str) -> str:
    text = text.strip()
    if not text or not text.isprintable() or len(text) > LONGEST_REASON:
        raise UsageError("schedule.bad_reason", longest=LONGEST_REASON)
    return text


def _draft(
    kind: str, installation: Installation, suspension: Suspension, *, status: str, facts: Mapping[str, object]
) -> Draft:
    schedulers = installation.settings.runtime.multi_strategy_schedulers.values()
    return Draft(
        kind=kind,
        category=next(iter(schedulers)).decision_log_category,
        stage="stage4",
        status=status,
        artefacts={"suspension": suspension.file_name},
        runtime_flags={},
        metadata={"scope": {"kind": suspension.kind, "name": suspension.name}, **facts},
        tags=("scheduler",),
    )


def _append(installation: Installation, draft: Draft, clock: Clock, environ: Mapping[str, str]) -> None:
    from stage4.decisionlog.open import open_log

    open_log(installation, clock, environ).append(draft)
