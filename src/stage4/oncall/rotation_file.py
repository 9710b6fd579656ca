"""
Reads `ops/oncall_rotation.yaml`.

```yaml
schema: stage4.oncall_rotation/1
time_zone: Europe/Warsaw            # of every local date and time below
slack_channel: "#ops-trading"       # optional, this is the default
bridge: https://teams.microsoft.com/l/meetup-join/...   # optional: the emergency call, MS Teams or Zoom
contacts:                           # optional; ways to reach a person, never copied into the log
  l2-marek: {phone: "+48 600 000 002", slack: "@marek"}
tiers:                              # l1, l2, l2_deputy, incident_manager; a tier left out has nobody on duty
  l1:
    people: [l1-anna, l1-piotr]     # in turn; ids of ops/operators.yaml
    starts: 2026-01-05              # the local day on which the first takes over
    hand_off: ["06:00", "18:00"]    # one time, or several a day
  l2:
    people: [l2-marek]
    starts: 2026-01-05
    hand_off: "08:00"
    every_days: 7                   # optional, 1 is the default; above 1 only with one hand-off time
    ends: 2026-12-31                # optional: from that day's first hand-off on nobody is on duty
overrides:                          # optional; of two that overlap, the later one in the file counts
  - tier: l2
    person: l2-ewa                  # or nobody
    from: 2026-12-24 08:00          # local, or an instant with Z or an offset
    until: 2026-12-27 08:00
```
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stage4.config.document import Document, KeyPath, read_yaml
from stage4.errors import UsageError
from stage4.oncall.rotation import TIERS, Override, Plan, Rotation, Tier, instant_of

SCHEMA: Final = "stage4.oncall_rotation/1"
SLACK_CHANNEL: Final = "#ops-trading"
NOBODY: Final = "nobody"
_TOP: Final = ("schema", "time_zone", "slack_channel", "bridge", "contacts", "tiers", "overrides")
_TIER: Final = ("people", "starts", "ends", "hand_off", "every_days")
_OVERRIDE: Final = ("tier", "person", "from", "until")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_YEAR_OF_DAYS: Final = 366


def read_plan(path: Path) -> Plan:
    """
    The plan in `path`.

    Raises Unavailable `files.*`, UsageError `config.bad_yaml`, or UsageError `oncall.wrong`, `oncall.unknown_key`
    or `oncall.ends_first`, which name file, line and key.
    """
    document = read_yaml(path)
    top = _mapping(document, (), document.values, _TOP)
    if top.get("schema") != SCHEMA:
        raise _wrong(document, ("schema",), f"schema: {SCHEMA}")
    zone = _zone(document, top.get("time_zone"))
    tiers = _mapping(document, ("tiers",), top.get("tiers"), TIERS)
    return Plan(
        rotations={tier: _rotation(document, tier, tiers[tier], zone) for tier in TIERS if tier in tiers},
        overrides=_overrides(document, top.get("overrides"), zone),
        contacts=_contacts(document, top.get("contacts")),
        slack_channel=_text(document, ("slack_channel",), top.get("slack_channel", SLACK_CHANNEL)),
        bridge=_bridge(document, top.get("bridge")),
    )


def _zone(document: Document, value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(_text(document, ("time_zone",), value))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise _wrong(document, ("time_zone",), "Europe/Warsaw") from error


def _bridge(document: Document, value: Any) -> str | None:
    if value is None:
        return None
    address = _text(document, ("bridge",), value)
    if not address.startswith("https://"):
        raise _wrong(document, ("bridge",), "https://...")
    return address


def _contacts(document: Document, value: Any) -> Mapping[str, Mapping[str, str]]:
    if value is None:
        return {}
    contacts: dict[str, Mapping[str, str]] = {}
    for person, ways in _mapping(document, ("contacts",), value, None).items():
        key = ("contacts", person)
        contacts[person] = {
            way: _text(document, (*key, way), address) for way, address in _mapping(document, key, ways, None).items()
        }
    return contacts


def _rotation(document: Document, tier: Tier, value: Any, zone: ZoneInfo) -> Rotation:
    base: KeyPath = ("tiers", tier)
    entry = _mapping(document, base, value, _TIER)
    people = entry.get("people")
    if not isinstance(people, list) or not people:
        raise _wrong(document, (*base, "people"), "[l1-anna, l1-piotr]")
    hand_offs = _hand_offs(document, (*base, "hand_off"), entry.get("hand_off"))
    every_days = entry.get("every_days", 1)
    if type(every_days) is not int or not 1 <= every_days <= _YEAR_OF_DAYS or (every_days > 1 and len(hand_offs) > 1):
        raise _wrong(document, (*base, "every_days"), f"1-{_YEAR_OF_DAYS}; 1 with several hand-offs")
    starts = _day(document, (*base, "starts"), entry.get("starts"))
    ends = None if entry.get("ends") is None else _day(document, (*base, "ends"), entry["ends"])
    if ends is not None and ends <= starts:
        raise UsageError("oncall.ends_first", **_where(document, (*base, "ends")))
    return Rotation(
        people=tuple(_text(document, (*base, "people", str(i)), person) for i, person in enumerate(people)),
        zone=zone,
        starts=starts,
        hand_offs=hand_offs,
        every_days=every_days,
        ends=ends,
    )


def _hand_offs(document: Document, key: KeyPath, value: Any) -> tuple[time, ...]:
    listed = value if isinstance(value, list) else [value]
    times = [_clock_time(document, key, item) for item in listed]
    if not times or times != sorted(set(times)):
        raise _wrong(document, key, '["06:00", "18:00"]')
    return tuple(times)


def _clock_time(document: Document, key: KeyPath, value: Any) -> time:
    # YAML 1.1 reads an unquoted 18:00 as the number 1080, in base sixty.
    if type(value) is int and 0 <= value < 24 * 60:
        return time(value // 60, value % 60)
    match = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise _wrong(document, key, '"08:00"')
    return time(int(match[1]), int(match[2]))


def _overrides(document: Document, value: Any, zone: ZoneInfo) -> tuple[Override, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _wrong(document, ("overrides",), "- {tier, person, from, until}")
    return tuple(_override(document, ("overrides", str(index)), item, zone) for index, item in enumerate(value))


def _override(document: Document, base: KeyPath, value: Any, zone: ZoneInfo) -> Override:
    entry = _mapping(document, base, value, _OVERRIDE)
    tier = next((known for known in TIERS if known == entry.get("tier")), None)
    if tier is None:
        raise _wrong(document, (*base, "tier"), ", ".join(TIERS))
    person = _text(document, (*base, "person"), entry.get("person"))
    since = _local_instant(document, (*base, "from"), entry.get("from"), zone)
    until = _local_instant(document, (*base, "until"), entry.get("until"), zone)
    if until <= since:
        raise UsageError("oncall.ends_first", **_where(document, (*base, "until")))
    return Override(tier, None if person == NOBODY else person, since, until)


def _local_instant(document: Document, key: KeyPath, value: Any, zone: ZoneInfo) -> datetime:
    try:
        written = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if written.tzinfo is not None:
            return written.astimezone(UTC)
        return instant_of(written.date(), written.time(), zone)
    except (ValueError, OverflowError) as error:
        raise _wrong(document, key, "2026-12-24 08:00") from error


def _day(document: Document, key: KeyPath, value: Any) -> date:
    if type(value) is date:
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise _wrong(document, key, "2026-01-05") from error


def _text(document: Document, key: KeyPath, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(document, key, '"..."')
    return value.strip()


def _mapping(document: Document, key: KeyPath, value: Any, known: tuple[str, ...] | None) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(document, key, "{" + ", ".join(known or ("...",)) + "}")
    for name in value:
        if known is not None and name not in known:
            raise UsageError("oncall.unknown_key", **_where(document, (*key, name)), known=", ".join(known))
    return value


def _where(document: Document, key: KeyPath) -> dict[str, object]:
    return {"path": document.path, "line": document.line(key), "key": ".".join(key) or "(document)"}


def _wrong(document: Document, key: KeyPath, expected: str) -> UsageError:
    return UsageError("oncall.wrong", **_where(document, key), expected=expected)
