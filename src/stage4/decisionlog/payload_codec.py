"""
The fast reading of an authenticated payload: decode into the closed set of members, encode again, compare.

Equal bytes mean at once: no member twice, no foreign member, no other spelling. Loaded only where many lines
are read, because msgspec costs a short command more than it saves.
"""

from __future__ import annotations

from typing import Any

import msgspec

from stage4.decisionlog.canonical import Malformed, require_subset


class Payload(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """The members of version 3."""

    artefacts: dict[str, str | int | bool | None]
    category: str
    key_id: str
    kind: str
    log_id: str
    metadata: dict[str, Any]
    prev: str
    runtime_flags: dict[str, bool]
    seq: int
    signatures: dict[str, str]
    stage: str
    status: str
    tags: list[str]
    timestamp: str
    v: int


_decoder = msgspec.json.Decoder(Payload)
_encoder = msgspec.json.Encoder(order="sorted")
_encode = _encoder.encode


def read(payload: bytes) -> Payload | None:
    """The payload, or None where its bytes are not the canonical form of version 3."""
    try:
        members = _decoder.decode(payload)
        if _encode(members) != payload or members.v != 3:
            return None
        require_subset(members.metadata, 1)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Malformed):
        return None
    return members
