"""Joins the parts of the incident room into one engine. The composition root chooses them; here they only meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from stage4.clock import Clock, parse_duration
from stage4.config.settings import IncidentTimers
from stage4.incidents.arrivals import Arrivals
from stage4.incidents.audit_watch import AuditWatch
from stage4.incidents.checklist import Playbook
from stage4.incidents.core import Core
from stage4.incidents.earlier import KeptAudit, no_kept_audit
from stage4.incidents.engine import Engine
from stage4.incidents.escalation import Rules
from stage4.incidents.evidence import EvidenceStore
from stage4.incidents.pager import Pager
from stage4.incidents.ports import (
    AlertSource,
    CommandRunner,
    DocumentRenderer,
    Log,
    LogReader,
    PanelSource,
    Register,
    Roster,
    SchedulerSwitch,
)
from stage4.incidents.progress import Progress, at_once
from stage4.incidents.signing import Signing
from stage4.incidents.stopping import Stopping
from stage4.incidents.store_sql import Store
from stage4.notify import Notifier


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything an engine is made of. `time_scale` shortens all timers and watches of a demo or drill.

    `spawn` runs a machine's step: in the caller's thread by default, in a bounded pool in the service. `deliver` does
    the same for the notices of one notifier, in a place of its own for each.
    """

    root: Path
    store: Store
    clock: Clock
    log: Log
    reader: LogReader
    roster: Roster
    register: Register
    notifiers: Sequence[Notifier]
    runner: CommandRunner
    alerts: AlertSource
    panels: PanelSource
    switch: SchedulerSwitch
    render: DocumentRenderer
    playbook: Playbook
    rules: Rules
    time_limit: timedelta = timedelta(minutes=15)
    time_scale: float = 1.0
    channel: str = "#ops-trading"
    scheduler: str = ""
    spawn: Callable[[Callable[[], None]], None] = at_once
    deliver: Callable[[str, Callable[[], None]], None] = lambda _notifier, work: work()
    kept_audit: KeptAudit = no_kept_audit


def rules_of(timers: IncidentTimers) -> Rules:
    """The ladder's durations as the settings have them."""
    return Rules(
        escalate_after=parse_duration(timers.escalate_after),
        primary_repeat=parse_duration(timers.primary_repeat),
        deputy_after=parse_duration(timers.deputy_after),
        incident_manager_after=parse_duration(timers.incident_manager_after),
        ack_reminder=parse_duration(timers.ack_reminder),
        ack_lapse=parse_duration(timers.ack_lapse),
        no_signals_after=parse_duration(timers.no_signals_after),
    )


def assemble(parts: Parts) -> Engine:
    """The engine of `parts`; call `start` before anything else."""
    notifiers = {notifier.id: notifier for notifier in parts.notifiers}
    core = Core(
        parts.store,
        parts.log,
        parts.reader,
        parts.clock,
        parts.rules.scaled(parts.time_scale),
        parts.roster,
        tuple(notifiers),
        parts.channel,
    )
    evidence = EvidenceStore(parts.root)
    progress = Progress(
        core,
        parts.root,
        parts.playbook,
        evidence,
        parts.runner,
        parts.alerts,
        parts.panels,
        parts.time_limit,
        parts.time_scale,
        parts.spawn,
        parts.kept_audit,
    )
    arrivals = Arrivals(core, parts.playbook.digest, parts.scheduler)
    return Engine(
        core=core,
        arrivals=arrivals,
        audits=AuditWatch(core, arrivals, parts.root),
        progress=progress,
        stopping=Stopping(core, evidence, parts.switch),
        signing=Signing(core, parts.playbook, evidence, parts.reader, parts.register, parts.render),
        pager=Pager(parts.store, parts.clock, notifiers, parts.deliver),
        register=parts.register,
        playbook=parts.playbook,
        evidence=evidence,
    )
