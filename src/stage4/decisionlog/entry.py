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
from typing import Any, NamedTuple

from stage4.clock import format_instant
from stage4.decisionlog.canonical import MAX_INTEGER, MAX_LINE, Malformed, require_subset, spelled
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
ROTATION = "rotation"
INCIDENT_CATEGORY = "stage4_incident"
LOG_CATEGORY = "decision_log"
SECURITY_CATEGORY = "security"

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


class Receipt(NamedTuple):
    """Proof for the author that the entry is on the disk: `raw` is its line without LF, `digest` the chain's hash."""

    seq: int
    digest: str
    timestamp: datetime
    line: int
    offset: int
    raw: bytes


class Prepared:
    """A draft that is fit to be sealed, spelled as far as it can be while its place is not known.

    Raises UsageError `log.draft_refused` naming the fault.
    """

    __slots__ = ("_before_key", "_before_log", "_before_prev", "_before_seq", "_before_timestamp", "draft")

    def __init__(self, draft: Draft) -> None:
        artefacts, metadata = dict(draft.artefacts), dict(draft.metadata)
        runtime_flags, tags = dict(draft.runtime_flags), list(draft.tags)
        category, kind, stage, status = draft.category, draft.kind, draft.stage, draft.status
        _require_fit(draft)
        try:
            require_subset((artefacts, category, kind, metadata, runtime_flags, stage, status, tags))
        except Malformed as error:
            raise _refused(draft, f"{error.reason} outside the canonical subset") from error
        self.draft = draft
        # Between these parts stand the members that the place decides: together they are the sorted members.
        # v2 wants at least one member in each of three, so an author who has none gets one that says so.
        self._before_key = b'{"artefacts":%b,"category":%b,"key_id":' % (
            spelled(artefacts) if artefacts else b'{"none":null}',
            spelled(category),
        )
        self._before_log = b',"kind":%b,"log_id":' % spelled(kind)
        self._before_prev = b',"metadata":%b,"prev":' % spelled(metadata)
        self._before_seq = b',"runtime_flags":%b,"seq":' % (
            spelled(runtime_flags) if runtime_flags else b'{"stage4.decision_log":true}'
        )
        self._before_timestamp = b'"},"stage":%b,"status":%b,"tags":%b,"timestamp":"' % (
            spelled(stage),
            spelled(status),
            spelled(tags),
        )

    def payload(self, log_id: bytes, seq: int, prev: bytes, key_id: bytes, timestamp: bytes) -> bytes:
        """The canonical payload at that place; raises UsageError `log.draft_refused` where it is too long."""
        payload = b'%b"%b"%b"%b"%b"%b"%b%d,"signatures":{"decision_log.entry":"hmac:%b%b%b","v":3}' % (
            self._before_key,
            key_id,
            self._before_log,
            log_id,
            self._before_prev,
            prev,
            self._before_seq,
            seq,
            key_id,
            self._before_timestamp,
            timestamp,
        )
        if len(payload) > MAX_LINE - 256:
            raise _refused(self.draft, f"longer than {MAX_LINE - 256} bytes")
        return payload


def payload_of(draft: Draft, place: Place, now: datetime) -> bytes:
    """The canonical payload of `draft` at `place`; raises UsageError `log.draft_refused` naming the fault."""
    log_id, prev, key_id = place.log_id.encode("ascii"), place.prev.encode("ascii"), place.key_id.encode("ascii")
    timestamp = format_instant(draft.timestamp or now).encode("ascii")
    return Prepared(draft).payload(log_id, place.seq, prev, key_id, timestamp)


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


def _require_fit(draft: Draft) -> None:
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
    for tag in draft.tags:
        if not isinstance(tag, str):
            raise _refused(draft, "tags are not texts")


def _refused(draft: Draft, reason: str) -> UsageError:
    return UsageError("log.draft_refused", kind=draft.kind, reason=reason)
