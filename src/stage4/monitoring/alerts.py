"""
The alert rules, made from the metric catalogue.

One `AlertRule` is read in two ways: as a Prometheus expression (`prometheus_rules`) and as a judgement on single
samples (`detector`). Both give the same name, labels and annotations, so that Alertmanager takes the two for one
alert. A warning and a critical alert of one metric share their name and differ in `severity`.

Labels of every alert: `alertname severity kind installation`, and those of the metric among `scheduler schedule
risk_profile`. `escalate` is `incident_manager` where the playbook calls the Incident Manager at once, and `never`
where an alert is for L1 only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Literal

from stage4 import words
from stage4.monitoring.plan import TELEMETRY_SILENCE, MonitoringPlan
from stage4.telemetry.catalogue import DESK, METRICS, AlertKind, Metric, metric

Severity = Literal["critical", "warning", "info", "none"]

JOB = "stage4"
LAST_SAMPLE = metric("stage4_last_sample_timestamp_seconds")
SIGNAL_AGE = metric("stage4_signal_age_seconds")
DAILY_LOSS = metric("stage4_daily_loss_ratio")
DROUGHT = metric("stage4_actionable_signal_age_seconds")
GATE_CLOSED = metric("stage4_gate_closed")
WATCHDOG = "Stage4Watchdog"
MEMORY = "6h"
"""How far back the last known age of a signal is looked for when telemetry is silent."""

_NAMES = {SIGNAL_AGE.name: "Stage4NoSignals", DROUGHT.name: "Stage4NoActionableSignals"}
_UNIT_SUFFIXES = ("_pct", "_bps", "_ms", "_seconds", "_ratio")
_IDENTITY = ("scheduler", "schedule", "risk_profile")


class Reading(Enum):
    """What number a rule judges."""

    VALUE = "the metric as it is"
    AGE = "the metric plus the time for which telemetry has been silent"
    SILENCE = "the time since a scheduler's last sample"
    TARGET = "whether the exporter answers; only Prometheus can tell"
    ALWAYS = "fires while the alarm chain lives; only Prometheus can tell"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits by the values of one label, and the limit of all other values; no limit never fires."""

    label: str = "risk_profile"
    by_value: tuple[tuple[str, float], ...] = ()
    otherwise: float | None = None

    def of(self, labels: Mapping[str, str]) -> float | None:
        """The limit that holds for a series with these labels."""
        return dict(self.by_value).get(labels.get(self.label, ""), self.otherwise)

    def apart(self) -> tuple[tuple[str, float], ...]:
        """Those that differ from `otherwise`."""
        return tuple((name, limit) for name, limit in self.by_value if limit != self.otherwise)


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One alert at one severity; `hold` is how long the condition must last."""

    name: str
    severity: Severity
    kind: AlertKind | None
    metric: Metric
    limits: Limits
    reading: Reading = Reading.VALUE
    hold: timedelta = timedelta(0)
    escalate: str | None = None

    @property
    def group_labels(self) -> tuple[str, ...]:
        """The labels of the series that identify the alert. A schedule has one profile, so it says it all."""
        if self.reading in (Reading.TARGET, Reading.ALWAYS):
            return ()
        if self.reading is Reading.SILENCE:
            return ("scheduler",)
        labels = [label for label in _IDENTITY if label in self.metric.labels]
        return tuple(label for label in labels if label != "risk_profile" or "schedule" not in labels)

    @property
    def text_code(self) -> str:
        """Catalogue code of its texts, without `_summary` or `_description`."""
        snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in self.name.removeprefix("Stage4"))
        return f"alerts.{snake.removeprefix('_')}"

    def fires_at(self, value: float, labels: Mapping[str, str]) -> bool:
        """Whether `value` of a series with `labels` is beyond its limit."""
        return self.metric.beyond(value, self.limits.of(labels))

    def static_labels(self, plan: MonitoringPlan) -> dict[str, str]:
        """The labels that do not come from the series; `alertname` is left to who sends the alert."""
        labels = {"severity": self.severity, "installation": plan.installation_id}
        if self.kind is not None:
            labels["kind"] = self.kind
        if self.escalate is not None:
            labels["escalate"] = self.escalate
        return labels

    def annotations(self, plan: MonitoringPlan, labels: Mapping[str, str], value: Mapping[str, str]) -> dict[str, str]:
        """Texts in both languages and the runbook; `value` is the written value by language."""
        written = {"scheduler": "", "schedule": "", "risk_profile": "", **labels}
        texts = {}
        for part in ("summary", "description"):
            for lang in words.languages:
                texts[part if lang == "en" else f"{part}_{lang}"] = words.text(
                    f"{self.text_code}_{part}", lang, **written, value=value[lang], limits=self.limits_text(lang)
                )
        return {**texts, "runbook_url": f"{plan.runbook_base}/{self.name}"}

    def written(self, value: float) -> dict[str, str]:
        """`value` as `annotations` takes it: the digits of the metric, a decimal comma in Polish."""
        english = f"{value:.{self.metric.digits}f}"
        return {"en": english, "pl": english.replace(".", ",")}

    def limits_text(self, lang: words.Language) -> str:
        """The limits as people read them: `2,8`, or `balanced 2,8 · conservative 2,4` where they differ."""
        if self.limits.apart():
            return " · ".join(f"{name} {_number(limit, lang)}" for name, limit in self.limits.by_value)
        return "" if self.limits.otherwise is None else _number(self.limits.otherwise, lang)


def _number(value: float, lang: words.Language) -> str:
    written = f"{value:g}"
    return written.replace(".", ",") if lang == "pl" else written


def alert_name(judged: Metric) -> str:
    """`Stage4LoopLatencyHigh` for `stage4_loop_latency_seconds`; states such as `prices_stale` take no suffix."""
    if judged.name in _NAMES:
        return _NAMES[judged.name]
    stem = judged.short_name
    for suffix in _UNIT_SUFFIXES:
        stem = stem.removesuffix(suffix)
    direction = "" if judged.unit == "boolean" else "High" if judged.direction == "higher_is_worse" else "Low"
    return "Stage4" + "".join(part.capitalize() for part in stem.split("_")) + direction


def rules_of(plan: MonitoringPlan) -> tuple[AlertRule, ...]:
    """Every alert of the installation, in the order of the catalogue, those about monitoring itself last."""
    return (*_threshold_rules(plan), *_state_rules(plan), *_watch_rules())


def _threshold_rules(plan: MonitoringPlan) -> Iterator[AlertRule]:
    severities: tuple[Literal["critical", "warning"], ...] = ("critical", "warning")
    for judged in METRICS:
        for severity in severities if judged.thresholds else ():
            limits = _limits(plan, judged, severity)
            if limits.otherwise is None and not limits.by_value:
                continue
            called = severity == "critical" and judged in (SIGNAL_AGE, DAILY_LOSS)
            yield AlertRule(
                alert_name(judged),
                severity,
                judged.kind,
                judged,
                limits,
                reading=Reading.AGE if judged is SIGNAL_AGE else Reading.VALUE,
                escalate="incident_manager" if called else None,
            )


def _limits(plan: MonitoringPlan, judged: Metric, severity: Literal["critical", "warning"]) -> Limits:
    def at(profile: str) -> float | None:
        found = plan.thresholds(judged.name, profile)
        return None if found is None else found.critical if severity == "critical" else found.warning

    if "risk_profile" not in judged.labels:
        return Limits(otherwise=at(DESK))
    # A profile that nobody knows is held to the strictest numbers, so it cannot hide from its alerts.
    profiles = [name for name in plan.profiles() if name != DESK or "schedule" not in judged.labels]
    named = [(profile, limit) for profile in profiles if (limit := at(profile)) is not None]
    return Limits(by_value=tuple(named), otherwise=at(""))


def _state_rules(plan: MonitoringPlan) -> Iterator[AlertRule]:
    yield AlertRule(alert_name(GATE_CLOSED), "info", "risk", GATE_CLOSED, Limits(otherwise=0.0), escalate="never")
    droughts = [(s.name, s.max_silence.total_seconds()) for s in plan.schedules if s.max_silence is not None]
    if droughts:
        limits = Limits("schedule", tuple(droughts))
        yield AlertRule(alert_name(DROUGHT), "warning", "no_signals", DROUGHT, limits, escalate="never")


def _watch_rules() -> Iterator[AlertRule]:
    silence = Limits(otherwise=TELEMETRY_SILENCE.total_seconds())
    yield AlertRule("Stage4TelemetryStale", "warning", "no_signals", LAST_SAMPLE, silence, Reading.SILENCE)
    yield AlertRule(
        "Stage4TelemetryDown", "critical", "no_signals", LAST_SAMPLE, Limits(), Reading.TARGET, timedelta(seconds=10)
    )
    yield AlertRule(WATCHDOG, "none", None, LAST_SAMPLE, Limits(), Reading.ALWAYS)
