"""
Prometheus: its configuration, the alert rules, and a `promtool` unit test for every rule.

Expressions aggregate with `max by` (or `min by`) over the labels that identify the alert, so that labels of the
scrape (`instance`, `job`) never get in and the detector's alert is the same alert.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stage4.clock import format_duration
from stage4.monitoring.alerts import JOB, LAST_SAMPLE, MEMORY, SIGNAL_AGE, AlertRule, Reading, rules_of
from stage4.monitoring.plan import MonitoringPlan
from stage4.telemetry.catalogue import Metric

RULES_FILE = "stage4.rules.yml"
TESTS_FILE = "stage4.rules.test.yml"
START_FLAGS = ("--rules.alert.resend-delay=5s",)
"""How Prometheus must be started: it drops what it sends before it has found its Alertmanager, about five seconds
after a start or reload, and by default sends it again only after a minute."""
_STEP = "1s"
_EQUALITY = {"=~": "=", "!~": "!="}
_ONSET = 20
"""Seconds of a unit test in which everything is well, before the condition begins."""


def prometheus_document(plan: MonitoringPlan, alertmanager: str) -> dict[str, object]:
    """`prometheus.yml`: scrapes and evaluates every second, because an alert is due within five."""
    return {
        "global": {"scrape_interval": _STEP, "evaluation_interval": _STEP, "scrape_timeout": _STEP},
        "rule_files": [RULES_FILE],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [{"job_name": JOB, "static_configs": [{"targets": [plan.exporter]}]}],
    }


def rules_document(plan: MonitoringPlan) -> dict[str, object]:
    """The rule file of the installation."""
    return {"groups": [{"name": "stage4", "interval": _STEP, "rules": [_rule(rule, plan) for rule in rules_of(plan)]}]}


def _rule(rule: AlertRule, plan: MonitoringPlan) -> dict[str, object]:
    templates = {name: f"{{{{ $labels.{name} }}}}" for name in rule.group_labels}
    english = f'printf "%.{rule.metric.digits}f" $value'
    value = {"en": f"{{{{ {english} }}}}", "pl": f'{{{{ reReplaceAll "[.]" "," ({english}) }}}}'}
    document: dict[str, object] = {"alert": rule.name, "expr": expression(rule)}
    if rule.hold:
        document["for"] = format_duration(rule.hold)
    return {
        **document,
        "labels": rule.static_labels(plan),
        "annotations": rule.annotations(plan, templates, value),
    }


def expression(rule: AlertRule) -> str:
    """The PromQL condition of `rule`."""
    if rule.reading is Reading.ALWAYS:
        return "vector(1)"
    if rule.reading is Reading.TARGET:
        return f'(min(up{{job="{JOB}"}}) or vector(0)) == 0'
    limit = rule.limits.otherwise or 0.0
    silence = f"clamp_min(time() - {_last_known(rule, LAST_SAMPLE.name)}, 0)"
    if rule.reading is Reading.SILENCE:
        return f"{silence} > {_exact(limit)}"
    if rule.reading is Reading.AGE:
        return f"{_last_known(rule, rule.metric.name)} + on (scheduler) {silence} > {_exact(limit)}"
    sign, aggregate = (">", "max") if rule.metric.direction == "higher_is_worse" else ("<", "min")
    by = ", ".join(rule.group_labels)
    return "\nor\n".join(
        f"{aggregate} by ({by}) ({rule.metric.name}{selector}) {sign} {_exact(bound)}"
        for selector, bound in _branches(rule)
    )


def _last_known(rule: AlertRule, name: str) -> str:
    return f"max by ({', '.join(rule.group_labels)}) (last_over_time({name}[{MEMORY}]))"


def _branches(rule: AlertRule) -> Iterator[tuple[str, float]]:
    """A selector and its limit for every limit that differs, then the one of all other values."""
    by_limit: dict[float, list[str]] = {}
    for name, limit in rule.limits.apart():
        by_limit.setdefault(limit, []).append(name)
    for limit, names in by_limit.items():
        yield _selector(rule.limits.label, "=~", names), limit
    if rule.limits.otherwise is not None:
        others = [name for names in by_limit.values() for name in names]
        yield _selector(rule.limits.label, "!~", others) if others else "", rule.limits.otherwise


def _selector(label: str, operator: str, names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{{{label}{_EQUALITY[operator]}{json.dumps(names[0])}}}"
    return f"{{{label}{operator}{json.dumps('|'.join(map(re.escape, names)))}}}"


def tests_document(plan: MonitoringPlan) -> dict[str, object]:
    """`promtool test rules`: each alert is silent at its limit, fires beyond it with its labels and texts."""
    tests = [_unit_test(name, plan) for name in dict.fromkeys(rule.name for rule in rules_of(plan))]
    return {"rule_files": [RULES_FILE], "evaluation_interval": _STEP, "tests": tests}


def _unit_test(name: str, plan: MonitoringPlan) -> dict[str, object]:
    rules = [rule for rule in rules_of(plan) if rule.name == name]
    case = unit_case(rules, plan)
    calm = rules if rules[0].reading is Reading.ALWAYS else []
    return {
        "name": name,
        "interval": _STEP,
        "input_series": [{"series": series, "values": values} for series, values in case.series],
        "alert_rule_test": [
            {"eval_time": f"{_ONSET // 2}s", "alertname": name, "exp_alerts": [_expected(r, case, plan) for r in calm]},
            {
                "eval_time": f"{case.fires_at}s",
                "alertname": name,
                "exp_alerts": [_expected(rule, case, plan) for rule in rules],
            },
        ],
    }


@dataclass(frozen=True, slots=True)
class UnitCase:
    """The series of one unit test: at the mildest limit until `_ONSET`, then beyond the limits of all rules."""

    labels: Mapping[str, str]
    series: tuple[tuple[str, str], ...]
    fires_at: int
    value: float


def unit_case(rules: Sequence[AlertRule], plan: MonitoringPlan) -> UnitCase:
    """The case for all severities of one alert; times in seconds from the beginning of the test."""
    first = rules[0]
    labels = _example_labels(first, plan)
    limits = [limit for rule in rules if (limit := rule.limits.of(labels)) is not None]
    last_sample = _series(LAST_SAMPLE.name, labels)
    match first.reading:
        case Reading.VALUE:
            rising = first.metric.direction == "higher_is_worse"
            mildest, worst = (min(limits), max(limits)) if rising else (max(limits), min(limits))
            value = beyond(first.metric, worst)
            values = f"{_exact(mildest)}x{_ONSET} {_exact(value)}x60"
            return UnitCase(labels, ((_series(first.metric.name, labels), values),), _ONSET + 5, value)
        case Reading.AGE:
            # The scheduler goes silent at `_ONSET`; the age that it last told goes on growing.
            told = f"0x{_ONSET - 1} {_exact(max(limits) - 5)}x60"
            told_at = f"0+1x{_ONSET} {_ONSET}x60"
            series = ((_series(SIGNAL_AGE.name, labels), told), (last_sample, told_at))
            return UnitCase(labels, series, _ONSET + 10, max(limits) + 5)
        case Reading.SILENCE:
            value = max(limits) + 5
            return UnitCase(labels, ((last_sample, f"0+1x{_ONSET} {_ONSET}x120"),), _ONSET + int(value), value)
        case Reading.TARGET:
            return UnitCase(labels, ((f'up{{job="{JOB}"}}', f"1x{_ONSET} 0x60"),), _ONSET + 15, 0.0)
        case Reading.ALWAYS:
            return UnitCase(labels, (), _ONSET + 5, 1.0)


def beyond(judged: Metric, limit: float) -> float:
    """A value a little worse than `limit`."""
    step = 1.0 if judged.unit == "boolean" else max(abs(limit) * 0.1, 0.001)
    return round(limit + step if judged.direction == "higher_is_worse" else limit - step, 4)


def _exact(value: float) -> str:
    return f"{value:.12g}"


def _series(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"


def _example_labels(rule: AlertRule, plan: MonitoringPlan) -> dict[str, str]:
    watched = plan.schedules[0] if plan.schedules else None
    if rule.limits.label == "schedule":
        watched = next(s for s in plan.schedules if s.name == rule.limits.by_value[0][0])
    labels = {
        "scheduler": watched.scheduler if watched else "core",
        "schedule": watched.name if watched else "example",
        "strategy": "example",
        "risk_profile": watched.risk_profile if watched else "balanced",
    }
    wanted = ("scheduler",) if rule.reading in (Reading.AGE, Reading.SILENCE) else rule.metric.labels
    return {name: value for name, value in labels.items() if name in wanted}


def _expected(rule: AlertRule, case: UnitCase, plan: MonitoringPlan) -> dict[str, object]:
    labels = {name: case.labels[name] for name in rule.group_labels}
    return {
        "exp_labels": {**labels, **rule.static_labels(plan)},
        "exp_annotations": rule.annotations(plan, labels, rule.written(case.value)),
    }
