"""
Judges the entries of decision log version 2, as other implementations write them.

    signature = {"algorithm": "HMAC-SHA256" | "HMAC-SHA384", "value": base64, "key_id": optional}
    value     = HMAC(secret, json.dumps(entry without its signature, ensure_ascii=False, sort_keys=True,
                                        separators=(",", ":")))

What is signed is the value of a line, not its bytes: spacing and order of members are free. Neither the algorithm
nor the key id is signed, so that both are held against what the caller gave, or against the other entries. There is
no chain: that entries were deleted, moved, repeated or cut from the end cannot be seen in version 2.
"""

from __future__ import annotations

import hmac
import json
from binascii import b2a_base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.hmac import HMAC

from stage4 import files
from stage4.decisionlog.canonical import MAX_LINE, Malformed
from stage4.decisionlog.filter import Filter
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.verdict import Fault
from stage4.errors import UsageError

_SIGNATURE = frozenset({"algorithm", "value", "key_id"})
_MEMBERS = len(_SIGNATURE)
_MAX_DIGITS = 4300  # the longest integer that the standard library reads and writes
# The signed members of an entry, and its key id.
_Opened = tuple[dict[str, Any], str | None]
_LONGEST_SECRET = 64 * 1024
_UNSETTLED = object()
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Judged:
    """What a batch of lines holds: entries that verify, those of them that the filter lets through, and the others.

    A blame stands beside the index of its line in the batch. Blank lines are neither.
    """

    entries: int
    matched: int
    blames: tuple[tuple[int, Blame], ...]


class V2Judge:
    """Judges batches of lines in their order, with the one secret that such a log has.

    `key_id` is the id that every entry must carry. Where it is None the entries must carry one id, or all of them
    none: the commonest of the first batch.
    """

    def __init__(self, secret: bytes, key_id: str | None = None) -> None:
        self._key_id: object = _UNSETTLED if key_id is None else key_id
        self._macs = {"HMAC-SHA256": HMAC(secret, SHA256()), "HMAC-SHA384": HMAC(secret, SHA384())}

    @property
    def key_id(self) -> str | None:
        """The id that the entries carry; None where they carry none, or no entry has been judged yet."""
        return self._key_id if isinstance(self._key_id, str) else None

    def judge(self, lines: Sequence[bytes], wanted: Filter | None = None) -> Judged:
        """Judge lines without LF; whatever they hold is a blame, never an error."""
        blames: list[tuple[int, Blame]] = []
        # The entries whose key id has still to be judged: those of the first batch, and the unusual ones.
        named: list[tuple[int, str | None, bool]] = []
        entries = matched = 0
        for index, line in enumerate(lines):
            answer: _Opened | Blame | None = self._fast(line) if len(line) <= MAX_LINE else None
            if answer is None:
                if not line.strip():
                    continue
                answer = self._slow(line)
            if isinstance(answer, Blame):
                blames.append((index, answer))
                continue
            entry, key_id = answer
            passed = wanted is None or wanted.lets_through(entry.get)
            if key_id == self._key_id:
                entries += 1
                matched += passed
            else:
                named.append((index, key_id, passed))
        if named and self._key_id is _UNSETTLED:
            self._key_id = Counter(key_id for _, key_id, _ in named).most_common(1)[0][0]
        for index, key_id, passed in named:
            if key_id == self._key_id:
                entries += 1
                matched += passed
            else:
                blames.append((index, _other_id(key_id, self._key_id)))
        blames.sort(key=lambda blame: blame[0])
        return Judged(entries, matched, tuple(blames))

    def _fast(self, line: bytes) -> _Opened | None:
        """The signed members of a line that plainly verifies, and its key id; None where that takes a closer look."""
        key_id = None
        try:
            entry = _decode(line)
            signature = entry.pop("signature")
            mac = self._macs[signature["algorithm"]].copy()
            value = signature["value"].encode("ascii")
            if len(signature) > 2:
                key_id = signature["key_id"]
                if len(signature) > _MEMBERS or type(key_id) is not str:
                    return None
            payload = _encode(entry)
        except (msgspec.MsgspecError, ValueError, RecursionError, KeyError, TypeError, AttributeError, OverflowError):
            return None
        mac.update(payload)
        if not hmac.compare_digest(b2a_base64(mac.finalize(), newline=False), value):
            return None
        # A member that stands twice is gone from the value, and so are the quotes of its name. The counts cannot
        # agree by chance: only this escape spells a quote without the byte for it. The signature has four quotes a
        # member, beside those in its key id, and two around its name.
        quotes = payload.count(b'"') + 2 + 4 * len(signature) + (key_id.count('"') if key_id else 0)
        if line.count(b'"') != quotes or b"\\u0022" in line:
            return None
        return entry, key_id

    def _slow(self, line: bytes) -> _Opened | Blame:
        """As `_fast`, the way the standard library reads and writes the line, or what speaks against it."""
        try:
            entry = _read(line)
            signature = entry.pop("signature", None)
            if not signature:
                raise Malformed("signature")
            _canonical(signature)
            payload = _canonical(entry)
        except Malformed as error:
            return Blame(Fault.FORMAT, f"log.format_{error.reason}")
        if not isinstance(signature, dict):
            return Blame(Fault.FORMAT, "log.format_signature_members")
        algorithm, value, key_id = (signature.get(name) for name in ("algorithm", "value", "key_id"))
        if not isinstance(algorithm, str) or algorithm not in self._macs:
            return _algorithm(algorithm, "HMAC-SHA256")
        if (
            not isinstance(value, str)
            or not (key_id is None or isinstance(key_id, str))
            or not signature.keys() <= _SIGNATURE
        ):
            return Blame(Fault.FORMAT, "log.format_signature_members")
        given = value.encode("utf-8")
        for name, begun in self._macs.items():
            mac = begun.copy()
            mac.update(payload)
            if hmac.compare_digest(b2a_base64(mac.finalize(), newline=False), given):
                return (entry, key_id) if name == algorithm else _algorithm(algorithm, name)
        return Blame(Fault.EDIT, "log.edit")


