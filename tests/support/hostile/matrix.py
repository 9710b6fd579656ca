"""All rows."""

from __future__ import annotations

from support.hostile import (
    authorities,
    certificates,
    files,
    records,
    revocations,
    rotations,
    served,
    settings,
    strength,
    tokens,
)

MATRIX = tuple(
    row
    for room in (certificates, strength, authorities, revocations, files, settings, tokens, rotations, records, served)
    for row in room.CASES
)
