"""
The state of a panel, judged from its series: green, yellow, red, no data or stale.

How it fails: closed. No series, an old series and a source that did not answer are states of their own and never
green. A panel with several series is as bad as its worst one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

from stage4 import words
from stage4.clock import format_instant
from stage4.errors import Unavailable
from stage4.monitoring.plan import MonitoringPlan
from stage4.telemetry.catalogue import DESK, Metric, Thresholds, checklist_metrics
from stage4.telemetry.recorder import Point, Series

SCHEMA = "stage4.panel/1"
SourceName = Literal["prometheus", "telemetry"]


class PanelState(StrEnum):
    """In the order of severity, the worst first."""

    RED = "red"
    NO_DATA = "no_data"
    STALE = "stale"
    YELLOW = "yellow"
    GREEN = "green"

    @property
    def acceptable(self) -> bool:
        """Whether L1.3 accepts the panel; the other states escalate."""
        return self in (PanelState.GREEN, PanelState.YELLOW)


_SEVERITY = tuple(PanelState)


class SeriesSource(Protocol):
    """
    Where the numbers of panels come from.

    * `name` says it in the artefact.
    * `series` gives all series of a metric from `since` on, their points in the order of time, each at the instant
      at which the runtime told the value (not at which it was collected).
    * It raises Unavailable when it cannot tell; no series at all is an answer.
    """

    @property
    def name(self) -> SourceName: ...

    def series(self, metric: Metric, since: datetime, until: datetime) -> Sequence[Series]: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """One series with its verdict; `since` is when the run of points with this level began."""

    labels: Mapping[str, str]
    points: tuple[Point, ...]
    thresholds: Thresholds | None
    state: PanelState
    since: datetime | None

    @property
    def name(self) -> str:
        """What tells the series from others: its schedule, else its risk profile, else its scheduler."""
        named = (self.labels.get(label) for label in ("schedule", "risk_profile", "scheduler"))
        return next((name for name in named if name), "")

    @property
    def last(self) -> Point | None:
        return self.points[-1] if self.points else None


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel at one instant. `unread` says why the source could not be read."""

    metric: Metric
    state: PanelState
    readings: tuple[Reading, ...]
    since: datetime
    judged_at: datetime
    source: SourceName
    unread: Unavailable | None = None

    @property
    def worst(self) -> Reading | None:
        """The reading that decides the state; readings are kept worst first."""
        return self.readings[0] if self.readings else None


def judge(
    metric: Metric,
    series: Sequence[Series],
    plan: MonitoringPlan,
    *,
    since: datetime,
    now: datetime,
    source: SourceName,
) -> Panel:
    """The panel of `metric` from its `series`."""
    readings = sorted((_read(metric, one, plan, now) for one in series), key=lambda reading: _rank(metric, reading))
    state = readings[0].state if readings else PanelState.NO_DATA
    return Panel(metric, state, tuple(readings), since, now, source)


def _rank(metric: Metric, reading: Reading) -> tuple[int, float]:
    """Worse states first, then worse values."""
    value = reading.last.value if reading.last else 0.0
    return _SEVERITY.index(reading.state), -value if metric.direction == "higher_is_worse" else value


def _read(metric: Metric, series: Series, plan: MonitoringPlan, now: datetime) -> Reading:
    thresholds = plan.thresholds(metric.name, series.labels.get("risk_profile", DESK))
    points = tuple(point for point in series.points if point.at <= now)
    if not points:
        return Reading(series.labels, points, thresholds, PanelState.NO_DATA, None)
    level = _level(metric, points[-1].value, thresholds)
    began = points[-1].at
    for point in reversed(points):
        if _level(metric, point.value, thresholds) is not level:
            break
        began = point.at
    fresh_for = plan.stale_after(series.labels.get("schedule", ""))
    if now - points[-1].at > fresh_for:
        return Reading(series.labels, points, thresholds, PanelState.STALE, points[-1].at)
    return Reading(series.labels, points, thresholds, level, began)


def _level(metric: Metric, value: float, thresholds: Thresholds | None) -> PanelState:
    match metric.level(value, thresholds):
        case "critical":
            return PanelState.RED
        case "warning":
            return PanelState.YELLOW
        case None:
            return PanelState.GREEN


