"""Two load tests side by side: noise is not news, and other settings are not the same test."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4.runtime.loadtest_compare import compare
from stage4.runtime.loadtest_figures import distribution

MS = 1_000_000


def document(spans: list[int], missed: int = 0) -> dict[str, Any]:
    figures: dict[str, Any] = {name: distribution(spans) for name in ("latency_ms", "lateness_ms", "service_ms")}
    settings = {"iterations": 400, "schedules": 3, "cadence_ms": 100.0, "seed": 7, "evaluation": "workers", "peak": []}
    return {
        "schema": "stage4.load_test/1",
        "settings": settings,
        "measured": {"slots_expected": 1200, "slots_missed": missed, "seconds": 40.0},
        "host": {"stalled_ms": 100.0},
        "fingerprint": {"machine": "x86_64", "processor": "A", "processors": 2, "memory_mb": 8000, "kernel": "6.1"},
        "peak": [],
        **figures,
    }


# 1,200 spans from 1 ms to 2.2 ms.
USUAL = [MS + 1_000 * place for place in range(1200)]


def change(before: dict[str, Any], now: dict[str, Any], figure: str) -> str:
    return next(each.change for each in compare(before, now).figures if each.figure == figure)


def test_the_same_run_is_the_same() -> None:
    found = compare(document(USUAL), document(USUAL))
    assert found.verdict == "pass"
    assert {each.change for each in found.figures if not each.figure.endswith("max")} == {"same"}


@pytest.mark.parametrize(("factor", "expected"), [(2.0, "worse"), (0.5, "better"), (1.1, "same"), (0.9, "same")])
def test_a_figure_changes_only_beyond_the_noise(factor: float, expected: str) -> None:
    now = document([round(span * factor) for span in USUAL])
    assert change(document(USUAL), now, "latency_ms.p50") == expected
    assert compare(document(USUAL), now).verdict == ("fail" if expected == "worse" else "pass")


def test_a_difference_that_its_bounds_do_not_support_is_none() -> None:
    few, slower = [MS] * 11 + [3 * MS] * 9, [MS] * 9 + [3 * MS] * 11
    assert change(document(few), document(slower), "latency_ms.p50") == "same"


def test_a_single_largest_value_is_shown_and_not_judged() -> None:
    assert change(document(USUAL), document([*USUAL[:-1], 900 * MS]), "latency_ms.max") == "cannot_tell"


def test_missed_slots_are_judged_by_their_bound() -> None:
    # None of 1,200 leaves up to 0.25 % possible: three are possible, four are worse.
    assert change(document(USUAL), document(USUAL, 2), "slots_missed") == "same"
    assert change(document(USUAL), document(USUAL, 4), "slots_missed") == "worse"
    assert change(document(USUAL, 40), document(USUAL), "slots_missed") == "better"


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("settings", "iterations", 30),
        ("settings", "cadence_ms", 50.0),
        ("settings", "evaluation", "inline"),
        ("settings", "peak", [2.0]),
        ("fingerprint", "processors", 64),
        ("fingerprint", "processor", "B"),
        ("host", "stalled_ms", 4000.0),
        ("host", "stalled_ms", None),
    ],
)
def test_another_test_another_machine_or_a_busy_host_is_not_compared(section: str, name: str, value: object) -> None:
    now = document([span * 3 for span in USUAL])
    now[section][name] = value
    found = compare(document(USUAL), now)
    assert (found.verdict, found.figures, len(found.differences)) == ("cannot_tell", (), 1)


def test_seed_and_kernel_may_differ() -> None:
    now = document(USUAL)
    now["settings"]["seed"], now["fingerprint"]["kernel"] = 8, "6.2"
    assert compare(document(USUAL), now).verdict == "pass"


def test_the_peak_is_compared_too() -> None:
    before, now = document(USUAL), document(USUAL)
    for each, spans in ((before, USUAL), (now, [span * 3 for span in USUAL])):
        each["settings"]["peak"], each["peak"] = [2.0], [document(spans)]
    assert change(before, now, "latency_ms.p50") == "same"
    assert change(before, now, "peak.latency_ms.p50") == "worse"


def test_a_document_that_lacks_everything_compares_with_nothing() -> None:
    assert (
        compare({"schema": "stage4.load_test/1", "settings": [], "peak": 3}, document(USUAL)).verdict == "cannot_tell"
    )


@given(st.lists(st.integers(1_000, 10**9), min_size=20, max_size=200))
def test_no_run_is_worse_or_better_than_itself(spans: list[int]) -> None:
    one = document(spans)
    assert {each.change for each in compare(one, deepcopy(one)).figures} <= {"same", "cannot_tell"}
