"""
Compares a load test with an earlier one; pure.

Two runs of one program never give the same figures. A difference counts only when the exact 95 % bounds of the two
percentiles do not touch *and* the figures lie further apart than runs on one machine do (`NOISE_RATIO`, `NOISE_MS`);
the bounds alone would be too narrow, because the samples of one run share its moment. Runs that did something else,
or ran on another machine, or on one that was busy with something else (`BUSY_SHARE`), are not compared at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stage4.runtime.loadtest_bounds import share_beyond
from stage4.runtime.loadtest_figures import PERCENTILES
from stage4.runtime.loadtest_sla import Verdict

NOISE_RATIO = 0.25
NOISE_MS = 0.2
BUSY_SHARE = 0.05
"""Of the time that the host's own timer was stalled: beyond it the figures are the neighbours'."""
SAME_RUN = ("iterations", "schedules", "cadence_ms", "warmup_iterations", "evaluation", "peak")
SAME_MACHINE = ("machine", "processor", "processors", "memory_mb")
FIGURES = ("latency_ms", "lateness_ms", "service_ms")

Change = Literal["better", "same", "worse", "cannot_tell"]


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure before and now, in milliseconds (`slots_missed`: slots)."""

    figure: str
    before: float | None
    now: float | None
    change: Change


@dataclass(frozen=True, slots=True)
class Comparison:
    """`differences` are what keeps the two apart (setting, before, now); with any of them nothing is compared."""

    figures: tuple[Compared, ...]
    differences: tuple[tuple[str, Any, Any], ...]

    @property
    def verdict(self) -> Verdict:
        """`fail` where a figure is worse; what could not be compared cannot be told."""
        changes = {figure.change for figure in self.figures}
        if "worse" in changes:
            return "fail"
        return "pass" if changes & {"better", "same"} else "cannot_tell"

    def document(self) -> dict[str, object]:
        """The block of the report."""
        return {
            "verdict": self.verdict,
            "noise_ratio": NOISE_RATIO,
            "noise_ms": NOISE_MS,
            "differences": [{"setting": name, "before": before, "now": now} for name, before, now in self.differences],
            "figures": [asdict(figure) for figure in self.figures],
        }


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> Comparison:
    """Judge `now` beside `before`; both are documents `stage4.load_test/1`, `before` perhaps from an older version."""
    differences = [
        (f"{section}.{name}", old.get(name), new.get(name))
        for section, names in (("settings", SAME_RUN), ("fingerprint", SAME_MACHINE))
        for old, new in [(_mapping(before, section), _mapping(now, section))]
        for name in names
        if old.get(name) != new.get(name)
    ]
    if before.get("schema") != now.get("schema"):
        differences.insert(0, ("schema", before.get("schema"), now.get("schema")))
    for prefix, old, new in _phases(before, now):
        shares = _stalled(old), _stalled(new)
        if max(shares) > BUSY_SHARE:
            differences.append((f"{prefix}host.stalled_share", *shares))
    if differences:
        return Comparison((), tuple(differences))
    figures = [figure for prefix, old, new in _phases(before, now) for figure in _phase(prefix, old, new)]
    return Comparison(tuple(figures), ())


def _phases(
    before: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    yield "", before, now
    for old, new in zip(_peaks(before), _peaks(now), strict=False):
        yield "peak.", old, new


def _stalled(phase: Mapping[str, Any]) -> float:
    """Share of the phase in which the host stood still; 1.0 where nobody measured it."""
    stalled, seconds = _mapping(phase, "host").get("stalled_ms"), _mapping(phase, "measured").get("seconds")
    if not isinstance(stalled, (int, float)) or not isinstance(seconds, (int, float)) or seconds <= 0:
        return 1.0
    return round(stalled / 1000.0 / seconds, 3)


def _phase(prefix: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> Sequence[Compared]:
    found = []
    for figure in FIGURES:
        old, new = _mapping(before, figure), _mapping(now, figure)
        for percentile in PERCENTILES:
            if old.get(percentile) is not None and new.get(percentile) is not None:
                change = _change(old, new, percentile)
                found.append(Compared(f"{prefix}{figure}.{percentile}", old[percentile], new[percentile], change))
        if "max" in old and "max" in new:
            # One sample each: shown, never judged.
            found.append(Compared(f"{prefix}{figure}.max", old["max"], new["max"], "cannot_tell"))
    found.append(_missed(prefix, _mapping(before, "measured"), _mapping(now, "measured")))
    return found


def _change(old: Mapping[str, Any], new: Mapping[str, Any], percentile: str) -> Change:
    """Worse or better beyond both bands; an open bound touches everything."""
    before, after = _bounds(old, percentile), _bounds(new, percentile)
    band = max(NOISE_MS, NOISE_RATIO * old[percentile])
    difference = new[percentile] - old[percentile]
    if difference > band and None not in (after[0], before[1]) and after[0] > before[1]:
        return "worse"
    if difference < -band and None not in (after[1], before[0]) and after[1] < before[0]:
        return "better"
    return "same"


def _missed(prefix: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Compared:
    figure = f"{prefix}slots_missed"
    before, whole_before = old.get("slots_missed"), old.get("slots_expected")
    now, whole_now = new.get("slots_missed"), new.get("slots_expected")
    if not (isinstance(before, int) and isinstance(now, int) and whole_before and whole_now):
        return Compared(figure, None, None, "cannot_tell")
    change: Change = "same"
    if now / whole_now > share_beyond(whole_before, before):
        change = "worse"
    elif before / whole_before > share_beyond(whole_now, now):
        change = "better"
    return Compared(figure, before, now, change)


def _bounds(distribution: Mapping[str, Any], percentile: str) -> tuple[Any, Any]:
    found = _mapping(distribution, "bounds_95").get(percentile)
    return (found[0], found[1]) if isinstance(found, list) and len(found) == 2 else (None, None)


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _peaks(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = document.get("peak")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
