"""A desk on a manual clock: the real engine, database and decision log; everything outside stands in by its port.

A notice to a person that the story does not expect fails the test at the end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from stage4.audit.kept_reports import KeptReports
from stage4.clock import format_instant
from stage4.decisionlog.entry import Draft, Entry, Receipt
from stage4.decisionlog.reading import entries
from stage4.errors import Unavailable
from stage4.incidents.assembly import Parts, assemble
from stage4.incidents.checklist import load_playbook
from stage4.incidents.engine import Engine
from stage4.incidents.escalation import Rules
from stage4.incidents.incident import Incident, StepRecord
from stage4.incidents.ports import LogDoubt, LogVerdict
from stage4.incidents.store_sql import Store
from stage4.notify import Notice
from stage4.testing.clock import ManualClock
from support.decision_logs import LogRoom
from support.incident_ports import Alerts, Commands, Duty, Inbox, Panels, Scheduler, Team

PLAYBOOK = Path(__file__).parents[2] / "playbooks" / "stage4_support.yaml"
TICK = timedelta(seconds=15)


class Log:
    """The real log; the test may fill its disk."""

    def __init__(self, room: LogRoom) -> None:
        self.room = room
        self.full = False
        self.doubts: tuple[LogDoubt, ...] = ()
        self._log = room.log()

    def append(self, draft: Draft) -> Receipt:
        return self.append_many((draft,))[0]

    def append_many(self, drafts: tuple[Draft, ...]) -> tuple[Receipt, ...]:
        if self.full:
            raise Unavailable("log.append_failed", path=self.room.path, reason="No space left on device")
        return self._log.append_many(drafts)

    def verify(self) -> LogVerdict:
        verdict = self.room.verify()
        findings = tuple(f"line {each.line}: {each.fault.value}" for each in verdict.findings)
        return LogVerdict(not verdict.findings, findings, verdict.last_seq or 0, verdict.head or "", self.doubts)

    def entries(self, after_seq: int = -1) -> tuple[Entry, ...]:
        if not self.room.path.exists():
            return ()
        return tuple(entries(self.room.path, category="stage4_incident", from_seq=after_seq + 1))


class World:
    """Tells an incident's story: `alert`, `fast_forward`, `expect_notice`, and the engine's own acts."""

    def __init__(self, folder: Path, *, rules: Rules | None = None) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.log = Log(LogRoom.create(folder, clock=self.clock))
        self.commands = Commands(self.clock, self.log._log)
        self.panels, self.alerts, self.scheduler = Panels(), Alerts(), Scheduler()
        self.duty, self.team, self.inbox = Duty(), Team(), Inbox()
        self.rules = rules or Rules()
        self._stores: list[Store] = []
        self.engine = self.restart()

    def restart(self) -> Engine:
        """The service starts (again) on the same database and log."""
        store = Store("sqlite:///var/stage4.db", self.folder)
        self._stores.append(store)
        self.engine = assemble(
            Parts(
                root=self.folder,
                store=store,
                clock=self.clock,
                log=self.log,
                reader=self.log,
                roster=self.duty,
                register=self.team,
                notifiers=(self.inbox,),
                runner=self.commands,
                alerts=self.alerts,
                panels=self.panels,
                switch=self.scheduler,
                render=lambda record, lang: f"# {lang}\n{json.dumps(record, sort_keys=True)}\n",
                playbook=load_playbook(PLAYBOOK),
                rules=self.rules,
                kept_audit=self._kept_audit,
            )
        )
        self.engine.start()
        return self.engine

    def _kept_audit(self, before: datetime) -> Mapping[str, object] | None:
        found = KeptReports(self.folder, self.log.room.ring, "desk", self.clock.now()).newest(before, what_if=False)
        return found.document if found else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for store in self._stores:
            store.dispose()
        if error is None:
            left = [(notice.target, notice.code) for notice in self.pages()]
            assert not left, f"unexpected notices: {left}"
            assert not self.log.room.path.exists() or self.log.verify().intact

    # what happens

    def alert(
        self,
        kind: str = "latency",
        *,
        name: str = "Stage4LoopLatencyHigh",
        fingerprint: str = "f1",
        firing: bool = True,
        starts_at: datetime | None = None,
        scheduler: str = "core",
        **labels: str,
    ) -> str | None:
        """One delivery of Alertmanager; the incident it led to. The clock does not move."""
        body = self.webhook(
            kind, name=name, fingerprint=fingerprint, firing=firing, starts_at=starts_at, scheduler=scheduler, **labels
        )
        received = self.engine.receive_alertmanager(body)
        assert received.quarantined is None
        self.engine.tick()
        return received.incidents[0] if received.incidents else None

    def webhook(
        self,
        kind: str,
        *,
        name: str,
        fingerprint: str,
        firing: bool,
        starts_at: datetime | None,
        scheduler: str,
        **labels: str,
    ) -> bytes:
        alert = {
            "status": "firing" if firing else "resolved",
            "labels": {"alertname": name, "kind": kind, "severity": "critical", "scheduler": scheduler, **labels},
            "annotations": {"summary": name},
            "startsAt": format_instant(starts_at or self.clock.now()),
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": fingerprint,
        }
        return json.dumps({"version": "4", "status": alert["status"], "alerts": [alert]}).encode()

    def fast_forward(self, *, minutes: float = 0, seconds: float = 0) -> None:
        """Time goes by, and the engine ticks through it."""
        left = timedelta(minutes=minutes, seconds=seconds)
        while left > timedelta(0):
            part = min(left, TICK)
            self.clock.advance(seconds=part.total_seconds())
            self.engine.tick()
            left -= part

    def escalated(self) -> str:
        """An incident to which L2 was called and came; its list has run as far as the machine goes."""
        incident = self.opened()
        self.fast_forward(minutes=5)
        self.expect_notice("l2", "l2_called_lasts")
        self.engine.confirm_escalation(incident, "l2-marek")
        for _ in range(5):
            self.engine.tick()
        return incident

    def opened(self, kind: str = "latency", **labels: str) -> str:
        """An acknowledged incident whose L1 list has run as far as the machine goes."""
        incident = self.alert(kind, **labels)
        assert incident is not None
        self.expect_notice("l1")
        self.settle()
        self.engine.acknowledge(incident, "l1-anna")
        return incident

    def settle(self) -> None:
        """The machine does what it can without time going by."""
        for _ in range(5):
            self.engine.tick()

    def complete(self, incident: str, *, escalated: bool = True) -> None:
        """People answer what is left, and the incident is resolved."""
        self.engine.answer_step(incident, "L1.3", "l1-anna", text="all panels green")
        if escalated:
            self.engine.answer_step(incident, "L2.5", "l2-marek", choice="not_needed", text="it recovered")
        else:
            self.engine.not_applicable(incident, "recovered within two minutes", "im-jan")
        self.engine.resolve(incident, "l2-marek")

    def sign(self, incident: str, role: str, person: str) -> None:
        body = self.engine.statement(incident, role, person)
        self.engine.sign(incident, role, self.team.sign(person, body), person)

    def sign_all(self, incident: str, *, escalated: bool = True) -> None:
        self.sign(incident, "l1", "l1-anna")
        if escalated:
            self.sign(incident, "l2", "l2-marek")
        self.sign(incident, "incident_manager", "im-jan")

    # what is seen

    def pages(self) -> list[Notice]:
        """Notices to people that the story has not expected yet."""
        return [notice for notice in self.inbox.received if notice.person_id is not None]

    def expect_notice(self, target: str, code: str | None = None, *, times: int = 1) -> Notice:
        """The oldest unexpected notice to `target`; fails when there is none."""
        for _ in range(times):
            found = [n for n in self.pages() if n.target == target and (code is None or n.code == f"notice.{code}")]
            assert found, f"no notice to {target} ({code}); got {[(n.target, n.code) for n in self.pages()]}"
            self.inbox.received.remove(found[0])
        return found[0]

    def expect_nobody_called(self) -> None:
        assert not self.pages(), [(n.target, n.code) for n in self.pages()]

    def posted(self, code: str) -> bool:
        """Whether the operations channel got this notice."""
        return any(n.target == "#ops-trading" and n.code == f"notice.{code}" for n in self.inbox.received)

    def incident(self, incident_id: str) -> Incident:
        return self.engine.view(incident_id).incident

    def step(self, incident_id: str, step_id: str) -> StepRecord:
        return self.incident(incident_id).step(step_id)

    def logged(self, kind: str) -> list[Entry]:
        """The entries of this kind in the decision log."""
        return [entry for entry in self.log.entries() if entry.kind == kind]

    def roles_kept(self, incident_id: str, step_id: str) -> list[str]:
        """The roles of the artefacts that a step left."""
        return [each.role for each in self.engine.view(incident_id).artefacts if each.step == step_id]
