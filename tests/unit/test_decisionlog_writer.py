"""Appending: order, refusals, repairs, and what the peer's format asks of every line."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stage4.decisionlog.chain import Sealer, genesis_prev, leaf_digest
from stage4.decisionlog.entry import VOID, Place, payload_of
from stage4.decisionlog.reading import entries
from stage4.decisionlog.reconcile import void_draft
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import ExitCode, Unavailable, UsageError
from stage4.security.keyring import KeyRing, create_keyring
from support.decision_logs import LogRoom, draft


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path)


def test_the_first_append_begins_the_log_with_a_genesis_entry(room: LogRoom) -> None:
    assert room.log().head() is None
    receipt = room.log().append(draft())
    first, second = (json.loads(line) for line in room.lines())
    assert (first["seq"], first["kind"], first["metadata"]["origin"]) == (0, "genesis", "tests")
    assert first["prev"] == genesis_prev(first["log_id"])
    assert second["prev"] == leaf_digest(room.lines()[0])
    assert (receipt.seq, receipt.line, receipt.raw) == (1, 2, room.lines()[1])
    assert receipt.offset == len(room.lines()[0]) + 1
    assert receipt.digest == leaf_digest(receipt.raw) == room.log().head().digest  # type: ignore[union-attr]
    assert room.path.stat().st_mode & 0o777 == 0o640


def test_receipts_number_entries_and_lines_in_order(room: LogRoom) -> None:
    log, other = room.log(), room.log()
    receipts = [writer.append(draft(n)) for n, writer in enumerate([log, other, log, other, other], 1)]
    receipts += log.append_many([draft(6), draft(7)])
    assert [(receipt.seq, receipt.line) for receipt in receipts] == [(n, n + 1) for n in range(1, 8)]
    content = room.path.read_bytes()
    assert all(content[r.offset : r.offset + len(r.raw)] == r.raw for r in receipts)
    assert log.append_many([]) == ()


def test_every_line_is_what_version_2_asks_for(room: LogRoom) -> None:
    """The required members of decision log v2, its patterns, and its way to the signature."""
    room.log().append_many([draft(), draft(artefacts={"report": "sha256:00", "count": 3, "ok": True, "gone": None})])
    for line in room.lines():
        entry = json.loads(line)
        assert datetime.fromisoformat(entry["timestamp"]).tzinfo is not None
        assert entry["stage"]
        assert entry["status"]
        assert entry["artefacts"]
        assert all(
            value is None or (isinstance(value, (str, int)) and value != "") for value in entry["artefacts"].values()
        )
        assert entry["runtime_flags"]
        assert all(isinstance(flag, bool) for flag in entry["runtime_flags"].values())
        assert entry["signatures"]
        assert all(re.fullmatch(r"hmac:[A-Za-z0-9+/=:_-]+", value) for value in entry["signatures"].values())
        signature = entry.pop("signature")
        assert list(json.loads(line))[-1] == "signature"
        assert set(signature) == {"algorithm", "key_id", "value"}
        signed = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        assert line.startswith(signed[:-1])


def test_the_timestamp_is_the_instant_of_the_append_unless_the_draft_has_one(room: LogRoom) -> None:
    at = datetime(2026, 11, 23, 8, 0, 0, 250_000, tzinfo=UTC)
    first, second = room.log().append_many([draft(), draft(timestamp=at)])
    assert first.timestamp == room.clock.now()
    assert [json.loads(r.raw)["timestamp"] for r in (first, second)] == [
        "2026-11-23T09:00:00Z",
        "2026-11-23T08:00:00.250000Z",
    ]
    assert second.timestamp == at


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": " "},
        {"stage": ""},
        {"artefacts": {"a": ""}},
        {"artefacts": {"a": 1.5}},
        {"artefacts": {"a": ["b"]}},
        {"runtime_flags": {"a": 1}},
        {"tags": (1,)},
        {"metadata": {"loss": 1.5}},
        {"metadata": {"n": 2**53}},
        {"metadata": {"ż": 1}},
        {"metadata": {"a": "\ud800"}},
        {"metadata": {"a": float("nan")}},
        {"metadata": {"a": object()}},
        {"metadata": {1: "a"}},
        {"metadata": {"a": "x" * 70_000}},
    ],
)
def test_a_draft_without_a_canonical_form_is_refused_and_nothing_is_written(
    room: LogRoom, changes: dict[str, object]
) -> None:
    room.log().append(draft())
    before = room.path.read_bytes()
    with pytest.raises(UsageError, match=r"log\.draft_refused"):
        room.log().append_many([draft(2), draft(3, **changes)])
    assert room.path.read_bytes() == before


def test_a_busy_log_is_given_up_after_the_time_limit(room: LogRoom) -> None:
    room.log().append(draft())
    with room.path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        began = room.clock.monotonic_ns()
        with pytest.raises(Unavailable, match=r"log\.busy"):
            room.log().append(draft(2))
        assert 2.0 <= (room.clock.monotonic_ns() - began) / 1e9 < 2.1
        with pytest.raises(Unavailable, match=r"log\.busy"):
            room.verify()
    assert room.log().append(draft(2)).seq == 2


def test_a_log_that_was_moved_away_is_begun_anew_by_another_process_only(room: LogRoom) -> None:
    log = room.log()
    log.append(draft())
    room.path.rename(room.path.with_name("old.jsonl"))
    with pytest.raises(Unavailable, match=r"log\.went_back"):
        log.append(draft())
    assert not room.path.exists()
    assert room.log().append(draft()).seq == 1
    with pytest.raises(Unavailable, match=r"log\.went_back"):
        log.append(draft())
    assert len(room.path.with_name("old.jsonl").read_bytes().splitlines()) == 2


def test_a_link_that_leads_nowhere_is_no_log_and_nothing_waits_for_it(room: LogRoom) -> None:
    room.path.symlink_to(room.path.with_name("gone"))
    with pytest.raises(Unavailable, match=r"files\.missing"):
        room.log().append(draft())
    assert not room.path.exists()


def test_a_torn_write_is_kept_aside_and_its_repair_is_an_entry(room: LogRoom) -> None:
    room.log().append_many([draft(1), draft(2)])
    whole = room.path.read_bytes()
    for cut in (1, 60, 400):
        fragment = room.lines()[-1][:cut]
        room.path.write_bytes(room.path.read_bytes() + fragment)
        verdict = room.verify()
        assert verdict.exit_code is ExitCode.NO
        assert [(f.fault.value, f.line) for f in verdict.findings] == [("torn", verdict.lines)]
        room.log().append(draft(3))
        recovery = json.loads(room.lines()[-2])
        assert (recovery["kind"], recovery["status"]) == ("recovery", "cut")
        assert recovery["metadata"]["fragment_sha256"] == hashlib.sha256(fragment).hexdigest()
        kept = room.path.with_name("runtime.jsonl.torn").read_bytes()
        assert kept[recovery["metadata"]["kept_at"] :] == fragment + b"\n"
        assert room.verify().exit_code is ExitCode.DONE
    assert room.path.read_bytes().startswith(whole)


def test_zeros_after_a_power_cut_are_a_torn_write(room: LogRoom) -> None:
    room.log().append(draft())
    room.path.write_bytes(room.path.read_bytes() + bytes(200_000))
    assert room.findings() == [("torn", 3, 2)]
    assert room.log().append(draft(2)).seq == 3
    assert room.verify().exit_code is ExitCode.DONE


def test_an_entry_that_lacks_only_its_line_feed_is_finished_not_lost(room: LogRoom) -> None:
    room.log().append_many([draft(1), draft(2)])
    room.path.write_bytes(room.path.read_bytes()[:-1])
    assert room.findings() == [("torn", 3, 2)]
    assert room.log().append(draft(3)).seq == 4
    assert [json.loads(line)["kind"] for line in room.lines()[2:]] == ["incident_note", "recovery", "incident_note"]
    assert room.verify().exit_code is ExitCode.DONE


@pytest.mark.parametrize("damage", ["edited", "garbage", "blank", "version 2"])
def test_nothing_is_chained_to_a_line_that_does_not_verify(room: LogRoom, damage: str) -> None:
    room.log().append_many([draft(1), draft(2)])
    lines = room.lines()
    last = {
        "edited": lines[-1].replace(b'"L1"', b'"L2"'),
        "garbage": b"garbage",
        "blank": b"",
        "version 2": b'{"kind":"old"}',
    }[damage]
    room.put([*lines[:-1], last])
    before = room.path.read_bytes()
    with pytest.raises(Unavailable, match=r"log\.head_broken"):
        room.log().append(draft(3))
    assert room.path.read_bytes() == before


def test_an_emptied_log_is_never_begun_anew(room: LogRoom) -> None:
    room.log().append(draft())
    room.path.write_bytes(b"")
    with pytest.raises(Unavailable, match=r"log\.emptied"):
        room.log().append(draft())
    assert room.path.read_bytes() == b""


def test_a_directory_in_place_of_the_log_is_a_wrong_setting(room: LogRoom) -> None:
    room.path.mkdir()
    with pytest.raises(UsageError, match=r"log\.not_a_file"):
        room.log().append(draft())


def test_a_version_2_log_is_sealed_and_continued(room: LogRoom) -> None:
    old = [b'{"kind": "snapshot", "loss": 1.5, "signature": {"algorithm": "HMAC-SHA256"}}', b"", b'{"kind": "other"}']
    room.put(old)
    assert room.verify().exit_code is ExitCode.CANNOT_TELL
    assert room.findings() == [("unverifiable", 1, None)]
    receipt = room.log().append(draft())
    assert (receipt.seq, receipt.line) == (1, 5)
    assert room.log().append(draft(2)).line == 6
    assert json.loads(room.lines()[3])["metadata"]["sealed_prefix"]["lines"] == 3
    assert room.verify().exit_code is ExitCode.DONE
    lines = room.lines()
    for attacked in (
        [lines[0], *lines[2:]],
        [lines[2], lines[1], lines[0], *lines[3:]],
        [lines[0].replace(b"1.5", b"0.5"), *lines[1:]],
    ):
        room.put(attacked)
        assert room.findings() == [("edit", 1, None)]


def test_a_version_2_log_without_its_last_line_feed_is_continued_too(room: LogRoom) -> None:
    room.path.write_bytes(b'{"kind": "snapshot"}')
    assert room.log().append(draft()).line == 3
    assert room.verify().exit_code is ExitCode.DONE


@pytest.mark.parametrize("before", [0, 1_000_000])
def test_a_version_2_line_too_long_to_judge_is_not_sealed_wherever_it_stands(room: LogRoom, before: int) -> None:
    short = [b'{"kind": "old"}'] * (before // 16)
    room.put([*short, b'{"kind": "' + b"x" * 70_000 + b'"}', b'{"kind": "old"}'])
    with pytest.raises(Unavailable, match=r"log\.head_broken"):
        room.log().append(draft())
    assert ("format", len(short) + 1, None) in room.findings()


def test_a_missing_secret_stops_writing_and_reading_the_head(room: LogRoom, tmp_path: Path) -> None:
    room.log().append(draft())
    (tmp_path / "secrets" / "ops-2026-11.key").unlink()
    log = DecisionLog(room.path, KeyRing.load(room.ring.path, {}), room.clock, origin="tests")
    with pytest.raises(Unavailable, match=r"keyring\.secret_missing"):
        log.append(draft(2))
    with pytest.raises(Unavailable, match=r"keyring\.secret_missing"):
        log.head()


def two_keys(room: LogRoom, tmp_path: Path) -> KeyRing:
    """The room's ring with a second active key."""
    second = create_keyring(tmp_path / "secrets" / "second.json", room.clock.now().replace(month=12))
    ring = json.loads(room.ring.path.read_text())
    ring["keys"] += json.loads(second.path.read_text())["keys"]
    room.ring.path.write_text(json.dumps(ring))
    return KeyRing.load(room.ring.path, {})


