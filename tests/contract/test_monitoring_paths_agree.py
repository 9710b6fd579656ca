"""The two alert paths are one alert: what promtool proves of the rules, the detector gives too."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import yaml

from stage4.monitoring.detector import DetectedAlert, Detector
from stage4.monitoring.generate import PROMETHEUS, generate_from
from stage4.telemetry.sample import Sample
from support.monitoring_plans import PLAN, START

CASES: list[dict[str, Any]] = yaml.safe_load(generate_from(PLAN)[PROMETHEUS / "stage4.rules.test.yml"])["tests"]
PROMETHEUS_ONLY = {"Stage4TelemetryDown", "Stage4Watchdog"}
SERIES = re.compile(r"(\w+)\{(.*)\}")
RUN = re.compile(r"([-\d.]+)(\+\d+)?x(\d+)")


def values_of(notation: str) -> list[float]:
    """`promtool`'s `a+bxn` and `axn`: a first value and `n` more."""
    return [
        float(begin) + float(step or 0) * n
        for begin, step, count in RUN.findall(notation)
        for n in range(int(count) + 1)
    ]


def replayed(case: dict[str, Any]) -> list[DetectedAlert]:
    """What fires in the detector at the end of the case, from the same series, one sample a second."""
    detector = Detector(PLAN)
    series = []
    for one in case["input_series"]:
        name, labels = SERIES.fullmatch(one["series"]).groups()  # type: ignore[union-attr]
        series.append((name, dict(re.findall(r'(\w+)="([^"]*)"', labels)), values_of(one["values"])))
    seconds = int(case["alert_rule_test"][-1]["eval_time"].removesuffix("s"))
    for second in range(seconds + 1):
        now = START + timedelta(seconds=second)
        silent = any(name.endswith("timestamp_seconds") and values[second] < second for name, _, values in series)
        for name, labels, values in series if not silent else []:
            shown = {} if name.endswith("timestamp_seconds") else {name: values[second]}
            detector.observe(Sample(seq=second, at=now, values=shown, **labels))
        detector.tick(now)
    return [alert for alert in detector.firing() if alert.name == case["name"]]


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["name"] not in PROMETHEUS_ONLY], ids=lambda case: case["name"]
)
def test_detector_and_rule_give_the_same_labels_and_texts(case: dict[str, Any]) -> None:
    expected = [
        ({"alertname": case["name"], **alert["exp_labels"]}, alert["exp_annotations"])
        for alert in case["alert_rule_test"][-1]["exp_alerts"]
    ]
    given = [(dict(alert.labels), dict(alert.annotations)) for alert in replayed(case)]
    assert sorted(given, key=str) == sorted(expected, key=str)
