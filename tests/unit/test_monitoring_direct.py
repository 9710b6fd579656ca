"""The direct path: what a receiver did not take is sent again, and nothing is told in the wrong order."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stage4.errors import Unavailable
from stage4.monitoring.detector import DetectedAlert
from stage4.monitoring.direct import AlertReceiver, DirectAlerts, ServiceReceiver
from stage4.monitoring.told import ToldAlerts
from stage4.testing.clock import ManualClock
from support.monitoring_plans import PLAN, START, sample
from support.prometheus import until, webhook_receiver

ZSCORE = "stage4_avg_abs_zscore"


@dataclass
class Recording:
    """A receiver that keeps what it takes, and can be told to take nothing."""

    answers: bool = True
    taken: list[DetectedAlert] = field(default_factory=list)

    def send(self, alerts: Sequence[DetectedAlert]) -> None:
        if not self.answers:
            raise Unavailable("monitoring.service_unreachable", url="-", reason="refused")
        self.taken += alerts

    def said(self) -> list[tuple[str, bool]]:
        return [(alert.severity, alert.firing) for alert in self.taken]


def direct(*receivers: AlertReceiver) -> tuple[DirectAlerts, ManualClock]:
    clock = ManualClock(START)
    return DirectAlerts(PLAN, receivers, clock), clock


def test_a_change_is_sent_once() -> None:
    receiver = Recording()
    path, _ = direct(receiver)
    path(sample(0, {ZSCORE: 3.0}))
    path.send_due()
    path.send_due()
    assert receiver.said() == [("warning", True)]


def test_what_was_not_taken_is_sent_again() -> None:
    receiver = Recording(answers=False)
    path, _ = direct(receiver)
    path(sample(0, {ZSCORE: 3.0}))
    path.send_due()
    receiver.answers = True
    path.send_due()
    assert receiver.said() == [("warning", True)]


def test_a_short_alert_is_told_of_even_when_it_ended_before_anybody_listened() -> None:
    receiver = Recording(answers=False)
    path, _ = direct(receiver)
    path(sample(0, {ZSCORE: 3.0}))
    path.send_due()
    path(sample(1, {ZSCORE: 1.0}))
    receiver.answers = True
    path.send_due()
    assert receiver.said() == [("warning", True), ("warning", False)]


def test_the_second_receiver_is_asked_only_when_the_first_does_not_take_it() -> None:
    first, second = Recording(answers=False), Recording()
    path, _ = direct(first, second)
    path(sample(0, {ZSCORE: 3.0}))
    path.send_due()
    assert second.said() == [("warning", True)]
    first.answers = True
    path(sample(1, {ZSCORE: 1.0}))
    path.send_due()
    assert first.said() == [("warning", False)]
    assert len(second.taken) == 1


def test_what_still_fires_is_renewed_every_half_minute() -> None:
    receiver = Recording()
    path, clock = direct(receiver)
    path(sample(0, {ZSCORE: 3.0}))
    path.send_due()
    clock.advance(seconds=29)
    path.send_due()
    assert len(receiver.taken) == 1
    clock.advance(seconds=1)
    path.send_due()
    assert receiver.said()[:2] == [("warning", True), ("warning", True)]


def test_silence_is_noticed_without_any_sample() -> None:
    receiver = Recording()
    path, clock = direct(receiver)
    path(sample(0, {ZSCORE: 1.0}))
    clock.advance(seconds=31)
    path.send_due()
    assert [alert.name for alert in receiver.taken] == ["Stage4TelemetryStale"]


def test_the_thread_sends_by_itself_and_ends_when_it_is_told_to() -> None:
    receiver = Recording()
    path, _ = direct(receiver)
    path.start()
    path(sample(0, {ZSCORE: 3.0}))
    until(lambda: receiver.taken or None, "the alert", 5)
    path.close()
    assert receiver.said() == [("warning", True)]


def test_the_service_is_told_with_a_bearer_token() -> None:
    with webhook_receiver() as service:
        path, _ = direct(ServiceReceiver(service.url, lambda: "s3cret"))
        path(sample(0, {ZSCORE: 3.0}))
        path.send_due()
    ((where, authorization, body),) = service.received
    assert (where, authorization) == ("/api/v1/signals", "Bearer s3cret")
    assert (body["schema"], body["name"]) == ("stage4.signal/1", "Stage4AvgAbsZscoreHigh")


@pytest.mark.parametrize("status", [401, 503])
def test_a_service_that_refuses_has_not_taken_the_alert(status: int) -> None:
    with webhook_receiver(status) as service:
        fallback = Recording()
        path, _ = direct(ServiceReceiver(service.url, lambda: "s3cret"), fallback)
        path(sample(0, {ZSCORE: 3.0}))
        path.send_due()
    assert fallback.said() == [("warning", True)]


def test_no_proxy_of_the_environment_swallows_an_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with webhook_receiver() as service:
        path, _ = direct(ServiceReceiver(service.url, lambda: "s3cret"))
        path(sample(0, {ZSCORE: 3.0}))
        path.send_due()
    assert len(service.received) == 1


@dataclass
class Lives:
    """One life of the telemetry process after another, with the same file and receiver."""

    file: Path
    receiver: Recording = field(default_factory=Recording)

    def begin(self) -> DirectAlerts:
        return DirectAlerts(PLAN, [self.receiver], ManualClock(START), ToldAlerts(self.file))

    def firing(self) -> list[str]:
        """What the file says still fires."""
        return [told["name"] for told in json.loads(self.file.read_text())["alerts"] if told["ended_at"] is None]


@pytest.fixture
def lives(tmp_path: Path) -> Lives:
    return Lives(tmp_path / "var/run/direct_alerts.json")


def test_an_alert_of_an_earlier_life_that_is_well_by_now_is_told_as_resolved(lives: Lives) -> None:
    first = lives.begin()
    first(sample(0, {ZSCORE: 3.0}))
    first.send_due()
    second = lives.begin()
    second.send_due()
    assert len(lives.receiver.taken) == 1, "no value has come yet"
    second(sample(20, {ZSCORE: 1.0}))
    second.send_due()
    fired, ended = lives.receiver.taken
    assert (ended.fingerprint, ended.started_at, ended.firing) == (fired.fingerprint, fired.started_at, False)
    assert lives.firing() == []
    third = lives.begin()
    third(sample(40, {ZSCORE: 1.0}))
    third.send_due()
    assert len(lives.receiver.taken) == 2, "told once"


def test_an_alert_is_remembered_before_it_is_told(lives: Lives) -> None:
    remembered: list[list[str]] = []

    @dataclass
    class Looking:
        look: Callable[[], list[str]]

        def send(self, alerts: Sequence[DetectedAlert]) -> None:
            remembered.append(self.look())

    path = DirectAlerts(PLAN, [Looking(lives.firing)], ManualClock(START), ToldAlerts(lives.file))
    path(sample(0, {ZSCORE: 3.0}))
    path.send_due()
    assert remembered == [["Stage4AvgAbsZscoreHigh"]]


def test_an_end_that_nobody_took_is_told_in_the_next_life(lives: Lives) -> None:
    first = lives.begin()
    first(sample(0, {ZSCORE: 3.0}))
    first.send_due()
    lives.receiver.answers = False
    first(sample(5, {ZSCORE: 1.0}))
    first.send_due()
    lives.receiver.answers = True
    second = lives.begin()
    second(sample(20, {ZSCORE: 3.0}))
    second.send_due()
    assert lives.receiver.said() == [("warning", True), ("warning", False), ("warning", True)]
    assert lives.receiver.taken[2].started_at > lives.receiver.taken[0].started_at


def test_what_lasts_is_written_only_when_it_changes(lives: Lives) -> None:
    path = lives.begin()
    path(sample(0, {ZSCORE: 3.0}))
    path.send_due()
    path.send_due()
    written = lives.file.stat().st_ino
    path(sample(1, {ZSCORE: 3.1}))
    path.send_due()
    assert lives.file.stat().st_ino == written


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"schema": "x", "alerts": []}',
        b'{"schema": "stage4.direct_alerts/1", "alerts": [{"name": 1}]}',
    ],
)
def test_a_damaged_memory_is_said_once_and_starts_empty(
    lives: Lives, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    lives.file.parent.mkdir(parents=True)
    lives.file.write_bytes(content)
    path = lives.begin()
    path(sample(0, {ZSCORE: 3.0}))
    path.send_due()
    path.send_due()
    assert lives.receiver.said() == [("warning", True)]
    assert lives.firing() == ["Stage4AvgAbsZscoreHigh"]
    (said,) = caplog.records
    assert "direct_alerts.json" in said.getMessage()


def test_a_memory_that_is_not_there_is_said_once(lives: Lives, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    lives.begin().send_due()
    assert len(caplog.records) == 1


def test_a_memory_that_cannot_be_written_holds_no_alert_back(
    lives: Lives, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = lives.begin()
    (tmp_path / "var").write_bytes(b"a file in the way of the directory")
    path(sample(0, {ZSCORE: 3.0}))
    path.send_due()
    path.send_due()
    assert lives.receiver.said() == [("warning", True)]
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1
    (tmp_path / "var").unlink()
    path.send_due()
    assert lives.firing() == ["Stage4AvgAbsZscoreHigh"]
