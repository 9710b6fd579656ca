"""The stage of the demonstration: its installation, the way to the service, and how people are told what happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stage4 import words
from stage4.app.client import ServiceClient
from stage4.app.processes import Child
from stage4.clock import Clock, parse_instant
from stage4.config import Installation
from stage4.incidents.wording import event_text
from stage4.words import Language

INCIDENTS = "/v1/incidents"
POLL_SECONDS = 0.5


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