def test_the_log_says_which_key_is_in_force_and_hands_over_to_the_next(room: LogRoom, tmp_path: Path) -> None:
    ring = two_keys(room, tmp_path)
    room = LogRoom(room.path, ring, room.clock)
    room.log().append(draft())
    facts = {"next_key_id": "ops-2026-12", "next_fingerprint": ring.keys["ops-2026-12"].fingerprint}
    room.log().append(draft(kind="key_rotation", metadata=facts))
    receipts = room.log().append_many([draft(3), draft(4)])
    assert {json.loads(receipt.raw)["key_id"] for receipt in receipts} == {"ops-2026-12"}
    verdict = room.verify()
    assert (verdict.exit_code, verdict.entries, verdict.islands_total) == (ExitCode.DONE, 5, 1)


@pytest.mark.parametrize(
    ("facts", "line", "code"),
    [
        ({}, 3, "log.key_changed"),
        ({"next_key_id": "ops-2026-12", "next_fingerprint": "0" * 16}, 2, "log.key_substituted"),
    ],
)
def test_a_key_that_nobody_announced_is_misused(
    room: LogRoom, tmp_path: Path, facts: dict[str, object], line: int, code: str
) -> None:
    ring = two_keys(room, tmp_path)
    room = LogRoom(room.path, ring, room.clock)
    kind = "key_rotation" if facts else "incident_note"
    room.log().append(draft(kind=kind, metadata=facts))
    place = Place(room.log_id(), 2, leaf_digest(room.lines()[-1]), "ops-2026-12")
    misused = Sealer(ring.keys["ops-2026-12"], room.log_id()).seal(payload_of(draft(), place, room.clock.now()))
    room.put([*room.lines(), misused])
    assert [(f.line, f.code) for f in room.verify().findings] == [(line, code)]


