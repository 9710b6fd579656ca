"""The metric catalogue: every metric of Stage4 is defined here, once.

The recorder, the Prometheus exposition, the alert rules, the dashboard, the panel states, the load test's limits and
the watch's anomalies are all read from `METRICS`. Names of the support playbook are kept as they are; new names
follow the Prometheus conventions (base units, `_seconds`, `_ratio`, `_total`).

A value is *beyond* a threshold when it is strictly worse than it; `Metric.level` is the only place that decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from stage4.config.settings import Limits

AlertKind = Literal["pnl", "risk", "latency", "no_signals"]
Direction = Literal["higher_is_worse", "lower_is_worse"]
MetricType = Literal["gauge", "counter", "histogram"]
Level = Literal["critical", "warning"]
Aggregate = Literal["last", "max", "min", "avg"]
Overrides = Mapping[str, Mapping[str, Limits]]

PREFIX = "stage4_"
DESK = "desk"
"""The `risk_profile` label of values that hold for the whole desk and not for one risk profile."""
STRICTEST = "conservative"

OF_SCHEDULE = ("scheduler", "schedule", "strategy", "risk_profile")
OF_PROFILE = ("scheduler", "risk_profile")
OF_SCHEDULER = ("scheduler",)
OF_FEED = ("scheduler", "venue")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where a warning begins and where it is critical, in the metric's unit; `critical` None means never."""

    warning: float
    critical: float | None = None

    def scaled(self, factor: float) -> Thresholds:
        """The same limits in another unit, for example `scaled(1000)` from seconds to milliseconds."""
        return Thresholds(self.warning * factor, None if self.critical is None else self.critical * factor)


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """How the dashboard shows a metric: place, kind, and how points inside one window become one."""

    order: int
    view: Literal["timeseries", "stat"] = "timeseries"
    aggregate: Aggregate = "max"
    window_seconds: int = 300
    in_checklist: bool = False
    """True for the four panels that L1.3 looks at."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `thresholds` is by risk profile; empty means the metric raises no alert by itself.

    Values of a `counter` are running totals since the emitter started, so that a lost sample loses nothing.
    A value of a `histogram` is one observation. `labels` are fields of `Sample`.
    """

    name: str
    unit: str
    type: MetricType = "gauge"
    labels: tuple[str, ...] = OF_SCHEDULE
    kind: AlertKind | None = None
    direction: Direction = "higher_is_worse"
    thresholds: Mapping[str, Thresholds] = field(default_factory=lambda: MappingProxyType({}))
    panel: PanelSpec | None = None
    digits: int = 2
    buckets: tuple[float, ...] = ()
    emitted_by: Literal["strategy", "runtime", "telemetry"] = "runtime"
    """`strategy`: an evaluation may set it, for its own schedule. All others are the environment's own word."""

    @property
    def short_name(self) -> str:
        return self.name.removeprefix(PREFIX)

    @property
    def title_code(self) -> str:
        """Catalogue code of the name that people read."""
        return f"metrics.{self.short_name}"

    @property
    def help_code(self) -> str:
        """Catalogue code of the sentence that explains the metric."""
        return f"metrics.{self.short_name}_help"

    def worse(self, one: float, other: float) -> float:
        """The worse of two values, by the metric's direction."""
        return max(one, other) if self.direction == "higher_is_worse" else min(one, other)

    def beyond(self, value: float, threshold: float | None) -> bool:
        if threshold is None:
            return False
        return value > threshold if self.direction == "higher_is_worse" else value < threshold

    def level(self, value: float, thresholds: Thresholds | None) -> Level | None:
        """`critical`, `warning`, or None where the value is within the thresholds or there are none."""
        if thresholds is None:
            return None
        if self.beyond(value, thresholds.critical):
            return "critical"
        return "warning" if self.beyond(value, thresholds.warning) else None


def _by_profile(
    conservative: tuple[float, float], balanced: tuple[float, float], aggressive: tuple[float, float]
) -> Mapping[str, Thresholds]:
    """Thresholds of the three risk profiles; the desk as a whole is held to the balanced one."""
    return MappingProxyType(
        {
            "conservative": Thresholds(*conservative),
            "balanced": Thresholds(*balanced),
            "aggressive": Thresholds(*aggressive),
            DESK: Thresholds(*balanced),
        }
    )


def _for_all(warning: float, critical: float | None = None) -> Mapping[str, Thresholds]:
    limit = Thresholds(warning, critical)
    return MappingProxyType(dict.fromkeys(("conservative", "balanced", "aggressive", DESK), limit))


# Bounds in seconds from 0.1 ms to 0.5 s; they include the latency thresholds, so that quantiles near those are exact.
LATENCY_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.12, 0.15, 0.18, 0.2, 0.25, 0.5,
)  # fmt: skip

