"""`stage4 log checkpoint`, `log prove` and `log check-proof`, as people type them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stage4.cli import main
from stage4.decisionlog.traces import checkpoint_path
from stage4.security.keyring import create_keyring
from support.checkpoint_chain import chain_of
from support.decision_logs import LogRoom, draft

CORE = Path(__file__).parents[2] / "config" / "core.yaml"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    """An installation with settings and key ring, its log four entries long; the working directory."""
    root = tmp_path / "desk"
    (root / "config").mkdir(parents=True)
    (root / "config" / "core.yaml").write_bytes(CORE.read_bytes())
    monkeypatch.chdir(root)
    monkeypatch.delenv("STAGE4_ROOT", raising=False)
    monkeypatch.setenv("STAGE4_LANG", "en")
    blank = LogRoom.create(tmp_path / "unused")
    ring = create_keyring(root / "secrets" / "decision_log" / "keyring.json", blank.clock.now())
    room = LogRoom(root / "audit" / "decision_logs" / "runtime.jsonl", ring, blank.clock)
    room.log().append_many([draft(each) for each in range(3)])
    return room


def say(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    code = main(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code, out, _ = say(capsys, "--json", "log", *arguments)
    document = json.loads(out)
    assert document["exit_code"] == code
    assert next(iter(document)) == "schema"
    return code, document


def root() -> Path:
    return Path.cwd()


def replace(old: str, new: str) -> None:
    core = root() / "config/core.yaml"
    text = core.read_text()
    assert old in text
    core.write_text(text.replace(old, new))


def test_the_first_checkpoint_shows_the_keys_to_keep(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = say(capsys, "log", "checkpoint")
    assert (code, err) == (0, "")
    assert "Checkpoint 0: entries 5, tree head" in out
    assert f"It lies at {root() / 'var/checkpoints-outside'}." in out
    assert "Nobody vouches yet for the entries from number 5 on" in out
    assert "Keep these two keys outside this machine" in out
    pin = (root() / "var/checkpoints-outside" / room.log_id() / "pin").read_text()
    assert out.endswith(pin)
    assert say(capsys, "log", "checkpoint", "--pin") == (0, pin, "")
    room.log().append(draft())
    assert "Keep these" not in say(capsys, "log", "checkpoint")[1]
    assert chain_of(room) == [5, 7]


def test_the_document_says_the_same(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answer(capsys, "checkpoint")
    assert (code, document["made"], document["number"], document["size"]) == (0, True, 0, 5)
    assert document["note"].encode() == checkpoint_path(room.path).read_bytes()
    assert document["places"] == [{"place": str(root() / "var/checkpoints-outside"), "taken": True}]
    code, again = answer(capsys, "checkpoint")
    assert (code, again["made"], again["number"], again["tree_head"]) == (0, False, 0, document["tree_head"])
    assert answer(capsys, "checkpoint", "--pin")[1]["pin"] == document["pin"]


def test_a_dry_run_changes_nothing(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(root().rglob("*")), room.path.read_bytes()
    code, out, _ = say(capsys, "log", "checkpoint", "--dry-run")
    assert code == 0
    assert "Checkpoint 0 would be made; 4 entries wait to be covered." in out
    assert answer(capsys, "checkpoint", "--dry-run")[1]["new"] == 4
    assert (sorted(root().rglob("*")), room.path.read_bytes()) == before
    say(capsys, "log", "checkpoint")
    assert "Nothing is new since checkpoint 0 (entries 5)." in say(capsys, "log", "checkpoint", "--dry-run")[1]


def test_a_dry_run_refuses_what_the_command_refuses(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    say(capsys, "log", "checkpoint")
    pin = say(capsys, "log", "checkpoint", "--pin")[1]
    room.put(room.lines()[:3])
    for dry_run in (["--dry-run"], []):
        code, document = answer(capsys, "checkpoint", *dry_run)
        assert (code, document["error"]["code"]) == (3, "log.behind_note")
    assert say(capsys, "log", "checkpoint", "--pin")[:2] == (0, pin)


def test_a_place_that_fails_is_exit_3_and_the_checkpoint_is_made(
    room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    replace("directory: var/checkpoints-outside", f"directory: {tmp_path / 'mnt'}")
    code, out, err = say(capsys, "log", "checkpoint")
    assert code == 3
    assert "Checkpoint 0" in out
    assert f"error: the directory {tmp_path / 'mnt'} is not there" in err
    code, document = answer(capsys, "checkpoint")
    assert (code, document["places"][0]["error"]["code"]) == (3, "checkpoint.place_missing")
    (tmp_path / "mnt").mkdir()
    assert say(capsys, "log", "checkpoint")[0] == 0
    assert (tmp_path / "mnt" / room.log_id() / "5.checkpoint").exists()


def test_without_a_place_the_command_says_what_that_means(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    replace("      places:\n        - directory: var/checkpoints-outside\n", "")
    code, out, _ = say(capsys, "log", "checkpoint")
    assert (code, "No place outside is set" in out) == (0, True)


def test_before_the_first_checkpoint_there_is_no_pin_and_no_proof(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (("checkpoint", "--pin"), ("prove", "--seq", "0"), ("prove", "--from", "1")):
        code, _, err = say(capsys, "log", *command)
        assert (code, "has no checkpoint yet" in err) == (3, True)


def test_no_log_is_exit_3(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    room.path.unlink()
    assert say(capsys, "log", "checkpoint")[0] == 3
    assert not room.path.exists()


@pytest.fixture
def auditor(room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three checkpoints were made; the auditor sits elsewhere with the pin, the first note and two proofs."""
    for _ in range(3):
        say(capsys, "log", "checkpoint")
        room.log().append(draft(77))
    desk = tmp_path / "auditor"
    desk.mkdir()
    outside = root() / "var/checkpoints-outside" / room.log_id()
    (desk / "pin").write_bytes((outside / "pin").read_bytes())
    (desk / "5.checkpoint").write_bytes((outside / "5.checkpoint").read_bytes())
    assert say(capsys, "log", "prove", "--seq", "2", "--output", str(desk / "entry.proof"))[0] == 0
    assert say(capsys, "log", "prove", "--from", "5", "--output", str(desk / "growth.proof"))[0] == 0
    code, out, _ = say(capsys, "log", "prove", "--seq", "2")
    assert (code, out) == (0, (desk / "entry.proof").read_text())
    monkeypatch.chdir(desk)
    return desk


