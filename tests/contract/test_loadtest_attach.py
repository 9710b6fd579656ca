"""The load test looks at a real telemetry process: within limits, beyond them, refused, and another installation's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from stage4.clock import SystemClock
from stage4.config import Installation
from stage4.runtime.desk import desk_schedules
from stage4.runtime.loadtest_attach import look
from stage4.runtime.loadtest_running import Running
from stage4.telemetry.sample import Sample
from support.telemetry_process import ENVIRON, TelemetryProcess, make_installation, settle_ports


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[TelemetryProcess]:
    with TelemetryProcess(make_installation(tmp_path)) as process:
        yield process


def tell(telemetry: TelemetryProcess, latency: float, *left_out: str) -> Installation:
    """Every schedule says `latency` seconds, and the telemetry has heard it."""
    installation = settle_ports(telemetry.installation, telemetry.listening)
    now = SystemClock().now()
    chosen = [each for each in desk_schedules(installation.settings)[1] if each.name not in left_out]
    for seq, schedule in enumerate(chosen, 1):
        values = {
            "stage4_loop_latency_seconds": latency,
            "stage4_jitter_seconds": 0.001,
            "stage4_lateness_seconds": 0.0,
        }
        telemetry.offer(
            Sample(
                seq=seq,
                at=now,
                scheduler="core",
                schedule=schedule.name,
                strategy=schedule.settings.strategy,
                risk_profile=schedule.settings.risk_profile,
                values=values,
            )
        )
    with telemetry.client() as client:
        deadline = time.monotonic() + 10
        while client.status().samples < len(chosen):
            assert time.monotonic() < deadline, "the telemetry heard nothing"
    return installation


def seen(installation: Installation, environ: dict[str, str] | None = None) -> Running:
    return look(installation, SystemClock(), ENVIRON if environ is None else environ)[0]


@pytest.mark.parametrize(("latency", "verdict"), [(0.001, "pass"), (900.0, "fail")])
def test_the_running_scheduler_is_judged_by_what_its_telemetry_keeps(
    telemetry: TelemetryProcess, latency: float, verdict: str
) -> None:
    found = seen(tell(telemetry, latency))
    assert (found.verdict, found.problem) == (verdict, None)
    assert {row.samples for row in found.rows} == {1}


def test_a_schedule_that_says_nothing_cannot_be_judged(telemetry: TelemetryProcess) -> None:
    found = seen(tell(telemetry, 0.001, "cross_exchange_watch"))
    assert found.verdict == "cannot_tell"
    assert {row.schedule for row in found.rows if row.level == "cannot_tell"} == {"cross_exchange_watch"}


def test_a_token_without_the_scope_and_no_token_are_no_look(telemetry: TelemetryProcess) -> None:
    installation = tell(telemetry, 0.001)
    wrong = seen(installation, {**ENVIRON, "METRICS_SERVICE_AUTH_TOKEN": ENVIRON["SCHEDULER_TOKEN"]})
    assert (wrong.problem, wrong.verdict) == ("telemetry.call_refused", "cannot_tell")
    assert seen(installation, {}).problem == "security.token_env_missing"


def test_the_telemetry_of_another_installation_is_not_judged(telemetry: TelemetryProcess) -> None:
    installation = tell(telemetry, 0.001)
    operations = msgspec.structs.replace(installation.settings.operations, installation_id="elsewhere")
    other = Installation(installation.root, msgspec.structs.replace(installation.settings, operations=operations))
    assert seen(other).problem == "loadtest.foreign_service"
