"""An incident as the page, the API and the command line show it: frozen, with deadlines as instants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from stage4.incidents.checklist import Playbook, Step
from stage4.incidents.effects import TimerKind
from stage4.incidents.evidence import Artefact
from stage4.incidents.incident import Incident, StepRecord, StepState
from stage4.incidents.intake import Alert
from stage4.incidents.rows import Event, Outgoing
from stage4.incidents.signoff import SignOff
from stage4.incidents.transaction import Transaction


@dataclass(frozen=True, slots=True)
class StepView:
    """One row of the checklist with what it has come to. `asks` means that a person's answer is what it waits for."""

    step: Step
    record: StepRecord
    asks: bool
    applies: bool


@dataclass(frozen=True, slots=True)
class Countdown:
    """A pending timer: what happens at `due_at` when nobody does anything before."""

    kind: TimerKind
    due_at: datetime


@dataclass(frozen=True, slots=True)
class IncidentView:
    incident: Incident
    steps: tuple[StepView, ...]
    countdowns: tuple[Countdown, ...]
    timeline: tuple[Event, ...]
    artefacts: tuple[Artefact, ...]
    alerts: tuple[Alert, ...]
    notices: tuple[Outgoing, ...]
    sign_offs: tuple[SignOff, ...]
    unlogged: int

    @property
    def deadline(self) -> datetime | None:
        """The next instant at which something happens by itself."""
        return self.countdowns[0].due_at if self.countdowns else None

    def document(self) -> Mapping[str, object]:
        """As a JSON document: ids, states and codes, with instants as RFC 3339 texts."""
        import msgspec

        document: Mapping[str, object] = msgspec.to_builtins(self, builtin_types=())
        return {"schema": "stage4.incident/1", **document}


def view_of(tx: Transaction, incident: Incident, playbook: Playbook) -> IncidentView:
    timers = tx.timers_of(incident.id)
    return IncidentView(
        incident=incident,
        steps=tuple(_step(incident, step) for step in playbook.steps),
        countdowns=tuple(Countdown(timer.kind, timer.due_at) for timer in timers),
        timeline=tuple(tx.events_of(incident.id)),
        artefacts=tuple(tx.artefacts_of(incident.id)),
        alerts=tuple(tx.alerts_of(incident.id)),
        notices=tuple(tx.notices_of(incident.id)),
        sign_offs=tuple(tx.sign_offs_of(incident.id)),
        unlogged=len(tx.unlogged(incident.id)),
    )


def _step(incident: Incident, step: Step) -> StepView:
    record = incident.step(step.id)
    applies = incident.l2_called if step.tier == "l2" or step.id == "L1.5" else True
    undecided = record.state is StepState.NOT_STARTED and step.kind == "person"
    asks = bool(step.question) and applies and (record.state is StepState.WAITING or undecided)
    return StepView(step, record, asks, applies)
