"""Keys change inside the log: rotation, revocation, crashes in between, and what the verifier makes of misuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stage4.decisionlog import key_changes
from stage4.decisionlog.chain import Sealer, leaf_digest
from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.entry import Draft, Place, payload_of
from stage4.decisionlog.traces import checkpoint_path
from stage4.decisionlog.verification.trail import Given, Trail
from stage4.decisionlog.verification.verifier import verify
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import Conflict, ExitCode, Refused, Unavailable, UsageError
from stage4.security.keyring import KeyRing, KeyState
from stage4.security.keyring_changes import KeyRingChange, changing
from support.decision_logs import LogRoom, draft

FIRST, SECOND = "ops-2026-11", "ops-2026-11-2"


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path, 3)


def now(room: LogRoom) -> KeyRing:
    """The ring as it is on the disk."""
    return KeyRing.load(room.ring.path, {})


def opened(room: LogRoom) -> DecisionLog:
    """The log as a process that starts now opens it."""
    return DecisionLog(room.path, now(room), room.clock, origin="tests")


def rotate(room: LogRoom, **options: str) -> key_changes.Rotation:
    return key_changes.rotate(opened(room), room.ring, room.clock, "ninety days", **options)


def revoke(room: LogRoom, key_id: str, *, checkpoint: bool = True) -> key_changes.Revocation:
    def vouch(ring: KeyRing) -> None:
        notary.make(opened(room), ring, room.clock)

    return key_changes.revoke(
        opened(room), room.ring, room.clock, key_id, "laptop stolen", checkpoint=vouch if checkpoint else None
    )


def prepared(room: LogRoom, key_id: str, **options: object) -> None:
    with changing(room.ring.path, {}) as change:
        change.add(key_id, room.clock.now(), **options)  # type: ignore[arg-type]


def signers(room: LogRoom) -> list[str]:
    return [json.loads(line)["key_id"] for line in room.lines()]


def codes(room: LogRoom) -> list[tuple[int, str]]:
    """Line and code of each finding, judged with the ring on the disk and the note beside the log."""
    note = checkpoint_path(room.path)
    trail = Trail([Given(note.name, note.read_bytes())] if note.exists() else ())
    return [(finding.line, finding.code) for finding in verify(room.path, now(room), room.clock, trail=trail).findings]


def signed(room: LogRoom, key_id: str, entry: Draft, *, seq: int | None = None) -> bytes:
    """The next line as a holder of that key would write it, past every check of the writer."""
    key = now(room).keys[key_id]
    last = json.loads(room.lines()[-1])["seq"]
    place = Place(room.log_id(), last + 1 if seq is None else seq, leaf_digest(room.lines()[-1]), key_id)
    return Sealer(key, room.log_id()).seal(payload_of(entry, place, room.clock.now()))


def crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("algorithm", ["HMAC-SHA256", "HMAC-SHA384"])
def test_a_rotation_is_an_entry_and_the_log_verifies_across_it(room: LogRoom, algorithm: str) -> None:
    done = rotate(room, algorithm=algorithm)
    assert done == key_changes.Rotation(FIRST, SECOND, algorithm, fresh=True, seq=4)
    room.log().append_many([draft(5), draft(6)])
    assert signers(room) == [FIRST] * 5 + [SECOND] * 2
    entry = json.loads(room.lines()[4])
    assert entry["metadata"] == {
        "next_fingerprint": now(room).keys[SECOND].fingerprint,
        "next_key_id": SECOND,
        "reason": "ninety days",
    }
    assert json.loads(room.lines()[6])["signature"]["algorithm"] == algorithm
    old, new = now(room).keys[FIRST], now(room).keys[SECOND]
    assert (old.state, old.reason, new.state, now(room).active) == (
        KeyState.RETIRED,
        "ninety days",
        KeyState.ACTIVE,
        SECOND,
    )
    verdict = room.verify(now(room))
    assert (verdict.exit_code, verdict.entries, verdict.findings) == (ExitCode.DONE, 7, ())
    assert room.verify(None).exit_code is ExitCode.CANNOT_TELL


def test_a_writer_that_was_open_before_the_rotation_follows_it(room: LogRoom) -> None:
    service, other = room.log(), room.log()
    service.append(draft(4))
    key_changes.rotate(other, room.ring, room.clock, "x")
    service.append(draft(5))
    other.append(draft(6))
    rotate(room)
    assert json.loads(service.rehearse(draft(7)))["key_id"] == "ops-2026-11-3"
    service.append(draft(7))
    assert signers(room) == [FIRST] * 6 + [SECOND] * 3 + ["ops-2026-11-3"]
    assert codes(room) == []


def test_a_new_log_begins_with_the_key_of_now_whatever_ring_the_writer_remembers(room: LogRoom, tmp_path: Path) -> None:
    service = DecisionLog(tmp_path / "second.jsonl", room.ring, room.clock, origin="tests")
    rotate(room)
    service.append(draft())
    assert json.loads((tmp_path / "second.jsonl").read_bytes().splitlines()[0])["key_id"] == SECOND


def test_a_second_log_under_the_same_ring_goes_on_once_it_was_rotated_too(room: LogRoom, tmp_path: Path) -> None:
    second = DecisionLog(tmp_path / "second.jsonl", room.ring, room.clock, origin="tests")
    second.append(draft())
    rotate(room)
    late = DecisionLog(tmp_path / "second.jsonl", now(room), room.clock, origin="tests")
    with pytest.raises(Unavailable, match=r"log\.key_not_usable"):
        late.append(draft(2))
    done = key_changes.rotate(late, now(room), room.clock, "x")
    assert (done.previous, done.next, done.fresh) == (FIRST, SECOND, False)
    late.append(draft(2))
    assert LogRoom(second.path, now(room), room.clock).verify().exit_code is ExitCode.DONE


def test_a_prepared_key_takes_over_and_one_can_be_named(room: LogRoom) -> None:
    prepared(room, "plan-a", algorithm="HMAC-SHA384")
    prepared(room, "plan-b")
    assert rotate(room, algorithm="HMAC-SHA256").next == "plan-b"
    assert rotate(room).next == "plan-a"
    prepared(room, "plan-c", logs=frozenset((room.log_id(),)))
    prepared(room, "plan-d", logs=frozenset(("another",)))
    assert rotate(room, to="plan-c").next == "plan-c"
    assert rotate(room).next == SECOND
    assert codes(room) == []


def test_a_key_that_cannot_follow_is_refused(room: LogRoom) -> None:
    rotate(room)
    prepared(room, "elsewhere", logs=frozenset(("another",)))
    prepared(room, "lost")
    room.ring.path.with_name("lost.key").unlink()
    before = room.path.read_bytes(), room.ring.path.read_bytes()
    refusals: list[tuple[str, type[Exception], str]] = [
        (FIRST, Refused, "keyring.not_active"),
        (SECOND, Refused, "keyring.already_in_force"),
        ("elsewhere", Refused, "keyring.not_for_log"),
        ("lost", Unavailable, "keyring.secret_missing"),
        ("nobody", UsageError, "keyring.unknown_key"),
    ]
    for to, kind, code in refusals:
        with pytest.raises(kind, match=code.replace(".", r"\.")):
            rotate(room, to=to)
    assert (room.path.read_bytes(), room.ring.path.read_bytes()) == before


def test_where_nothing_can_be_signed_nothing_is_handed_over(room: LogRoom) -> None:
    room.ring.path.with_name(f"{FIRST}.key").unlink()
    before = room.path.read_bytes(), room.ring.path.read_bytes()
    with pytest.raises(Refused, match=r"keyring\.cannot_hand_over"):
        rotate(room)
    with pytest.raises(Refused, match=r"keyring\.cannot_hand_over"):
        revoke(room, FIRST)
    assert (room.path.read_bytes(), room.ring.path.read_bytes()) == before


def test_before_there_is_a_log_only_the_ring_changes(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path)
    assert rotate(room).seq is None
    done = revoke(room, SECOND)
    assert (done.seq, done.rotation and done.rotation.next) == (None, "ops-2026-11-3")
    assert not room.path.exists()
    room.log().append(draft())
    assert set(signers(room)) == {"ops-2026-11-3"}
    assert codes(room) == []


def test_a_log_that_vanished_keeps_its_keys(room: LogRoom) -> None:
    notary.make(room.log(), room.ring, room.clock)
    room.path.unlink()
    with pytest.raises(Unavailable, match=r"log\.vanished"):
        rotate(room)


def test_a_crash_between_entry_and_ring_is_finished_by_the_next_call(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = room.log()
    with monkeypatch.context() as patch:
        patch.setattr(KeyRingChange, "take_over", crash)
        with pytest.raises(KeyboardInterrupt):
            rotate(room)
    assert now(room).active == FIRST
    service.append(draft(5))
    done = rotate(room)
    assert (done.resumed, done.next, done.seq) == (True, SECOND, None)
    assert (now(room).active, now(room).keys[FIRST].state) == (SECOND, KeyState.RETIRED)
    assert signers(room) == [FIRST] * 5 + [SECOND]
    assert codes(room) == []


def test_after_such_a_crash_the_log_does_not_go_back(room: LogRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(KeyRingChange, "take_over", crash)
        with pytest.raises(KeyboardInterrupt):
            rotate(room)
    with pytest.raises(Refused, match=r"keyring\.not_active"):
        rotate(room, to=FIRST)
    prepared(room, "third")
    assert rotate(room, to="third").previous == SECOND
    assert {key.id: key.state.value for key in now(room).keys.values()} == {
        FIRST: "retired",
        SECOND: "retired",
        "third": "active",
    }
    assert codes(room) == []


def test_a_crash_before_the_entry_leaves_a_key_that_the_next_rotation_takes(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(DecisionLog, "held", crash)
        with pytest.raises(KeyboardInterrupt):
            rotate(room)
    done = rotate(room)
    assert (done.next, done.fresh, len(now(room).keys)) == (SECOND, False, 2)


def test_only_one_administrator_rotates_at_a_time(room: LogRoom) -> None:
    with changing(room.ring.path, {}), pytest.raises(Conflict, match=r"keyring\.busy"):
        rotate(room)
    assert len(room.lines()) == 4


def test_a_key_in_force_is_replaced_before_it_is_revoked_and_what_it_signed_stays_good(room: LogRoom) -> None:
    prepared(room, "prepared-on-the-same-machine")
    service = room.log()
    done = revoke(room, FIRST)
    assert done.rotation is not None
    assert (done.rotation.next, done.rotation.fresh) == (SECOND, True)
    assert [json.loads(line)["kind"] for line in room.lines()[-3:]] == ["key_rotation", "checkpoint", "key_revocation"]
    entry = json.loads(room.lines()[-1])
    assert entry["metadata"] == {
        "fingerprint": room.ring.keys[FIRST].fingerprint,
        "reason": "laptop stolen",
        "revoked_key_id": FIRST,
    }
    assert (entry["key_id"], entry["seq"]) == (SECOND, done.seq)
    assert (now(room).active, now(room).keys[FIRST].state) == (SECOND, KeyState.REVOKED)
    service.append(draft(9))
    assert codes(room) == []
    again = revoke(room, FIRST)
    assert (again.already, again.seq) == (True, done.seq)


def test_without_a_checkpoint_nothing_of_a_revoked_key_counts(room: LogRoom) -> None:
    revoke(room, FIRST, checkpoint=False)
    verdict = room.verify(now(room))
    assert verdict.exit_code is ExitCode.NO
    assert [(f.fault.value, f.line) for f in verdict.findings] == [("key_misuse", 1)]


def test_a_retired_key_and_a_spare_one_are_revoked_without_a_rotation(room: LogRoom) -> None:
    rotate(room)
    prepared(room, "spare")
    for key_id in (FIRST, "spare"):
        assert revoke(room, key_id).rotation is None
        assert now(room).keys[key_id].state is KeyState.REVOKED
    assert codes(room) == []
    with pytest.raises(Refused, match=r"keyring\.not_active"):
        rotate(room, to="spare")


@pytest.mark.parametrize("point", ["take_over", "revoke"])
def test_a_revocation_is_resumed_wherever_it_was_cut(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(KeyRingChange, point, crash)
        with pytest.raises(KeyboardInterrupt):
            revoke(room, FIRST)
    assert now(room).keys[FIRST].state is not KeyState.REVOKED
    room.log().append(draft(5))
    revoke(room, FIRST)
    assert (now(room).active, now(room).keys[FIRST].state) == (SECOND, KeyState.REVOKED)
    assert len(now(room).keys) == 2
    assert codes(room) == []


def test_a_crash_before_the_revocation_entry_fails_closed(room: LogRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    rotate(room)
    with monkeypatch.context() as patch:
        patch.setattr(DecisionLog, "held", crash)
        with pytest.raises(KeyboardInterrupt):
            revoke(room, FIRST, checkpoint=False)
    assert codes(room) == [(1, "completeness.revoked_unlogged")]
    done = revoke(room, FIRST)
    assert (done.already, json.loads(room.lines()[-1])["kind"]) == (False, "key_revocation")


def late(room: LogRoom) -> bytes:
    rotate(room)
    return signed(room, FIRST, draft())


def late_after_more(room: LogRoom) -> bytes:
    rotate(room)
    room.log().append(draft(5))
    return signed(room, FIRST, draft())


def late_across_a_gap(room: LogRoom) -> bytes:
    rotate(room)
    room.log().append(draft(5))
    return signed(room, FIRST, draft(), seq=9)


def too_early(room: LogRoom) -> bytes:
    prepared(room, SECOND)
    return signed(room, SECOND, draft())


def rotation_to(name: str, fingerprint: Callable[[KeyRing], str]) -> Callable[[LogRoom], bytes]:
    def attack(room: LogRoom) -> bytes:
        prepared(room, SECOND)
        facts = {"next_key_id": name, "next_fingerprint": fingerprint(now(room))}
        return signed(room, FIRST, draft(kind="key_rotation", metadata=facts))

    return attack


def rotation_back(room: LogRoom) -> bytes:
    rotate(room)
    facts = {"next_key_id": FIRST, "next_fingerprint": now(room).keys[FIRST].fingerprint}
    return signed(room, SECOND, draft(kind="key_rotation", metadata=facts))


def second_genesis(room: LogRoom) -> bytes:
    return signed(room, FIRST, draft(kind="genesis", category="decision_log"))


def of_another_log_only(room: LogRoom) -> bytes:
    prepared(room, SECOND, logs=frozenset(("another",)))
    return signed(room, SECOND, draft())


MISUSES: list[tuple[Callable[[LogRoom], bytes], str]] = [
    (late, "log.key_outlived"),
    (late_after_more, "log.key_outlived"),
    (late_across_a_gap, "log.key_outlived"),
    (too_early, "log.key_changed"),
    (rotation_to("nobody", lambda ring: "0" * 16), "log.rotation_unlisted"),
    (rotation_to(SECOND, lambda ring: "0" * 16), "log.key_substituted"),
    (rotation_to(SECOND, lambda ring: ring.keys[FIRST].fingerprint), "log.key_substituted"),
    (rotation_to(FIRST, lambda ring: ring.keys[FIRST].fingerprint), "log.rotation_back"),
    (rotation_back, "log.rotation_back"),
    (second_genesis, "log.format_second_genesis"),
    (of_another_log_only, "log.key_not_for_log"),
]


@pytest.mark.parametrize(("attack", "code"), MISUSES, ids=[f"{code}-{n}" for n, (_, code) in enumerate(MISUSES)])
def test_a_holder_of_a_key_who_oversteps_is_found(room: LogRoom, attack: Callable[[LogRoom], bytes], code: str) -> None:
    line = attack(room)
    room.put([*room.lines(), line])
    verdict = room.verify(now(room))
    assert verdict.exit_code is ExitCode.NO
    assert (len(room.lines()), code) in [(finding.line, finding.code) for finding in verdict.findings]


def test_a_run_of_entries_under_a_key_that_was_left_is_not_counted_as_sound(room: LogRoom) -> None:
    rotate(room)
    for number in range(20):
        room.put([*room.lines(), signed(room, FIRST, draft(number))])
    verdict = room.verify(now(room))
    assert verdict.entries == 5
    assert {finding.code for finding in verdict.findings} == {"log.key_outlived"}


def test_a_key_derived_for_another_purpose_signs_no_entry(room: LogRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("stage4.decisionlog.chain.ENTRY_PURPOSE", "checkpoint")
        line = signed(room, FIRST, draft())
    room.put([*room.lines(), line])
    assert codes(room) == [(5, "log.edit")]


def test_the_algorithm_of_a_key_cannot_be_lowered_in_the_ring(room: LogRoom) -> None:
    rotate(room, algorithm="HMAC-SHA384")
    room.log().append(draft(5))
    ring = json.loads(room.ring.path.read_text())
    ring["keys"][1]["algorithm"] = "HMAC-SHA256"
    room.ring.path.write_text(json.dumps(ring))
    assert codes(room) == [(6, "log.algorithm")]


def test_a_missing_secret_of_a_retired_key_leaves_the_rest_judged(room: LogRoom) -> None:
    rotate(room)
    room.log().append(draft(5))
    room.ring.path.with_name(f"{FIRST}.key").unlink()
    verdict = room.verify(now(room))
    assert verdict.exit_code is ExitCode.CANNOT_TELL
    assert codes(room) == [(1, "log.unverifiable")]
    room.log().append(draft(6))


def test_a_rotation_between_loading_the_ring_and_reading_the_log_is_no_false_alarm(room: LogRoom) -> None:
    before = now(room)
    rotate(room, algorithm="HMAC-SHA384")
    room.log().append(draft(5))
    verdict = room.verify(before)
    assert (verdict.exit_code, verdict.entries) == (ExitCode.DONE, 6)
    room.ring.path.unlink()
    assert {finding.code for finding in room.verify(before).findings} == {"log.rotation_unlisted", "log.key_unlisted"}


@pytest.mark.parametrize("rotated", [True, False])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_revocation_between_loading_the_ring_and_reading_the_log_counts(
    room: LogRoom, rotated: bool, workers: int
) -> None:
    if rotated:
        # Then the revocation brings no key that the older ring does not list.
        rotate(room)
    before = now(room)
    revoke(room, FIRST, checkpoint=False)
    room.log().append(draft(5))
    verdict = verify(room.path, before, room.clock, workers=workers)
    assert verdict.exit_code is ExitCode.NO
    assert {finding.code for finding in verdict.findings} == {"completeness.revoked_uncovered"}
    assert verdict.findings == room.verify(now(room)).findings


def test_a_revocation_that_the_log_was_not_read_to_is_no_false_alarm(room: LogRoom) -> None:
    before = now(room)
    revoke(room, FIRST, checkpoint=False)
    # As the log stood when the ring on the disk called the key revoked, and the entry was still to come.
    room.put(room.lines()[:-1])
    assert room.verify(before).exit_code is ExitCode.DONE
    assert {finding.code for finding in room.verify(now(room)).findings} == {"completeness.revoked_unlogged"}


def test_a_ring_that_is_gone_after_a_revocation_leaves_the_one_that_was_loaded(room: LogRoom) -> None:
    rotate(room)
    before = now(room)
    revoke(room, FIRST, checkpoint=False)
    room.ring.path.unlink()
    assert room.verify(before).exit_code is ExitCode.DONE
