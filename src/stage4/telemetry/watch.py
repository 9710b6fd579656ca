"""The rules of a watch: what the stream said, which anomalies it held, and what the watch concludes. Pure.

An anomaly is a span in which a schedule's `stage4_avg_abs_zscore` was beyond a threshold of its risk profile. Beyond
the critical one it makes the answer no; beyond the warning one only it stands in the document. Having seen nothing
is never clean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from stage4.clock import format_instant
from stage4.errors import ExitCode
from stage4.telemetry import catalogue
from stage4.telemetry.catalogue import Level, Metric, Overrides, Thresholds

JUDGED = "stage4_avg_abs_zscore"
ANOMALIES_KEPT = 200


class Verdict(StrEnum):
    """What a watch concludes, the worst first."""

    CLEAN = "clean"
    ANOMALY = "anomaly"
    WRONG = "headers_or_access_wrong"
    NOTHING_RECEIVED = "nothing_received"
    NOTHING_TO_JUDGE = "nothing_to_judge"
    NOT_EVALUATED = "not_evaluated"


EXIT_CODES: Mapping[Verdict, ExitCode] = {
    Verdict.CLEAN: ExitCode.DONE,
    Verdict.ANOMALY: ExitCode.NO,
    Verdict.WRONG: ExitCode.NO,
    Verdict.NOTHING_RECEIVED: ExitCode.CANNOT_TELL,
    Verdict.NOTHING_TO_JUDGE: ExitCode.CANNOT_TELL,
    Verdict.NOT_EVALUATED: ExitCode.INTERRUPTED,
}


class Message(Protocol):
    """The part of a stream's message that the rules read."""

    @property
    def seq(self) -> int: ...
    @property
    def at(self) -> datetime: ...
    @property
    def schedule(self) -> str: ...
    @property
    def strategy(self) -> str: ...
    @property
    def risk_profile(self) -> str: ...
    @property
    def values(self) -> Mapping[str, float]: ...
    @property
    def replayed(self) -> bool: ...
    @property
    def dropped(self) -> int: ...


