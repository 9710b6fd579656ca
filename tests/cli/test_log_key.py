"""`stage4 log key`: keys listed, prepared, rotated, revoked; refusals with a hint; no secret on any stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stage4.cli import main as stage4
from stage4.clock import SystemClock
from stage4.security.keyring import KeyRing, create_keyring
from support.decision_logs import LogRoom, draft

CORE = Path(__file__).parents[2] / "config" / "core.yaml"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    """An installation with settings, key ring and a log of three entries; the working directory."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "core.yaml").write_bytes(CORE.read_bytes())
    (tmp_path / "audit" / "decision_logs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STAGE4_ROOT", raising=False)
    monkeypatch.setenv("STAGE4_LANG", "en")
    clock = SystemClock()
    ring = create_keyring(tmp_path / "secrets" / "decision_log" / "keyring.json", clock.now())
    room = LogRoom(tmp_path / "audit" / "decision_logs" / "runtime.jsonl", ring, clock)
    room.log().append_many([draft(1), draft(2)])
    return room


class Answers:
    """Runs commands and keeps everything that they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.all = ""

    def __call__(self, *argv: str, code: int = 0) -> str:
        """What the command says, on both streams."""
        assert stage4(["log", "key", *argv]) == code
        said = self._capsys.readouterr()
        self.all += said.out + said.err
        return said.out + said.err

    def document(self, *argv: str, code: int = 0) -> Any:
        assert stage4(["--json", "log", "key", *argv]) == code
        said = self._capsys.readouterr()
        self.all += said.out + said.err
        return json.loads(said.out)


@pytest.fixture
def answer(capsys: pytest.CaptureFixture[str]) -> Answers:
    return Answers(capsys)


def secrets_of(room: LogRoom) -> list[str]:
    return [path.read_text().strip() for path in room.ring.path.parent.glob("*.key")]


def newest_secret(room: LogRoom) -> Path:
    """The file with the secret of the key in force."""
    return room.ring.path.with_name(f"{KeyRing.load(room.ring.path, {}).active}.key")


def state_of(room: LogRoom) -> dict[str, bytes]:
    """Everything on the disk that a command could change, but for the lock."""
    folders = (room.path.parent, room.ring.path.parent)
    return {str(path): path.read_bytes() for folder in folders for path in folder.iterdir() if path.suffix != ".lock"}


def test_the_list_shows_every_key_and_which_one_is_in_force(room: LogRoom, answer: Answers) -> None:
    first = room.ring.active
    answer("new", "spare", "--algorithm", "HMAC-SHA384", "--log-id", room.log_id())
    room.ring.path.with_name("spare.key").unlink()
    table = answer("list").splitlines()
    assert table[0].split() == ["key", "algorithm", "state", "created", "fingerprint", "secret", "logs"]
    assert table[1].startswith(f"{first}  HMAC-SHA256  active, in force  ")
    assert table[2].split()[:3] == ["spare", "HMAC-SHA384", "active"]
    assert table[2].endswith(f"missing  {room.log_id()}")
    document = answer.document("list")
    assert next(iter(document)) == "schema"
    assert (document["schema"], document["in_force"], document["log_id"]) == (
        "stage4.log_keys/1",
        first,
        room.log_id(),
    )
    assert [key["secret_available"] for key in document["keys"]] == [True, False]


def test_keys_are_listed_also_where_the_log_does_not_say_which_is_in_force(room: LogRoom, answer: Answers) -> None:
    room.path.write_bytes(room.path.read_bytes().replace(b"uwaga", b"Uwaga"))
    assert "is not known" in answer("list")
    document = answer.document("list")
    assert (document["in_force"], document["problem"], len(document["keys"])) == (None, "log.head_broken", 1)
    room.path.unlink()
    assert "will begin it" in answer("list")


def test_a_key_is_prepared_rotated_to_and_revoked(room: LogRoom, answer: Answers) -> None:
    first = room.ring.active
    assert "HMAC-SHA384" in answer("new", "winter", "--algorithm", "HMAC-SHA384")
    done = answer.document("rotate", "--reason", "ninety days")
    assert next(iter(done)) == "schema"
    assert done["rotation"] == {
        "previous": first,
        "next": "winter",
        "algorithm": "HMAC-SHA384",
        "fresh": False,
        "resumed": False,
        "seq": 3,
        "secret_file": None,
    }
    said = answer("rotate", "--reason", "again", "--algorithm", "HMAC-SHA256")
    assert "after key winter" in said
    assert f"is in {newest_secret(room)}: keep a copy" in said
    assert "compare it with the copies" in answer("revoke", first, "--reason", "laptop stolen")
    assert "revoked already" in answer("revoke", first, "--reason", "laptop stolen")
    assert stage4(["log", "verify"]) == 0
    ring = KeyRing.load(room.ring.path, {})
    assert [key.state.value for key in ring.keys.values()] == ["revoked", "retired", "active"]
    assert ring.keys[first].reason == "laptop stolen"


def test_revoking_the_key_in_force_goes_on_to_a_new_one(room: LogRoom, answer: Answers) -> None:
    done = answer.document("revoke", room.ring.active, "--reason", "stolen", "--no-checkpoint")
    assert done["revocation"]["rotation"]["fresh"] is True
    assert (done["checkpoint"], done["revocation"]["seq"]) == (False, 4)
    assert done["revocation"]["rotation"]["secret_file"] == str(newest_secret(room))
    assert stage4(["log", "verify"]) == 1
    room.log().append(draft(9))


@pytest.mark.parametrize(
    "argv",
    [
        ["new", "--dry-run"],
        ["rotate", "--reason", "x", "--dry-run"],
        ["rotate", "--reason", "x", "--algorithm", "HMAC-SHA384", "--dry-run"],
        ["revoke", "FIRST", "--reason", "x", "--dry-run"],
    ],
)
def test_a_dry_run_changes_nothing(room: LogRoom, answer: Answers, argv: list[str]) -> None:
    argv = [room.ring.active if argument == "FIRST" else argument for argument in argv]
    before = state_of(room)
    assert "dry run" in answer(*argv)
    assert answer.document(*argv)["dry_run"] is True
    assert state_of(room) == before


def test_a_dry_run_of_a_revocation_tells_the_rotation_and_the_checkpoint(room: LogRoom, answer: Answers) -> None:
    first = room.ring.active
    before = state_of(room)
    said = answer("revoke", first, "--reason", "x", "--dry-run").splitlines()
    assert said[0].startswith(f"dry run: after key {first}, {first}-2 ")
    assert said[1].startswith("dry run: first a checkpoint would vouch")
    assert said[2] == f"It would be left at {room.path.parents[2] / 'var/checkpoints-outside'}."
    assert said[3] == f"dry run: key {first} would be revoked; nothing was changed"
    said = answer("revoke", first, "--reason", "x", "--dry-run", "--no-checkpoint").splitlines()
    assert len(said) == 3
    assert "would count no more" in said[1]
    assert state_of(room) == before
    answer("revoke", first, "--reason", "x")
    before = state_of(room)
    assert answer("revoke", first, "--reason", "x", "--dry-run") == f"key {first} was revoked already\n"
    document = answer.document("revoke", first, "--reason", "x", "--dry-run")
    assert (document["checkpoint"], document["revocation"]["already"]) == (False, True)
    assert state_of(room) == before


def test_a_dry_run_of_a_revocation_refuses_what_the_checkpoint_refuses(room: LogRoom, answer: Answers) -> None:
    answer("rotate", "--reason", "x")
    assert stage4(["log", "checkpoint"]) == 0
    room.put(room.lines()[:4])
    first = room.ring.active
    assert "is an older copy" in answer("revoke", first, "--reason", "x", "--dry-run", code=3)
    assert "is an older copy" in answer("revoke", first, "--reason", "x", code=3)


@pytest.mark.parametrize(
    ("argv", "code", "error"),
    [
        (["new", "FIRST"], 4, "keyring.id_taken"),
        (["new", "a b"], 2, "keyring.bad_id"),
        (["rotate", "--reason", "x", "--to", "FIRST"], 4, "keyring.already_in_force"),
        (["rotate", "--reason", "x", "--to", "elsewhere"], 4, "keyring.not_for_log"),
        (["rotate", "--reason", "x", "--to", "nobody"], 2, "keyring.unknown_key"),
        (["rotate", "--reason", "x", "--to", "nobody", "--algorithm", "HMAC-SHA384"], 2, "keyring.to_or_algorithm"),
        (["rotate", "--reason", " "], 2, "keyring.bad_reason"),
        (["rotate", "--reason", "a\nb"], 2, "keyring.bad_reason"),
        (["revoke", "nobody", "--reason", "x"], 2, "keyring.unknown_key"),
        (["revoke", "nobody", "--reason", "x", "--dry-run"], 2, "keyring.unknown_key"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    room: LogRoom, answer: Answers, argv: list[str], code: int, error: str
) -> None:
    answer("new", "elsewhere", "--log-id", "another-log")
    argv = [room.ring.active if argument == "FIRST" else argument for argument in argv]
    before = state_of(room)
    document = answer.document(*argv, code=code)
    assert (document["error"]["code"], document["exit_code"]) == (error, code)
    assert "error: " in answer(*argv, code=code)
    assert state_of(room) == before


def test_a_log_whose_key_lost_its_secret_is_refused_with_the_way_out(room: LogRoom, answer: Answers) -> None:
    room.ring.path.with_name(f"{room.ring.active}.key").unlink()
    before = state_of(room)
    for argv in (["rotate", "--reason", "x"], ["revoke", room.ring.active, "--reason", "x"]):
        assert "restore its secret from a copy" in answer(*argv, code=4)
        assert "restore its secret from a copy" in answer(*argv, "--dry-run", code=4)
    assert state_of(room) == before


def test_the_list_shows_which_key_is_in_force_also_where_its_secret_is_gone(room: LogRoom, answer: Answers) -> None:
    answer("rotate", "--reason", "x")
    room.log().append(draft(4))
    second = KeyRing.load(room.ring.path, {}).active
    room.ring.path.with_name(f"{second}.key").unlink()
    said = answer("list").splitlines()
    assert said[2].split()[:5] == [second, "HMAC-SHA256", "active,", "in", "force"]
    assert said[3].startswith(f"nothing can be signed with key {second}, which is in force")
    assert len(said) == 4
    document = answer.document("list")
    assert (document["in_force"], document["problem"]) == (second, "keyring.cannot_hand_over")
    assert document["log_id"] == room.log_id()


def test_no_secret_is_ever_printed(room: LogRoom, answer: Answers) -> None:
    answer("new", "spare")
    answer.document("new", "spare-2")
    answer("rotate", "--reason", "x")
    answer.document("revoke", "spare-2", "--reason", "x")
    answer("list")
    answer.document("list")
    secrets = secrets_of(room)
    assert len(secrets) >= 3
    assert not [secret for secret in secrets if secret in answer.all]
    assert not [secret for secret in secrets if secret.encode() in room.path.read_bytes()]


def test_the_commands_speak_polish(room: LogRoom, answer: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGE4_LANG", "pl")
    assert "klucz" in answer("list")
    assert "obowiązuje" in answer("rotate", "--reason", "x")


def test_a_ring_that_somebody_wrote_draws_nothing_on_the_terminal(room: LogRoom, answer: Answers) -> None:
    ring = json.loads(room.ring.path.read_text())
    ring["keys"][0]["logs"] = ["\x1b[2J\x9b31m\u202ea"]
    room.ring.path.write_text(json.dumps(ring))
    for form in ([], ["--json"]):
        listed = answer("list", *form, code=0)
        assert all(each.isprintable() or each == "\n" for each in listed)
        assert "[2J" in listed
