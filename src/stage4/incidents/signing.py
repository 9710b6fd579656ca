"""Statements to sign, signatures, and the closing they allow."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from stage4.decisionlog.entry import INCIDENT_SUMMARY
from stage4.errors import Refused, UsageError
from stage4.incidents import lifecycle
from stage4.incidents.checklist import Playbook
from stage4.incidents.closing import Found, Missing, missing
from stage4.incidents.core import Core, Unit
from stage4.incidents.effects import Recorded
from stage4.incidents.evidence import Artefact, EvidenceStore
from stage4.incidents.incident import Incident, NotApplicable, State
from stage4.incidents.ports import Content, DocumentRenderer, LogDoubt, LogReader, Register
from stage4.incidents.progress import keep
from stage4.incidents.signoff import SignerRole, SignOff, content_digest, record, statement
from stage4.incidents.steps.rule import Kept
from stage4.incidents.transaction import Transaction
from stage4.words import languages

ROLES: tuple[SignerRole, ...] = ("l1", "l2", "incident_manager")
CLOSING_STEP = "closing"


@dataclass(frozen=True, slots=True)
class Signing:
    """Gives out statements, takes signatures, and closes."""

    core: Core
    playbook: Playbook
    evidence: EvidenceStore
    reader: LogReader
    register: Register
    render: DocumentRenderer

    def statement(self, incident_id: str, role: str, by: str) -> bytes:
        """The canonical bytes that `by` signs in `role`; the filled-in playbook is kept with it."""
        role = self._role(role, by)
        log = self.reader.verify()
        with self.core.change() as unit:
            incident = self._signable(unit, incident_id)
            artefacts = unit.tx.artefacts_of(incident_id)
            content = record(incident, self.playbook, artefacts, role)
            documents = self._documents(unit, incident, artefacts)
            sign_offs = _valid(unit.tx, incident, self.playbook, artefacts)
            over = [each for each in sign_offs if each.role != "incident_manager"]
            body = statement(
                content,
                signer=by,
                role=role,
                at=unit.now,
                log=log,
                documents={language: each.sha256 for language, each in documents.items()},
                over=over if role == "incident_manager" else (),
            )
            unit.tx.put_statement(incident_id, by, role, content_digest(content), body)
            new = [each for each in documents.values() if each.sha256 not in {known.sha256 for known in artefacts}]
            if new:
                unit.apply((incident, [Recorded("document_filled_in", "filled_in", by)]), new, CLOSING_STEP)
            return body

    def sign(self, incident_id: str, role: str, armored: str, by: str) -> SignOff:
        """Takes the signature over the last statement given out to `by`. Refused where it is not theirs or is void."""
        role = self._role(role, by)
        with self.core.change() as unit:
            incident = self._signable(unit, incident_id)
            given = unit.tx.statement(incident_id, by, role)
            if given is None:
                raise Refused("incident.no_statement", incident=incident_id, role=role)
            content, body = given
            artefacts = unit.tx.artefacts_of(incident_id)
            if content != content_digest(record(incident, self.playbook, artefacts, role)):
                raise Refused("incident.statement_outdated", incident=incident_id, role=role)
            signer = self.register.verify_sign_off(by, armored, body, unit.now)
            others = _valid(unit.tx, incident, self.playbook, artefacts)
            if any(_conflict(role, signer.person, signer.key, other) for other in others):
                raise Refused("incident.same_signer", incident=incident_id, person=by)
            stated = json.loads(body)
            signed_over = tuple(each["statement_sha256"] for each in stated["over"])
            # A statement that was given out before there were any lacks them.
            doubts = tuple(LogDoubt(**each) for each in stated.get("log_doubts", ()))
            digest = hashlib.sha256(body).hexdigest()
            sign_off = SignOff(
                incident_id, by, role, signer.key, content, digest, armored, unit.now, signed_over, doubts
            )
            unit.tx.put_sign_off(sign_off)
            kept = [
                Kept("statement", Content(f"statement.{role}.{by}.json", body)),
                Kept("signature", Content(f"statement.{role}.{by}.json.sig", armored.encode(), "text/plain")),
            ]
            new = [keep(self.evidence, incident_id, CLOSING_STEP, each, unit) for each in kept]
            params = {"role": role, "key": signer.key, "statement_sha256": sign_off.statement}
            unit.apply((incident, [Recorded("incident_signed", "signed", by, params)]), new, CLOSING_STEP)
            return sign_off

    def not_applicable(self, incident_id: str, reason: str, by: str) -> Incident:
        """Where L2 was not called: why its items do not apply. The Incident Manager's signature covers it."""
        self._must_be_manager(by)
        if not reason.strip():
            raise UsageError("incident.reason_missing")
        with self.core.change() as unit:
            incident = self._signable(unit, incident_id)
            if incident.l2_called:
                raise Refused("incident.l2_was_called", incident=incident_id)
            changed = replace(incident, not_applicable=NotApplicable(reason.strip(), by, unit.now))
            return unit.apply((changed, [Recorded("l2_not_applicable", "recorded", by, {"reason": reason.strip()})]))

    def close(self, incident_id: str, by: str) -> Incident:
        """Closes for good. Refused `closing.missing` names every item that is not there."""
        self._must_be_manager(by)
        verdict = self.reader.verify()
        summaries = self._summaries(incident_id)
        with self.core.change() as unit:
            incident = unit.incident(incident_id)
            if incident.state is not State.RESOLVED:
                raise Refused("incident.not_resolved", incident=incident_id)
            artefacts = unit.tx.artefacts_of(incident_id)
            found = Found(
                incident=incident,
                playbook=self.playbook,
                artefacts=artefacts,
                intact={each.sha256 for each in artefacts if self.evidence.intact(each.sha256)},
                log=verdict,
                summary_logged=incident.ticket in summaries,
                unlogged=len(unit.tx.unlogged(incident_id)),
                sign_offs=unit.tx.sign_offs_of(incident_id),
                content=_contents(incident, self.playbook, artefacts),
            )
            lacking = missing(found)
            if lacking:
                raise refusal(incident_id, lacking)
            return self._closed(unit, incident, by, artefacts)

    def _closed(self, unit: Unit, incident: Incident, by: str, artefacts: list[Artefact]) -> Incident:
        # One digest over all of them: from here on the log itself holds the evidence together.
        incident, effects = lifecycle.closed(incident, by, unit.now)
        digest = hashlib.sha256("".join(sorted(each.sha256 for each in artefacts)).encode()).hexdigest()
        effects[0] = Recorded("incident_closed", "closed", by, {"artefacts": len(artefacts), "evidence_sha256": digest})
        return unit.apply((incident, effects), stage=CLOSING_STEP)

    def _summaries(self, incident_id: str) -> set[object]:
        """The tickets of the signed entries of this incident that the log holds."""
        return {
            entry.metadata.get("ticket")
            for entry in self.reader.entries()
            if entry.kind == INCIDENT_SUMMARY and entry.metadata.get("incident_id") == incident_id
        }

    def _documents(self, unit: Unit, incident: Incident, artefacts: list[Artefact]) -> dict[str, Artefact]:
        facts = record(incident, self.playbook, artefacts, "incident_manager")
        documents: dict[str, Artefact] = {}
        for language in languages:
            name = f"STAGE4_SUPPORT_PLAYBOOK.{incident.id}.{language}.md"
            content = Content(name, self.render(facts, language).encode(), "text/markdown; charset=utf-8")
            documents[language] = keep(self.evidence, incident.id, CLOSING_STEP, Kept("document", content), unit)
        return documents

    def _role(self, role: str, by: str) -> SignerRole:
        for known in ROLES:
            if known == role:
                if known not in self.register.roles(by):
                    raise Refused("incident.role_needed", person=by, role=known)
                return known
        raise UsageError("incident.unknown_role", role=role, known=", ".join(ROLES))

    def _must_be_manager(self, by: str) -> None:
        if "incident_manager" not in self.register.roles(by):
            raise Refused("incident.role_needed", person=by, role="incident_manager")

    @staticmethod
    def _signable(unit: Unit, incident_id: str) -> Incident:
        incident = unit.incident(incident_id)
        if incident.state is State.CLOSED:
            raise Refused("incident.closed", incident=incident_id)
        return incident


def refusal(incident_id: str, lacking: tuple[Missing, ...]) -> Refused:
    """Names every missing item: `items` for programs, `names` for people."""
    items = [{"code": each.code, "params": dict(each.params)} for each in lacking]
    names = ", ".join(
        " ".join([each.code.removeprefix("closing."), *map(str, each.params.values())]) for each in lacking
    )
    return Refused("closing.missing", incident=incident_id, n=len(lacking), names=names, items=items)


def _contents(incident: Incident, playbook: Playbook, artefacts: list[Artefact]) -> Mapping[SignerRole, str]:
    return {role: content_digest(record(incident, playbook, artefacts, role)) for role in ROLES}


def _valid(tx: Transaction, incident: Incident, playbook: Playbook, artefacts: list[Artefact]) -> list[SignOff]:
    """The signatures that still cover what is there now."""
    contents = _contents(incident, playbook, artefacts)
    return [each for each in tx.sign_offs_of(incident.id) if contents[each.role] == each.content]


def _conflict(role: SignerRole, person: str, key: str, other: SignOff) -> bool:
    crosses = (role == "incident_manager") != (other.role == "incident_manager")
    return crosses and (other.person == person or other.key == key)
