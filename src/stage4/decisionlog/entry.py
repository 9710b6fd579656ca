"""
An entry before and after it is sealed.

Version 3 is a superset of decision log v2: the members of v2 under their own names, never empty where v2 wants
one, and `v, seq, prev, log_id, key_id, category` beside them. The set of members is closed; what belongs to one
kind of entry stands in `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from stage4.clock import format_instant
from stage4.decisionlog.canonical import MAX_INTEGER, MAX_LINE, Malformed, canonical
from stage4.errors import UsageError

VERSION = 3
GENESIS = "genesis"
RECOVERY = "recovery"
KEY_ROTATION = "key_rotation"
KEY_REVOCATION = "key_revocation"
CHECKPOINT = "checkpoint"
SEGMENT = "segment"
FLUSH_FAILED = "flush_failed"
VOID = "void"
INCIDENT_SUMMARY = "incident_summary"
INCIDENT_CATEGORY = "stage4_incident"
LOG_CATEGORY = "decision_log"

MEMBERS: Mapping[str, type] = {
    "artefacts": dict,
    "category": str,
    "key_id": str,
    "kind": str,
    "log_id": str,
    "metadata": dict,
    "prev": str,
    "runtime_flags": dict,
    "seq": int,
    "signatures": dict,
    "stage": str,
    "status": str,
    "tags": list,
    "timestamp": str,
    "v": int,
}
_NAMES = ("kind", "category", "stage", "status")

Scalar = str | int | bool | None


@dataclass(frozen=True, slots=True)
class Draft:
    """What its author knows; the writer adds place, time and signature.

    `kind` is the event, `category` the playbook's. Decimals are texts: fractions have no canonical form here.
    `timestamp` None means the instant of the append.
    """

    kind: str
    category: str
    stage: str
    status: str
    artefacts: Mapping[str, Scalar] = field(default_factory=dict)
    runtime_flags: Mapping[str, bool] = field(default_factory=dict)
    metadata: Mapping[str, object] = field(default_factory=dict)
    tags: Sequence[str] = ()
    timestamp: datetime | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands: its log, number, predecessor and key."""

    log_id: str
    seq: int
    prev: str
    key_id: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A sealed entry as it was read back; `line` counts from 1, `offset` in bytes."""

    log_id: str
    seq: int
    prev: str
    key_id: str
    kind: str
    category: str
    stage: str
    status: str
    timestamp: str
    artefacts: Mapping[str, Scalar]
    runtime_flags: Mapping[str, bool]
    signatures: Mapping[str, str]
    metadata: Mapping[str, object]
    tags: Sequence[str]
    line: int
    offset: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof for the author that the entry is on the disk: `raw` is its line without LF, `digest` the chain's hash."""

    seq: int
    digest: str
    timestamp: datetime
    line: int
    offset: int
    raw: bytes


def payload_of(draft: Draft, place: Place, now: datetime) -> bytes:
    """The canonical payload of `draft` at `place`; raises UsageError `log.draft_refused` naming the fault."""
    for name in _NAMES:
        value = getattr(draft, name)
        if not isinstance(value, str) or not value.strip():
            raise _refused(draft, f"{name} is empty")
    for name, value in draft.artefacts.items():
        if not _is_artefact(value):
            raise _refused(draft, f"artefacts.{name} is neither a non-empty text, a whole number, a boolean nor null")
    for name, flag in draft.runtime_flags.items():
        if type(flag) is not bool:
            raise _refused(draft, f"runtime_flags.{name} is not a boolean")
    if not all(isinstance(tag, str) for tag in draft.tags):
        raise _refused(draft, "tags are not texts")
    members = {
        # v2 wants at least one member in each of these three, so an author who has none gets one that says so.
        "artefacts": dict(draft.artefacts) or {"none": None},
        "category": draft.category,
        "key_id": place.key_id,
        "kind": draft.kind,
        "log_id": place.log_id,
        "metadata": dict(draft.metadata),
        "prev": place.prev,
        "runtime_flags": dict(draft.runtime_flags) or {"stage4.decision_log": True},
        "seq": place.seq,
        "signatures": {"decision_log.entry": f"hmac:{place.key_id}"},
        "stage": draft.stage,
        "status": draft.status,
        "tags": list(draft.tags),
        "timestamp": format_instant(draft.timestamp or now),
        "v": VERSION,
    }
    try:
        payload = canonical(members)
    except Malformed as error:
        raise _refused(draft, f"{error.reason} outside the canonical subset") from error
    if len(payload) > MAX_LINE - 256:
        raise _refused(draft, f"longer than {MAX_LINE - 256} bytes")
    return payload


def read_payload(members: object, line: int, offset: int) -> Entry:
    """The entry in a parsed payload; raises Malformed where a member is missing, foreign or of a wrong type."""
    if not isinstance(members, dict) or members.keys() != MEMBERS.keys():
        raise Malformed("members")
    for name, expected in MEMBERS.items():
        if type(members[name]) is not expected:
            raise Malformed("members")
    if not _complete(members):
        raise Malformed("members")
    facts = dict(members)
    if facts.pop("v") != VERSION or not 0 <= facts["seq"] <= MAX_INTEGER:
        raise Malformed("members")
    return Entry(**facts, line=line, offset=offset)


def _complete(members: Mapping[str, Any]) -> bool:
    """Whether what v2 wants non-empty is, and every value has the type that its member promises."""
    return (
        all(members[name] for name in ("artefacts", "runtime_flags", "signatures", *_NAMES))
        and all(_is_artefact(value) for value in members["artefacts"].values())
        and all(type(flag) is bool for flag in members["runtime_flags"].values())
        and all(type(value) is str for value in members["signatures"].values())
        and all(type(tag) is str for tag in members["tags"])
    )


def _is_artefact(value: object) -> bool:
    return value is None or type(value) in (int, bool) or (type(value) is str and value != "")


def _refused(draft: Draft, reason: str) -> UsageError:
    return UsageError("log.draft_refused", kind=draft.kind, reason=reason)
