"""
Reads the running scheduler's last ten minutes from its telemetry (gRPC, scope `metrics.read`); changes nothing.

Whatever goes wrong on the way is an answer too: it could not be told.
"""

from __future__ import annotations

from collections.abc import Mapping

from stage4.clock import Clock
from stage4.config import Installation
from stage4.errors import Stage4Error
from stage4.runtime.desk import desk_schedules
from stage4.runtime.loadtest_running import READ, WINDOW, Running, by_schedule, judge_running


def look(installation: Installation, clock: Clock, environ: Mapping[str, str]) -> tuple[Running, Stage4Error | None]:
    """What the running scheduler's figures say, and the error that kept them away.

    Raises what `desk_schedules` raises: settings that contradict themselves run nothing.
    """
    operations = installation.settings.operations
    schedules = {schedule.name: schedule.settings for schedule in desk_schedules(installation.settings)[1]}
    if not installation.settings.runtime.metrics_service.enabled:
        return Running(problem="watch.service_off"), None
    from stage4.telemetry.grpc_client import MetricsClient

    try:
        with MetricsClient.of(installation, environ) as client:
            status = client.status()
            if status.installation_id != operations.installation_id:
                return Running(problem="loadtest.foreign_service"), None
            seen = {name: by_schedule(client.series(name, seconds=WINDOW.total_seconds())) for name in READ}
    except Stage4Error as error:
        return Running(problem=error.code), error
    return judge_running(schedules, seen, clock.now(), operations.thresholds, status.lost), None
