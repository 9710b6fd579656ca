"""NAME=VALUE options of the commands that append: which values they spell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stage4.errors import UsageError

if TYPE_CHECKING:
    from stage4.decisionlog.entry import Scalar

_LARGEST = 2**53 - 1
_V = TypeVar("_V")


def artefacts(values: Sequence[str], paths: Sequence[str]) -> dict[str, Scalar]:
    """`--artefact NAME=VALUE` and `--artefact-from-file NAME=PATH`, the latter as `sha256:…` of the file.

    Raises UsageError `log.bad_member`, `logview.member_twice`, and Unavailable where a file cannot be read.
    """
    from stage4 import files

    named: list[tuple[str, Scalar]] = [(name, _scalar(text)) for name, text in _members("--artefact", values)]
    # Told apart before any file is read: an artefact may be large.
    members = [*named, *((name, path) for name, path in _members("--artefact-from-file", paths))]
    found = _once(members)
    for name, path in list(found.items())[len(named) :]:
        found[name] = f"sha256:{files.sha256_file(Path(str(path)))}"
    return found


def metadata(texts: Sequence[str]) -> dict[str, object]:
    """`--metadata NAME=VALUE`, where a value may be nested; raises UsageError as `artefacts` does."""
    return _once([(name, _value(text)) for name, text in _members("--metadata", texts)])


def _members(option: str, texts: Iterable[str]) -> Iterable[tuple[str, str]]:
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise UsageError("log.bad_member", option=option, text=text)
        yield name, value


def _once(members: Sequence[tuple[str, _V]]) -> dict[str, _V]:
    found: dict[str, _V] = {}
    for name, value in members:
        if name in found:
            raise UsageError("logview.member_twice", name=name)
        found[name] = value
    return found


def _scalar(text: str) -> Scalar:
    value = _value(text)
    return text if isinstance(value, (dict, list)) or value == "" else value


def _value(text: str) -> Any:
    """What `text` spells as JSON, the text itself where it spells none.

    Numbers that the log's format does not have, fractions and very large ones, stay the texts that spell them.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_int=_integer, parse_float=str, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        return text


def _integer(digits: str) -> int | str:
    if len(digits) > len(str(_LARGEST)) + 1:
        return digits
    value = int(digits)
    return value if -_LARGEST <= value <= _LARGEST else digits


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name stands twice")
    return members


def _no_constant(name: str) -> object:
    raise ValueError(name)
