"""`stage4 log show|grep|tail|explain`: what people read of the log, with the log's own bytes untouched."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stage4.cli import main
from stage4.decisionlog import key_changes
from stage4.decisionlog.archive import rotate
from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.checkpoints.keys import CheckpointKeys, KeyStore
from stage4.decisionlog.checkpoints.note import Note
from stage4.decisionlog.writer import DecisionLog
from stage4.security.keyring import KeyRing
from stage4.testing.clock import ManualClock
from support.decision_logs import LogRoom, draft
from support.log_rooms import INCIDENT, installed_log

STAGE4 = (sys.executable, "-m", "stage4")
UNVERIFIED = "shown, not verified; to verify: stage4 log verify"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    return installed_log(tmp_path, monkeypatch)


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, list[str], list[str]]:
    """Exit code, lines on stdout, lines on stderr."""
    code = main(list(argv))
    heard = capsys.readouterr()
    return code, heard.out.splitlines(), heard.err.splitlines()


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    code = main(["--json", *argv])
    return code, json.loads(capsys.readouterr().out)


def test_showing_says_first_that_it_does_not_verify(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    before = room.path.read_bytes()
    for argv in (["show"], ["grep", "."], ["tail"], ["show", "1"]):
        code, lines, heard = said(capsys, "log", *argv)
        assert (code, heard) == (0, [UNVERIFIED])
        assert lines
    assert room.path.read_bytes() == before


def test_an_edited_entry_is_shown_and_does_not_explain(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    room.put([*room.lines()[:1], room.lines()[1].replace(b"uwaga nr 1", b"uwaga nr 9"), *room.lines()[2:]])
    code, lines, _ = said(capsys, "log", "show", "1")
    assert code == 0
    assert "uwaga nr 9" in lines[0]
    code, document = answer(capsys, "log", "explain", "1")
    assert (code, document["exit_code"]) == (1, 1)
    answers = {each["question"]: each["answer"] for each in document["judged"]}
    assert answers == {"signature": "fails", "previous": "holds", "next": "fails"}
    assert answer(capsys, "log", "explain", "2")[0] == 1


@pytest.mark.parametrize(
    ("argv", "numbers"),
    [
        (["show"], [0, 1, 2, 3]),
        (["show", "--last", "2"], [2, 3]),
        (["show", "--category", "decision_log"], [0]),
        (["show", "--kind", "manual"], [3]),
        (["show", "--incident", INCIDENT, "--last", "1"], [2]),
        (["show", "--stage", "L2", "--status", "open"], [3]),
        (["show", "--stage", "L2", "--status", "recorded"], []),
        (["show", "--since", "2030-01-01"], []),
        (["show", "--until", "2000-01-01T00:00Z"], []),
        (["show", "--since", "2026-11-23T10:15", "--until", "2026-11-24"], [3]),
        (["show", "--since", "2026-11-23T09:00Z", "--until", "2026-11-23T09:30Z"], [0, 1, 2]),
        (["show", "2"], [2]),
        (["grep", "nr 2"], [2]),
        (["grep", "-i", "UWAGA NR"], [1, 2]),
        (["grep", "-v", "uwaga"], [0, 3]),
        (["grep", "needle-[0-9]+$"], [3]),
        (["grep", "uwaga", "--status", "open"], []),
        (["tail", "-n", "1"], [3]),
        (["tail", "-n", "1", "--incident", INCIDENT], [2]),
    ],
)
def test_the_filters_choose_entries(
    room: LogRoom, capsys: pytest.CaptureFixture[str], argv: list[str], numbers: list[int]
) -> None:
    half_an_hour_later = ManualClock(room.clock.now() + timedelta(minutes=30))
    log = DecisionLog(room.path, room.ring, half_an_hour_later, origin="tests")
    log.append(draft(kind="manual", stage="L2", status="open", metadata={"deep": {"list": ["needle-77"]}}))
    code, document = answer(capsys, "log", *argv)
    assert [entry["seq"] for entry in document["entries"]] == numbers
    assert code == (1 if argv[0] == "grep" and not numbers else 0)


def test_grep_counts_and_says_where_nothing_matches(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "log", "grep", "uwaga", "--count")[:2] == (0, ["2"])
    code, lines, heard = said(capsys, "log", "grep", "nowhere")
    assert (code, lines) == (1, [])
    assert heard == [UNVERIFIED, f"nothing in {room.path} matches nowhere"]
    assert answer(capsys, "log", "grep", "uwaga", "--count")[1]["count"] == 2


@pytest.mark.parametrize(
    ("argv", "code", "error"),
    [
        (["grep", "("], 2, "logview.bad_pattern"),
        (["show", "--since", "soon"], 2, "logview.bad_time"),
        (["show", "--log", "absent.jsonl"], 3, "files.missing"),
        (["tail", "--log", "config"], 2, "log.not_a_file"),
        (["explain", "1", "--log", "absent.jsonl"], 3, "files.missing"),
    ],
)
def test_a_call_that_cannot_be_answered_says_why(
    room: LogRoom, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, error: str
) -> None:
    got, document = answer(capsys, "log", *argv)
    assert (got, document["error"]["code"]) == (code, error)


def test_an_entry_that_is_not_there_is_exit_1(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("show", "explain"):
        code, lines, heard = said(capsys, "log", command, "9")
        assert (code, lines) == (1, [])
        assert heard[-1] == f"there is no entry 9 in {room.path}"
        assert answer(capsys, "log", command, "9")[0] == 1


@pytest.mark.parametrize("word", ["uwaga", "recorded", "no-where", "note", "gone", "latency", "needle-77", "nested"])
def test_a_plain_word_finds_what_the_same_expression_finds(
    room: LogRoom, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    odd = {"a": ["\u202egone", {"nested": "needle-77"}], "b": "tab\tgone", "c": 'quo"te\\note', "d": "zażółć-latency"}
    room.log().append(draft(3, metadata=odd))
    by_word, by_expression = (answer(capsys, "log", "grep", text) for text in (word, f"(?:{word})"))
    assert by_word[0] == by_expression[0]
    assert by_word[1]["entries"] == by_expression[1]["entries"]


def test_archives_are_read_with_the_log(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    rotate(room.log(), compression="zst")
    room.log().append(draft(7))
    rotate(room.log(), compression="gz")
    assert [entry["seq"] for entry in answer(capsys, "log", "show")[1]["entries"]] == [0, 1, 2, 3, 4, 5]
    assert [entry["seq"] for entry in answer(capsys, "log", "grep", "uwaga")[1]["entries"]] == [1, 2, 4]
    for seq, file in ((1, "runtime-0000000000.jsonl.zst"), (4, "runtime-0000000003.jsonl.gz"), (5, "runtime.jsonl")):
        code, document = answer(capsys, "log", "explain", str(seq))
        assert (code, Path(document["place"]["file"]).name) == (0, file)
        assert document["place"]["line"] == {1: 2, 4: 2, 5: 1}[seq]
    assert answer(capsys, "log", "show", "1")[1]["entries"][0]["line"] == 2
    next(room.path.parent.glob("*.zst")).unlink()
    assert answer(capsys, "log", "explain", "3")[0] == 3


def test_nothing_in_an_entry_is_acted_on(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\u202e\x9b31m"
    room.log().append(draft(kind=evil, stage=evil, metadata={"note": evil, "incident_id": evil}))
    for argv in (["show", "--full"], ["grep", "owned", "--full"], ["tail", "--full"], ["show", "3"], ["explain", "3"]):
        code, lines, _ = said(capsys, "log", *argv)
        assert code == 0
        assert all(line.isprintable() for line in lines)
        assert any(r"\x1b[2J" in line for line in lines)
    assert answer(capsys, "log", "show", "3")[1]["entries"][0]["metadata"]["note"] == evil


def test_an_entry_explains_itself(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answer(capsys, "log", "explain", "1")
    assert (code, document["schema"]) == (0, "stage4.explain/1")
    assert [(each["question"], each["answer"]) for each in document["judged"]] == [
        ("signature", "holds"),
        ("previous", "holds"),
        ("next", "holds"),
    ]
    first, second, third = room.lines()
    assert document["place"] == {"file": str(room.path), "line": 2, "offset": len(first) + 1}
    assert document["leaf"] == json.loads(third)["prev"]
    assert document["raw"].encode() == second
    assert document["key"]["id"] == room.ring.active
    assert document["checkpoint"] is None
    code, lines, heard = said(capsys, "log", "explain", "2", "--raw")
    assert code == 0
    assert lines[-1].encode() == third
    assert heard == ["hint: stage4 log checkpoint covers it"]
    assert [each["answer"] for each in answer(capsys, "log", "explain", "0")[1]["judged"]] == ["holds"] * 3


def test_the_checkpoint_that_covers_an_entry_is_named(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    made = [notary.make(room.log(), room.ring, room.clock)]
    room.log().append(draft(4))
    assert answer(capsys, "log", "explain", "4")[1]["checkpoint"] is None
    room.clock.sleep(60)
    made.append(notary.make(room.log(), room.ring, room.clock))
    for seq, number, size in ((1, 0, 4), (4, 1, 6)):
        code, document = answer(capsys, "log", "explain", str(seq))
        covering = document["checkpoint"]
        assert (code, covering["number"], covering["size"], covering["answer"]) == (0, number, size, "holds")
        assert made[number] is not None
        assert covering["note"] == made[number].note.encode().decode()
        assert len(covering["signers"]) == 2
    room.path.with_name(room.path.name + ".checkpoint").unlink()
    assert answer(capsys, "log", "explain", "4")[0] == 3
    assert answer(capsys, "log", "explain", "1")[0] == 0


def test_a_note_over_another_tree_covers_nothing(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    signing = []
    begun = CheckpointKeys.begun
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointKeys, "begun", lambda self: (signing.append(self.forward), begun(self))[1])
        made = notary.make(room.log(), room.ring, room.clock)
    assert made is not None
    beside = room.path.with_name(room.path.name + ".checkpoint")
    for checkpoint, code, answered in (
        (made.checkpoint, 0, "holds"),
        (replace(made.checkpoint, root=bytes(32)), 1, "fails"),
        (replace(made.checkpoint, origin="stage4-log/another"), 1, "fails"),
    ):
        beside.write_bytes(Note(checkpoint.text, (signing[0].sign(checkpoint.text),)).encode())
        got, document = answer(capsys, "log", "explain", "1")
        assert (got, document["checkpoint"]["answer"]) == (code, answered)
    assert document["checkpoint"]["code"] == "logview.explain_cover_differs"
    stable = next(each for each in made.note.signatures if each.name == made.checkpoint.origin)
    beside.write_bytes(Note(made.note.text, (stable,)).encode())
    got, document = answer(capsys, "log", "explain", "1")
    assert (got, document["checkpoint"]["code"]) == (1, "logview.explain_cover_unsigned")


def test_an_explanation_is_in_the_language_of_its_reader(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    made = notary.make(room.log(), room.ring, room.clock)
    assert made is not None
    code, lines, _ = said(capsys, "--lang", "pl", "log", "explain", "1")
    assert code == 0
    assert any(line.endswith(", stan aktywny") for line in lines)
    signers = ", ".join(f"{each.name} {each.key_id.hex()}" for each in made.note.signatures)
    assert lines[-1].startswith("punkt kontrolny:  zgodne: numer 0, wpisów: 4, ")
    assert lines[-1].endswith(f", podpisany kluczami: {signers}")
    assert said(capsys, "log", "explain", "1")[1][-1].startswith("checkpoint:       holds: number 0, 4 entries, ")


def test_a_named_log_is_read_with_the_installation_where_one_is_found(
    room: LogRoom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, path = Path.cwd(), str(room.path)
    for argv in (["log", "explain", "1", "--log", path], ["log", "explain", "1"]):
        code, document = answer(capsys, *argv)
        assert (code, document["root"], document["key"]["id"]) == (0, str(root), room.ring.active)
    assert " +0" in said(capsys, "log", "show", "1", "--log", path)[1][0]
    assert " UTC " in said(capsys, "log", "show", "1", "--log", path, "--utc")[1][0]
    monkeypatch.chdir(root.parent)
    assert " UTC " in said(capsys, "log", "show", "1", "--log", path)[1][0]
    code, document = answer(capsys, "log", "explain", "1", "--log", path)
    assert (code, document["root"]) == (3, None)
    assert {each["question"]: each["code"] for each in document["judged"]}["signature"] == "logview.explain_no_ring"
    assert answer(capsys, "--root", str(root), "log", "explain", "1", "--log", path)[0] == 0
    assert answer(capsys, "log", "explain", "1", "--log", path, "--keyring", str(room.ring.path))[0] == 0
    code, document = answer(capsys, "log", "explain", "1", "--log", path, "--keyring", "absent.json")
    assert (code, document["error"]["code"]) == (3, "files.missing")


def test_before_the_first_entry_the_way_to_begin_is_told(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    note = notary.make(room.log(), room.ring, room.clock)
    assert note is not None
    room.path.unlink()
    commands = (["show"], ["tail"], ["grep", "."], ["explain", "1"], ["checkpoint"], ["checkpoint", "--pin"])
    commands += (["checkpoint", "--dry-run"], ["prove", "--seq", "1"])
    commands += (["archive"], ["archive", "--dry-run"], ["show", "--log", str(room.path)])
    for argv in commands:
        assert answer(capsys, "log", *argv)[1]["error"]["code"] == "log.vanished"
    # The folder may be swept: the key ring remembers all the same.
    room.path.with_name(room.path.name + ".checkpoint").unlink()
    kept = KeyStore.used_at(room.ring.path, room.path)
    assert kept is not None
    for argv in commands:
        code, document = answer(capsys, "log", *argv)
        assert (code, document["error"]["code"]) == (3, "log.vanished")
        assert document["error"]["params"]["trace"] == str(kept.path)
    kept.path.unlink()
    assert answer(capsys, "log", "show", "--log", str(room.path))[1]["error"]["code"] == "files.missing"
    for argv in commands[:-1]:
        code, _, heard = said(capsys, "log", *argv)
        assert (code, heard) == (
            3,
            [
                f"error: there is no log {room.path} yet",
                "hint: the first entry begins it: stage4 log append, or stage4 serve",
            ],
        )


def test_without_the_key_an_entry_cannot_be_told(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    next(room.ring.path.parent.glob("*.key")).unlink()
    code, document = answer(capsys, "log", "explain", "1")
    assert (code, document["judged"][0]["code"]) == (3, "logview.explain_key_unavailable")


def test_keys_change_and_every_entry_explains_under_its_own(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    old = room.ring.active
    key_changes.rotate(room.log(), room.ring, room.clock, "planned", algorithm="HMAC-SHA384")
    fresh = LogRoom(room.path, KeyRing.load(room.ring.path, {}), room.clock)
    fresh.log().append(draft(5))
    for seq, algorithm in ((3, "HMAC-SHA256"), (4, "HMAC-SHA384")):
        code, document = answer(capsys, "log", "explain", str(seq))
        assert (code, document["key"]["algorithm"]) == (0, algorithm)
    key_changes.revoke(fresh.log(), fresh.ring, room.clock, old, "stolen")
    code, document = answer(capsys, "log", "explain", "1")
    assert (code, document["judged"][0]["code"]) == (3, "logview.explain_key_revoked")
    assert answer(capsys, "log", "explain", "5")[0] == 0


def test_a_deleted_neighbour_is_no_link(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = room.lines()
    room.put([first, third])
    code, document = answer(capsys, "log", "explain", "2")
    assert code == 3
    assert document["judged"][1]["code"] == "logview.explain_previous_missing"
    code, document = answer(capsys, "log", "explain", "0")
    assert document["judged"][2]["code"] == "logview.explain_next_missing"
    assert second


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_gets_its_width_a_heading_a_day_and_colour_unless_it_wants_none(
    room: LogRoom, no_color: str, coloured: bool
) -> None:
    room.log().append(draft(3, metadata={"note": "x" * 300}))
    here, there = pty.openpty()
    environ = {**os.environ, "STAGE4_LANG": "en", "COLUMNS": "90", "NO_COLOR": no_color, "TERM": "xterm"}
    shown = subprocess.Popen([*STAGE4, "log", "show"], stdout=there, stderr=subprocess.DEVNULL, env=environ)
    os.close(there)
    text = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while piece := os.read(here, 65536):
            text += piece
    os.close(here)
    assert shown.wait(30) == 0
    assert (b"\x1b[" in text) is coloured
    lines = re.sub(r"\x1b\[\d+m", "", text.decode()).splitlines()
    assert lines[0] == "2026-11-23 (+01:00)"
    assert sum(line.startswith("2026-") for line in lines) == 1
    assert max(map(len, lines)) <= 90
    assert any(line.endswith("x…") for line in lines)


def test_a_reader_that_goes_away_is_no_failure(room: LogRoom) -> None:
    room.log().append_many([draft(number) for number in range(500)])
    shown = subprocess.Popen([*STAGE4, "log", "show", "--last", "500"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert shown.stdout is not None
    shown.stdout.readline()
    shown.stdout.close()
    assert shown.stderr is not None
    assert shown.stderr.read().decode().splitlines() == [UNVERIFIED]
    shown.stderr.close()
    assert shown.wait(30) == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_appended_is_followed_until_ctrl_c(room: LogRoom, as_json: bool) -> None:
    options = ["--json"] if as_json else []
    followed = subprocess.Popen(
        [*STAGE4, *options, "log", "tail", "-f", "-n", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "STAGE4_LANG": "en"},
    )
    assert followed.stdout is not None
    assert followed.stderr is not None
    with followed.stdout as out, followed.stderr as err:
        assert "uwaga nr 2" in out.readline()
        for number in (7, 8):
            room.log().append(draft(number))
            line = out.readline()
            assert f"uwaga nr {number}" in line
            if as_json:
                assert json.loads(line)["schema"] == "stage4.log-entry/1"
        followed.send_signal(signal.SIGINT)
        assert followed.wait(30) == 130
        assert out.read() == ""
        assert err.read().splitlines() == [UNVERIFIED]


def test_times_are_local_or_utc_as_asked(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    assert " +0" in said(capsys, "log", "show", "1")[1][0]
    assert " UTC " in said(capsys, "log", "show", "1", "--utc")[1][0]
    now = room.clock.now() + timedelta(hours=1)
    assert answer(capsys, "log", "show", "--since", now.isoformat())[1]["entries"] == []
