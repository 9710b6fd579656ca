"""
The runtime's own detector: alerts judged on each sample, without waiting for a scrape.

It reads the same rules as Prometheus and gives the same names, labels and texts. Pure: it keeps what is firing and
what each scheduler said last, and is told the time and what fired in an earlier life. How it fails: open. A series
that falls silent keeps its alert firing, because "not known to be well" is not well; only a value within its limit
resolves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from stage4.clock import format_instant
from stage4.monitoring.alerts import AlertRule, Reading, rules_of
from stage4.monitoring.plan import MonitoringPlan
from stage4.telemetry.catalogue import AlertKind
from stage4.telemetry.sample import Sample

SIGNAL_SCHEMA = "stage4.signal/1"
SOURCE = "detector"
_SECOND = timedelta(seconds=1)
_BASIS, _PRIME, _SEPARATOR = 0xCBF29CE484222325, 0x100000001B3, 0xFF


@dataclass(frozen=True, slots=True)
class DetectedAlert:
    """One alert at one instant; `ended_at` is set once it has resolved. `labels` include `alertname`."""

    name: str
    severity: str
    kind: AlertKind | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    started_at: datetime
    value: float
    ended_at: datetime | None = None

    @property
    def firing(self) -> bool:
        return self.ended_at is None

    @property
    def fingerprint(self) -> str:
        """As Alertmanager computes it from the labels, so that both paths give one alert one name."""
        return fingerprint(self.labels)


def fingerprint(labels: Mapping[str, str]) -> str:
    """FNV-1a, 64 bits, over the sorted labels: `model.LabelSet.Fingerprint` of prometheus/common."""
    total = _BASIS
    for name in sorted(labels):
        for text in (name, labels[name]):
            for byte in (*text.encode("utf-8"), _SEPARATOR):
                total = ((total ^ byte) * _PRIME) & 0xFFFFFFFFFFFFFFFF
    return f"{total:016x}"


_Key = tuple[int, tuple[str, ...]]
"""The number of a rule, and the values of the labels that tell its alerts apart."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """A rule with what every sample needs of it, worked out once: the detector sees each sample of each schedule."""

    number: int
    rule: AlertRule
    metric: str
    group_labels: tuple[str, ...]
    label: str
    limits: Mapping[str, float]
    otherwise: float | None

    @classmethod
    def of(cls, number: int, rule: AlertRule) -> _Judged:
        limits = rule.limits
        return cls(
            number,
            rule,
            rule.metric.name,
            rule.group_labels,
            limits.label,
            dict(limits.by_value),
            limits.otherwise,
        )

    def fires_at(self, value: float, labels: Mapping[str, str]) -> bool:
        """As `AlertRule.fires_at`."""
        return self.rule.metric.beyond(value, self.limits.get(labels.get(self.label, ""), self.otherwise))


class Detector:
    """Judges samples in the order in which they come. Not thread-safe.

    `standing` fired when an earlier detector ended; each is judged again when its series comes, and keeps its start.
    One that no rule knows any longer is left out.
    """

    def __init__(self, plan: MonitoringPlan, standing: Iterable[DetectedAlert] = ()) -> None:
        self._plan = plan
        readable = (Reading.VALUE, Reading.AGE, Reading.SILENCE)
        self._rules = tuple(rule for rule in rules_of(plan) if rule.reading in readable)
        judged = [_Judged.of(number, rule) for number, rule in enumerate(self._rules)]
        self._by_value = tuple(each for each in judged if each.rule.reading is Reading.VALUE)
        self._by_time = tuple(each for each in judged if each.rule.reading is not Reading.VALUE)
        self._firing: dict[_Key, DetectedAlert] = {}
        # The newest value of what fires; its texts are written only when somebody asks for them.
        self._newest: dict[_Key, float] = {}
        self._last_seen: dict[str, datetime] = {}
        self._ages: dict[str, float] = {}
        numbers = {(rule.name, str(rule.severity)): number for number, rule in enumerate(self._rules)}
        for alert in standing:
            number = numbers.get((alert.name, alert.severity))
            if number is not None:
                group = tuple(alert.labels.get(label, "") for label in self._rules[number].group_labels)
                self._firing[number, group] = alert

    def firing(self) -> tuple[DetectedAlert, ...]:
        """What fires now."""
        return tuple(self._as_now(key) for key in self._firing)

    def observe(self, sample: Sample) -> tuple[DetectedAlert, ...]:
        """What began to fire or resolved with this sample."""
        labels = {
            "scheduler": sample.scheduler,
            "schedule": sample.schedule,
            "strategy": sample.strategy,
            "risk_profile": sample.risk_profile,
        }
        changed: list[DetectedAlert] = []
        values = sample.values
        for judged in self._by_value:
            value = values.get(judged.metric)
            if value is not None:
                changed += self._judge(judged, labels, value, sample.at)
        newest = self._last_seen.get(sample.scheduler, sample.at)
        self._last_seen[sample.scheduler] = max(newest, sample.at)
        for judged in self._by_time:
            if judged.rule.reading is Reading.AGE and judged.metric in values:
                self._ages[sample.scheduler] = values[judged.metric]
        return (*changed, *self.tick(sample.at))

    def tick(self, now: datetime) -> tuple[DetectedAlert, ...]:
        """What began to fire or resolved by the mere passing of time."""
        changed: list[DetectedAlert] = []
        for scheduler, seen in self._last_seen.items():
            silence = max((now - seen) / _SECOND, 0.0)
            for judged in self._by_time:
                if judged.rule.reading is Reading.SILENCE:
                    changed += self._judge(judged, {"scheduler": scheduler}, silence, now)
                elif scheduler in self._ages:
                    age = self._ages[scheduler] + silence
                    changed += self._judge(judged, {"scheduler": scheduler}, age, now)
        return tuple(changed)

    def _judge(
        self, judged: _Judged, labels: Mapping[str, str], value: float, now: datetime
    ) -> Sequence[DetectedAlert]:
        key = (judged.number, tuple([labels[name] for name in judged.group_labels]))
        standing = self._firing.get(key)
        if not judged.fires_at(value, labels):
            if standing is None:
                return ()
            ended = replace(self._as_now(key), ended_at=now)
            del self._firing[key]
            self._newest.pop(key, None)
            return (ended,)
        if standing is not None and key in self._newest:
            self._newest[key] = value
            return ()
        alert = self._alert(key, value, standing.started_at if standing else now)
        self._firing[key], self._newest[key] = alert, value
        if standing is None:
            return (alert,)
        if standing.labels == alert.labels:
            return ()
        # The settings gave it other labels since an earlier life; receivers know it by the old ones.
        return (alert, replace(standing, ended_at=now))

    def _as_now(self, key: _Key) -> DetectedAlert:
        """What fires under `key`, with its newest value."""
        alert, value = self._firing[key], self._newest.get(key)
        if value is None or value == alert.value:
            return alert
        self._firing[key] = alert = self._alert(key, value, alert.started_at)
        return alert

    def _alert(self, key: _Key, value: float, began: datetime) -> DetectedAlert:
        rule = self._rules[key[0]]
        group = dict(zip(rule.group_labels, key[1], strict=True))
        # Prometheus drops empty labels, and the two paths must agree.
        present = {name: text for name, text in group.items() if text}
        labels = {"alertname": rule.name, **present, **rule.static_labels(self._plan)}
        texts = rule.annotations(self._plan, group, rule.written(value))
        return DetectedAlert(rule.name, rule.severity, rule.kind, labels, texts, began, value)


def as_signal(alert: DetectedAlert) -> dict[str, object]:
    """The body for the service's signal endpoint."""
    own = ("alertname", "severity", "kind")
    ended = {} if alert.ended_at is None else {"ends_at": format_instant(alert.ended_at)}
    return {
        "schema": SIGNAL_SCHEMA,
        "source": SOURCE,
        "kind": alert.kind,
        "severity": alert.severity,
        "status": "firing" if alert.firing else "resolved",
        "name": alert.name,
        "labels": {name: text for name, text in alert.labels.items() if name not in own},
        "annotations": dict(alert.annotations),
        "starts_at": format_instant(alert.started_at),
        **ended,
        "value": alert.value,
        "fingerprint": alert.fingerprint,
    }


def as_postable(alerts: Sequence[DetectedAlert], valid_until: datetime) -> list[dict[str, object]]:
    """The body for Alertmanager's `POST /api/v2/alerts`; a firing alert holds until `valid_until` unless renewed."""
    return [
        {
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
            "startsAt": format_instant(alert.started_at),
            "endsAt": format_instant(alert.ended_at or valid_until),
        }
        for alert in alerts
    ]
