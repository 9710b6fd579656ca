"""Plans and samples of a small installation, for the monitoring tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from stage4 import files
from stage4.monitoring.generate import generate_from
from stage4.monitoring.plan import MonitoringPlan, WatchedSchedule
from stage4.telemetry.sample import Sample

START = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
SCHEDULER = "core_multi_pipeline"
REVERSION, ARBITRAGE = "mean_reversion_intraday", "cross_exchange_watch"
_FRESH = timedelta(seconds=12)

PLAN = MonitoringPlan(
    "stage4-test",
    schedules=(
        WatchedSchedule(SCHEDULER, REVERSION, "balanced", _FRESH, timedelta(minutes=30)),
        WatchedSchedule(SCHEDULER, "volatility_target_daily", "conservative", _FRESH),
        WatchedSchedule(SCHEDULER, ARBITRAGE, "aggressive", _FRESH),
    ),
    risk_profiles=("conservative", "balanced", "aggressive", "desk_of_our_own"),
)


def sample(
    seconds: float, values: dict[str, float], *, schedule: str = REVERSION, profile: str = "balanced", seq: int = 1
) -> Sample:
    """A sample `seconds` after the start; with no schedule it speaks for the profile."""
    return Sample(
        seq=seq,
        at=START + timedelta(seconds=seconds),
        scheduler=SCHEDULER,
        schedule=schedule,
        strategy="core" if schedule else "",
        risk_profile=profile,
        values=values,
    )


def write_files(root: Path, plan: MonitoringPlan) -> None:
    """Write everything that is generated for `plan` under `root`."""
    for relative, content in generate_from(plan).items():
        files.atomic_write(root / relative, content)