METRICS: tuple[Metric, ...] = (
    Metric(
        "stage4_avg_abs_zscore", "zscore", kind="risk",
        thresholds=_by_profile((2.4, 2.9), (2.8, 3.3), (3.1, 3.8)),
        panel=PanelSpec(1, in_checklist=True), emitted_by="strategy",
    ),
    Metric(
        "stage4_allocation_error_pct", "percent", kind="risk",
        thresholds=_by_profile((12, 18), (16, 22), (20, 28)),
        panel=PanelSpec(2, in_checklist=True), digits=1, emitted_by="strategy",
    ),
    Metric(
        "stage4_spread_capture_bps", "basis_points", kind="pnl", direction="lower_is_worse",
        thresholds=_by_profile((8, 4), (6, 3), (5, 2.5)),
        panel=PanelSpec(3, aggregate="min", in_checklist=True), digits=1, emitted_by="strategy",
    ),
    Metric(
        "stage4_secondary_delay_ms", "milliseconds", kind="latency",
        thresholds=_by_profile((250, 400), (300, 450), (350, 500)),
        panel=PanelSpec(4, in_checklist=True), digits=0, emitted_by="strategy",
    ),
    Metric(
        "stage4_pnl_drawdown_pct", "percent", labels=OF_PROFILE, kind="pnl",
        thresholds=_by_profile((1.5, 2.5), (2.5, 4), (3, 5)), panel=PanelSpec(6),
    ),
    Metric(
        "stage4_loop_latency_seconds", "seconds", kind="latency",
        thresholds=_by_profile((0.120, 0.200), (0.150, 0.220), (0.180, 0.250)), panel=PanelSpec(5), digits=3,
    ),
    Metric("stage4_lateness_seconds", "seconds", type="histogram", buckets=LATENCY_BUCKETS, digits=4),
    Metric(
        "stage4_jitter_seconds", "seconds", kind="latency",
        thresholds=_by_profile((0.020, 0.050), (0.030, 0.075), (0.040, 0.100)), panel=PanelSpec(8), digits=4,
    ),
    Metric(
        "stage4_daily_loss_ratio", "ratio", labels=OF_PROFILE, kind="pnl",
        thresholds=_for_all(1.0, 3.0), panel=PanelSpec(7),
    ),
    Metric(
        "stage4_signal_age_seconds", "seconds", labels=OF_SCHEDULER, kind="no_signals",
        thresholds=_for_all(600, 900), panel=PanelSpec(9, aggregate="last"), digits=0,
    ),
    Metric("stage4_actionable_signal_age_seconds", "seconds", digits=0),
    Metric("stage4_signals_total", "signals", type="counter", panel=PanelSpec(10, aggregate="last"), digits=0),
    Metric("stage4_missed_slots_total", "slots", type="counter", digits=0),
    Metric("stage4_schedule_suspended", "boolean", kind="risk", thresholds=_for_all(0), digits=0),
    Metric("stage4_prices_stale", "boolean", labels=OF_SCHEDULER, kind="risk", thresholds=_for_all(0), digits=0),
    # They raise no alert of their own: stale prices do, and an outlier may be a real jump that somebody must look at.
    Metric("stage4_feed_staleness_seconds", "seconds", labels=OF_FEED, digits=0),
    Metric("stage4_feed_missing_bars_total", "bars", type="counter", labels=OF_FEED, digits=0),
    Metric("stage4_feed_outliers_total", "moves", type="counter", labels=OF_FEED, digits=0),
    Metric("stage4_gate_closed", "boolean", labels=OF_SCHEDULER, panel=PanelSpec(11, "stat", "last"), digits=0),
    Metric("stage4_equity", "quote_currency", labels=OF_PROFILE, panel=PanelSpec(12, aggregate="last")),
    Metric("stage4_exposure_ratio", "ratio", labels=OF_PROFILE, panel=PanelSpec(13)),
    Metric("stage4_resource_use_ratio", "ratio", labels=OF_SCHEDULER),
    Metric(
        "stage4_last_sample_timestamp_seconds", "seconds", labels=("scheduler", "schedule"), emitted_by="telemetry",
        digits=0,
    ),
    Metric("stage4_samples_lost_total", "samples", type="counter", labels=(), emitted_by="telemetry", digits=0),
)  # fmt: skip

STRATEGY_METRICS = frozenset(m.name for m in METRICS if m.emitted_by == "strategy")

_BY_NAME: Mapping[str, Metric] = MappingProxyType({m.name: m for m in METRICS})
if len(_BY_NAME) != len(METRICS):
    raise ValueError("two metrics share a name")


def metric(name: str) -> Metric:
    """The metric of that full name; KeyError when the catalogue has none."""
    return _BY_NAME[name]


def known(name: str) -> bool:
    return name in _BY_NAME


def checklist_metrics() -> tuple[Metric, ...]:
    """The four metrics that L1.3 looks at, in the order of their panels."""
    return tuple(m for m in panel_metrics() if m.panel is not None and m.panel.in_checklist)


def panel_metrics() -> tuple[Metric, ...]:
    """Every metric with a panel, in the order of the dashboard."""
    shown = [(m.panel.order, m) for m in METRICS if m.panel is not None]
    return tuple(m for _, m in sorted(shown, key=lambda pair: pair[0]))


def emitted_by_runtime() -> Iterable[Metric]:
    return (m for m in METRICS if m.emitted_by != "telemetry")


def thresholds_for(name: str, profile: str, overrides: Overrides | None = None) -> Thresholds | None:
    """Thresholds of a metric for a risk profile; None when the metric has none.

    `overrides` is `operations.thresholds`: by risk profile, then by metric, with or without the `stage4_` prefix.
    A profile that the catalogue does not know gets the strictest numbers.
    """
    found = metric(name)
    by_metric = (overrides or {}).get(profile, {})
    own = by_metric.get(name) or by_metric.get(found.short_name)
    if own is not None:
        return Thresholds(own.warning, own.critical)
    return found.thresholds.get(profile) or found.thresholds.get(STRICTEST)
