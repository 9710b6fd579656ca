"""The direct path: what a receiver did not take is sent again, and nothing is told in the wrong order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from stage4.errors import Unavailable
from stage4.monitoring.detector import DetectedAlert
from stage4.monitoring.direct import AlertReceiver, DirectAlerts, ServiceReceiver
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
