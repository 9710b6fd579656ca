"""What comes in is understood whole or refused, and says the right thing about itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from stage4.errors import UsageError
from stage4.incidents.incident import Condition, Kind
from stage4.incidents.intake import BODY_LIMIT, TEXT_LIMIT, cause_of, fingerprint_of, read_alertmanager, read_signal

AT = "2026-11-23T10:00:00+01:00"


def alert(**changes: object) -> dict[str, object]:
    labels = {"alertname": "Stage4X", "kind": "latency", "severity": "critical", "scheduler": "core"}
    facts = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": AT, "fingerprint": "abc"}
    return facts | changes


def delivery(*alerts: object, version: str = "4") -> bytes:
    return json.dumps({"version": version, "alerts": list(alerts)}).encode()


def signal(**changes: object) -> bytes:
    facts: dict[str, object] = {
        "schema": "stage4.signal/1",
        "source": "detector",
        "kind": "risk",
        "severity": "warning",
        "status": "firing",
        "name": "Stage4X",
        "labels": {"scheduler": "core"},
        "annotations": {"summary": "x"},
        "starts_at": "2026-11-23T09:00:00Z",
    }
    return json.dumps(facts | changes).encode()


def test_an_alert_of_alertmanager_is_read_with_its_start_in_utc() -> None:
    [read] = read_alertmanager(delivery(alert())).alerts
    assert read.starts_at == datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
    assert (read.kind, read.fingerprint, read.firing, read.source) == (Kind.LATENCY, "abc", True, "alertmanager")
    assert read.cause == "latency|core"
    assert read.ends_at is None


def test_the_same_alert_over_both_paths_has_the_same_cause() -> None:
    labels = {"alertname": "Stage4X", "kind": "risk", "severity": "warning", "scheduler": "core"}
    [standard] = read_alertmanager(delivery(alert(labels=labels))).alerts
    assert read_signal(signal()).cause == standard.cause


def test_a_sender_without_fingerprint_gets_one_from_its_labels() -> None:
    first, again = read_signal(signal()), read_signal(signal(starts_at="2026-11-23T09:30:00Z"))
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != read_signal(signal(labels={"scheduler": "other"})).fingerprint
    assert fingerprint_of({"a": "1", "b": "2"}) == fingerprint_of({"b": "2", "a": "1"})


@pytest.mark.parametrize("kind", ["", "weather", None])
def test_an_alert_of_no_known_kind_is_a_risk_and_not_lost(kind: str | None) -> None:
    labels = {"alertname": "X", **({} if kind is None else {"kind": kind})}
    [read] = read_alertmanager(delivery(alert(labels=labels))).alerts
    assert read.kind is Kind.RISK


@pytest.mark.parametrize(("kind", "condition"), [("pnl", Condition.LOSS), ("no_signals", Condition.NO_SIGNALS)])
def test_the_alerts_that_call_the_incident_manager_say_so(kind: str, condition: Condition) -> None:
    labels = {"alertname": "X", "kind": kind, "escalate": "incident_manager"}
    [read] = read_alertmanager(delivery(alert(labels=labels))).alerts
    assert read.condition is condition
    [plain] = read_alertmanager(delivery(alert(labels={"alertname": "X", "kind": kind}))).alerts
    assert plain.condition is None


def test_a_loss_past_its_limit_is_a_cause_of_its_own() -> None:
    assert cause_of(Kind.PNL, "core", Condition.LOSS) != cause_of(Kind.PNL, "core", None)


def test_a_heartbeat_and_a_warning_for_l1_are_told_apart() -> None:
    [heartbeat] = read_alertmanager(delivery(alert(labels={"alertname": "Stage4Watchdog", "severity": "none"}))).alerts
    assert heartbeat.heartbeat
    [drought] = read_alertmanager(
        delivery(alert(labels={"alertname": "X", "kind": "no_signals", "escalate": "never"}))
    ).alerts
    assert drought.l1_only


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "intake.not_json"),
        (b"\xff\xfe", "intake.not_json"),
        (b"[" * 100_000, "intake.not_json"),
        (b"[]", "intake.not_an_object"),
        (delivery(alert(), version="3"), "intake.wrong_version"),
        (delivery(), "intake.no_alerts"),
        (delivery("x"), "intake.not_an_object"),
        (delivery(alert(status="maybe")), "intake.wrong_status"),
        (delivery(alert(startsAt="yesterday")), "clock.bad_instant"),
        (delivery(alert(startsAt=None)), "intake.missing"),
        (delivery(alert(labels={"kind": "pnl"})), "intake.missing"),
        (delivery(alert(labels={"alertname": 7})), "intake.not_text"),
        (delivery(alert(status=None), alert(labels=3)), "intake.missing"),
        (b" " * (BODY_LIMIT + 1), "intake.too_large"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_whole(body: bytes, code: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_alertmanager(body)
    assert refused.value.code == code


def test_an_alert_that_cannot_be_read_holds_up_none_of_its_delivery() -> None:
    delivered = read_alertmanager(delivery(alert(status=None), alert(fingerprint="good")))
    assert [each.fingerprint for each in delivered.alerts] == ["good"]
    assert [each.code for each in delivered.unread] == ["intake.missing"]


def test_a_text_too_long_or_without_utf_8_does_not_lose_its_alert() -> None:
    labels = {"alertname": "half \ud83d", "kind": "pnl"}
    [read] = read_alertmanager(delivery(alert(labels=labels, annotations={"description": "x" * 5000}))).alerts
    assert read.name == "half ?"
    assert len(read.annotations["description"]) == TEXT_LIMIT


@pytest.mark.parametrize(
    "changes", [{"schema": "x"}, {"name": ""}, {"status": "on"}, {"starts_at": "9:00"}, {"labels": []}, {"kind": 3}]
)
def test_a_signal_that_cannot_be_read_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        read_signal(signal(**changes))
