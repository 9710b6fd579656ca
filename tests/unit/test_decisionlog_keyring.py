"""The key ring: what it lists, where secrets lie, what happens when they do not."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from stage4.errors import Conflict, Unavailable, UsageError
from stage4.security.keyring import KeyRing, create_keyring, fingerprint, hkdf_sha256

NOW = datetime(2026, 11, 23, 9, 42, 1, tzinfo=UTC)


def test_a_new_ring_has_one_active_key_and_private_files(tmp_path: Path) -> None:
    path = tmp_path / "decision_log" / "keyring.json"
    ring = create_keyring(path, NOW)
    key = ring.active_key()
    assert (key.id, key.algorithm, key.created, key.available) == ("ops-2026-11", "HMAC-SHA256", NOW, True)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {
        "keyring.json": 0o600,
        "ops-2026-11.key": 0o600,
    }
    assert ring.key("other") is None


def test_a_ring_is_never_overwritten(tmp_path: Path) -> None:
    ring = create_keyring(tmp_path / "keyring.json", NOW)
    with pytest.raises(Conflict, match=r"keyring\.exists"):
        create_keyring(tmp_path / "keyring.json", NOW)
    assert KeyRing.load(ring.path, {}).active_key().fingerprint == ring.active_key().fingerprint


def test_an_interrupted_creation_is_taken_up_with_the_secret_that_is_there(tmp_path: Path) -> None:
    first = create_keyring(tmp_path / "keyring.json", NOW).active_key()
    (tmp_path / "keyring.json").unlink()
    assert create_keyring(tmp_path / "keyring.json", NOW).active_key().fingerprint == first.fingerprint


def test_no_secret_shows_in_the_representation(tmp_path: Path) -> None:
    ring = create_keyring(tmp_path / "keyring.json", NOW)
    secret = base64.b64decode((tmp_path / "ops-2026-11.key").read_text())
    assert repr(secret) not in repr(ring)
    assert "secret" not in repr(ring.active_key())


def unpadded(secret: bytes) -> bytes:
    return base64.b64encode(secret).rstrip(b"=")


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode, unpadded])
def test_a_secret_may_lie_in_the_environment(tmp_path: Path, encode: Callable[[bytes], bytes]) -> None:
    secret = bytes(range(200, 232))
    ring = written(tmp_path, {"fingerprint": fingerprint(secret), "secret_env": "LIVE_DECISION_LOG_HMAC"})
    loaded = KeyRing.load(ring, {"LIVE_DECISION_LOG_HMAC": encode(secret).decode()})
    assert loaded.active_key().available
    with pytest.raises(Unavailable, match=r"keyring\.secret_missing"):
        KeyRing.load(ring, {}).active_key().secret_for("entry", "log")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("c2hvcnQ=", "keyring.secret_malformed"),
        ("not base64 at all!", "keyring.secret_malformed"),
        ("żółw", "keyring.secret_malformed"),
        (base64.b64encode(bytes(32)).decode(), "keyring.secret_differs"),
    ],
)
def test_a_wrong_secret_is_as_good_as_none(tmp_path: Path, content: str, code: str) -> None:
    ring = create_keyring(tmp_path / "keyring.json", NOW)
    (tmp_path / "ops-2026-11.key").write_text(content)
    key = KeyRing.load(ring.path, {}).active_key()
    assert not key.available
    with pytest.raises(Unavailable, match=code.replace(".", r"\.")):
        key.secret_for("entry", "log")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"id": "a b"}, "keys[0].id"),
        ({"id": 7}, "keys[0].id"),
        ({"algorithm": "HMAC-MD5"}, "keys[0].algorithm"),
        ({"state": "lost"}, "keys[0].state"),
        ({"state": "retired"}, "active"),
        ({"logs": "all"}, "keys[0].logs"),
        ({"secret_env": "BOTH"}, "exactly one"),
        ({"secret_file": "a\0b"}, "keys[0].secret_file"),
        ({"secret_file": "\ud800"}, "keys[0].secret_file"),
        ({"secret_file": ""}, "keys[0].secret_file"),
        ({"created": "yesterday"}, "keys[0].created"),
        ({"retired": "2026-11-23"}, "keys[0].retired"),
        ({"revoked": 7}, "keys[0].revoked"),
        ({"reason": None}, "keys[0].reason"),
        ({"colour": "red"}, "keys[0].colour"),
        ({"fingerprint": "ż" * 16}, "keys[0].fingerprint"),
    ],
)
def test_a_malformed_ring_names_the_place(tmp_path: Path, change: dict[str, object], part: str) -> None:
    ring = create_keyring(tmp_path / "keyring.json", NOW)
    facts = json.loads(ring.path.read_text())
    facts["keys"][0] |= change
    ring.path.write_text(json.dumps(facts))
    with pytest.raises(UsageError) as caught:
        KeyRing.load(ring.path, {})
    assert part in str(caught.value.params["reason"])


@pytest.mark.parametrize("document", ["[]", '{"schema": "other"}', '{"schema": "stage4.keyring/1", "keys": 1}'])
def test_another_document_is_no_ring(tmp_path: Path, document: str) -> None:
    (tmp_path / "keyring.json").write_text(document)
    with pytest.raises(UsageError, match=r"keyring\.malformed"):
        KeyRing.load(tmp_path / "keyring.json", {})


def test_a_missing_ring_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"files\.missing"):
        KeyRing.load(tmp_path / "keyring.json", {})


def test_key_separation_is_rfc_5869(tmp_path: Path) -> None:
    secret, info = bytes(range(32)), b"stage4-decision-log/v3\0entry\0log\0ops"
    assert hkdf_sha256(secret, info) == HKDF(SHA256(), 32, None, info).derive(secret)


def written(folder: Path, change: dict[str, object]) -> Path:
    """A ring written by hand with one key."""
    key = {"id": "ops-1", "algorithm": "HMAC-SHA256", "created": "2026-11-23T09:42:01Z", "state": "active"} | change
    path = folder / "keyring.json"
    path.write_text(json.dumps({"schema": "stage4.keyring/1", "active": "ops-1", "keys": [key]}))
    return path


@pytest.mark.parametrize(("algorithm", "size"), [("HMAC-SHA256", 32), ("HMAC-SHA384", 48)])
def test_the_algorithm_of_a_key_fixes_the_length_of_what_is_derived(tmp_path: Path, algorithm: str, size: int) -> None:
    key = create_keyring(tmp_path / "keyring.json", NOW, algorithm).active_key()
    secret = base64.b64decode((tmp_path / "ops-2026-11.key").read_text())
    info = b"stage4-decision-log/v3\0entry\0log\0ops-2026-11"
    assert key.algorithm == algorithm
    assert key.secret_for("entry", "log") == HKDF(SHA256(), size, None, info).derive(secret)


def test_one_secret_under_two_ids_is_refused(tmp_path: Path) -> None:
    ring = create_keyring(tmp_path / "keyring.json", NOW)
    facts = json.loads(ring.path.read_text())
    facts["keys"].append(facts["keys"][0] | {"id": "twin"})
    ring.path.write_text(json.dumps(facts))
    with pytest.raises(UsageError) as caught:
        KeyRing.load(ring.path, {})
    assert caught.value.params["reason"] == "keys[1].fingerprint: the secret of key ops-2026-11 once more"


def test_a_member_that_is_none_of_a_ring_is_refused(tmp_path: Path) -> None:
    ring = create_keyring(tmp_path / "keyring.json", NOW)
    ring.path.write_text(json.dumps(json.loads(ring.path.read_text()) | {"note": "mine"}))
    with pytest.raises(UsageError) as caught:
        KeyRing.load(ring.path, {})
    assert caught.value.params["reason"] == "note: not a member of a key ring"


def test_a_ring_loads_although_a_secret_is_missing(tmp_path: Path) -> None:
    ring = create_keyring(tmp_path / "keyring.json", NOW)
    for damage in (lambda key: key.unlink(), lambda key: key.mkdir(), lambda key: (key / "a").mkdir()):
        damage(tmp_path / "ops-2026-11.key")
        assert not KeyRing.load(ring.path, {}).active_key().available


def test_a_file_that_is_no_secret_is_not_overwritten_by_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "ops-2026-11.key").write_text("my notes\n")
    with pytest.raises(Conflict, match=r"keyring\.secret_in_the_way"):
        create_keyring(tmp_path / "keyring.json", NOW)
    assert (tmp_path / "ops-2026-11.key").read_text() == "my notes\n"
