"""
An entry as lines for people.

What stands in a log may come from an attacker, so nothing in it reaches a terminal as it is: control characters,
invisible ones and those that turn the direction of writing around become escapes such as `\\x1b` and `\\u202e`. An
escape that was written as text looks the same; the JSON documents and `--raw` tell them apart.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from stage4.clock import parse_instant
from stage4.decisionlog.entry import CHECKPOINT, Entry
from stage4.errors import UsageError
from stage4.words import visible

# What an entry says in words, the most telling first; the other members follow as name=value.
_TELLING = ("note", "text", "message", "question", "answer", "reason")
# What the line tells elsewhere, and what only programs read.
_ELSEWHERE = frozenset({"incident_id", "decision_id", "engine", "frontier", "previous", "nonce"})
_INDENT = " " * 10
_LEAST_REST = 24
_LONGEST_REST = 2000
_CUT = "…"
_DIM, _BOLD, _CYAN, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[36m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Look:
    """How lines are to look: at most `width` columns, with `colour`, in the time zone `zone`.

    Without a width, which is for programs and files, a line is whole, and the day stands in it instead of above it.
    """

    width: int | None = None
    colour: bool = False
    zone: tzinfo = UTC


def day(entry: Entry, look: Look) -> str:
    """The day of an entry with its offset, `2026-11-23 (+01:00)`; empty where its timestamp is no instant."""
    at = _local(entry, look)
    return "" if at is None else f"{at:%Y-%m-%d} ({_offset(at)})"


def heading(text: str, look: Look) -> str:
    """The line before the entries of another day."""
    return f"{_BOLD}{text}{_PLAIN}" if look.colour else text


def line(entry: Entry, look: Look) -> str:
    """Time, number, category/kind, stage, status, incident, and what the entry says in words.

    Within `look.width` columns; where no room is left for the words, they get an indented line of their own.
    """
    at = _local(entry, look)
    if at is None:
        time = visible(entry.timestamp)
    else:
        time = f"{at:%H:%M:%S}" if look.width else f"{at:%Y-%m-%d %H:%M:%S} {_offset(at)}"
    # Every part is cut: a name as long as a screen would hide the line after it.
    cells = [
        (time[:40], _DIM),
        (f"{entry.seq:>6}", _DIM),
        (_short(f"{entry.category}/{entry.kind}"), ""),
        (_short(entry.stage), ""),
        (_short(entry.status), _BOLD),
        (_short(incident_of(entry)), _CYAN),
    ]
    cells = [(text, style) for text, style in cells if text]
    head = "  ".join(f"{style}{text}{_PLAIN}" if style and look.colour else text for text, style in cells)
    said = words_of(entry)
    if not said:
        return head
    if look.width is None:
        return f"{head}  {said}"
    room = look.width - _columns("  ".join(text for text, _ in cells)) - 2
    if room >= _LEAST_REST:
        return f"{head}  {_cut(said, room)}"
    return f"{head}\n{_INDENT}{_cut(said, max(look.width - len(_INDENT), _LEAST_REST))}"


def details(entry: Entry, look: Look) -> Iterator[str]:
    """Every member of an entry, indented, nothing cut."""
    for name, value in members(entry).items():
        label = f"{_INDENT}{name}: "
        if isinstance(value, Mapping):
            yield label.rstrip()
            yield from _nested(value, len(_INDENT) + 2)
        elif isinstance(value, (list, tuple)):
            yield (label + visible(", ".join(_spelled(each) for each in value))).rstrip()
        else:
            at = _local(entry, look) if name == "timestamp" else None
            local = "" if at is None else f" ({at:%Y-%m-%d %H:%M:%S} {_offset(at)})"
            yield label + visible(_spelled(value)) + local


def words_of(entry: Entry) -> str:
    """What the metadata say, the telling members first, the others as `name=value`; without line breaks.

    Of a checkpoint only its number, and how many entries it covers: what it says besides is for programs.
    """
    if entry.kind == CHECKPOINT:
        return visible(f"number={_spelled(entry.metadata.get('number'))}  size={entry.seq + 1}")[:_LONGEST_REST]
    said = [visible(str(entry.metadata[name])) for name in _TELLING if _is_told(entry.metadata.get(name))]
    said += [
        visible(f"{name}={_spelled(value)}")
        for name, value in entry.metadata.items()
        if not (name in _ELSEWHERE or (name in _TELLING and _is_told(value)) or value in (None, "", incident_of(entry)))
    ]
    return "  ".join(said)[:_LONGEST_REST]


def incident_of(entry: Entry) -> str:
    """The incident that an entry belongs to; empty where it names none."""
    incident = entry.metadata.get("incident_id")
    return incident if isinstance(incident, str) else ""


def searched(entry: Entry) -> str:
    """What a search looks through, a line each: the visible line and every value of metadata, artefacts and tags."""
    parts = [line(entry, Look()), entry.timestamp, *_values(entry.metadata), *_values(entry.artefacts), *entry.tags]
    return "\n".join(visible(part) for part in parts)


def members(entry: Entry) -> dict[str, object]:
    """The signed members of an entry by name, as a document has them."""
    return {
        "seq": entry.seq,
        "timestamp": entry.timestamp,
        "category": entry.category,
        "kind": entry.kind,
        "stage": entry.stage,
        "status": entry.status,
        "metadata": entry.metadata,
        "artefacts": entry.artefacts,
        "runtime_flags": entry.runtime_flags,
        "tags": entry.tags,
        "key_id": entry.key_id,
        "log_id": entry.log_id,
        "prev": entry.prev,
    }


def instant_of(entry: Entry) -> datetime | None:
    """The instant of an entry; None where its timestamp is none."""
    try:
        return parse_instant(entry.timestamp)
    except UsageError:
        return None


def _local(entry: Entry, look: Look) -> datetime | None:
    at = instant_of(entry)
    try:
        return None if at is None else at.astimezone(look.zone)
    except OverflowError:
        return at


def _offset(at: datetime) -> str:
    written = at.strftime("%z")
    return "UTC" if at.tzinfo is UTC else f"{written[:3]}:{written[3:5]}"


def _is_told(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _spelled(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _nested(members: Mapping[str, object], indent: int) -> Iterator[str]:
    for name, value in members.items():
        label = f"{' ' * indent}{visible(str(name))}: "
        if isinstance(value, Mapping) and value:
            yield label.rstrip()
            yield from _nested(value, indent + 2)
        else:
            yield label + visible(_spelled(value))


def _values(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for member in value.values():
            yield from _values(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            yield from _values(member)
    else:
        yield _spelled(value)


def _short(text: str) -> str:
    return _cut(visible(text), 64)


def _cut(text: str, columns: int) -> str:
    """`text` in at most that many columns, with … where something was left out."""
    if _columns(text) <= columns:
        return text
    taken = 0
    for place, each in enumerate(text):
        taken += _columns(each)
        if taken > columns - 1:
            return text[:place] + _CUT
    return text


def _columns(text: str) -> int:
    """How many columns a terminal gives to visible `text`."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )
