"""The rules of a watch: anomalies, counts, and when it may say that all is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from stage4.config.settings import Limits
from stage4.errors import ExitCode
from stage4.telemetry.watch import EXIT_CODES, JUDGED, Probe, Tally, Verdict, conclude
from support.telemetry_process import START

RIGHT = (Probe("positive_control", "admitted", "admitted", "OK", True),)


@dataclass
class Message:
    seq: int
    values: dict[str, float] = field(default_factory=dict)
    at: datetime = START
    schedule: str = "mean_reversion_intraday"
    strategy: str = "core_mean_reversion"
    risk_profile: str = "balanced"
    replayed: bool = False
    dropped: int = 0


def tally(*zscores: float, profile: str = "balanced", **overrides: dict[str, Limits]) -> Tally:
    folded = Tally(overrides)
    for seq, zscore in enumerate(zscores):
        at = START + timedelta(seconds=seq)
        folded.take(Message(seq, {JUDGED: zscore}, at, risk_profile=profile), at)
    return folded


def verdict(folded: Tally, **facts: object) -> Verdict:
    known: dict[str, object] = {"probes": RIGHT, "tls_right": True, "headers_right": True, "interrupted": False}
    return conclude(folded, **(known | facts))[0]  # type: ignore[arg-type]


def test_a_quiet_stream_is_clean() -> None:
    assert verdict(tally(1.0, 1.2)) is Verdict.CLEAN


def test_a_span_beyond_the_critical_threshold_is_one_anomaly() -> None:
    folded = tally(1.0, 3.4, 3.9, 3.5, 1.0, 3.4)
    assert [one.messages for one in folded.anomalies] == [3, 1]
    first = folded.anomalies[0].document()
    assert (first["severity"], first["worst"], first["critical"]) == ("critical", 3.9, 3.3)
    assert (first["since"], first["until"]) == ("2026-11-23T09:00:01Z", "2026-11-23T09:00:03Z")
    assert verdict(folded) is Verdict.ANOMALY


def test_beyond_the_warning_threshold_only_stands_in_the_document_and_is_no_no() -> None:
    folded = tally(1.0, 3.0)
    assert (folded.warning_anomalies, folded.critical_anomalies) == (1, 0)
    assert verdict(folded) is Verdict.CLEAN


def test_a_warning_that_grows_critical_is_one_critical_anomaly() -> None:
    folded = tally(3.0, 3.4, 3.0)
    assert (folded.warning_anomalies, folded.critical_anomalies) == (0, 1)
    assert [one.level for one in folded.anomalies] == ["critical"]


@pytest.mark.parametrize(("profile", "expected"), [("conservative", 1), ("balanced", 1), ("aggressive", 0)])
def test_each_schedule_is_judged_by_its_own_risk_profile(profile: str, expected: int) -> None:
    assert tally(3.5, profile=profile).critical_anomalies == expected


def test_the_installations_own_thresholds_count() -> None:
    assert tally(1.5, balanced={"avg_abs_zscore": Limits(warning=0.5, critical=1.0)}).critical_anomalies == 1


def test_other_metrics_are_measured_and_not_judged() -> None:
    folded = tally(1.0)
    folded.take(Message(1, {"stage4_secondary_delay_ms": 900.0, "unknown": 1.0}), START)
    assert verdict(folded) is Verdict.CLEAN
    document = folded.metrics_document()["mean_reversion_intraday"]
    assert document["values"]["stage4_secondary_delay_ms"]["worst_level"] == "critical"  # type: ignore[index]


def test_skipped_numbers_drops_and_restarts_are_counted() -> None:
    folded = Tally({})
    for seq, dropped in ((5, 0), (6, 0), (9, 2), (1, 2)):
        folded.take(Message(seq, dropped=dropped), START + timedelta(milliseconds=5))
    folded.reconnected()
    folded.take(Message(2, dropped=1), START)
    assert folded.stream_document() == {
        "messages": 5,
        "replayed": 0,
        "gaps": 2,
        "dropped": 3,
        "reconnects": 1,
        "restarts": 1,
        "worst_delay_ms": 5.0,
    }


def test_what_is_replayed_counts_as_a_value_once_and_never_as_news() -> None:
    folded = Tally({})
    for _ in range(2):
        folded.take(Message(5, {JUDGED: 1.0}, replayed=True), START)
        folded.reconnected()
    assert (folded.messages, folded.judged, folded.gaps) == (0, 1, 0)
    assert verdict(folded) is Verdict.NOTHING_RECEIVED


def test_anomalies_kept_are_bounded_and_counted_all() -> None:
    folded = tally(*([3.4, 1.0] * 300))
    assert len(folded.anomalies) == 200
    assert folded.critical_anomalies == 300


def test_having_seen_nothing_is_never_clean() -> None:
    assert verdict(Tally({})) is Verdict.NOTHING_RECEIVED
    without = Tally({})
    without.take(Message(1, {"stage4_equity": 1.0}), START)
    assert verdict(without) is Verdict.NOTHING_TO_JUDGE
    assert verdict(tally(1.0), probes=()) is Verdict.NOTHING_TO_JUDGE
    unsure = (*RIGHT, Probe("wrong_token", "refused", "cannot_tell", "UNAVAILABLE", None))
    assert verdict(tally(1.0), probes=unsure) is Verdict.NOTHING_TO_JUDGE


@pytest.mark.parametrize(
    "facts",
    [
        {"tls_right": False},
        {"headers_right": False},
        {"probes": (*RIGHT, Probe("no_token", "refused", "admitted", "OK", False))},
    ],
)
def test_one_wrong_thing_is_enough(facts: dict[str, object]) -> None:
    assert verdict(tally(1.0), **facts) is Verdict.WRONG
    assert verdict(Tally({}), **facts) is Verdict.WRONG, "also when nothing came"


def test_headers_that_were_not_asked_for_are_not_judged() -> None:
    assert verdict(tally(1.0), headers_right=None) is Verdict.CLEAN


def test_an_interrupted_watch_concludes_nothing() -> None:
    assert verdict(tally(1.0), interrupted=True) is Verdict.NOT_EVALUATED
    assert verdict(tally(9.0), interrupted=True, tls_right=False) is Verdict.NOT_EVALUATED


def test_every_verdict_has_its_exit_code() -> None:
    assert dict(EXIT_CODES) == {
        Verdict.CLEAN: ExitCode.DONE,
        Verdict.ANOMALY: ExitCode.NO,
        Verdict.WRONG: ExitCode.NO,
        Verdict.NOTHING_RECEIVED: ExitCode.CANNOT_TELL,
        Verdict.NOTHING_TO_JUDGE: ExitCode.CANNOT_TELL,
        Verdict.NOT_EVALUATED: ExitCode.INTERRUPTED,
    }
