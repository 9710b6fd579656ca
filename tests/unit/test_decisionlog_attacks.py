"""What an attacker without the key does to a log of ten entries, and what the verifier says of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from stage4.decisionlog import key_changes
from stage4.decisionlog.canonical import MAX_LINE, MIN_LINE
from stage4.decisionlog.chain import Sealer
from stage4.decisionlog.entry import Draft
from stage4.decisionlog.verification.examine import Examiner
from stage4.decisionlog.verification.pending import Pending
from stage4.decisionlog.verification.verdict import Fault
from stage4.errors import ExitCode, Unavailable, UsageError
from stage4.security.keyring import KeyRing, create_keyring
from support.decision_logs import LogRoom, draft, offset_of

LAST = 10  # entry numbers 0 (genesis) to 10, on lines 1 to 11
Lines = list[bytes]


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path, LAST)


def forged(lines: Lines, number: int, old: bytes, new: bytes) -> Lines:
    """The lines with `old` replaced by `new` once in line `number`."""
    assert old in lines[number - 1]
    return [*lines[: number - 1], lines[number - 1].replace(old, new, 1), *lines[number:]]


def unsigned(line: bytes) -> bytes:
    """The line up to its signature, its last brace left out."""
    return line.partition(b',"signature"')[0]


def spelled(lines: Lines, number: int, **dumps: object) -> Lines:
    """The lines with one spelled differently, its values unchanged."""
    return [*lines[: number - 1], json.dumps(json.loads(lines[number - 1]), **dumps).encode(), *lines[number:]]  # type: ignore[arg-type]


SHORTEST = Draft("k", "c", "s", "s", artefacts={"a": 1}, runtime_flags={"f": True})
NESTED = b"[" * 100_000 + b"]" * 100_000
FORGED_NOTE = b'{"note":"uwaga","v":3}'

ATTACKS: dict[str, tuple[Callable[[Lines], Lines], list[tuple[str, int, int | None]]]] = {
    "edit of a value": (lambda ls: forged(ls, 5, b'"number":4', b'"number":9'), [("edit", 5, 4)]),
    "edit of the first entry": (lambda ls: forged(ls, 1, b"tests", b"TESTS"), [("edit", 1, 0)]),
    "edit of the last entry": (lambda ls: forged(ls, 11, b'"number":10', b'"number":11'), [("edit", 11, 10)]),
    "edit of a signature": (lambda ls: [*ls[:4], ls[4][:-47] + ls[5][-47:], *ls[5:]], [("edit", 5, 4)]),
    "two edits side by side": (
        lambda ls: forged(forged(ls, 5, b'"number":4', b'"number":9'), 6, b'"number":5', b'"number":9'),
        [("edit", 5, 4), ("edit", 6, 5)],
    ),
    "old lines before an entry that begins no log": (
        lambda ls: [b'{"kind":"incident_approved","status":"approved"}', *ls[4:]],
        [("insertion", 1, None), ("deletion", 2, 0)],
    ),
    "deletion of one": (lambda ls: ls[:4] + ls[5:], [("deletion", 5, 4)]),
    "deletion of three": (lambda ls: ls[:4] + ls[7:], [("deletion", 5, 4)]),
    "deletion of the genesis entry": (lambda ls: ls[1:], [("deletion", 1, 0)]),
    "deletion next to an edit": (
        lambda ls: [*ls[:4], *forged(ls, 6, b'"number":5', b'"number":9')[5:]],
        [("deletion", 5, 4), ("edit", 5, 5)],
    ),
    "two neighbours exchanged": (lambda ls: [*ls[:4], ls[5], ls[4], *ls[6:]], [("reorder", 6, 4)]),
    "one moved to the end": (lambda ls: [*ls[:4], *ls[5:], ls[4]], [("reorder", 11, 4)]),
    "replay of an old entry": (lambda ls: [*ls[:6], ls[2], *ls[6:]], [("replay", 7, 2)]),
    "replay at the end": (lambda ls: [*ls, ls[10]], [("replay", 12, 10)]),
    "replay in place of another": (lambda ls: [*ls[:6], ls[2], *ls[7:]], [("replay", 7, 2), ("deletion", 8, 6)]),
    "insertion of a forged copy": (
        lambda ls: [*ls[:5], *forged(ls, 5, b'"number":4', b'"number":9')[4:5], *ls[5:]],
        [("insertion", 6, None)],
    ),
    "insertion of foreign JSON": (lambda ls: [*ls[:5], FORGED_NOTE, *ls[5:]], [("format", 6, None)]),
    "v2 line inside v3": (lambda ls: [*ls[:5], b'{"kind":"old"}', *ls[5:]], [("format", 6, None)]),
    "v2 line before the genesis": (lambda ls: [b'{"kind":"old"}', *ls], [("insertion", 1, None)]),
    "forged tail": (lambda ls: [*ls, ls[10].replace(b'"seq":10', b'"seq":11')], [("edit", 12, 11)]),
    "key id in the signature changed": (
        lambda ls: forged(ls, 5, b'"HMAC-SHA256","key_id":"ops', b'"HMAC-SHA256","key_id":"dev'),
        [("key_misuse", 5, 4)],
    ),
    "key id changed everywhere": (
        lambda ls: [*ls[:4], ls[4].replace(b"ops-2026-11", b"dev-2026-11"), *ls[5:]],
        [("key_misuse", 5, 4)],
    ),
    "key id stripped from the signature": (
        lambda ls: forged(ls, 5, b'"HMAC-SHA256","key_id":"ops-2026-11"', b'"HMAC-SHA256"'),
        [("key_misuse", 5, 4)],
    ),
    "algorithm changed": (lambda ls: forged(ls, 5, b"HMAC-SHA256", b"HMAC-SHA384"), [("algorithm", 5, 4)]),
    "algorithm none": (lambda ls: forged(ls, 5, b'"HMAC-SHA256"', b'"none"'), [("algorithm", 5, 4)]),
    "signature removed": (lambda ls: [*ls[:4], unsigned(ls[4]) + b"}", *ls[5:]], [("format", 5, 4)]),
    "signature emptied": (lambda ls: [*ls[:4], unsigned(ls[4]) + b',"signature":{}}', *ls[5:]], [("key_misuse", 5, 4)]),
    "member twice, forged first": (
        lambda ls: forged(ls, 5, b'{"artefacts"', b'{"stage":"L2","artefacts"'),
        [("format", 5, 4)],
    ),
    "not a number": (lambda ls: forged(ls, 5, b'"number":4', b'"number":NaN'), [("format", 5, 4)]),
    "infinity": (lambda ls: forged(ls, 5, b'"number":4', b'"number":1e400'), [("format", 5, 4)]),
    "lone surrogate": (lambda ls: forged(ls, 5, b"uwaga", b"\\ud800"), [("format", 5, 4)]),
    "surrogate in raw bytes": (lambda ls: forged(ls, 5, b"uwaga", b"\xed\xa0\x80"), [("format", 5, 4)]),
    "nesting of 100,000": (lambda ls: [*ls[:4], b'{"a":' + NESTED + b"}", *ls[5:]], [("format", 5, 4)]),
    "nesting of 20,000 in a short line": (lambda ls: [*ls[:4], NESTED[80_000:120_000], *ls[5:]], [("format", 5, 4)]),
    "integer of 5,000 digits": (
        lambda ls: forged(ls, 5, b'"number":4', b'"number":4' + b"4" * 5000),
        [("format", 5, 4)],
    ),
    "integer of 30 digits": (lambda ls: forged(ls, 5, b'"number":4', b'"number":' + b"4" * 30), [("format", 5, 4)]),
    "invalid UTF-8": (lambda ls: forged(ls, 5, b"uwaga", b"uwag\xff"), [("format", 5, 4)]),
    "byte order mark": (lambda ls: [b"\xef\xbb\xbf" + ls[0], *ls[1:]], [("format", 1, 0)]),
    "byte order mark inside": (lambda ls: [*ls[:4], b"\xef\xbb\xbf" + ls[4], *ls[5:]], [("format", 5, 4)]),
    "blank line": (lambda ls: [*ls[:4], b"", *ls[4:]], [("format", 5, None)]),
    "blank line with spaces": (lambda ls: [*ls[:4], b"  \t", *ls[4:]], [("format", 5, None)]),
    "carriage returns": (lambda ls: [*ls[:4], ls[4] + b"\r", *ls[5:]], [("format", 5, 4)]),
    "line of 300 kilobytes": (lambda ls: [*ls[:4], b"x" * 300_000, *ls[5:]], [("format", 5, 4)]),
    "line of 3 megabytes": (lambda ls: [*ls[:4], b"x" * 3_000_000, *ls[5:]], [("format", 5, 4)]),
    "other spacing": (lambda ls: spelled(ls, 5, sort_keys=True, ensure_ascii=False), [("format", 5, 4)]),
    "other escapes": (lambda ls: spelled(ls, 5, separators=(",", ":")), [("format", 5, 4)]),
    "line separator U+2028": (lambda ls: forged(ls, 5, b"uwaga", "\u2028".encode()), [("edit", 5, 4)]),
    "two lines joined": (lambda ls: [*ls[:4], ls[4] + b" " + ls[5], *ls[6:]], [("format", 5, 4), ("deletion", 6, 5)]),
    "an array": (lambda ls: [*ls[:4], b"[]", *ls[5:]], [("format", 5, 4)]),
    "a text": (lambda ls: [*ls[:4], b'"x"', *ls[5:]], [("format", 5, 4)]),
    "version changed": (lambda ls: forged(ls, 5, b'"v":3', b'"v":2'), [("format", 5, 4)]),
    "everything edited": (
        lambda ls: [line.replace(b'"L1"', b'"L2"').replace(b'"begun"', b'"ended"') for line in ls],
        [("edit", number, number - 1) for number in range(1, LAST + 2)],
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_found_with_its_class_and_place(room: LogRoom, name: str) -> None:
    attack, expected = ATTACKS[name]
    lines = attack(room.lines())
    room.put(lines)
    verdict = room.verify()
    assert room.findings() == expected
    assert verdict.exit_code is ExitCode.NO
    assert all(finding.offset == offset_of(lines, finding.line) for finding in verdict.findings)


def test_an_untouched_log_verifies_and_says_what_nobody_vouches_for(room: LogRoom) -> None:
    verdict = room.verify()
    assert verdict.exit_code is ExitCode.DONE
    assert (verdict.entries, verdict.completeness.uncovered, verdict.islands_total) == (11, 11, 1)


def test_islands_that_still_verify_are_named(room: LogRoom) -> None:
    lines = room.lines()
    room.put(forged(forged(lines, 4, b'"number":3', b'"number":7'), 8, b'"number":7', b'"number":3'))
    islands = [(i.first_line, i.last_line, i.first_seq, i.last_seq) for i in room.verify().islands]
    assert islands == [(1, 3, 0, 2), (5, 7, 4, 6), (9, 11, 8, 10)]


def test_an_entry_of_another_log_under_the_same_key_is_foreign(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path / "one", LAST)
    other = LogRoom.create(tmp_path / "two", LAST, room.ring)
    lines = room.lines()
    room.put([*lines[:4], other.lines()[4], *lines[5:]])
    assert room.findings() == [("foreign", 5, 4)]
    room.put([other.lines()[4], *lines])
    assert room.findings() == [("foreign", 1, None)]
    room.put([*lines, other.lines()[8]])
    assert room.findings() == [("foreign", 12, 8)]


def test_a_copy_that_went_its_own_way_cannot_be_grafted_on(room: LogRoom, tmp_path: Path) -> None:
    whole = room.lines()
    room.put(whole[:6])
    room.log().append_many([draft(100 + number) for number in range(5)])
    copy = room.lines()
    room.put([*whole[:8], *copy[8:]])
    assert room.findings() == [("insertion", 9, 8)]


def test_one_key_never_signs_for_another_log_or_purpose(room: LogRoom) -> None:
    key, payload = room.ring.active_key(), room.payload(4)
    elsewhere = Sealer(key, "another-log").seal(payload)
    room.put([*room.lines()[:4], elsewhere, *room.lines()[5:]])
    assert room.findings() == [("edit", 5, 4)]
    assert key.secret_for("entry", room.log_id()) != key.secret_for("checkpoint", room.log_id())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"number":4', b'"number":4.0'),
        (b'"number":4', b'"number":9007199254740992'),
        (b'"number":4', b'"number":4,"number":4'),
        (b'"v":3', b'"v":3,"w":1'),
        (b'"tags":[]', b'"tags": []'),
        (b'"tags":[]', b'"tags":[1]'),
        (b'"L1"', b'"L\\u0031"'),
    ],
)
def test_a_signature_does_not_excuse_another_form(room: LogRoom, old: bytes, new: bytes) -> None:
    payload = room.payload(4).replace(old, new, 1)
    room.put([*room.lines()[:4], room.sealed(payload), *room.lines()[5:]])
    assert room.findings()[0][:2] == ("format", 5)


def test_an_unlisted_key_is_misuse_and_a_missing_secret_is_not(room: LogRoom, tmp_path: Path) -> None:
    stranger = create_keyring(tmp_path / "other" / "keyring.json", room.clock.now().replace(month=12))
    verdict = room.verify(stranger)
    assert verdict.exit_code is ExitCode.NO
    assert {finding.code for finding in verdict.findings} == {"log.key_unlisted"}

    (tmp_path / "secrets" / "ops-2026-11.key").unlink()
    ring = KeyRing.load(room.ring.path, {})
    verdict = room.verify(ring)
    assert verdict.exit_code is ExitCode.CANNOT_TELL
    assert [(f.fault.value, f.line, f.code) for f in verdict.findings] == [("unverifiable", 1, "log.unverifiable")]


def test_without_keys_the_chain_is_judged_all_the_same(room: LogRoom) -> None:
    lines = room.lines()
    assert room.verify(None).exit_code is ExitCode.CANNOT_TELL
    for attacked in (forged(lines, 5, b'"number":4', b'"number":9'), lines[:4] + lines[5:], [*lines, lines[3]]):
        room.put(attacked)
        assert room.verify(None).exit_code is ExitCode.NO
    room.put(forged(lines, 5, b'"number":4', b'"number":9'))
    assert [(f.fault.value, f.line) for f in room.verify(None).findings] == [("unverifiable", 1), ("edit", 5)]


def test_an_empty_log_lost_even_its_beginning(room: LogRoom) -> None:
    room.path.write_bytes(b"")
    assert room.findings() == [("deletion", 1, None)]
    assert room.verify().exit_code is ExitCode.NO


def test_what_is_no_file_is_a_wrong_call_and_a_missing_one_cannot_be_judged(room: LogRoom) -> None:
    with pytest.raises(UsageError, match=r"log\.not_a_file"):
        LogRoom(Path("/dev/null"), room.ring, room.clock).verify()
    room.path.unlink()
    with pytest.raises(Unavailable, match=r"files\.missing"):
        room.verify()


def test_a_log_of_garbage_is_bounded_and_broken(room: LogRoom) -> None:
    room.put([b'{"v":3}'] * 5000 + [room.lines()[3]])
    verdict = room.verify()
    assert verdict.exit_code is ExitCode.NO
    assert verdict.findings_total >= 5000
    assert len(verdict.findings) == 1000


def test_a_revoked_key_proves_nothing(room: LogRoom) -> None:
    ring = json.loads(room.ring.path.read_text())
    create_keyring(room.ring.path.with_name("next.json"), room.clock.now().replace(month=12))
    later = json.loads(room.ring.path.with_name("next.json").read_text())
    ring["keys"][0]["state"] = "revoked"
    ring["keys"] += later["keys"]
    ring["active"] = later["active"]
    room.ring.path.write_text(json.dumps(ring))
    verdict = room.verify(KeyRing.load(room.ring.path, {}))
    assert verdict.exit_code is ExitCode.NO
    assert [(f.line, f.code) for f in verdict.findings] == [(1, "completeness.revoked_unlogged")]


def test_no_entry_is_as_short_as_what_is_called_rubbish(room: LogRoom) -> None:
    assert len(room.log().append(SHORTEST).raw) > MIN_LINE


def test_a_flood_of_rubbish_is_counted_to_the_last_line_and_hides_no_entry(room: LogRoom) -> None:
    lines = room.lines()
    flood = [b"x", b"", b"{}"] * 10_000
    room.put([*lines[:5], *flood, *lines[5:9], *flood, *lines[9:]])
    verdict = room.verify()
    assert (verdict.findings_total, verdict.lines) == (60_000, 60_000 + len(lines))
    assert verdict.entries == len(lines)
    assert [(island.first_seq, island.last_seq) for island in verdict.islands] == [(0, 4), (5, 8), (9, LAST)]
    room.put([*lines[:5], *flood, *lines[9:]])
    # So many lines may have stood for the four entries that are gone.
    assert room.verify().faults.keys() == {Fault.FORMAT}


def test_a_ring_that_grows_while_a_log_is_read_is_asked_again(room: LogRoom) -> None:
    examiner = Examiner(room.ring)
    for number in range(3):
        rotation = key_changes.rotate(room.log(), room.ring.reloaded(), room.clock, f"reason {number}")
        key = examiner.key(rotation.next)
        assert key is not None
        assert key.available
    assert examiner.key("nobody") is None


def test_an_entry_that_is_too_long_is_one_fault_whoever_judges_it(room: LogRoom) -> None:
    payload = room.log().rehearse(draft(1))
    text = b"x" * MAX_LINE
    room.put([*room.lines(), room.sealed(payload.replace(b'"note":"', b'"note":"' + text))])
    assert [(found.fault, found.code) for found in room.verify().findings] == [(Fault.FORMAT, "log.format_long")]


def floods(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """The lines with rubbish, blank lines, edits and holes of any length among them."""
    edited = lines[50].replace(b"incident_note", b"incident_nota")
    found: list[bytes] = []
    index = 0
    while index < len(lines):
        kind = chance.random()
        if kind < 0.2:
            found += [b"junk"] * chance.randint(1, 3000)
        elif kind < 0.3:
            found += [b""] * chance.randint(1, 2500)
        elif kind < 0.35:
            found += [b"", b"junk"] * chance.randint(1, 1500)
        elif kind < 0.4:
            found += [edited] * chance.randint(1, 1500)
        elif kind < 0.5:
            index += chance.randint(1, 900)
        else:
            count = chance.randint(1, 400)
            found += lines[index : index + count]
            index += count
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_flood_that_is_passed_over_is_counted_as_one_that_is_judged_line_by_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    room = LogRoom.create(tmp_path, 3000)
    room.put(floods(room.lines(), random.Random(seed)))
    passed_over = room.verify()
    with monkeypatch.context() as slow:
        slow.setattr(Pending, "is_full", False)
        one_by_one = room.verify()
    assert passed_over == one_by_one


@pytest.mark.parametrize(
    ("flood", "faults"),
    [
        # 2001 entries are gone, and so many lines or more stand there.
        ([b"junk"] * 2001, {Fault.FORMAT: 2001}),
        ([b"junk"] * 5000, {Fault.FORMAT: 5000}),
        # A blank line stands for no entry.
        ([b""] * 5000, {Fault.FORMAT: 5000, Fault.DELETION: 1}),
        ([b"", b"junk"] * 2001, {Fault.FORMAT: 4002}),
        ([b"", b"junk"] * 2000, {Fault.FORMAT: 4000, Fault.DELETION: 1}),
    ],
)
def test_only_lines_that_may_have_been_entries_hide_that_entries_are_gone(
    tmp_path: Path, flood: list[bytes], faults: dict[Fault, int]
) -> None:
    room = LogRoom.create(tmp_path, 2500)
    lines = room.lines()
    room.put(lines[:100] + flood + lines[2101:])
    assert dict(room.verify().faults) == faults
