"""Stand-ins behind the incident room's ports: commands, panels, alerts, scheduler, people, notices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from stage4.clock import Clock
from stage4.decisionlog.entry import INCIDENT_CATEGORY, INCIDENT_SUMMARY, Draft
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import Refused, Unavailable
from stage4.incidents.effects import Duties, Rung
from stage4.incidents.ports import (
    AlertLog,
    CommandResult,
    Content,
    PanelBoard,
    PanelPicture,
    SchedulerWord,
    Signer,
    StopFacts,
    StopOrder,
)
from stage4.notify import Delivery, DeliveryState, Notice
from stage4.security import sshsig

SCHEMAS = {
    "audit_stage4_compliance.py": "stage4.audit/1",
    "audit_security_baseline.py": "stage4.security_baseline/1",
    "load_test_scheduler.py": "stage4.load_test/1",
    "watch_metrics_stream.py": "stage4.watch/1",
}
PANELS = ("avg_abs_zscore", "allocation_error_pct", "spread_capture_bps", "secondary_delay_ms")
ROLES: Mapping[str, frozenset[str]] = {
    "l1-anna": frozenset({"l1"}),
    "l2-marek": frozenset({"l2"}),
    "l2-ewa": frozenset({"l2"}),
    "im-jan": frozenset({"incident_manager"}),
    "im-l2-ola": frozenset({"incident_manager", "l2"}),
    "po-iza": frozenset({"product_owner"}),
}


@dataclass
class Commands:
    """Answers the playbook's commands; `script -> (exit code, members of the document)`, good ones by default."""

    clock: Clock
    log: DecisionLog
    answers: dict[str, tuple[int | None, dict[str, object] | None]] = field(default_factory=dict)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    number: int = 0

    def run(self, argv: tuple[str, ...], time_limit: timedelta, outputs: tuple[str, ...] = ()) -> CommandResult:
        self.ran.append(argv)
        script = argv[1].rpartition("/")[2]
        self.number += 1
        exit_code, document = self._answer(script, argv)
        stdout = b"" if document is None else json.dumps(document).encode()
        now = self.clock.now()
        produced = tuple(Content(path, stdout) for path in outputs if document is not None)
        return CommandResult(argv, exit_code, now, now, stdout, b"progress\n", document, produced)

    def _answer(self, script: str, argv: tuple[str, ...]) -> tuple[int | None, dict[str, object] | None]:
        if script in self.answers:
            exit_code, members = self.answers[script]
            if members is None:
                return exit_code, None
            return exit_code, {"schema": SCHEMAS.get(script, "stage4.summary/1"), "run": self.number, **members}
        if script == "verify_decision_log.py":
            return 0, self._summary(argv)
        return 0, {"schema": SCHEMAS[script], "status": "ok", "warnings": [], "run": self.number}

    def _summary(self, argv: tuple[str, ...]) -> dict[str, object]:
        incident, ticket = argv[argv.index("--incident") + 1], argv[argv.index("--ticket") + 1]
        receipt = self.log.append(
            Draft(
                INCIDENT_SUMMARY,
                INCIDENT_CATEGORY,
                "L1.4",
                "triggered",
                metadata={"incident_id": incident, "ticket": ticket},
                timestamp=self.clock.now(),
            )
        )
        return {"schema": "stage4.summary/1", "entry": json.loads(receipt.raw)}


@dataclass
class Panels:
    """The four panels; `states` may name others than green, `silent` means that nothing can be drawn."""

    states: dict[str, str] = field(default_factory=lambda: dict.fromkeys(PANELS, "green"))
    silent: bool = False

    def board(self) -> PanelBoard:
        if self.silent:
            raise Unavailable("monitoring.no_answer", url="http://127.0.0.1:1")
        pictures = [
            PanelPicture(name, state, Content(f"{name}.png", f"png {state}".encode(), "image/png"))
            for name, state in self.states.items()
        ]
        return PanelBoard("telemetry", tuple(pictures))


@dataclass
class Alerts:
    """The source of L1.1."""

    silent: bool = False

    def alerts(self, incident_id: str, fingerprints: tuple[str, ...]) -> AlertLog:
        if self.silent:
            raise Unavailable("monitoring.no_answer", url="http://127.0.0.1:1")
        body = json.dumps({"source": "alertmanager", "fingerprints": fingerprints}).encode()
        return AlertLog("alertmanager", len(fingerprints), Content("alerts.json", body))


@dataclass
class Scheduler:
    """The scheduler behind the switch: it settles when the test says so."""

    state: str = "enabled"
    digest: str | None = None
    orders: list[StopOrder] = field(default_factory=list)
    answers: bool = True

    def stop(self, order: StopOrder) -> StopFacts:
        self.orders.append(order)
        already = self.digest is not None
        self.digest = self.digest or "d" * 64
        if self.answers:
            self.state = "disabled"
        return StopFacts(self.digest, already, Content("multi_strategy_disable.json", b'{"action": "disable"}'))

    def enable(self) -> None:
        self.state, self.digest = "enabled", None

    def word(self) -> SchedulerWord:
        return SchedulerWord(self.state, self.digest, {"state": self.state, "in_flight": 0})


@dataclass
class Duty:
    """Who is on duty; the test may send somebody home."""

    people: dict[Rung, str | None] = field(
        default_factory=lambda: {
            "l1": "l1-anna",
            "l2": "l2-marek",
            "l2_deputy": "l2-ewa",
            "incident_manager": "im-jan",
        }
    )

    def duties(self, at: datetime) -> Duties:
        return Duties(dict(self.people), "https://meet.example/bridge")


@dataclass
class Team:
    """The people with real keys, made when they are first asked to sign."""

    keys: dict[str, tuple[bytes, str]] = field(default_factory=dict)

    def roles(self, person: str) -> frozenset[str]:
        try:
            return ROLES[person]
        except KeyError:
            raise Refused("security.person_unknown", person=person) from None

    def sign(self, person: str, message: bytes) -> str:
        return sshsig.sign(self._key(person)[0], message, sshsig.SIGN_OFF)

    def lend(self, owner: str, borrower: str) -> None:
        """Two people who share one key."""
        self.keys[borrower] = self._key(owner)

    def verify_sign_off(self, person: str, armored: str, message: bytes, at: datetime) -> Signer:
        public = self._key(person)[1]
        sshsig.verify(armored, message, sshsig.SIGN_OFF, public)
        return Signer(person, sshsig.fingerprint(public))

    def _key(self, person: str) -> tuple[bytes, str]:
        if person not in self.keys:
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

            private = Ed25519PrivateKey.generate().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
            )
            self.keys[person] = (private, sshsig.public_key_of(private))
        return self.keys[person]


@dataclass
class Inbox:
    """A notifier that keeps what it delivers; `fails` makes it ask for another attempt."""

    id: str = "inbox"
    received: list[Notice] = field(default_factory=list)
    fails: bool = False
    rejects: bool = False

    def deliver(self, notice: Notice) -> Delivery:
        if self.rejects:
            return Delivery(DeliveryState.REJECTED, "no such channel")
        if self.fails:
            return Delivery(DeliveryState.RETRY, "connection refused")
        self.received.append(notice)
        return Delivery(DeliveryState.DELIVERED, "kept")
