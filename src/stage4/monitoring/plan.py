"""
What monitoring needs to know of an installation, and nothing more.

`MonitoringPlan` is made from the settings once; everything that generates or judges takes it as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from stage4.clock import parse_duration
from stage4.telemetry.catalogue import Overrides, Thresholds, metric, thresholds_for

if TYPE_CHECKING:
    from stage4.config import Installation

LOOPBACK = "127.0.0.1"
ALERTS_SCOPE = "alerts.write"
ALERTS_TOKEN_FILE = "secrets/alertmanager.token"
SHORTEST_SILENCE = timedelta(seconds=10)
TELEMETRY_SILENCE = timedelta(seconds=30)
"""How long a scheduler may say nothing before its telemetry counts as stale."""


@dataclass(frozen=True, slots=True)
class WatchedSchedule:
    """One schedule: which profile judges it, and how long its numbers stay fresh."""

    scheduler: str
    name: str
    risk_profile: str
    stale_after: timedelta
    max_silence: timedelta | None = None


@dataclass(frozen=True, slots=True)
class MonitoringPlan:
    """The monitoring of one installation; addresses are URLs without a last slash, `host:port` for the exporter."""

    installation_id: str
    schedules: tuple[WatchedSchedule, ...] = ()
    risk_profiles: tuple[str, ...] = ()
    overrides: Overrides = field(default_factory=lambda: MappingProxyType({}))
    no_signals_after: timedelta = timedelta(minutes=15)
    loss_multiple: float = 3.0
    exporter: str = f"{LOOPBACK}:9464"
    service_url: str = f"http://{LOOPBACK}:8740"
    prometheus_url: str | None = None
    alertmanager_url: str | None = None
    runbook_base: str = f"http://{LOOPBACK}:8740/docs/runbooks"
    alerts_token_file: str = ALERTS_TOKEN_FILE

    def profiles(self) -> tuple[str, ...]:
        """Every risk profile that a series may carry: the catalogue's and the installation's own."""
        return tuple(dict.fromkeys((*metric("stage4_avg_abs_zscore").thresholds, *self.risk_profiles)))

    def thresholds(self, name: str, profile: str) -> Thresholds | None:
        """Thresholds of metric `name` for `profile`, with the installation's overrides and incident settings."""
        found = thresholds_for(name, profile, self.overrides)
        if name == "stage4_signal_age_seconds":
            critical = self.no_signals_after.total_seconds()
            # The warning must come before the escalation, also where a rehearsal shortens its timers.
            return Thresholds(min(found.warning if found else critical, critical * 2 / 3), critical)
        if name == "stage4_daily_loss_ratio":
            return Thresholds(min(found.warning if found else 1.0, self.loss_multiple), self.loss_multiple)
        return found

    def stale_after(self, schedule: str) -> timedelta:
        """How old a value of `schedule` may be; values of a profile or of the desk come with every sample."""
        spans = [watched.stale_after for watched in self.schedules if watched.name == schedule]
        return max(spans, default=TELEMETRY_SILENCE)


def plan_of(installation: Installation) -> MonitoringPlan:
    """The plan of `installation`, from its settings alone."""
    settings = installation.settings
    operations = settings.operations
    schedules = tuple(
        WatchedSchedule(
            scheduler_name,
            name,
            schedule.risk_profile,
            max(SHORTEST_SILENCE, timedelta(seconds=2 * schedule.cadence_seconds + schedule.max_drift_seconds)),
            timedelta(seconds=schedule.max_silence_seconds) if schedule.max_silence_seconds else None,
        )
        for scheduler_name, scheduler in settings.runtime.multi_strategy_schedulers.items()
        for name, schedule in scheduler.schedules.items()
    )
    token_files = {
        token.token_id: token.token_file
        for token in operations.service.rbac_tokens
        if ALERTS_SCOPE in token.scopes and token.token_file is not None
    }
    return MonitoringPlan(
        installation_id=operations.installation_id,
        schedules=schedules,
        risk_profiles=tuple(settings.risk_profiles),
        overrides=operations.thresholds,
        no_signals_after=parse_duration(operations.incident.no_signals_after),
        loss_multiple=operations.incident.loss_multiple,
        exporter=f"{operations.monitoring.metrics_host}:{operations.monitoring.metrics_port}",
        service_url=f"http://{operations.service.host}:{operations.service.port}",
        prometheus_url=_address(operations.monitoring.prometheus_url),
        alertmanager_url=_address(operations.monitoring.alertmanager_url),
        runbook_base=operations.monitoring.runbook_base.rstrip("/"),
        alerts_token_file=token_files.get("alertmanager", next(iter(token_files.values()), ALERTS_TOKEN_FILE)),
    )


def _address(url: str | None) -> str | None:
    return url.rstrip("/") if url else None
