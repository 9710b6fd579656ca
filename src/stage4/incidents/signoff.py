"""What a person signs, and when a signature still counts.

L1 and L2 sign their own lists, the Incident Manager signs everything and over their signatures. The signed bytes are
the canonical JSON of the statement; a change of what it covers voids the signature. The statement cannot show what
was never recorded, and an HMAC of the installation proves the installation, never a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from stage4.clock import format_instant
from stage4.decisionlog.canonical import canonical
from stage4.incidents.checklist import Playbook
from stage4.incidents.evidence import Artefact
from stage4.incidents.incident import Incident, StepRecord
from stage4.incidents.ports import LogDoubt, LogVerdict

SignerRole = Literal["l1", "l2", "incident_manager"]
MEANINGS: Mapping[SignerRole, str] = {
    "l1": "the L1 checklist is as I carried it out",
    "l2": "the L2 checklist is as I carried it out",
    "incident_manager": "the incident, its evidence and the signatures below it are complete",
}
NOT_COVERED = ("document", "statement", "signature")


@dataclass(frozen=True, slots=True)
class SignOff:
    """One signature. `content` is the digest of what it covers, `statement` the digest of the signed bytes.

    `over` are the statements of other people that it was given over, `doubts` those of the log that it states.
    """

    incident_id: str
    person: str
    role: SignerRole
    key: str
    content: str
    statement: str
    armored: str
    at: datetime
    over: tuple[str, ...] = ()
    doubts: tuple[LogDoubt, ...] = ()


def record(
    incident: Incident, playbook: Playbook, artefacts: Sequence[Artefact], role: SignerRole
) -> dict[str, object]:
    """What a signature in `role` covers: the facts, the steps of its list, and their artefacts by digest."""
    steps = [step for step in playbook.steps if role == "incident_manager" or step.tier == role]
    covered = {step.id for step in steps}
    return {
        "schema": "stage4.incident_record/1",
        "incident": {
            "id": incident.id,
            "ticket": incident.ticket,
            "kind": incident.kind.value,
            "source": incident.source,
            "onset": format_instant(incident.onset),
            "opened_at": format_instant(incident.opened_at),
            **(_outcome(incident) if role == "incident_manager" else {}),
        },
        "playbook": {"id": playbook.id, "sha256": incident.playbook_digest},
        "steps": [{"id": step.id, **_step(incident.step(step.id))} for step in steps],
        "artefacts": [
            {"step": each.step, "role": each.role, "name": each.name, "sha256": each.sha256}
            for each in artefacts
            if each.role not in NOT_COVERED and (role == "incident_manager" or each.step in covered)
        ],
    }


def content_digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical(content)).hexdigest()


def statement(
    content: Mapping[str, object],
    *,
    signer: str,
    role: SignerRole,
    at: datetime,
    log: LogVerdict,
    documents: Mapping[str, str],
    over: Sequence[SignOff],
) -> bytes:
    """The bytes to sign in namespace `stage4-signoff`. `documents` are the digests of the filled-in playbooks."""
    return canonical(
        {
            "schema": "stage4.statement/1",
            "record": content,
            "record_sha256": content_digest(content),
            "documents": dict(documents),
            "log_head": {"seq": log.seq, "digest": log.digest},
            "log_doubts": [{"code": each.code, "place": each.place, "logs": each.logs} for each in log.doubts],
            "over": [
                {"person": each.person, "role": each.role, "key": each.key, "statement_sha256": each.statement}
                for each in sorted(over, key=lambda each: (each.role, each.person))
            ],
            "signer": signer,
            "role": role,
            "meaning": MEANINGS[role],
            "at": format_instant(at),
        }
    )


def _outcome(incident: Incident) -> dict[str, object]:
    reason, stop = incident.not_applicable, incident.stop
    return {
        "tier": incident.tier.value,
        "resolved_at": format_instant(incident.resolved_at) if incident.resolved_at else None,
        "conditions": [condition.value for condition in incident.conditions],
        "l2_not_applicable": {"reason": reason.reason, "by": reason.by} if reason else None,
        "stop": {"digest": stop.digest, "requested_by": stop.requested_by} if stop else None,
    }


def _step(step: StepRecord) -> dict[str, object]:
    answer = step.answer
    return {
        "state": step.state.value,
        "outcome": step.outcome,
        "params": dict(step.params),
        "ended_at": format_instant(step.ended_at) if step.ended_at else None,
        "answer": {
            "choice": answer.choice,
            "text": answer.text,
            "by": answer.by,
            "at": format_instant(answer.at),
        }
        if answer
        else None,
    }
