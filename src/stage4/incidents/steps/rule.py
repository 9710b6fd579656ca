"""What a step of the checklist is to the engine: it observes the world, then judges what it saw.

`observe` touches the world and holds no lock; `judge` and `answered` are pure. No observation is ever an acceptance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from stage4.incidents.checklist import Step
from stage4.incidents.incident import Answer, Incident, Reason, Scalar, StepRecord, StepState
from stage4.incidents.ports import AlertSource, CommandResult, CommandRunner, Content, PanelSource

AUDIT_SCHEMAS = ("stage4.audit/1", "stage4.security_baseline/1")


class AuditVerdict(StrEnum):
    """What an audit came to for the incident. One that cannot tell counts as fail and is shown as what it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    CANNOT_TELL = "cannot_tell"

    @property
    def failing(self) -> bool:
        return self in (AuditVerdict.FAIL, AuditVerdict.CANNOT_TELL)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a step may touch while it observes. `commands` are filled in; `fingerprints` name the incident's alerts."""

    incident: Incident
    step: Step
    commands: tuple[tuple[str, ...], ...]
    fingerprints: tuple[str, ...]
    time_limit: timedelta
    runner: CommandRunner
    alerts: AlertSource
    panels: PanelSource
    earlier_audit: Mapping[str, object] | None = None

    def run(self, place: int = 0, more: tuple[str, ...] = ()) -> CommandResult:
        """Runs the step's command number `place`, with `more` that an incident asks of it; what it writes by its own
        options is kept too."""
        from stage4.incidents.commands import outputs_of

        argv = (*self.commands[place], *more)
        return self.runner.run(argv, self.time_limit, outputs_of(argv))


@dataclass(frozen=True, slots=True)
class Kept:
    """A content to keep as an artefact, with its role for the closing."""

    role: str
    content: Content


@dataclass(frozen=True, slots=True)
class Observation:
    """What a step saw: commands with their results, contents to keep, facts for the judgement."""

    commands: tuple[CommandResult, ...] = ()
    kept: tuple[Kept, ...] = ()
    facts: Mapping[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A judgement: the step's state, the text that says why, and what follows from it."""

    state: StepState
    code: str
    params: Mapping[str, Scalar] = field(default_factory=dict)
    facts: Mapping[str, Scalar] = field(default_factory=dict)
    audit: AuditVerdict | None = None
    escalate: Reason | None = None
    warnings: int = 0


class StepRule(Protocol):
    """One step.

    * `observes` says whether it reads or runs something; such a step is started by the engine itself.
    * `observe` MUST return for every failure of what it touches; `repeat_is_safe` says why a crash may repeat it.
    * `judge` and `answered` MUST be pure.
    """

    @property
    def id(self) -> str: ...

    @property
    def observes(self) -> bool: ...

    @property
    def repeat_is_safe(self) -> str: ...

    def observe(self, scene: Scene) -> Observation: ...

    def judge(self, incident: Incident, seen: Observation) -> Outcome: ...

    def answered(self, incident: Incident, record: StepRecord, answer: Answer) -> Outcome: ...


def audit_verdict(result: CommandResult) -> tuple[AuditVerdict, int]:
    """What an audit's run came to, and its number of warnings. Exit code and document must agree."""
    if result.document is None:
        return AuditVerdict.CANNOT_TELL, 0
    verdict, warnings = verdict_of_document(result.document)
    if verdict.failing or result.exit_code == 0:
        return verdict, warnings
    return (AuditVerdict.FAIL if result.exit_code == 1 else AuditVerdict.CANNOT_TELL), warnings


def verdict_of_document(document: Mapping[str, object]) -> tuple[AuditVerdict, int]:
    """What an audit's document says, and its number of warnings; what it does not clearly say it cannot tell."""
    warnings = document.get("warnings")
    count = len(warnings) if isinstance(warnings, list) else 0
    if document.get("schema") not in AUDIT_SCHEMAS or document.get("verdict") == "cannot tell":
        return AuditVerdict.CANNOT_TELL, count
    status = document.get("status")
    return (AuditVerdict(status) if status in ("ok", "warn", "fail") else AuditVerdict.CANNOT_TELL), count


def kept_documents(result: CommandResult, role: str, name: str) -> tuple[Kept, ...]:
    """The command's document under `name`, and every file it wrote."""
    kept = [Kept(role, Content(name, result.stdout))] if result.document is not None else []
    return tuple(kept + [Kept("file", content) for content in result.produced])


def no_question(record: StepRecord) -> Outcome:
    """The step asks nothing, so an answer changes nothing."""
    return Outcome(record.state, record.outcome or "step.no_question", record.params, record.facts)
