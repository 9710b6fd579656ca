"""Texts that spell a value the only way: two spellings of one note or proof would be two documents."""

from __future__ import annotations

import base64

_MOST_DIGITS = 16
# The name of a log in its checkpoints is this and the log id.
ORIGIN = "stage4-log/"


def base64_bytes(text: object) -> bytes:
    """The bytes that `text` spells in standard base64 (RFC 4648, section 4); raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("no text")
    raw = base64.b64decode(text, validate=True)
    # The bits that padding leaves over must be zero.
    if base64.b64encode(raw).decode() != text:
        raise ValueError("not the only spelling")
    return raw


def whole_number(digits: str) -> int:
    """The number from 0 that `digits` spell, without a sign or leading zeros; raises ValueError."""
    if not digits.isascii() or not digits.isdigit() or len(digits) > _MOST_DIGITS or str(int(digits)) != digits:
        raise ValueError("no number")
    return int(digits)
