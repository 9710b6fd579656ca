"""`stage4 log archive`: what it says, what it leaves alone, and its document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stage4.cli import main
from support.decision_logs import LogRoom, draft
from support.log_rooms import installed_log

FIRST = "runtime-0000000000.jsonl"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    return installed_log(tmp_path, monkeypatch, 30)


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    code = main(["--json", "log", "archive", *argv])
    return code, json.loads(capsys.readouterr().out)


def names(room: LogRoom) -> list[str]:
    return sorted(path.name for path in room.path.parent.iterdir())


def test_the_log_is_archived_and_the_words_say_where_it_went(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "archive"]) == 0
    said = capsys.readouterr()
    assert f"{room.path.with_name(FIRST)} was cut off; new entries go to runtime.jsonl" in said.out
    assert f"{FIRST}.zst: entries 0–30, " in said.out
    assert said.err == ""
    assert names(room) == [FIRST + ".zst", "runtime.jsonl", "runtime.manifest.jsonl"]
    assert main(["log", "archive"]) == 0
    assert "nothing to archive" in capsys.readouterr().out
    assert room.verify().exit_code == 0


def test_the_document_says_what_was_done(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answer(capsys, "--compression", "gz")
    assert (code, document["schema"], document["exit_code"]) == (0, "stage4.log_archive/1", 0)
    assert (document["path"], document["cut"], document["unfinished"]) == (str(room.path), FIRST, [])
    (listed,) = document["finished"]
    assert (listed["file"], listed["last_seq"], listed["lines"]) == (FIRST + ".gz", 30, 31)
    assert json.loads((room.path.with_name("runtime.manifest.jsonl")).read_text()) == listed


def test_a_dry_run_and_a_small_log_change_nothing(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    before = room.path.read_bytes()
    code, document = answer(capsys, "--dry-run")
    assert (code, document["would_cut"], document["cut"], document["finished"]) == (0, True, None, [])
    assert main(["log", "archive", "--dry-run"]) == 0
    size = f"{len(before):,}"
    assert f"has {size} bytes and would be cut off; nothing was changed" in capsys.readouterr().out
    assert main(["--lang", "pl", "log", "archive", "--dry-run"]) == 0
    assert f"ma {size.replace(',', chr(0xA0))} B i zostałby odcięty" in capsys.readouterr().out
    code, document = answer(capsys, "--if-larger", "1")
    assert (code, document["would_cut"], document["cut"]) == (0, False, None)
    assert (room.path.read_bytes(), names(room)) == (before, ["runtime.jsonl"])
    assert answer(capsys, "--if-larger", "0")[1]["cut"] == FIRST


def test_what_was_interrupted_is_finished_even_below_the_limit(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["log", "archive"])
    room.path.with_name("runtime.manifest.jsonl").unlink()
    room.log().append(draft())
    capsys.readouterr()
    assert main(["log", "archive", "--dry-run", "--if-larger", "1"]) == 0
    assert f"dry run: {room.path.with_name(FIRST)} would be finished" in capsys.readouterr().out
    code, document = answer(capsys, "--if-larger", "1")
    assert (code, document["unfinished"], document["cut"]) == (0, [FIRST], None)
    assert len(document["finished"]) == 1


def test_without_a_log_there_is_nothing_to_tell(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    room.path.unlink()
    code, document = answer(capsys)
    assert (code, document["error"]["code"]) == (3, "log.not_begun")
