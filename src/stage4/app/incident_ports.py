"""
The real parts behind the incident room's ports.

Files that people edit (operators, rotation) are read at every question, so that a change counts at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from stage4 import files
from stage4.app.service_log import tell
from stage4.clock import Clock
from stage4.config import Installation
from stage4.decisionlog.entry import INCIDENT_CATEGORY, Entry
from stage4.decisionlog.open import load_keyring
from stage4.errors import Stage4Error, Unavailable
from stage4.incidents.effects import Duties
from stage4.incidents.ports import (
    AlertLog,
    Content,
    LogDoubt,
    LogVerdict,
    PanelBoard,
    PanelPicture,
    SchedulerWord,
    Signer,
    StopFacts,
    StopOrder,
)
from stage4.oncall import TIERS, Roster
from stage4.security.people import People

_DOUBTS = {"verify.other_logs": "closing.log_unknown", "verify.place_missing": "closing.log_place_missing"}
PANEL_WINDOW = timedelta(minutes=15)
HEARTBEAT_FRESH = timedelta(seconds=3)


@dataclass(slots=True)
class RosterFile:
    """Who is on duty, by the rotation file.

    Fails open: while the file cannot be read, the last rotation that could be stays in force, because a call by
    yesterday's rotation is better than none.
    """

    installation: Installation
    _last: Roster = field(init=False)

    def __post_init__(self) -> None:
        self._last = self._load()

    @property
    def channel(self) -> str:
        """The operations channel."""
        return self._last.slack_channel

    def duties(self, at: datetime) -> Duties:
        """The people on duty at `at`, and the bridge."""
        try:
            self._last = self._load()
        except Stage4Error as error:
            tell(error.code, error.params)
        on_duty = {rung: self._last.on_duty(rung, at) for rung in TIERS}
        return Duties(
            {rung: duty.person_id if duty else None for rung, duty in on_duty.items()}, self._last.bridge or ""
        )

    def _load(self) -> Roster:
        return Roster.load(self.installation.path(self.installation.settings.operations.oncall_file))


@dataclass(frozen=True, slots=True)
class PeopleRegister:
    """Roles and signatures, by `ops/operators.yaml`. Fails closed: who cannot be looked up has no role."""

    installation: Installation

    def people(self) -> People:
        """Everybody in the file."""
        return People.load(self.installation.path(self.installation.settings.operations.operators_file))

    def roles(self, person: str) -> frozenset[str]:
        """The roles of `person`; raises Refused for an unknown one."""
        return frozenset(str(role) for role in self.people().get(person).roles)

    def verify_sign_off(self, person: str, armored: str, message: bytes, at: datetime) -> Signer:
        """Who made this SSHSIG in namespace `stage4-signoff`; raises Refused when it was not `person`."""
        from stage4.security import sshsig

        self.people().verify(person, armored, message, sshsig.SIGN_OFF, at)
        return Signer(person, sshsig.fingerprint(sshsig.parse(armored).public_key))


@dataclass(frozen=True, slots=True)
class VerifiedLog:
    """Reads and verifies the configured decision log."""

    installation: Installation
    clock: Clock
    environ: Mapping[str, str]

    def verify(self) -> LogVerdict:
        """Verify the whole log against everything that is kept of it; what cannot be judged is not intact."""
        from stage4.decisionlog.verification.anchors import anchors_of
        from stage4.decisionlog.verification.verifier import verify

        path = self.installation.decision_log_path
        ring = load_keyring(self.installation, self.environ)
        anchors = anchors_of(path, self.installation, self.environ)
        for remark in anchors.remarks:
            tell(remark.code, remark.told("en"))
        verdict = verify(path, ring, self.clock, trail=anchors.trail())
        findings = [f"{finding.fault.value}, line {finding.line}" for finding in verdict.findings]
        findings += map(str, anchors.unread)
        intact = verdict.exit_code == 0 and not anchors.unread
        doubts = tuple(
            LogDoubt(_DOUBTS[doubt.code], str(doubt.params["path"]), str(doubt.params.get("logs", "")))
            for doubt in anchors.doubts
        )
        return LogVerdict(intact, tuple(findings), verdict.last_seq or 0, verdict.head or "", doubts)

    def entries(self, after_seq: int = -1) -> Sequence[Entry]:
        """Entries of the incidents with a higher number; none where there is no log yet."""
        from stage4.decisionlog.reading import entries

        path = self.installation.decision_log_path
        if not path.exists():
            return ()
        return tuple(entries(path, category=INCIDENT_CATEGORY, from_seq=after_seq + 1))


@dataclass(frozen=True, slots=True)
class AlertmanagerAlerts:
    """The alerts of L1.1 as Alertmanager holds them now."""

    url: str

    def alerts(self, incident_id: str, fingerprints: tuple[str, ...]) -> AlertLog:
        """All alerts, silenced ones included; `firing` counts those of this incident."""
        from stage4.monitoring.alertmanager import Alertmanager

        held = Alertmanager(self.url).alerts()
        firing = sum(alert.get("fingerprint") in fingerprints for alert in held)
        document = {"schema": "stage4.alert_log/1", "source": "alertmanager", "incident": incident_id, "alerts": held}
        return AlertLog("alertmanager", firing, Content("alerts.json", files.json_bytes(document)))


@dataclass(frozen=True, slots=True)
class Panels:
    """The four panels of L1.3 from Prometheus, or from the telemetry process where none is configured."""

    installation: Installation
    clock: Clock
    environ: Mapping[str, str]

    def board(self) -> PanelBoard:
        """Draw the panels as they are now."""
        from stage4.monitoring.panel_picture import png
        from stage4.monitoring.panels import read_checklist_panels
        from stage4.monitoring.plan import plan_of
        from stage4.monitoring.sources import source_of

        now = self.clock.now()
        source = source_of(self.installation, self.environ)
        panels = read_checklist_panels(source, plan_of(self.installation), now - PANEL_WINDOW, now)
        lang = self.installation.settings.operations.language
        pictures = []
        for panel in panels:
            name = panel.metric.short_name
            pictures.append(PanelPicture(name, str(panel.state), Content(f"{name}.png", png(panel, lang), "image/png")))
        return PanelBoard(source.name, tuple(pictures))


@dataclass(frozen=True, slots=True)
class Switch:
    """The kill switch, by its file; needs no key, no log, no database and no network."""

    root: Path
    clock: Clock

    def stop(self, order: StopOrder) -> StopFacts:
        """Put the stop in place and say what stands."""
        from stage4.runtime.stop import request_stop

        receipt = request_stop(
            self.root,
            reason=order.reason,
            ticket=order.ticket,
            requested_by=order.requested_by,
            clock=self.clock,
        )
        try:
            body = files.read_limited(receipt.path)
        except Unavailable:
            body = b""
        return StopFacts(receipt.facts.digest, receipt.already, Content(receipt.path.name, body))

    def word(self) -> SchedulerWord:
        """The scheduler's own word, `silent` when it is older than three seconds."""
        from stage4.runtime.state import STATE_FILE, answers_since, read_state

        try:
            state = read_state(self.root / STATE_FILE)
        except Stage4Error:
            return SchedulerWord("silent")
        since = self.clock.boottime_ns() - int(HEARTBEAT_FRESH / timedelta(microseconds=1)) * 1000
        if not answers_since(state, since, self.clock):
            return SchedulerWord("silent")
        facts = {"pid": state.pid, "in_flight": state.in_flight, "signals_after_stop": state.signals_after_stop}
        return SchedulerWord(state.state.value, state.override_digest, facts)
