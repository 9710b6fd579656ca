"""The signed summary of an incident, which works while the service is down and says what it could not look up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stage4.clock import format_instant
from stage4.config import Installation
from stage4.decisionlog.entry import INCIDENT_CATEGORY, INCIDENT_SUMMARY, Draft, Scalar
from stage4.errors import Unavailable, UsageError
from stage4.ids import parse_incident_id
from stage4.incidents import lookup
from stage4.incidents.lookup import IncidentSummary


@dataclass(frozen=True, slots=True)
class Subject:
    """The incident an entry is about; `summary` is None where it could not be looked up, for `reason`."""

    id: str
    summary: IncidentSummary | None
    reason: str = ""

    def ticket(self, named: str) -> str:
        """The ticket that was named, else the incident's own, else the incident's id."""
        return named or (self.summary.ticket if self.summary is not None else "") or self.id


def subject_of(installation: Installation, named: str) -> Subject:
    """The incident `named`, or the only open one.

    Raises UsageError `log.unknown_incident`, `log.no_open_incident`, `log.several_open`, `ids.bad_incident_id`, and
    Unavailable where none is named and the database does not answer.
    """
    if not named:
        return _only_open(lookup.open_incidents(installation))
    parse_incident_id(named)
    named = named.strip()
    try:
        summary = lookup.find(installation, named)
        if summary is None:
            others = _names(lookup.open_incidents(installation))
            raise UsageError("log.unknown_incident", incident=named, incidents=others)
    except Unavailable as error:
        return Subject(named, None, str(error.params.get("reason", error.code)))
    return Subject(named, summary)


def summary_draft(
    subject: Subject,
    *,
    ticket: str,
    stage: str,
    status: str,
    artefacts: Mapping[str, Scalar],
    metadata: Mapping[str, object],
    tags: Sequence[str],
) -> Draft:
    """The entry `incident_summary`; without `status` the incident's state, `recorded` where it is not known.

    Raises UsageError `logview.member_reserved` where `artefacts` or `metadata` name what the entry itself says.
    """
    summary = subject.summary
    own_artefacts = {"incident": subject.id, "ticket": ticket}
    own_metadata = {"incident_id": subject.id, "ticket": ticket, **_facts(subject)}
    for own, given in ((own_artefacts, artefacts), (own_metadata, metadata)):
        if taken := own.keys() & given.keys():
            raise UsageError("logview.member_reserved", names=", ".join(sorted(taken)))
    return Draft(
        kind=INCIDENT_SUMMARY,
        category=INCIDENT_CATEGORY,
        stage=stage,
        status=status or (str(summary.state) if summary is not None else "recorded"),
        artefacts={**own_artefacts, **artefacts},
        runtime_flags={"incident.looked_up": summary is not None, "verify_decision_log.summary": True},
        metadata={**metadata, **own_metadata},
        tags=tuple(tags),
    )


def _only_open(candidates: Sequence[IncidentSummary]) -> Subject:
    if not candidates:
        raise UsageError("log.no_open_incident")
    if len(candidates) > 1:
        raise UsageError("log.several_open", incidents=_names(candidates))
    return Subject(candidates[0].id, candidates[0])


def _names(candidates: Iterable[IncidentSummary]) -> str:
    return ", ".join(candidate.id for candidate in candidates) or "-"


def _facts(subject: Subject) -> dict[str, object]:
    summary = subject.summary
    if summary is None:
        return {"looked_up": False, "looked_up_reason": subject.reason}
    return {
        "looked_up": True,
        "incident_kind": str(summary.kind),
        "incident_state": str(summary.state),
        "incident_tier": str(summary.tier),
        "onset": format_instant(summary.onset),
        "steps": {step: str(state) for step, state in summary.steps.items()},
    }
