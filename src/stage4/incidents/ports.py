"""What the incident room asks of the rest of the house. The composition root joins these to the real rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from stage4.decisionlog.entry import Draft, Entry, Receipt
from stage4.incidents.effects import Duties
from stage4.words import Language


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes that become an artefact of a step under `name`."""

    name: str
    body: bytes
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a child process left. `exit_code` is None when it was ended at its time limit or could not be started."""

    argv: tuple[str, ...]
    exit_code: int | None
    started_at: datetime
    ended_at: datetime
    stdout: bytes
    stderr: bytes
    document: Mapping[str, object] | None = None
    produced: tuple[Content, ...] = ()
    reason: str = ""


class CommandRunner(Protocol):
    """Runs one command of the playbook.

    * It MUST return within `time_limit` and a few seconds, whatever the command does.
    * It MUST return a result for every way in which a command can fail, and raise only for a bug.
    * A document is one JSON object on stdout; `outputs` are files, relative to the root, kept as they are at the end.
    """

    def run(self, argv: tuple[str, ...], time_limit: timedelta, outputs: tuple[str, ...] = ()) -> CommandResult: ...


@dataclass(frozen=True, slots=True)
class AlertLog:
    """The alerts as their source lists them now, with the source's name (`alertmanager` or `intake`)."""

    source: str
    firing: int
    content: Content


class AlertSource(Protocol):
    """Lists the alerts of an incident; raises Unavailable when the source does not answer."""

    def alerts(self, incident_id: str, fingerprints: tuple[str, ...]) -> AlertLog: ...


@dataclass(frozen=True, slots=True)
class PanelPicture:
    """One panel of L1.3: its state (`green`, `yellow`, `red`, `no_data`, `stale`) and its picture."""

    name: str
    state: str
    content: Content


@dataclass(frozen=True, slots=True)
class PanelBoard:
    """The panels of L1.3 with the name of the source they were drawn from."""

    source: str
    panels: tuple[PanelPicture, ...]


class PanelSource(Protocol):
    """Draws the panels. What cannot be read is a panel in state `no_data`; raises Unavailable when nothing can."""

    def board(self) -> PanelBoard: ...


@dataclass(frozen=True, slots=True)
class SchedulerWord:
    """The scheduler's own word: `enabled`, `stopping`, `disabled`, or `silent` when there is none that is fresh."""

    state: str
    override_digest: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StopOrder:
    incident_id: str
    ticket: str
    reason: str
    requested_by: str


@dataclass(frozen=True, slots=True)
class StopFacts:
    """A stop that stands: the digest of its file and the file itself."""

    digest: str
    already: bool
    content: Content


class SchedulerSwitch(Protocol):
    """Stops the scheduler and reports what it says. `stop` MUST need no database, no log and no network."""

    def stop(self, order: StopOrder) -> StopFacts: ...

    def word(self) -> SchedulerWord: ...


class Log(Protocol):
    """The decision log as a writer sees it: an entry is acknowledged only when it is durable."""

    def append_many(self, drafts: Sequence[Draft]) -> tuple[Receipt, ...]: ...


@dataclass(frozen=True, slots=True)
class LogDoubt:
    """What leaves open whether the log is the one that was always here: a text of `closing`, the place, other logs."""

    code: str
    place: str
    logs: str = ""


@dataclass(frozen=True, slots=True)
class LogVerdict:
    """What verifying the whole log said, and its head at that moment; `doubts` make no log less intact."""

    intact: bool
    findings: tuple[str, ...]
    seq: int
    digest: str
    doubts: tuple[LogDoubt, ...] = ()


class LogReader(Protocol):
    """Reads the decision log back."""

    def verify(self) -> LogVerdict: ...

    def entries(self, after_seq: int = -1) -> Sequence[Entry]:
        """Those of category `stage4_incident` with a higher number, in their order."""


class Roster(Protocol):
    """Who is on duty at an instant, as the engine needs it."""

    def duties(self, at: datetime) -> Duties: ...


@dataclass(frozen=True, slots=True)
class Signer:
    """Who made a valid signature, and with which key (its fingerprint)."""

    person: str
    key: str


class Register(Protocol):
    """The people: roles and signatures. Raises Refused for an unknown person or a signature that is not theirs."""

    def roles(self, person: str) -> frozenset[str]: ...

    def verify_sign_off(self, person: str, armored: str, message: bytes, at: datetime) -> Signer: ...


# The filled-in playbook as Markdown, from the statement's record (see `signoff.record`).
DocumentRenderer = Callable[[Mapping[str, object], Language], str]
