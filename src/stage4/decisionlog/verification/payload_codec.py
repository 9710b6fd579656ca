"""
The fast reading of authenticated payloads: decode into the closed set of members, encode again, compare.

Equal bytes mean at once: no member twice, no foreign member, no other spelling. Whatever is unusual but allowed, such
as metadata in many levels, is left to the strict reader. Loaded only where many lines are read, because msgspec
costs a short command more than it saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from stage4.decisionlog.canonical import MAX_INTEGER, Malformed, canonical, parse_strict, require_subset
from stage4.decisionlog.entry import Entry, read_payload

Name = Annotated[str, msgspec.Meta(min_length=1)]
Some = msgspec.Meta(min_length=1)
Whole = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Scalar = str | Whole | bool | None
# Two levels, because the decoder's size doubles with every level.
Value = Scalar | list[Scalar] | dict[str, Scalar]
# The braces of a payload whose metadata hold no object: its own and those of its four members that are objects.
_BRACES = 5


class Payload(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """The members of version 3, in the order of their names."""

    artefacts: Annotated[dict[str, Name | Whole | bool | None], Some]
    category: Name
    key_id: str
    kind: Name
    log_id: str
    metadata: dict[str, Value]
    prev: str
    runtime_flags: Annotated[dict[str, bool], Some]
    seq: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
    signatures: Annotated[dict[str, str], Some]
    stage: Name
    status: Name
    tags: list[str]
    timestamp: str
    v: Literal[3]


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Which key and log a line names."""

    key_id: str
    log_id: str


_decoder = msgspec.json.Decoder(Payload)
# The members of a struct come in its own order, which is that of their names; those of a dict are sorted.
_encoder = msgspec.json.Encoder(order="deterministic")
_claims = msgspec.json.Decoder(Claim)


def read_all(payloads: Sequence[bytes]) -> Sequence[Payload] | None:
    """The payloads, or None where any is outside the usual or not in the canonical form of version 3.

    A payload holds no LF.
    """
    joined = b"\n".join(payloads) + b"\n"
    try:
        entries = _decoder.decode_lines(joined)
        # The form has no LF inside, so equal bytes are also equal line by line.
        if _encoder.encode_lines(entries) != joined or len(entries) != len(payloads):
            return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not joined.isascii():
        if joined.count(b"{") != _BRACES * len(entries):
            return _with_plain_names(entries)
        names: set[str] = set()
        for entry in entries:
            names.update(entry.metadata, entry.artefacts, entry.runtime_flags, entry.signatures)
        if not "".join(names).isascii():
            return None
    return entries


def read(payload: bytes) -> Payload | Entry | None:
    """The payload, or None where its bytes are not the canonical form of version 3."""
    entries = read_all((payload,))
    if entries is not None:
        return entries[0]
    try:
        members = parse_strict(payload)
        return read_payload(members, 0, 0) if canonical(members) == payload else None
    except Malformed:
        return None


def claimed(line: bytes) -> Claim | None:
    """What any line of version 3 names, nothing of it judged; None for any other line."""
    try:
        return _claims.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _with_plain_names(entries: Sequence[Payload]) -> Sequence[Payload] | None:
    try:
        for entry in entries:
            for members in (entry.metadata, entry.artefacts, entry.runtime_flags, entry.signatures):
                require_subset(members, 1)
    except Malformed:
        return None
    return entries
