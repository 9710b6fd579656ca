"""
Evidence as a file, from which the audit can be judged again: `evidence.json`, schema `stage4.audit_evidence/1`.

    {"schema": "stage4.audit_evidence/1", "version": "…", "installation_id": "…", "root": "…", "config": "…",
     "bundle": "core-oem", "strong_from_bits": 128.0, "evidence": {…}}

`evidence` spells the frozen value member by member, by the types of its dataclasses, so a new fact needs no code
here. Of a secret the file holds what judging needs and no more: whether it is strong by the policy of that audit
(`strong`), and which others are the same (`group`, small numbers in order of appearance). A field that its dataclass
keeps out of `repr` and that is not named below is refused, because it would be written as it is.

Not by msgspec, which writes a dataclass member by member too: it has no hook for one field of a type, so the hidden
members would need a second set of classes beside the evidence, and a fact that was added to one set only would be lost
or, worse, written as it is.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Final

from stage4 import __version__, files, words
from stage4.audit.comparison import Result, Summary
from stage4.audit.evidence import Chain, Evidence, LogFacts, Problem, Revocation
from stage4.clock import format_instant, parse_instant
from stage4.errors import Stage4Error, UsageError

SCHEMA: Final = "stage4.audit_evidence/1"
LIMIT: Final = 64 << 20
# (class, field) -> the name in the file, and what it is: a strength, the tag of a secret, or tags of its digests.
HIDDEN: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("Secret", "bits"): ("strong", "strength"),
    ("Secret", "tag"): ("group", "tag"),
    ("Secret", "hashed_tags"): ("hashed_groups", "tags"),
    ("TokenFacts", "hash_tag"): ("hash_group", "tag"),
}


@dataclass(frozen=True, slots=True)
class StoredEvidence:
    """Evidence with what has to be known to judge it as it was judged; `strong_from_bits` divided the secrets."""

    installation_id: str
    root: str
    config: str
    bundle: str
    strong_from_bits: float
    evidence: Evidence

    def compared_with(self, earlier: Summary | None) -> StoredEvidence:
        """The same beside another report than the one that the audit was compared with."""
        return dataclasses.replace(self, evidence=dataclasses.replace(self.evidence, earlier_report=earlier))


def encoded(stored: StoredEvidence) -> bytes:
    """The file's bytes, with no secret, digest or length of one; raises TypeError for what it has no spelling of."""
    groups: dict[str, int] = {}
    for tag in _tags(stored.evidence):
        groups.setdefault(tag, len(groups) + 1)
    spelled = _Spelling(stored.strong_from_bits, groups).value(stored.evidence)
    members = {f.name: getattr(stored, f.name) for f in dataclasses.fields(stored)} | {"evidence": spelled}
    return files.json_bytes({"schema": SCHEMA, "version": __version__, **members})


def load(path: Path) -> StoredEvidence:
    """
    The evidence kept in `path`.

    Raises Unavailable `files.*`, UsageError `files.bad_json`, or `audit_report.not_evidence` for another document.
    """
    document = files.read_json(path, LIMIT)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise UsageError("audit_report.not_evidence", path=path, reason=f'expected "schema": "{SCHEMA}"')
    try:
        stored: StoredEvidence = _read(StoredEvidence, document)
    except (KeyError, TypeError, ValueError, AttributeError, Stage4Error) as error:
        raise UsageError("audit_report.not_evidence", path=path, reason=str(error)) from error
    return stored