@dataclass(slots=True)
class Statistics:
    """One metric of one schedule during the watch."""

    metric: Metric
    thresholds: Thresholds | None
    count: int = 0
    total: float = 0.0
    lowest: float = float("inf")
    highest: float = float("-inf")
    last: float = 0.0

    def take(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.lowest, self.highest = min(self.lowest, value), max(self.highest, value)
        self.last = value

    def document(self) -> dict[str, object]:
        worst = self.metric.worse(self.lowest, self.highest)
        return {
            "unit": self.metric.unit,
            "count": self.count,
            "min": self.lowest,
            "mean": self.total / self.count,
            "max": self.highest,
            "last": self.last,
            "warning": self.thresholds.warning if self.thresholds else None,
            "critical": self.thresholds.critical if self.thresholds else None,
            "worst_level": self.metric.level(worst, self.thresholds) or "normal",
        }


@dataclass(slots=True)
class Anomaly:
    """One span beyond a threshold, from its first message to its last."""

    schedule: str
    risk_profile: str
    level: Level
    since: datetime
    until: datetime
    worst: float
    thresholds: Thresholds
    messages: int = 1

    def document(self) -> dict[str, object]:
        return {
            "schedule": self.schedule,
            "risk_profile": self.risk_profile,
            "metric": JUDGED,
            "severity": self.level,
            "since": format_instant(self.since),
            "until": format_instant(self.until),
            "worst": self.worst,
            "warning": self.thresholds.warning,
            "critical": self.thresholds.critical,
            "messages": self.messages,
        }


@dataclass(slots=True)
class Tally:
    """Folds the messages of a stream, one after the other; memory does not grow with the length of the watch."""

    overrides: Overrides
    messages: int = 0
    replayed: int = 0
    gaps: int = 0
    restarts: int = 0
    reconnects: int = 0
    worst_delay_ms: float | None = None
    critical_anomalies: int = 0
    warning_anomalies: int = 0
    anomalies: list[Anomaly] = field(default_factory=list)
    _dropped_before: int = 0
    _dropped: int = 0
    _last_seq: int | None = None
    _open: dict[str, Anomaly] = field(default_factory=dict)
    _statistics: dict[str, dict[str, Statistics]] = field(default_factory=dict)
    _who: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def dropped(self) -> int:
        """Messages that the server dropped because we read too slowly, over all connections."""
        return self._dropped_before + self._dropped

    @property
    def judged(self) -> int:
        """How many values of the judged metric were seen."""
        return sum(by_name[JUDGED].count for by_name in self._statistics.values() if JUDGED in by_name)

    def reconnected(self) -> None:
        """The stream was opened anew: the server counts drops from zero, and replays."""
        self.reconnects += 1
        self._dropped_before, self._dropped = self.dropped, 0

    def take(self, message: Message, received_at: datetime) -> None:
        if message.replayed:
            self.replayed += 1
        else:
            self.messages += 1
            self._follow(message)
            delay_ms = (received_at - message.at).total_seconds() * 1000
            self.worst_delay_ms = max(delay_ms, self.worst_delay_ms or 0.0)
        self._dropped = max(self._dropped, message.dropped)
        name = message.schedule or message.risk_profile
        if message.replayed and name in self._who:
            return  # replayed anew after a reconnection: counted before
        self._who[name] = {"strategy": message.strategy, "risk_profile": message.risk_profile}
        by_name = self._statistics.setdefault(name, {})
        for metric, value in message.values.items():
            if not catalogue.known(metric):
                continue
            found = by_name.get(metric)
            if found is None:
                limits = catalogue.thresholds_for(metric, message.risk_profile, self.overrides)
                found = by_name[metric] = Statistics(catalogue.metric(metric), limits)
            found.take(value)
            if metric == JUDGED:
                self._judge(message, value, found)

    def _follow(self, message: Message) -> None:
        if self._last_seq is not None:
            if message.seq > self._last_seq:
                self.gaps += message.seq - self._last_seq - 1
            elif message.seq < self._last_seq:
                self.restarts += 1
        self._last_seq = message.seq

    def _judge(self, message: Message, value: float, found: Statistics) -> None:
        level = found.metric.level(value, found.thresholds)
        anomaly = self._open.get(message.schedule)
        if level is None or found.thresholds is None:
            self._open.pop(message.schedule, None)
            return
        if anomaly is None:
            anomaly = Anomaly(
                message.schedule, message.risk_profile, level, message.at, message.at, value, found.thresholds
            )
            self._open[message.schedule] = anomaly
            self._count(level)
            if len(self.anomalies) < ANOMALIES_KEPT:
                self.anomalies.append(anomaly)
            return
        anomaly.until, anomaly.messages = message.at, anomaly.messages + 1
        anomaly.worst = found.metric.worse(anomaly.worst, value)
        if level == "critical" and anomaly.level == "warning":
            anomaly.level = level
            self.warning_anomalies -= 1
            self._count(level)

    def _count(self, level: Level) -> None:
        if level == "critical":
            self.critical_anomalies += 1
        else:
            self.warning_anomalies += 1

    def metrics_document(self) -> dict[str, object]:
        return {
            name: self._who[name] | {"values": {metric: found.document() for metric, found in sorted(by_name.items())}}
            for name, by_name in sorted(self._statistics.items())
        }

    def stream_document(self) -> dict[str, object]:
        """`gaps` counts numbers that were skipped, those that the server `dropped` for us included."""
        return {
            "messages": self.messages,
            "replayed": self.replayed,
            "gaps": self.gaps,
            "dropped": self.dropped,
            "reconnects": self.reconnects,
            "restarts": self.restarts,
            "worst_delay_ms": self.worst_delay_ms,
        }


@dataclass(frozen=True, slots=True)
class Probe:
    """One attempt to get in. `right` None: it could not be told."""

    name: str
    expected: str
    outcome: str
    status: str
    right: bool | None


def conclude(
    tally: Tally, *, probes: Sequence[Probe], tls_right: bool, headers_right: bool | None, interrupted: bool
) -> tuple[Verdict, list[str]]:
    """The verdict, and the catalogue codes of its reasons. `headers_right` None: not asked for."""
    reasons = []
    if any(probe.right is False for probe in probes):
        reasons.append("watch.reason_access_wrong")
    if not tls_right:
        reasons.append("watch.reason_tls_wrong")
    if headers_right is False:
        reasons.append("watch.reason_headers_wrong")
    if interrupted:
        return Verdict.NOT_EVALUATED, [*reasons, "watch.reason_interrupted"]
    if reasons:
        return Verdict.WRONG, reasons
    if tally.critical_anomalies:
        return Verdict.ANOMALY, ["watch.reason_anomaly"]
    if not tally.messages:
        return Verdict.NOTHING_RECEIVED, ["watch.reason_nothing_received"]
    if not tally.judged:
        return Verdict.NOTHING_TO_JUDGE, ["watch.reason_nothing_to_judge"]
    if not probes or any(probe.right is None for probe in probes):
        return Verdict.NOTHING_TO_JUDGE, ["watch.reason_access_unknown"]
    return Verdict.CLEAN, ["watch.reason_clean"]
