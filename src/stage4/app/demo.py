"""
The first incident, to look at: an installation, the environment, the service, and a staged latency fault.

`play` tells what happens until Ctrl-C; with `--auto` the people of the demonstration act too (see `demo_players`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from stage4 import words
from stage4.app.demo_players import play_all
from stage4.app.demo_stage import POLL_SECONDS, Stage
from stage4.app.installing import Made, create, read_environment
from stage4.app.processes import running
from stage4.clock import Clock
from stage4.config import CORE, load
from stage4.errors import Refused
from stage4.runtime import faults
from stage4.words import Language

STAGE_AFTER_SECONDS = 3.0
FAULT = timedelta(minutes=15)
# A playbook whose five minutes take six seconds fits into a minute.
SCALE_PER_SECOND = 0.02 / 60


def prepare(directory: Path, clock: Clock, lang: Language, tell_line: Callable[[str], None]) -> Stage:
    """The installation in `directory`, made if there is none; only a demo or drill may be played with."""
    if not (directory / CORE).is_file():
        lines = create(directory, clock, installation_id="stage4-demo")
        made = sum(line.made is Made.CREATED for line in lines)
        tell_line(words.text("demo.made", lang, root=directory.resolve(), n=made))
    installation = load(directory.resolve())
    if not installation.is_rehearsal:
        raise Refused("demo.production", root=installation.root)
    environ = {**os.environ, **read_environment(installation.root), "STAGE4_ROOT": str(installation.root)}
    return Stage(installation, clock, environ, lang, tell_line)


def play(stage: Stage, *, auto_span: timedelta | None, time_scale: float) -> int:
    """Start everything, stage the fault and tell the story; the exit code is the story's."""
    if auto_span is not None:
        time_scale = min(1.0, auto_span.total_seconds() * SCALE_PER_SECOND)
    faults.clear(stage.installation)
    stage.tell("starting")
    with running(stage.installation, stage.environ, stage.clock, time_scale=time_scale) as children:
        stage.children = children
        try:
            _introduce(stage)
            _wait(stage, STAGE_AFTER_SECONDS)
            faults.stage(stage.installation, "latency", until=stage.clock.now() + FAULT)
            stage.tell("fault")
            incident_id = _first_incident(stage)
            stage.tell("incident", id=incident_id, page=f"{_page(stage)}incidents/{incident_id}")
            if auto_span is not None:
                return play_all(stage, incident_id, auto_span)
            _invite(stage, incident_id)
            while True:
                stage.check()
                stage.view(incident_id)
                stage.clock.sleep(POLL_SECONDS)
        finally:
            faults.clear(stage.installation)
            stage.tell("stopping")


def _introduce(stage: Stage) -> None:
    from stage4.runtime.state import STATE_FILE, SchedulerState, read_state

    monitoring = stage.installation.settings.operations.monitoring
    metrics = f"http://{monitoring.metrics_host}:{monitoring.metrics_port}/metrics"
    stage.tell("up", page=_page(stage), metrics=metrics, root=stage.installation.root)
    if read_state(stage.installation.path(STATE_FILE)).state is not SchedulerState.ENABLED:
        stage.tell("still_stopped")


def _first_incident(stage: Stage) -> str:
    while True:
        stage.check()
        incident_id = stage.open_incident("latency")
        if incident_id is not None:
            return incident_id
        stage.clock.sleep(POLL_SECONDS)


def _invite(stage: Stage, incident_id: str) -> None:
    stage.tell("invite", id=incident_id, root=stage.installation.root)


def _page(stage: Stage) -> str:
    service = stage.installation.settings.operations.service
    return f"http://{service.host}:{service.port}/"


def _wait(stage: Stage, seconds: float) -> None:
    deadline = stage.clock.monotonic_ns() + int(seconds * 1e9)
    while stage.clock.monotonic_ns() < deadline:
        stage.check()
        stage.clock.sleep(POLL_SECONDS)
