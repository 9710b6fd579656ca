"""
The fast reading of an authenticated payload: decode into the closed set of members, encode again, compare.

Equal bytes mean at once: no member twice, no foreign member, no other spelling. Loaded only where many lines
are read, because msgspec costs a short command more than it saves.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from stage4.decisionlog.canonical import Malformed, require_subset

Name = Annotated[str, msgspec.Meta(min_length=1)]
Some = msgspec.Meta(min_length=1)


class Payload(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """The members of version 3."""

    artefacts: Annotated[dict[str, Name | int | bool | None], Some]
    category: Name
    key_id: str
    kind: Name
    log_id: str
    metadata: dict[str, Any]
    prev: str
    runtime_flags: Annotated[dict[str, bool], Some]
    seq: int
    signatures: Annotated[dict[str, str], Some]
    stage: Name
    status: Name
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
