"""A revoked key's entries count only where a checkpoint made before the revocation covers them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stage4 import words
from stage4.decisionlog.entry import KEY_REVOCATION, KEY_ROTATION, LOG_CATEGORY, Draft
from stage4.decisionlog.verification.key_uses import KeyUse
from stage4.decisionlog.verification.ledger import Position
from stage4.decisionlog.verification.revocation import Revocation, judge
from stage4.decisionlog.verification.trail import Trail
from stage4.decisionlog.verification.verifier import verify
from stage4.security.keyring import Key, KeyRing, KeyState, create_keyring
from stage4.testing.clock import ManualClock
from support.checkpointed import CheckpointedLog, follow, given

HERE = Position(0, 1, 0)


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    """Keys `good`, and `bad` and `worse`, which are revoked."""
    made = create_keyring(tmp_path / "keyring.json", ManualClock().now())
    key = made.active_key()

    def named(name: str, state: KeyState) -> Key:
        return replace(key, id=name, state=state, fingerprint=f"print of {name}")

    keys = [named("good", KeyState.ACTIVE), named("bad", KeyState.REVOKED), named("worse", KeyState.REVOKED)]
    return replace(made, active="good", keys={each.id: each for each in keys})


def revocation(seq: int, revoked: str = "bad", signer: str = "good", vouched: int = 0) -> Revocation:
    return Revocation(seq, signer, revoked, f"print of {revoked}", vouched)


def use(first: int, last: int, key_id: str = "bad") -> KeyUse:
    return KeyUse(key_id, first, last, HERE)


def blamed(ring: KeyRing | None, uses: list[KeyUse], *revocations: Revocation) -> list[tuple[int, str]]:
    """The first entry and the code of every use that is not accepted; each has its words."""
    found = list(judge(uses, revocations, ring))
    assert all(words.text(blame.code, "pl", **blame.params) for _, blame in found)
    return [(each.first_seq, blame.code.partition(".")[2]) for each, blame in found]


def test_entries_that_an_earlier_checkpoint_covers_are_accepted(ring: KeyRing) -> None:
    assert blamed(ring, [use(0, 29)], revocation(40, vouched=30)) == []


def test_entries_beyond_the_checkpoint_are_not(ring: KeyRing) -> None:
    uses = [use(0, 19), use(25, 30), use(33, 39), use(41, 50)]
    assert blamed(ring, uses, revocation(40, vouched=30)) == [
        (25, "revoked_uncovered"),
        (33, "revoked_uncovered"),
        (41, "revoked_before"),
    ]


def test_without_a_revocation_in_the_log_nothing_is_accepted(ring: KeyRing) -> None:
    assert blamed(ring, [use(0, 3), use(5, 6)]) == [(0, "revoked_unlogged"), (5, "revoked_unlogged")]
    assert blamed(ring, [use(0, 3)], revocation(9, "worse", vouched=9)) == [(0, "revoked_unlogged")]


def test_a_key_that_is_not_revoked_is_no_concern(ring: KeyRing) -> None:
    assert blamed(ring, [use(0, 9, "good")]) == []
    assert blamed(None, [use(0, 9)]) == []


def test_a_revocation_of_another_secret_does_not_count(ring: KeyRing) -> None:
    other = replace(revocation(40, vouched=30), fingerprint="print of another")
    assert blamed(ring, [use(0, 9)], other) == [(0, "revoked_unlogged")]


def test_a_key_cannot_revoke_itself(ring: KeyRing) -> None:
    assert blamed(ring, [use(0, 9)], revocation(40, signer="bad", vouched=30)) == [(0, "revoked_unlogged")]


def test_the_earliest_revocation_counts(ring: KeyRing) -> None:
    found = blamed(ring, [use(0, 29)], revocation(60, vouched=50), revocation(20, vouched=10))
    assert found == [(0, "revoked_uncovered")]


def test_a_revocation_by_a_key_that_is_revoked_too_counts_where_a_checkpoint_saw_it(ring: KeyRing) -> None:
    by_worse = revocation(40, signer="worse", vouched=30)
    assert blamed(ring, [use(0, 9)], by_worse) == [(0, "revoked_unlogged")]
    assert blamed(ring, [use(0, 9)], by_worse, revocation(60, "worse", vouched=40)) == [(0, "revoked_unlogged")]
    assert blamed(ring, [use(0, 9)], by_worse, revocation(60, "worse", vouched=41)) == []


def test_two_revoked_keys_do_not_vouch_for_each_other(ring: KeyRing) -> None:
    both = (revocation(40, "bad", "worse", 30), revocation(41, "worse", "bad", 40))
    assert blamed(ring, [use(0, 9), use(10, 19, "worse")], *both) == [(0, "revoked_unlogged"), (10, "revoked_unlogged")]


def revoked_at(log: CheckpointedLog) -> None:
    facts = {"revoked_key_id": "old", "fingerprint": "f", "reason": "lost"}
    log.append(Draft(KEY_REVOCATION, LOG_CATEGORY, "log", "revoked", metadata=facts))


def vouched(log: CheckpointedLog, trail: Trail) -> list[tuple[int, int]]:
    return [(each.seq, each.vouched) for each in follow(log, trail)[0].revocations]


def test_the_trail_tells_what_was_vouched_for_before_each_revocation(tmp_path: Path) -> None:
    log = CheckpointedLog.create(tmp_path, 5)
    revoked_at(log)
    log.extend(20, 10)
    revoked_at(log)
    assert vouched(log, Trail()) == [(5, 0), (20, 10)]
    # The note of the last checkpoint before the second revocation comes from elsewhere, or from the next checkpoint.
    assert vouched(log, Trail(given(log.notes[1]))) == [(5, 0), (20, 20)]
    log.extend(30, 10)
    assert vouched(log, Trail()) == [(5, 0), (20, 20)]
    # Only a checkpoint from before the revocation counts, however much a later one covers.
    assert vouched(log, Trail(given(log.notes[2]))) == [(5, 0), (20, 20)]


@pytest.fixture
def rotated(tmp_path: Path) -> CheckpointedLog:
    """Key `old` signs 20 entries, of which a checkpoint covers 10 before the other key revokes it."""
    log = CheckpointedLog.create(tmp_path)
    new = log.ring.active_key()
    old = replace(new, id="old")
    log.key = old
    log.extend(19, 10)
    facts = {"next_key_id": new.id, "next_fingerprint": new.fingerprint}
    log.append(Draft(KEY_ROTATION, LOG_CATEGORY, "log", "rotated", metadata=facts))
    log.key = new
    facts = {"revoked_key_id": "old", "fingerprint": old.fingerprint, "reason": "lost"}
    log.append(Draft(KEY_REVOCATION, LOG_CATEGORY, "log", "revoked", metadata=facts))
    log.ring = replace(log.ring, keys={"old": replace(old, state=KeyState.REVOKED), new.id: new})
    return log


def verified(log: CheckpointedLog, tmp_path: Path) -> list[tuple[str, int | None]]:
    """Code and entry number of each finding of the verifier, with the newest note at hand."""
    verdict = verify(log.write(tmp_path / "runtime.jsonl"), log.ring, log.clock, trail=Trail(given(log.notes[-1])))
    return [(each.code.partition(".")[2], each.seq) for each in verdict.findings]


def test_the_verifier_accepts_a_revoked_key_up_to_the_checkpoint(rotated: CheckpointedLog, tmp_path: Path) -> None:
    assert verified(rotated, tmp_path) == [("revoked_uncovered", 10)]
    # A checkpoint made later saw what might have been forged by then.
    rotated.extend(30, 10)
    assert verified(rotated, tmp_path) == [("revoked_uncovered", 10)]


def test_the_verifier_accepts_nothing_of_a_revoked_key_without_its_revocation(
    rotated: CheckpointedLog, tmp_path: Path
) -> None:
    assert {code for code, _ in verified(rotated.cut(20), tmp_path)} == {"revoked_unlogged"}
