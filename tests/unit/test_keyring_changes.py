"""The key ring changes in whole steps: nothing is lost, nobody overwritten, and a crash can be gone on from."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stage4 import files
from stage4.errors import Conflict, Refused, Unavailable, UsageError
from stage4.security import keyring_changes
from stage4.security.keyring import KeyRing, KeyState, create_keyring
from stage4.security.keyring_changes import changing, free_id

NOW = datetime(2026, 11, 23, 9, 42, 1, tzinfo=UTC)
LATER = datetime(2026, 12, 1, 8, 0, 0, 5, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return create_keyring(tmp_path / "ring" / "keyring.json", NOW).path


def listed(path: Path, key_id: str) -> dict[str, object]:
    """What the ring on the disk says of a key."""
    keys = json.loads(path.read_text())["keys"]
    return next(dict(facts) for facts in keys if facts["id"] == key_id)


def test_a_new_key_has_a_private_secret_of_its_own_and_is_not_in_force(path: Path) -> None:
    with changing(path, {}) as change:
        key = change.add("spare", LATER, algorithm="HMAC-SHA384", logs=frozenset(("log-b", "log-a")))
    assert (key.available, key.algorithm, key.state) == (True, "HMAC-SHA384", KeyState.ACTIVE)
    assert (key.may_sign("log-a"), key.may_sign("log-c")) == (True, False)
    secret = path.with_name("spare.key")
    assert len(base64.b64decode(secret.read_text())) == 32
    assert [each.stat().st_mode & 0o777 for each in (secret, path)] == [0o600, 0o600]
    ring = KeyRing.load(path, {})
    assert (ring.active, list(ring.keys)) == ("ops-2026-11", ["ops-2026-11", "spare"])
    assert listed(path, "spare")["logs"] == ["log-a", "log-b"]


def test_one_key_takes_over_from_another_in_one_step(path: Path) -> None:
    with changing(path, {}) as change:
        change.add("next", LATER)
        change.take_over("next", "ops-2026-11", LATER, "ninety days")
        assert change.ring.active == "next"
    old = KeyRing.load(path, {}).keys["ops-2026-11"]
    assert (old.state, old.retired, old.reason) == (KeyState.RETIRED, LATER.replace(microsecond=0), "ninety days")
    assert old.available


def test_a_revoked_key_keeps_its_first_instant_and_never_becomes_retired(path: Path) -> None:
    with changing(path, {}) as change:
        change.add("next", NOW)
        change.revoke("ops-2026-11", LATER, "laptop stolen", active="next")
        change.take_over("next", "ops-2026-11", LATER, "again")
        change.revoke("ops-2026-11", LATER.replace(year=2027), "again", active="next")
    facts = listed(path, "ops-2026-11")
    assert (facts["state"], facts["revoked"], facts["reason"]) == ("revoked", "2026-12-01T08:00:00Z", "laptop stolen")
    assert "retired" not in facts


def test_the_key_that_starts_new_logs_is_not_revoked(path: Path) -> None:
    before = path.read_bytes()
    with changing(path, {}) as change:
        with pytest.raises(Refused, match=r"keyring\.is_active"):
            change.revoke("ops-2026-11", LATER, "x", active="ops-2026-11")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("key_id", "algorithm", "code"),
    [
        ("a b", "HMAC-SHA256", "keyring.bad_id"),
        ("../up", "HMAC-SHA256", "keyring.bad_id"),
        ("x", "HMAC-MD5", "keyring.bad_algorithm"),
        ("ops-2026-11", "HMAC-SHA256", "keyring.id_taken"),
    ],
)
def test_a_key_that_cannot_be_is_not_made(path: Path, key_id: str, algorithm: str, code: str) -> None:
    before = sorted(each.name for each in path.parent.iterdir())
    with changing(path, {}) as change, pytest.raises((Refused, UsageError)) as caught:
        change.add(key_id, NOW, algorithm=algorithm)
    assert caught.value.code == code
    assert sorted(each.name for each in path.parent.iterdir() if each.suffix != ".lock") == before


def test_two_administrators_do_not_change_the_ring_at_once(path: Path) -> None:
    with changing(path, {}), pytest.raises(Conflict, match=r"keyring\.busy"), changing(path, {}):
        pass
    with changing(path, {}) as change:
        change.add("next", NOW)


def test_another_account_does_not_take_the_ring_away_from_its_owner(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(Refused, match=r"keyring\.not_owner"), changing(path, {}):
        pass


def test_a_ring_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"files\.missing"), changing(tmp_path / "absent" / "keyring.json", {}):
        pass
    assert not list(tmp_path.iterdir())


def test_a_crash_between_secret_and_ring_is_gone_on_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, changing(path, {}) as change:
        patch.setattr(files, "write_json", crash)
        with pytest.raises(KeyboardInterrupt):
            change.add("next", NOW)
    left = path.with_name("next.key").read_text()
    assert list(KeyRing.load(path, {}).keys) == ["ops-2026-11"]
    with changing(path, {}) as change:
        assert change.add("next", NOW).available
    assert path.with_name("next.key").read_text() == left


def test_a_full_disk_leaves_the_ring_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_all", full)
    with changing(path, {}) as change, pytest.raises(Unavailable, match=r"files\.cannot_write"):
        change.take_over("ops-2026-11", "ops-2026-11", NOW, "x")
    with changing(path, {}) as change, pytest.raises(Unavailable, match=r"files\.cannot_write"):
        change.add("next", NOW)
    assert path.read_bytes() == before


def test_an_id_of_its_own_is_found_for_a_new_key(path: Path) -> None:
    path.with_name("ops-2026-11-2.key").write_text("left by a crash, or put there by somebody")
    ring = KeyRing.load(path, {})
    assert (free_id(ring, NOW), free_id(ring, LATER)) == ("ops-2026-11-3", "ops-2026-12")


def test_secrets_in_the_environment_stay_known_after_a_change(path: Path) -> None:
    secret = path.with_name("ops-2026-11.key").read_text().strip()
    document = json.loads(path.read_text())
    del document["keys"][0]["secret_file"]
    document["keys"][0]["secret_env"] = "LOG_SECRET"
    path.write_text(json.dumps(document))
    with keyring_changes.changing(path, {"LOG_SECRET": secret}) as change:
        change.add("next", NOW)
        assert change.ring.active_key().available
        assert change.ring.reloaded().active_key().available
    assert secret not in path.read_text()
    assert secret not in repr(change.ring)
