"""Entries as lines for people: what stands in them, what fits, and nothing that a terminal would act on."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from stage4.decisionlog import presentation
from stage4.decisionlog.entry import Entry
from stage4.decisionlog.presentation import Look
from stage4.words import visible

WARSAW = ZoneInfo("Europe/Warsaw")
ENTRY = Entry(
    log_id="log",
    seq=42,
    prev="p",
    key_id="ops-2026-11",
    kind="note_added",
    category="stage4_incident",
    stage="L1",
    status="noted",
    timestamp="2026-11-23T09:14:07.123456Z",
    artefacts={"report": "sha256:ab"},
    runtime_flags={"on": True},
    signatures={},
    metadata={"incident_id": "INC-20261123-0001", "ticket": "OPS-7", "text": "opóźnienie pętli", "decision_id": "x"},
    tags=("latency",),
    line=43,
    offset=1000,
)


def test_a_line_tells_when_what_and_in_words_why() -> None:
    line = presentation.line(ENTRY, Look(width=200, zone=WARSAW))
    assert line == (
        "10:14:07      42  stage4_incident/note_added  L1  noted  INC-20261123-0001  opóźnienie pętli  ticket=OPS-7"
    )


def test_without_a_terminal_the_line_is_whole_and_has_its_day() -> None:
    long = replace(ENTRY, metadata={"note": "a" * 500})
    line = presentation.line(long, Look(zone=WARSAW))
    assert line.startswith("2026-11-23 10:14:07 +01:00      42  ")
    assert line.endswith("a" * 500)


def test_of_a_checkpoint_only_its_number_and_size_are_shown() -> None:
    facts = {"number": 7, "key": "stage4-log/log/forward+0+x", "next_key": "y", "previous": "note", "frontier": ["a"]}
    entry = replace(ENTRY, kind="checkpoint", category="decision_log", stage="log", status="sealed", metadata=facts)
    assert presentation.line(entry, Look(width=80)) == (
        "09:14:07      42  decision_log/checkpoint  log  sealed  number=7  size=43"
    )
    assert any("next_key: y" in line for line in presentation.details(entry, Look(width=80)))


def test_the_heading_of_a_day_says_the_offset() -> None:
    assert presentation.day(ENTRY, Look(zone=WARSAW)) == "2026-11-23 (+01:00)"
    assert presentation.day(ENTRY, Look(zone=UTC)) == "2026-11-23 (UTC)"
    late = replace(ENTRY, timestamp="2026-11-23T23:30:00Z")
    assert presentation.day(late, Look(zone=WARSAW)) == "2026-11-24 (+01:00)"


@pytest.mark.parametrize("width", [20, 80, 120, 200])
@pytest.mark.parametrize("text", ["krótko", "długo " * 100, "字" * 300, "é" * 200])
def test_no_line_is_wider_than_the_terminal_once_there_is_room(width: int, text: str) -> None:
    lines = presentation.line(replace(ENTRY, metadata={"note": text}), Look(width=width)).split("\n")
    assert len(lines) <= 2
    widest = max(sum(2 if char == "字" else 0 if char == "\u0301" else 1 for char in line) for line in lines)
    assert widest <= max(width, 55)


def test_colour_adds_nothing_but_colour() -> None:
    plain, coloured = (presentation.line(ENTRY, Look(width=200, colour=colour)) for colour in (False, True))
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("\U000e0041", r"\U000e0041"),
        ("half \ud800", r"half \ud800"),
        ("line\u2028sep", r"line\u2028sep"),
        ("zażółć – 字 ✓ 1\u00a0000", "zażółć – 字 ✓ 1\u00a0000"),
    ],
)
def test_what_a_terminal_would_act_on_is_shown_instead(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_no_member_reaches_the_terminal_as_it_is() -> None:
    evil = "\x1b]0;owned\x07\u202e\n"
    bad = replace(
        ENTRY,
        kind=evil,
        category=evil,
        stage=evil,
        status=evil,
        timestamp=evil,
        key_id=evil,
        log_id=evil,
        prev=evil,
        tags=(evil,),
        artefacts={"a": evil},
        metadata={"incident_id": evil, "note": evil, "nested": {"more": [evil, {"x": evil}]}, "plain": evil},
    )
    shown = [
        *presentation.line(bad, Look(width=120)).split("\n"),
        presentation.line(bad, Look()),
        *presentation.details(bad, Look()),
        *presentation.searched(bad).split("\n"),
    ]
    assert all(line.isprintable() for line in shown)
    assert presentation.day(bad, Look()) == ""


def test_the_telling_members_come_first_and_what_only_programs_read_not_at_all() -> None:
    facts = {
        "zeta": 1,
        "decision_id": "d",
        "engine": "e",
        "reason": "dlaczego",
        "ticket": "INC-1",
        "incident_id": "INC-1",
    }
    assert presentation.words_of(replace(ENTRY, metadata=facts)) == "dlaczego  zeta=1"
    nested = {"scope": {"kind": "all", "name": None}, "empty": "", "note": 5}
    assert presentation.words_of(replace(ENTRY, metadata=nested)) == 'scope={"kind": "all", "name": null}  note=5'


def test_the_details_have_every_member() -> None:
    text = "\n".join(presentation.details(ENTRY, Look(zone=WARSAW)))
    for part in (
        "decision_id: x",
        "report: sha256:ab",
        "on: true",
        "latency",
        "(2026-11-23 10:14:07 +01:00)",
        "prev: p",
    ):
        assert part in text


def test_a_search_finds_values_wherever_they_stand() -> None:
    deep = replace(ENTRY, metadata={"a": {"b": ["needle", 7]}}, artefacts={"f": "sha256:cd"}, tags=("hay",))
    text = presentation.searched(deep)
    assert all(
        part in text for part in ("needle", "7", "sha256:cd", "hay", "note_added", "2026-11-23T09:14:07.123456Z")
    )


@pytest.mark.parametrize("timestamp", ["", "yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"])
def test_a_timestamp_that_is_no_instant_harms_no_line(timestamp: str) -> None:
    odd = replace(ENTRY, timestamp=timestamp)
    for look in (Look(zone=WARSAW), Look(width=80, zone=WARSAW)):
        assert "note_added" in presentation.line(odd, look)
        assert list(presentation.details(odd, look))
