"""What must exist when an incident closes, judged as a list of what is missing.

Only what was found, hashed and verified counts; nothing is taken on trust. An empty answer means that it may close.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stage4.incidents.checklist import Playbook
from stage4.incidents.evidence import Artefact
from stage4.incidents.incident import Incident, Scalar, StepState
from stage4.incidents.ports import LogVerdict
from stage4.incidents.signoff import SignerRole, SignOff

L2_OUTPUTS: Mapping[str, str] = {
    "L2.2": "load_test_scheduler.py",
    "L2.3": "watch_metrics_stream.py",
    "L2.4": "audit_security_baseline.py",
}
DONE = (StepState.ACCEPTED, StepState.ESCALATED, StepState.SKIPPED)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found when the Incident Manager asked to close.

    `intact` are the digests whose bytes are still what they were; `content` what each role would sign now;
    `summary_logged` whether the signed entry of the incident is in the log; `unlogged` counts decisions that are not.
    """

    incident: Incident
    playbook: Playbook
    artefacts: Sequence[Artefact]
    intact: Collection[str]
    log: LogVerdict
    summary_logged: bool
    unlogged: int
    sign_offs: Sequence[SignOff]
    content: Mapping[SignerRole, str]


@dataclass(frozen=True, slots=True)
class Missing:
    """One item that is missing; `code` names its text."""

    code: str
    params: Mapping[str, Scalar] = field(default_factory=dict)


def missing(found: Found) -> tuple[Missing, ...]:
    """Every item of "What must exist when an incident closes" that is not there."""
    return tuple(
        item for part in (_steps, _audit, _outputs, _damage, _log, _documents, _signatures) for item in part(found)
    )


def _steps(found: Found) -> Iterator[Missing]:
    incident = found.incident
    for step in found.playbook.steps:
        needed = not step.follow_up and (incident.l2_called if step.tier == "l2" or step.id == "L1.5" else True)
        if needed and incident.step(step.id).state not in DONE:
            yield Missing("closing.step_open", {"step": step.id, "state": incident.step(step.id).state.value})
    if not incident.l2_called and incident.not_applicable is None:
        yield Missing("closing.l2_without_reason")


def _audit(found: Found) -> Iterator[Missing]:
    if not _has(found, ("L1.2", "L2.1", "L2.4"), "report", "compliance.json"):
        yield Missing("closing.no_audit_report")
    failed, clean = found.incident.audit_failed_at, found.incident.audit_clean_at
    if failed is not None and (clean is None or clean <= failed):
        yield Missing("closing.audit_still_fails")


def _outputs(found: Found) -> Iterator[Missing]:
    if not found.incident.l2_called:
        return
    for step, command in L2_OUTPUTS.items():
        if not _has(found, (step,), "output", command):
            yield Missing("closing.no_output", {"command": command})
        if not _has(found, (step,), "command_log", command):
            yield Missing("closing.no_command_log", {"command": command})


def _damage(found: Found) -> Iterator[Missing]:
    for artefact in found.artefacts:
        if artefact.sha256 not in found.intact:
            yield Missing("closing.evidence_damaged", {"name": artefact.name, "sha256": artefact.sha256})


def _log(found: Found) -> Iterator[Missing]:
    if not found.summary_logged:
        yield Missing("closing.no_log_entry")
    if found.unlogged:
        yield Missing("closing.unlogged", {"n": found.unlogged})
    if not found.log.intact:
        yield Missing("closing.log_does_not_verify", {"findings": "; ".join(found.log.findings[:5])})
    manager = _manager(_valid(found))
    stated = {(each.code, each.place) for each in manager.doubts} if manager else set()
    for doubt in found.log.doubts:
        # Nobody but him may decide that the log is the right one all the same.
        if (doubt.code, doubt.place) not in stated:
            yield Missing(doubt.code, {"place": doubt.place} | ({"logs": doubt.logs} if doubt.logs else {}))


def _documents(found: Found) -> Iterator[Missing]:
    for language in ("pl", "en"):
        if not any(each.role == "document" and each.name.endswith(f".{language}.md") for each in found.artefacts):
            yield Missing("closing.no_document", {"language": language})


def _signatures(found: Found) -> Iterator[Missing]:
    needed: tuple[SignerRole, ...] = ("l1", "l2") if found.incident.l2_called else ("l1",)
    valid = _valid(found)
    for role in needed:
        if not any(each.role == role for each in valid):
            yield Missing(_voided(found, role), {"role": role})
    manager = _manager(valid)
    if manager is None:
        yield Missing(_voided(found, "incident_manager"), {"role": "incident_manager"})
        return
    for operator in valid:
        if operator.role == "incident_manager":
            continue
        if operator.statement not in manager.over:
            yield Missing("closing.signature_not_covered", {"person": operator.person})
        if operator.person == manager.person or operator.key == manager.key:
            yield Missing("closing.same_signer", {"person": manager.person})


def _valid(found: Found) -> list[SignOff]:
    return [each for each in found.sign_offs if found.content[each.role] == each.content]


def _manager(valid: Sequence[SignOff]) -> SignOff | None:
    return next((each for each in valid if each.role == "incident_manager"), None)


def _voided(found: Found, role: SignerRole) -> str:
    given = any(each.role == role for each in found.sign_offs)
    return "closing.signature_void" if given else "closing.no_signature"


def _has(found: Found, steps: Sequence[str], role: str, name: str) -> bool:
    return any(
        each.step in steps and each.role == role and each.name.startswith(name) and each.sha256 in found.intact
        for each in found.artefacts
    )
