"""An engine in a process of its own, to be killed at any moment: takes alerts, runs timers, sends notices to a file.

Usage: `python -m support.incident_process FOLDER FIRST`; it prints `ok <number> <incident>` for each alert that was
acknowledged, and ends only by a signal.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from stage4.clock import SystemClock, format_instant
from stage4.decisionlog.writer import DecisionLog
from stage4.incidents.assembly import Parts, assemble
from stage4.incidents.checklist import load_playbook
from stage4.incidents.engine import Engine
from stage4.incidents.escalation import Rules
from stage4.incidents.store_sql import Store
from stage4.notify import Delivery, DeliveryState, Notice
from stage4.security.keyring import KeyRing, create_keyring
from support.decision_logs import LogRoom
from support.incident_ports import Alerts, Commands, Duty, Panels, Scheduler, Team
from support.world import PLAYBOOK, Log


@dataclass
class Outbox:
    """Writes one line for every attempt, durable before it counts as delivered."""

    path: Path
    id: str = "file"

    def deliver(self, notice: Notice) -> Delivery:
        line = json.dumps({"key": notice.key, "attempt": notice.attempt, "code": notice.code})
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return Delivery(DeliveryState.DELIVERED, "written")


def room(folder: Path) -> LogRoom:
    """The log room of `folder`, made on first use."""
    ring_path = folder / "secrets" / "keyring.json"
    clock = SystemClock()
    ring = KeyRing.load(ring_path, {}) if ring_path.exists() else create_keyring(ring_path, clock.now())
    return LogRoom(folder / "runtime.jsonl", ring, clock)


def build(folder: Path) -> Engine:
    """The engine with timers a thousand times shorter than the playbook's."""
    clock = SystemClock()
    log = Log(room(folder))
    writer: DecisionLog = log._log
    return assemble(
        Parts(
            root=folder,
            store=Store("sqlite:///var/stage4.db", folder),
            clock=clock,
            log=log,
            reader=log,
            roster=Duty(),
            register=Team(),
            notifiers=(Outbox(folder / "notices.jsonl"),),
            runner=Commands(clock, writer),
            alerts=Alerts(),
            panels=Panels(),
            switch=Scheduler(),
            render=lambda record, lang: json.dumps(record),
            playbook=load_playbook(PLAYBOOK),
            rules=Rules(),
            time_limit=timedelta(seconds=5),
            time_scale=0.001,
        )
    )


def webhook(number: int, at: str) -> bytes:
    """Alert `number`, of a cause of its own."""
    labels = {"alertname": "Stage4X", "kind": "latency", "severity": "critical", "scheduler": f"s{number}"}
    alert = {"status": "firing", "labels": labels, "startsAt": at, "fingerprint": f"f{number}"}
    return json.dumps({"version": "4", "alerts": [alert]}).encode()


def main() -> None:
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    engine = build(folder)
    engine.start()
    while True:
        received = engine.receive_alertmanager(webhook(number, format_instant(SystemClock().now())))
        sys.stdout.write(f"ok {number} {received.incidents[0]}\n")
        sys.stdout.flush()
        engine.tick()
        number += 1


if __name__ == "__main__":
    main()
