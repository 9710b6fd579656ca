"""The ports of this room over the real rooms below it: on-call, people, decision log, runtime, own intake."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from stage4 import files
from stage4.clock import Clock, format_instant, parse_duration
from stage4.config.settings import IncidentTimers
from stage4.decisionlog.entry import INCIDENT_CATEGORY, Entry
from stage4.decisionlog.reading import entries
from stage4.decisionlog.verdict import Integrity
from stage4.decisionlog.verifier import verify
from stage4.errors import Unavailable
from stage4.incidents.effects import Duties, Rung
from stage4.incidents.escalation import Rules
from stage4.incidents.ports import AlertLog, Content, LogVerdict, SchedulerWord, Signer, StopFacts, StopOrder
from stage4.incidents.store_sql import Store
from stage4.oncall import Roster
from stage4.runtime.state import STATE_FILE, RuntimeState, answers_since, read_state
from stage4.runtime.stop import request_stop
from stage4.security import sshsig
from stage4.security.keyring import KeyRing
from stage4.security.people import People

RUNGS: tuple[Rung, ...] = ("l1", "l2", "l2_deputy", "incident_manager")
FRESH = timedelta(seconds=5)


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


@dataclass(frozen=True, slots=True)
class RosterDuties:
    """Who is on duty. `load` reads the rotation; where it cannot, the last one that could be read stays in force."""

    roster: Roster

    def duties(self, at: datetime) -> Duties:
        on_duty = {rung: self.roster.on_duty(rung, at) for rung in RUNGS}
        people = {rung: duty.person_id if duty else None for rung, duty in on_duty.items()}
        return Duties(people, self.roster.bridge or "")


@dataclass(frozen=True, slots=True)
class Operators:
    """Roles and sign-offs of the people in `ops/operators.yaml`."""

    people: People

    def roles(self, person: str) -> frozenset[str]:
        return frozenset(role.value for role in self.people.get(person).roles)

    def verify_sign_off(self, person: str, armored: str, message: bytes, at: datetime) -> Signer:
        self.people.verify(person, armored, message, sshsig.SIGN_OFF, at)
        return Signer(person, sshsig.fingerprint(sshsig.parse(armored).public_key))


@dataclass(frozen=True, slots=True)
class LogFile:
    """Reads and verifies the decision log at `path`."""

    path: Path
    keyring: KeyRing
    clock: Clock

    def verify(self) -> LogVerdict:
        verdict = verify(self.path, self.keyring, self.clock)
        findings = tuple(f"line {each.line}: {each.fault.value}" for each in verdict.findings)
        return LogVerdict(verdict.integrity is Integrity.INTACT, findings, verdict.last_seq or 0, verdict.head or "")

    def entries(self, after_seq: int = -1) -> Sequence[Entry]:
        if not self.path.exists():
            return ()
        return [entry for entry in entries(self.path, category=INCIDENT_CATEGORY) if entry.seq > after_seq]


@dataclass(frozen=True, slots=True)
class RuntimeSwitch:
    """Stops by the override file, and reads the scheduler's own word from its state file."""

    root: Path
    clock: Clock

    def stop(self, order: StopOrder) -> StopFacts:
        receipt = request_stop(
            self.root,
            reason=order.reason,
            ticket=order.ticket,
            requested_by=order.requested_by,
            clock=self.clock,
        )
        body = b""
        with contextlib.suppress(Unavailable):
            body = files.read_limited(receipt.path)
        return StopFacts(receipt.facts.digest, receipt.already, Content(receipt.path.name, body))

    def word(self) -> SchedulerWord:
        try:
            state = read_state(self.root / STATE_FILE)
        except (Unavailable, ValueError) as e:
            return SchedulerWord("silent", facts={"reason": str(e)})
        since_ns = max(0, self.clock.boottime_ns() - int(FRESH.total_seconds() * 1e9))
        facts = _facts(state)
        if not answers_since(state, since_ns, self.clock):
            return SchedulerWord("silent", state.override_digest, facts)
        settled = state.state.value != "disabled" or state.in_flight == 0
        return SchedulerWord(state.state.value if settled else "stopping", state.override_digest, facts)


@dataclass(frozen=True, slots=True)
class IntakeAlerts:
    """The alerts as this service took them in: the source of L1.1 where no Alertmanager is configured."""

    store: Store
    clock: Clock

    def alerts(self, incident_id: str, fingerprints: tuple[str, ...]) -> AlertLog:
        with self.store.read() as tx:
            alerts = tx.alerts_of(incident_id)
            firing = tx.firing(incident_id)
        document = {
            "schema": "stage4.alerts/1",
            "source": "intake",
            "read_at": format_instant(self.clock.now()),
            "alerts": [msgspec.to_builtins(alert) for alert in alerts],
        }
        return AlertLog("intake", firing, Content("alerts.json", files.json_bytes(document)))


@dataclass(frozen=True, slots=True)
class AlertmanagerAlerts:
    """The alerts as Alertmanager lists them. `list_alerts` returns the answer of its API v2; raises Unavailable."""

    list_alerts: Callable[[], Sequence[Mapping[str, object]]]
    clock: Clock

    def alerts(self, incident_id: str, fingerprints: tuple[str, ...]) -> AlertLog:
        listed = list(self.list_alerts())
        ours = [alert for alert in listed if alert.get("fingerprint") in fingerprints]
        document = {
            "schema": "stage4.alerts/1",
            "source": "alertmanager",
            "read_at": format_instant(self.clock.now()),
            "alerts": listed,
        }
        return AlertLog("alertmanager", len(ours), Content("alerts.json", files.json_bytes(document)))


def _facts(state: RuntimeState) -> Mapping[str, object]:
    facts: Mapping[str, object] = msgspec.to_builtins(state)
    return facts