def test_entries_are_read_back_by_category_and_incident(room: LogRoom) -> None:
    other = {"incident_id": "INC-20261123-0002"}
    room.log().append_many([draft(1), draft(2, metadata=other), draft(3, category="runtime_control")])
    room.path.write_bytes(room.path.read_bytes() + b"not an entry\n\n" + b"torn")
    assert [entry.seq for entry in entries(room.path)] == [0, 1, 2, 3]
    assert [entry.seq for entry in entries(room.path, category="stage4_incident")] == [1, 2]
    assert [entry.seq for entry in entries(room.path, incident="INC-20261123-0002")] == [2]
    third = list(entries(room.path))[2]
    assert room.path.read_bytes()[third.offset :].splitlines()[0] == room.lines()[third.line - 1]
    with pytest.raises(Unavailable, match=r"files\.missing"):
        list(entries(room.path.with_name("absent.jsonl")))


def test_an_entry_is_taken_back_by_another_and_the_log_still_verifies(room: LogRoom) -> None:
    log = room.log()
    log.append(draft(metadata={"engine": "incidents", "decision_id": "d1", "incident_id": "INC-20261123-0001"}))
    lost = list(entries(room.path))[-1]
    log.append(void_draft(lost, "d1", "incidents"))
    void = list(entries(room.path))[-1]
    assert (void.kind, void.category) == (VOID, lost.category)
    assert void.metadata == {
        "decision_id": "d1",
        "engine": "incidents",
        "incident_id": "INC-20261123-0001",
        "voided_kind": lost.kind,
        "voided_seq": lost.seq,
    }
    assert room.verify().exit_code is ExitCode.DONE
