"""
What a person at a keyboard asks of the kill switch, and what the decision log keeps of it.

Nothing that is odd about the call prevents the stop: what is too long is cut, what is missing is a remark.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from stage4.clock import Clock
from stage4.config import find_root
from stage4.errors import UsageError
from stage4.ids import is_incident_id
from stage4.runtime.stop import OVERRIDES, Scope, StopReceipt, Word, request_stop, wait_for_word

if TYPE_CHECKING:
    from stage4.config.settings import Settings
    from stage4.decisionlog.entry import Draft
    from stage4.runtime.kill import Kill

LONGEST_TEXT = 2000
"""Characters of a reason or ticket that an override file and a log entry keep."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something odd that prevents nothing: a catalogue code; a parameter may be an error, told in its own words."""

    code: str
    params: Mapping[str, object]


def remark(code: str, /, **params: object) -> Remark:
    return Remark(code, params)


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Who asks for what stop, and why. `expires_at` informs people; nothing re-enables by itself."""

    scope: Scope
    reason: str
    ticket: str | None
    requested_by: str
    component: str
    expires_at: datetime | None = None

    @property
    def incident(self) -> str | None:
        """The incident that the ticket, or else the reason, names."""
        return next((named for named in (self.ticket, self.reason) if named and is_incident_id(named)), None)

    def place(self, root: Path, clock: Clock) -> StopReceipt:
        """Put the override file in place; raises Unavailable `stop.cannot_write`, as `request_stop` does."""
        return request_stop(
            root,
            scope=self.scope,
            reason=self.reason,
            ticket=self.ticket,
            requested_by=self.requested_by,
            component=self.component,
            expires_at=self.expires_at,
            clock=clock,
        )


def stoppable_root(named: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The installation; one that has lost its settings is known by its overrides, since its scheduler may still run."""
    try:
        return find_root(named, environ, cwd)
    except UsageError:
        told = named or (Path(environ["STAGE4_ROOT"]) if environ.get("STAGE4_ROOT") else None)
        for candidate in (told,) if told is not None else (cwd, *cwd.parents):
            if (candidate / OVERRIDES).is_dir():
                return candidate.resolve()
        raise


def shortened(request: StopRequest) -> tuple[StopRequest, list[Remark]]:
    """The request as an override file can carry it, and what is odd about it."""
    remarks = [] if request.reason else [remark("stop.reason_missing")]

    def cut(option: str, text: str) -> str:
        if len(text) > LONGEST_TEXT:
            remarks.append(remark("stop.text_cut", option=option, n=LONGEST_TEXT))
        return text[:LONGEST_TEXT]

    carried = replace(
        request,
        reason=cut("--reason", request.reason),
        ticket=None if request.ticket is None else cut("--ticket", request.ticket),
        requested_by=cut("--requested-by", request.requested_by),
        component=cut("--component", request.component),
    )
    return carried, remarks


def await_word(
    root: Path, request: StopRequest, receipt: StopReceipt, *, wait: timedelta, since_ns: int, clock: Clock
) -> tuple[StopReceipt, Word | None]:
    """The scheduler's word on the stop; None when the person at the keyboard would not wait for it.

    `since_ns` is the boot time before the file was placed: an older word is none.
    """
    try:
        word = wait_for_word(root, receipt.facts, timeout=wait, since_ns=since_ns, clock=clock)
        if word.answer == "enabled" and not os.path.lexists(receipt.path):
            # An enable order was carried out on the stop that stood: ours comes after it and stands for itself.
            receipt = request.place(root, clock)
            word = wait_for_word(root, receipt.facts, timeout=wait, since_ns=since_ns, clock=clock)
    except KeyboardInterrupt:
        return receipt, None
    return receipt, word


def log_draft(request: StopRequest, receipt: StopReceipt, root: Path) -> Draft:
    """The entry `scheduler_stop_requested`; of the incident's category where the request names one."""
    from stage4.decisionlog.entry import INCIDENT_CATEGORY, Draft

    scope, standing = receipt.facts.scope, receipt.facts.document
    return Draft(
        kind="scheduler_stop_requested",
        category=INCIDENT_CATEGORY if request.incident else "runtime_control",
        stage="stop",
        status="requested",
        artefacts={"override": str(receipt.path.relative_to(root)), "override_sha256": receipt.facts.digest or None},
        runtime_flags={"already": receipt.already, "whole": receipt.facts.fault is None},
        metadata={
            "incident_id": request.incident,
            "ticket": request.ticket,
            "reason": request.reason,
            "requested_by": request.requested_by,
            "component": request.component,
            "scope": {"kind": scope.kind.value, "name": scope.name},
        },
        tags=("kill_switch",),
        # When it was asked for, and not when the log had time: the scheduler may have answered in between.
        timestamp=None if receipt.already or standing is None else standing.timestamp,
    )


def end_draft(request: StopRequest, digest: str | None, word: Word | None, kill: Kill | None) -> Draft:
    """The entry of a stop that no scheduler confirmed: `scheduler_stop_unconfirmed`, or `scheduler_killed` with what
    became of the signal. `digest` None: neither file nor memory took the stop."""
    from stage4.decisionlog.entry import INCIDENT_CATEGORY, Draft

    return Draft(
        kind="scheduler_stop_unconfirmed" if kill is None else "scheduler_killed",
        category=INCIDENT_CATEGORY if request.incident else "runtime_control",
        stage="stop",
        status=kill.outcome if kill is not None else word.answer if word is not None else "unplaced",
        artefacts={"override_sha256": digest or None, "pid": kill.pid if kill is not None else None},
        runtime_flags={"stop_stands": digest is not None, "killed": kill is not None and kill.outcome == "killed"},
        metadata={
            "incident_id": request.incident,
            "ticket": request.ticket,
            "reason": request.reason,
            "requested_by": request.requested_by,
            "answer": None if word is None else word.answer,
            "fault": None if kill is None else kill.reason,
        },
        tags=("kill_switch",),
    )


def unknown_scope(settings: Settings, scope: Scope) -> Iterator[Remark]:
    """A remark where the scope covers no schedule of the settings."""
    covered = (
        scope.covers(name, schedule.strategy, schedule.tags)
        for scheduler in settings.runtime.multi_strategy_schedulers.values()
        for name, schedule in scheduler.schedules.items()
    )
    if scope.name and not any(covered):
        yield remark("stop.scope_unknown", kind=scope.kind.value, name=scope.name)