def test_the_pin_alone_does_not_tell_whether_todays_thief_made_the_proof(
    auditor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = say(capsys, "log", "check-proof", "entry.proof", "--pin", "pin")
    assert (code, err) == (3, "")
    assert out.startswith("Cannot tell: entry 2 fits the checkpoint")
    assert "stage4_incident incident_note L1 recorded" in out
    assert "Only the stable key vouches" in out
    code, document = answer(capsys, "check-proof", "entry.proof", "--pin", "pin")
    assert (code, document["exit_code"], document["proven"]) == (3, 3, None)
    assert (document["kind"], document["entry"]["seq"], document["size"]) == ("inclusion", 2, 9)
    assert (document["forward"], document["entry"]["metadata"]["number"]) == (False, 1)


def test_the_auditors_own_checkpoint_vouches_for_an_entry(
    auditor: Path, room: LogRoom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = ("log", "check-proof", "entry.proof", "--pin", "pin", "--checkpoint", "5.checkpoint")
    code, out, _ = say(capsys, *check)
    assert (code, "ask for a proof of yours" in out) == (1, True)
    monkeypatch.chdir(room.path.parents[2])
    assert say(capsys, "log", "prove", "--seq", "2", "--to", "5", "--output", str(auditor / "entry.proof"))[0] == 0
    monkeypatch.chdir(auditor)
    code, out, _ = say(capsys, *check)
    assert (code, "Your own checkpoint vouches" in out, "stable key" in out) == (0, True, False)
    code, document = answer(capsys, *check[1:])
    assert (document["own"], document["size"]) == (True, 5)


def test_an_auditor_checks_the_growth_from_an_own_checkpoint(auditor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check = ("log", "check-proof", "growth.proof", "--pin", "pin")
    code, out, _ = say(capsys, *check, "--checkpoint", "5.checkpoint")
    assert code == 0
    assert "of 5 entries is the beginning of the log of 9 entries" in out
    code, _, err = say(capsys, *check)
    assert (code, "give your own note" in err) == (2, True)
    assert answer(capsys, *check[1:], "--checkpoint", "5.checkpoint")[1]["old"] == 5


def test_the_first_forward_key_vouches_for_the_first_checkpoint(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    say(capsys, "log", "checkpoint")
    say(capsys, "log", "prove", "--seq", "0", "--output", "proof")
    pin = root() / "var/checkpoints-outside" / room.log_id() / "pin"
    code, out, _ = say(capsys, "log", "check-proof", "proof", "--pin", str(pin))
    assert (code, "A forward key vouches" in out) == (0, True)


def test_a_proof_that_does_not_hold_is_exit_1(auditor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = auditor / "entry.proof"
    lines = proof.read_text().split("\n")
    lines[3], lines[4] = lines[4], lines[3]
    proof.write_text("\n".join(lines))
    code, out, _ = say(capsys, "log", "check-proof", "entry.proof", "--pin", "pin")
    assert (code, out) == (1, "Not proven: the hashes do not lead to the tree head of the checkpoint.\n")
    code, document = answer(capsys, "check-proof", "entry.proof", "--pin", "pin")
    assert (code, document["proven"], document["reason"]) == (1, False, "root")


def test_the_entry_that_the_auditor_holds_is_compared_with_the_proof(
    auditor: Path, room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    check = ("log", "check-proof", "entry.proof", "--pin", "pin", "--entry", "line")
    (auditor / "line").write_bytes(room.lines()[2] + b"\n")
    assert say(capsys, *check)[0] == 3
    (auditor / "line").write_bytes(room.lines()[1] + b"\n")
    assert say(capsys, *check)[:2] == (1, "Not proven: the entry given is another one than in the proof.\n")
    proof = auditor / "entry.proof"
    proof.write_text("".join(line for line in proof.read_text().splitlines(True) if not line.startswith("extra")))
    (auditor / "line").write_bytes(room.lines()[2])
    assert say(capsys, *check)[0] == 3
    code, _, err = say(capsys, *check[:-2])
    assert (code, "does not hold the entry" in err) == (2, True)


@pytest.mark.parametrize("name", ["entry.proof", "pin", "5.checkpoint"])
def test_a_file_that_is_none_of_its_kind_is_exit_2(
    auditor: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (auditor / name).write_bytes(b"\xff nonsense\n")
    file = "growth.proof" if name == "5.checkpoint" else "entry.proof"
    code, _, err = say(capsys, "log", "check-proof", file, "--pin", "pin", "--checkpoint", "5.checkpoint")
    assert code == 2
    assert err.startswith("error: pin, line 1: " if name == "pin" else f"error: {name}: ")


def test_an_empty_pin_is_exit_2_and_a_missing_file_exit_3(auditor: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (auditor / "empty").write_bytes(b"# nothing yet\n")
    assert say(capsys, "log", "check-proof", "entry.proof", "--pin", "empty")[0] == 2
    assert say(capsys, "log", "check-proof", "entry.proof", "--pin", "nowhere")[0] == 3
    assert say(capsys, "log", "check-proof", "nowhere", "--pin", "pin")[0] == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "give either --seq or --from"),
        (("--seq", "1", "--from", "5"), 2, "give either --seq or --from"),
        (("--seq", "1", "--to", "6"), 2, "no checkpoint has 6 entries; the nearest: 5, 7, 9"),
        (("--seq", "6", "--to", "5"), 2, "the checkpoint of 5 entries does not cover entry 6"),
        (("--to", "5"), 2, "give either --seq or --from"),
        (("--from", "6"), 2, "no checkpoint has 6 entries; the nearest: 5, 7, 9"),
        (("--from", "7", "--to", "5"), 2, "the older size 7 is larger than the newer one, 5"),
        (("--seq", "9"), 3, "no checkpoint covers entry 9 yet; the newest has 9 entries"),
        (("--seq", "10"), 2, "has no entry 10; the last one is 9"),
    ],
)
def test_what_cannot_be_proven_is_said(
    room: LogRoom,
    capsys: pytest.CaptureFixture[str],
    auditor: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(room.path.parents[2])
    got, _, err = say(capsys, "log", "prove", *arguments)
    assert (got, said in err) == (code, True), err