def load_secret(path: Path) -> bytes:
    """The secret in a file, used as it stands apart from white space around it.

    Raises Unavailable `files.*` where it cannot be read, UsageError `verify.v2_key_empty`.
    """
    secret = files.read_limited(path, _LONGEST_SECRET).strip()
    if not secret:
        raise UsageError("verify.v2_key_empty", path=path)
    return secret


def _read(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise Malformed("long")
    if line.startswith(b"\xef\xbb\xbf"):
        raise Malformed("bom")
    try:
        entry = json.loads(
            line.strip().decode("utf-8"),
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
    if not isinstance(entry, dict):
        raise Malformed("object")
    return entry


def _canonical(value: object) -> bytes:
    """The bytes that version 2 signs."""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("surrogate") from None
    except RecursionError:
        raise Malformed("depth") from None


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("duplicate")
    return members


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise Malformed("number")
    return int(digits)


def _fraction(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise Malformed("number")
    return value


def _constant(_name: str) -> NoReturn:
    raise Malformed("number")


def _other_id(key_id: object, expected: object) -> Blame:
    if key_id is None:
        return Blame(Fault.KEY_MISUSE, "verify.v2_key_id_missing", {"expected": str(expected)})
    if expected is None:
        return Blame(Fault.KEY_MISUSE, "verify.v2_key_id_added", {"key_id": str(key_id)})
    return Blame(Fault.KEY_MISUSE, "verify.v2_key_id_differs", {"key_id": str(key_id), "expected": str(expected)})


def _algorithm(named: object, expected: str) -> Blame:
    return Blame(Fault.ALGORITHM, "log.algorithm", {"expected": expected, "named": str(named)})
