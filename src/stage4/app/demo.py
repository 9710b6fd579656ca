"""
The first incident, to look at: an installation, the environment, the service, and a staged latency fault.

`play` tells what happens until Ctrl-C; with `--auto` the people of the demonstration act too (see `demo_players`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from stage4 import words
from stage4.app.client import ServiceClient
from stage4.app.installing import Made, create, read_environment
from stage4.app.processes import Child, running
from stage4.clock import Clock, parse_instant
from stage4.config import CORE, Installation, load
from stage4.errors import Refused
from stage4.runtime import faults
from stage4.words import Language

INCIDENTS = "/v1/incidents"
STAGE_AFTER_SECONDS = 3.0
FAULT = timedelta(minutes=15)
POLL_SECONDS = 0.5
# A playbook whose five minutes take six seconds fits into a minute.
SCALE_PER_SECOND = 0.02 / 60


@dataclass(slots=True)
class Stage:
    """What the story needs: the installation, the way to its service, and how to tell people what happens."""

    installation: Installation
    clock: Clock
    environ: Mapping[str, str]
    lang: Language
    tell_line: Callable[[str], None]
    children: tuple[Child, ...] = ()
    _told: dict[str, int] = field(default_factory=dict)

    @property
    def client(self) -> ServiceClient:
        return ServiceClient(self.installation)

    def tell(self, code: str, /, **params: object) -> None:
        """One line of the story, with the time of day in UTC."""
        self.tell_line(f"{self.clock.now():%H:%M:%S}Z  {words.text(f'demo.{code}', self.lang, **params)}")

    def act(self, incident_id: str, verb: str, /, **body: object) -> dict[str, Any]:
        """A command to the service."""
        return self.client.post(f"{INCIDENTS}/{incident_id}/{verb}", body)

    def view(self, incident_id: str) -> dict[str, Any]:
        """The incident as it is now; what is new on its timeline is told."""
        view = self.act(incident_id, "show")
        events = view["timeline"]
        for event in events[self._told.get(incident_id, 0) :]:
            at = parse_instant(event["at"])
            person = f" – {event['person']}" if event["person"] else ""
            self.tell_line(f"{at:%H:%M:%S}Z    · {event_text(event['kind'], event['params'], self.lang)}{person}")
        self._told[incident_id] = len(events)
        return view

    def open_incident(self, kind: str) -> str | None:
        """The newest incident of `kind` that somebody works on."""
        listed = self.client.get(INCIDENTS)["incidents"]
        return next((each["id"] for each in listed if each["kind"] == kind and each["state"] != "closed"), None)

    def check(self) -> None:
        """Raises Unavailable when one of the processes has ended."""
        for child in self.children:
            child.check()


def event_text(kind: str, params: Mapping[str, object], lang: Language) -> str:
    """A line of the timeline, by the same catalogue as the page's."""
    told = dict(params)
    if "reason" in params and words.has(f"escalation.reason_{params['reason']}"):
        told["why"] = words.text(f"escalation.reason_{params['reason']}", lang)
    outcome = str(params.get("outcome", ""))
    if words.has(outcome):
        told["result"] = words.text(outcome, lang, **params)
    return words.text(f"event.{kind}", lang, **told) if words.has(f"event.{kind}") else kind


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
    from stage4.app.demo_players import play_all

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
