"""
The waivers of `ops/waivers.yaml`: warnings and fails that somebody answers for until a day.

    waivers:
      - control: X509-13
        subject: "ser*"
        owner: l2-marek
        approver: po-jan
        ticket: OPS-1812
        justification: the CA of the exchange writes no key identifiers; a new one comes in December
        granted: 2026-11-23
        expires: 2026-12-31

Every field is required and no other is known. `subject` is a pattern as of file names (`*`, `?`, `[...]`). A waiver
holds from the beginning of `granted` to the end of `expires`, both UTC, at most 90 days. Owner and approver are two
people of `ops/operators.yaml`, and the approver is an incident manager or product owner. One malformed waiver makes the
whole file malformed, and then none holds: a slip of the pen must not decide what is accepted. So does one too many:
nobody answers for hundreds of exceptions, and an audit in an incident compares each with every finding of its control.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from stage4.errors import UsageError

if TYPE_CHECKING:
    from stage4.config import Document
    from stage4.security.people import People

WAIVERS: Final = Path("ops/waivers.yaml")
LONGEST: Final = timedelta(days=90)
MOST: Final = 200  # waivers of a file
_TEXTS: Final = ("control", "subject", "owner", "approver", "ticket", "justification")
_DATES: Final = ("granted", "expires")
_CONTROL: Final = re.compile(r"[A-Z0-9]+-\d\d")
_LIMIT: Final = 1000  # characters of one text
APPROVERS: Final = frozenset({"incident_manager", "product_owner"})
_NOBODYS_NAME: Final = "\0" * 64


class WaiverState(StrEnum):
    """Where an instant finds a waiver."""

    NOT_YET = "not_yet"
    IN_FORCE = "in_force"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Waiver:
    """One accepted exception; `line` is where the file says it."""

    control: str
    subject: str
    owner: str
    approver: str
    ticket: str
    justification: str
    granted: date
    expires: date
    line: int

    @property
    def name(self) -> str:
        """How findings name it."""
        return f"{self.control} {self.subject}"

    def covers(self, control: str, subject: str) -> bool:
        return self.control == control and fnmatchcase(subject, self.subject)

    @property
    def covers_all(self) -> bool:
        """Whether it names no subject at all: `*`, `**`, `?*`."""
        return fnmatchcase(_NOBODYS_NAME, self.subject)

    def state(self, now: datetime) -> WaiverState:
        if now.date() < self.granted:
            return WaiverState.NOT_YET
        return WaiverState.IN_FORCE if now.date() <= self.expires else WaiverState.EXPIRED

    def document(self) -> dict[str, object]:
        """As JSON values."""
        return {name: getattr(self, name) for name in _TEXTS} | {
            name: getattr(self, name).isoformat() for name in _DATES
        }


def waivers_of(document: Document) -> tuple[Waiver, ...]:
    """The waivers of the file; raises UsageError `audit_report.waiver_malformed` or `….waivers_too_many`, with line."""
    listed = document.values
    if not isinstance(listed, Mapping) or set(listed) != {"waivers"}:
        _refuse(document, 1, "waivers")
    entries = listed["waivers"]
    if entries is None:
        return ()
    if not isinstance(entries, list):
        _refuse(document, document.line(("waivers",)), "waivers")
    if len(entries) > MOST:
        line = document.line(("waivers", str(MOST)))
        raise UsageError("audit_report.waivers_too_many", path=document.path, line=line, count=len(entries), limit=MOST)
    return tuple(_waiver(document, entry, place) for place, entry in enumerate(entries))


def require_answerable(waivers: Iterable[Waiver], people: People, path: Path) -> None:
    """Raise UsageError `waiver.*` with file and line unless somebody answers for each and somebody else approved it."""
    for waiver in waivers:
        at = {"path": path, "line": waiver.line}
        for person in (waiver.owner, waiver.approver):
            if person not in people:
                raise UsageError("waiver.person_unknown", **at, person=person)
        if waiver.owner == waiver.approver:
            raise UsageError("waiver.same_person", **at, person=waiver.owner)
        approver, that_day = people.get(waiver.approver), datetime.combine(waiver.granted, time.max, UTC)
        if approver.roles.isdisjoint(APPROVERS) or not approver.valid_at(that_day):
            raise UsageError("waiver.approver_powerless", **at, person=waiver.approver)


def _waiver(document: Document, entry: object, place: int) -> Waiver:
    at = ("waivers", str(place))
    line = document.line(at)
    if not isinstance(entry, Mapping):
        _refuse(document, line, f"waivers.{place}")
    known = {*_TEXTS, *_DATES}
    if odd := sorted(set(entry) ^ known):
        _refuse(document, document.line((*at, odd[0])), odd[0])
    texts = {name: _text(document, (*at, name), entry[name]) for name in _TEXTS}
    dates = {name: _date(document, (*at, name), entry[name]) for name in _DATES}
    if not _CONTROL.fullmatch(texts["control"]):
        _refuse(document, document.line((*at, "control")), "control")
    if not timedelta(0) <= dates["expires"] - dates["granted"] <= LONGEST:
        _refuse(document, document.line((*at, "expires")), "expires")
    return Waiver(
        texts["control"],
        texts["subject"],
        texts["owner"],
        texts["approver"],
        texts["ticket"],
        texts["justification"],
        dates["granted"],
        dates["expires"],
        line,
    )


def _text(document: Document, key: tuple[str, ...], value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > _LIMIT:
        _refuse(document, document.line(key), key[-1])
    text = " ".join(value.split())
    if not text.isprintable():
        _refuse(document, document.line(key), key[-1])
    return text


def _date(document: Document, key: tuple[str, ...], value: object) -> date:
    # YAML makes a date of 2026-11-23 itself, and a datetime, which is a date too, of one with a time.
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        _refuse(document, document.line(key), key[-1])


def _refuse(document: Document, line: int, field: str) -> NoReturn:
    raise UsageError("audit_report.waiver_malformed", path=document.path, line=line, field=field)