def _tags(value: object) -> Iterator[str]:
    """The tags of secrets, in the order of the evidence; those of digests count only where a token has the same."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            held = getattr(value, f.name)
            if HIDDEN.get((type(value).__name__, f.name), ("", ""))[1] != "tag":
                yield from _tags(held)
            elif held is not None:
                yield held
    elif isinstance(value, tuple):
        for each in value:
            yield from _tags(each)


@dataclass(frozen=True, slots=True)
class _Spelling:
    strong_from_bits: float
    groups: Mapping[str, int]

    def value(self, value: object) -> object:
        if isinstance(value, Enum):
            return value.value
        if value is None or isinstance(value, str | int | float):
            return value
        if isinstance(value, datetime):
            return format_instant(value)
        if isinstance(value, date):
            return value.isoformat()
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return dict(self._member(value, f) for f in dataclasses.fields(value))
        if isinstance(value, Mapping):
            if all(isinstance(key, str) for key in value):
                return {key: self.value(each) for key, each in value.items()}
            return [[self.value(key), self.value(each)] for key, each in value.items()]
        if isinstance(value, frozenset):
            return sorted(self.value(each) for each in value)  # type: ignore[type-var]
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            return [self.value(each) for each in value]
        raise TypeError(f"evidence has no spelling for {type(value).__name__}")

    def _member(self, owner: object, field: dataclasses.Field[Any]) -> tuple[str, object]:
        held = getattr(owner, field.name)
        hidden = HIDDEN.get((type(owner).__name__, field.name))
        if hidden is None:
            if not field.repr:
                raise TypeError(f"{type(owner).__name__}.{field.name} is secret and has no spelling")
            return field.name, self.value(held)
        name, kind = hidden
        if kind == "strength":
            return name, held >= self.strong_from_bits
        if kind == "tags":
            return name, sorted(self.groups[tag] for tag in held if tag in self.groups)
        return name, None if held is None else self.groups[held]


def _read(kind: Any, value: Any) -> Any:
    """`value` as a `kind`; raises KeyError, TypeError or ValueError, whose text names what does not fit."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _read_either(arguments, value)
    if origin is tuple:
        listed = _list(value)
        if arguments[-1] is Ellipsis:
            return tuple(_read(arguments[0], each) for each in listed)
        return tuple(_read(of, each) for of, each in zip(arguments, listed, strict=True))
    if origin is frozenset:
        return frozenset(_read(arguments[0], each) for each in _list(value))
    if origin is not None and issubclass(origin, Mapping):
        pairs = value.items() if isinstance(value, dict) else [_list(each) for each in _list(value)]
        return {_read(arguments[0], key): _read(arguments[1], each) for key, each in pairs}
    if dataclasses.is_dataclass(kind):
        return _read_members(kind, value)
    return _read_scalar(kind, value)


def _read_either(kinds: Sequence[Any], value: Any) -> Any:
    if value is None:
        if types.NoneType in kinds:
            return None
        raise TypeError("null where a value is needed")
    reasons = []
    for kind in kinds:
        if kind is not types.NoneType:
            try:
                return _read(kind, value)
            except (KeyError, TypeError, ValueError) as error:
                reasons.append(str(error))
    raise TypeError("; ".join(reasons))


def _read_members(kind: Any, value: Any) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"{kind.__name__}: expected an object")
    members: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        hidden = HIDDEN.get((kind.__name__, field.name))
        name = hidden[0] if hidden else field.name
        if name in value:
            held = value[name]
            members[field.name] = _revealed(hidden[1], held) if hidden else _read(types_of(kind)[field.name], held)
    made = kind(**members)
    _require_known(made)
    return made


def _require_known(made: Any) -> None:
    """Raise ValueError for a word that no collector writes: the controls make the code of a text of it."""
    from stage4.security.certificate_chain import ChainReason
    from stage4.security.revocation import RevocationState

    known = True
    if isinstance(made, Chain):
        known = made.reason is None or made.reason in list(ChainReason)
    elif isinstance(made, Revocation):
        known = made.state in list(RevocationState)
    elif isinstance(made, LogFacts):
        known = all("place" in doubt.params for doubt in made.doubts)
    elif isinstance(made, Problem):
        # The controls add what it is about.
        known = words.has(made.code) and bool(words.text(made.code, "en", **{"path": "", **made.params}))
    elif isinstance(made, Result):
        known = made.is_known
    if not known:
        raise ValueError(f"{type(made).__name__}: a word that no audit knows")


def _revealed(kind: str, held: Any) -> Any:
    """What stands for the hidden fact: beyond any demand or below it, and a tag that is equal for an equal group."""
    if kind == "strength":
        return math.inf if _scalar(bool, held) else 0.0
    if kind == "tags":
        return frozenset(str(_scalar(int, group)) for group in _list(held))
    return None if held is None else str(_scalar(int, held))


def _read_scalar(kind: Any, value: Any) -> Any:
    if kind is object or kind is Any:
        return tuple(value) if isinstance(value, list) else value
    if kind is datetime:
        return parse_instant(_scalar(str, value))
    if kind is date:
        return date.fromisoformat(_scalar(str, value))
    if typing.get_origin(kind) is typing.Literal:
        return _scalar(str, value)
    if issubclass(kind, Enum):
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    return _scalar(kind, value)


def _scalar(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("expected a list")
    return value


@cache
def types_of(kind: Any) -> Mapping[str, Any]:
    """The types of a dataclass's fields; facts that only type checkers import are looked up where they come from."""
    from stage4.audit import evidence, evidence_live
    from stage4.security import certificate_facts

    return typing.get_type_hints(kind, localns={**vars(certificate_facts), **vars(evidence_live), **vars(evidence)})