def read_panel(source: SeriesSource, metric: Metric, plan: MonitoringPlan, since: datetime, now: datetime) -> Panel:
    """Read and judge one panel; a source that does not answer gives a panel without data that says why."""
    try:
        series = source.series(metric, since, now)
    except Unavailable as error:
        return Panel(metric, PanelState.NO_DATA, (), since, now, source.name, unread=error)
    return judge(metric, series, plan, since=since, now=now, source=source.name)


def read_checklist_panels(
    source: SeriesSource, plan: MonitoringPlan, since: datetime, now: datetime
) -> tuple[Panel, ...]:
    """The four panels of L1.3, in their order."""
    return tuple(read_panel(source, metric, plan, since, now) for metric in checklist_metrics())


def value_text(panel: Panel, lang: words.Language) -> str:
    """The value that decides the state, with its unit; stale values are shown too, their state says what they are."""
    if panel.worst is None or panel.worst.last is None:
        return words.text("panels.no_value", lang)
    return amount(panel.metric, panel.worst.last.value, lang)


def amount(metric: Metric, value: float, lang: words.Language) -> str:
    """A value of `metric` as people read it."""
    if metric.unit == "boolean":
        return words.text("panels.yes" if value else "panels.no", lang)
    unit = words.text(f"panels.unit_{metric.unit}", lang)
    return f"{words.number(value, lang, metric.digits)} {unit}"


def limits_text(panel: Panel, lang: words.Language) -> str:
    """The thresholds that the deciding reading was held to."""
    if panel.worst is None:
        return ""
    if panel.worst.thresholds is None:
        return words.text("panels.no_limits", lang)
    thresholds = panel.worst.thresholds
    profile = panel.worst.labels.get("risk_profile", DESK)
    code = "panels.limits_higher" if panel.metric.direction == "higher_is_worse" else "panels.limits_lower"
    critical = thresholds.critical
    return words.text(
        code,
        lang,
        profile=words.text("panels.desk", lang) if profile == DESK else profile,
        warning=amount(panel.metric, thresholds.warning, lang),
        critical=words.text("panels.never", lang) if critical is None else amount(panel.metric, critical, lang),
    )


def read_text(panel: Panel, lang: words.Language) -> str:
    """Of when the numbers are, when they were judged, where they come from; instants in UTC."""
    judged_at = utc(panel.judged_at)
    source = words.text(f"panels.source_{panel.source}", lang)
    if panel.worst is None or panel.worst.last is None:
        return words.text("panels.not_read", lang, judged_at=judged_at, source=source)
    return words.text("panels.read_at", lang, at=utc(panel.worst.last.at), judged_at=judged_at, source=source)


def unread_text(panel: Panel, lang: words.Language) -> str:
    """Why the source could not be read; empty when it answered."""
    return "" if panel.unread is None else words.text(panel.unread.code, lang, **panel.unread.params)


def utc(instant: datetime) -> str:
    """`2026-11-23 09:42:01Z`: to the second, always with its zone."""
    return format_instant(instant.replace(microsecond=0)).replace("T", " ")


def description(panel: Panel, lang: words.Language) -> str:
    """The panel in one paragraph: the text alternative of its picture."""
    stated = words.text(
        "panels.description",
        lang,
        title=words.text(panel.metric.title_code, lang),
        state=words.text(f"panels.{panel.state}", lang),
        value=value_text(panel, lang),
    )
    sentences = (stated, limits_text(panel, lang), unread_text(panel, lang), read_text(panel, lang))
    return ". ".join(sentence for sentence in sentences if sentence) + "."


def panel_document(panel: Panel) -> dict[str, object]:
    """The panel with all its numbers, as it is stored beside the picture."""
    return {
        "schema": SCHEMA,
        "metric": panel.metric.name,
        "unit": panel.metric.unit,
        "state": str(panel.state),
        "acceptable": panel.state.acceptable,
        "judged_at": format_instant(panel.judged_at),
        "source": panel.source,
        "unread": None if panel.unread is None else panel.unread.code,
        "readings": [_reading_document(reading) for reading in panel.readings],
    }


def _reading_document(reading: Reading) -> dict[str, object]:
    limits = reading.thresholds
    return {
        "labels": dict(reading.labels),
        "state": str(reading.state),
        "value": reading.last.value if reading.last else None,
        "at": format_instant(reading.last.at) if reading.last else None,
        "since": format_instant(reading.since) if reading.since else None,
        "thresholds": None if limits is None else {"warning": limits.warning, "critical": limits.critical},
        "points": [[format_instant(point.at), point.value] for point in reading.points],
    }
