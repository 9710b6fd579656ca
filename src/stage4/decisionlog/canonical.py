"""
The one byte form of an entry: the subset of JSON on which RFC 8785 (JCS), Python and msgspec agree.

ASCII member names, whole numbers within ±(2⁵³ − 1), no fractions, no lone surrogates, no member twice, at most
16 levels deep. Inside this subset sorting by code point equals sorting by UTF-16 unit and every number has one
spelling, so verifiers written by others hash the same bytes. Decimals are written as texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NoReturn

import msgspec

MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1
MAX_LINE = 64 * 1024
# No entry of version 3 is shorter: the names of its members alone take more.
MIN_LINE = 256
_MAX_DIGITS = 16
# The spelling alone, for a value that is known to be inside the subset.
spelled = msgspec.json.Encoder(order="sorted").encode


class Malformed(ValueError):
    """The value or text is outside the subset; `reason` is one word of the catalogue's `log.format_*`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def canonical(value: object) -> bytes:
    """`value` in its only byte form; raises Malformed outside the subset."""
    require_subset(value)
    # Inside the subset msgspec spells as RFC 8785 does, several times faster than the standard library.
    return spelled(value)


def parse_strict(content: bytes) -> object:
    """The value that `content` spells, in any spacing and member order; raises Malformed outside the subset."""
    if content.startswith(b"\xef\xbb\xbf"):
        raise Malformed("bom")
    try:
        parsed: object = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_members,
            parse_int=_integer,
            parse_float=_fraction,
            parse_constant=_constant,
        )
    except Malformed:
        raise
    except UnicodeDecodeError:
        raise Malformed("encoding") from None
    except RecursionError:
        raise Malformed("depth") from None
    except ValueError:
        raise Malformed("syntax") from None
    require_subset(parsed)
    return parsed


def require_subset(value: object, depth: int = 0) -> None:
    """Raise Malformed where `value` holds anything that has no canonical form."""
    if type(value) is dict:
        members: Iterable[object] = value.values()
        for name in value:
            if type(name) is not str or not name.isascii():
                raise Malformed("member")
    elif type(value) is list or type(value) is tuple:
        members = value
    else:
        _require_scalar(value)
        return
    if depth >= MAX_DEPTH:
        raise Malformed("depth")
    for member in members:
        # Most members are plain ASCII texts: they cost no call.
        if type(member) is not str or not member.isascii():
            require_subset(member, depth + 1)


def _require_scalar(value: object) -> None:
    if type(value) is str:
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise Malformed("surrogate") from None
    elif type(value) is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise Malformed("number")
    elif type(value) is float:
        raise Malformed("fraction")
    elif value is not None and type(value) is not bool:
        raise Malformed("type")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("duplicate")
    return members


def _integer(digits: str) -> int:
    # Asked before int(), whose time grows with the square of the length.
    if len(digits) > _MAX_DIGITS + 1:
        raise Malformed("number")
    return int(digits)


def _fraction(_digits: str) -> NoReturn:
    raise Malformed("fraction")


def _constant(_name: str) -> NoReturn:
    raise Malformed("number")
