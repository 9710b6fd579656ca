"""
The runtime's own detector: alerts judged on each sample, without waiting for a scrape.

It reads the same rules as Prometheus and gives the same names, labels and texts. Pure: it keeps what is firing and
what each scheduler said last, and is told the time and what fired in an earlier life. How it fails: open. A series
that falls silent keeps its alert firing, because "not known to be well" is not well; only a value within its limit
resolves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from stage4.clock import format_instant
from stage4.monitoring.alerts import AlertRule, Reading, rules_of
from stage4.monitoring.plan import MonitoringPlan
from stage4.telemetry.catalogue import AlertKind
from stage4.telemetry.sample import Sample

SIGNAL_SCHEMA = "stage4.signal/1"
SOURCE = "detector"
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


class Detector:
    """Judges samples in the order in which they come. Not thread-safe.

    `standing` fired when an earlier detector ended; each is judged again when its series comes, and keeps its start.
    One that no rule knows any longer is left out.
    """

    def __init__(self, plan: MonitoringPlan, standing: Iterable[DetectedAlert] = ()) -> None:
        self._plan = plan
        readable = (Reading.VALUE, Reading.AGE, Reading.SILENCE)
        self._rules = tuple(rule for rule in rules_of(plan) if rule.reading in readable)
        self._firing: dict[tuple[int, tuple[str, ...]], DetectedAlert] = {}
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
        return tuple(self._firing.values())

    def observe(self, sample: Sample) -> tuple[DetectedAlert, ...]:
        """What began to fire or resolved with this sample."""
        labels = {
            "scheduler": sample.scheduler,
            "schedule": sample.schedule,
            "strategy": sample.strategy,
            "risk_profile": sample.risk_profile,
        }
        changed: list[DetectedAlert] = []
        for number, rule in enumerate(self._rules):
            value = sample.values.get(rule.metric.name)
            if rule.reading is Reading.VALUE and value is not None:
                changed += self._judge(number, rule, labels, value, sample.at)
        newest = self._last_seen.get(sample.scheduler, sample.at)
        self._last_seen[sample.scheduler] = max(newest, sample.at)
        for rule in self._rules:
            if rule.reading is Reading.AGE and rule.metric.name in sample.values:
                self._ages[sample.scheduler] = sample.values[rule.metric.name]
        return (*changed, *self.tick(sample.at))

    def tick(self, now: datetime) -> tuple[DetectedAlert, ...]:
        """What began to fire or resolved by the mere passing of time."""
        changed: list[DetectedAlert] = []
        for number, rule in enumerate(self._rules):
            for scheduler, seen in self._last_seen.items():
                silence = max((now - seen) / timedelta(seconds=1), 0.0)
                if rule.reading is Reading.SILENCE:
                    changed += self._judge(number, rule, {"scheduler": scheduler}, silence, now)
                elif rule.reading is Reading.AGE and scheduler in self._ages:
                    age = self._ages[scheduler] + silence
                    changed += self._judge(number, rule, {"scheduler": scheduler}, age, now)
        return tuple(changed)

    def _judge(
        self, number: int, rule: AlertRule, labels: Mapping[str, str], value: float, now: datetime
    ) -> Iterator[DetectedAlert]:
        group = {name: labels[name] for name in rule.group_labels}
        key = (number, tuple(group.values()))
        standing = self._firing.get(key)
        if rule.fires_at(value, labels):
            alert = self._alert(rule, group, value, standing.started_at if standing else now)
            self._firing[key] = alert
            if standing is None:
                yield alert
            elif standing.labels != alert.labels:
                # The settings gave it other labels since an earlier life; receivers know it by the old ones.
                yield from (alert, replace(standing, ended_at=now))
        elif standing is not None:
            del self._firing[key]
            yield replace(standing, ended_at=now)

    def _alert(self, rule: AlertRule, group: Mapping[str, str], value: float, began: datetime) -> DetectedAlert:
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
