"""`stage4 log append`: one signed entry of a person or a script, and none that a program would be taken for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from stage4.cli import main
from support.decision_logs import LogRoom
from support.log_rooms import INCIDENT, installed_log

CALL = ("--kind", "manual_note", "--category", "operations", "--stage", "L2", "--status", "recorded")


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    return installed_log(tmp_path, monkeypatch)


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    code = main(["--json", "log", "append", *argv])
    return code, json.loads(capsys.readouterr().out)


def test_an_entry_is_appended_and_verifies(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    (Path("big.bin")).write_bytes(b"x" * 3_000_000)
    more = ["--metadata", "note=ręcznie", "--artefact", "count=3", "--artefact-from-file", "dump=big.bin"]
    code, document = answer(capsys, *CALL, *more, "--tag", "a", "--tag", "b", "--incident", INCIDENT)
    entry = json.loads(room.lines()[-1])
    assert (code, document["schema"], document["seq"], document["entry"]) == (0, "stage4.append/1", 3, entry)
    assert (entry["kind"], entry["category"], entry["stage"], entry["status"]) == CALL[1::2]
    assert entry["metadata"] == {"note": "ręcznie", "incident_id": INCIDENT}
    assert entry["artefacts"] == {"count": 3, "dump": "sha256:" + hashlib.sha256(b"x" * 3_000_000).hexdigest()}
    assert (entry["tags"], entry["runtime_flags"]) == (["a", "b"], {"log.append": True})
    assert room.findings() == []
    assert main(["log", "append", *CALL]) == 0
    assert f"entry 4 (line 5) is on the disk in {room.path}" in capsys.readouterr().out


def test_an_incident_is_stored_as_it_was_judged(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    code, document = answer(capsys, *CALL, "--incident", f" {INCIDENT}\n")
    assert (code, document["entry"]["metadata"]) == (0, {"incident_id": INCIDENT})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("true", True),
        ("null", None),
        ('"quoted"', "quoted"),
        ("0.5", "0.5"),
        ("1e400", "1e400"),
        ("9007199254740991", 9007199254740991),
        ("9007199254740992", "9007199254740992"),
        ("-9007199254740992", "-9007199254740992"),
        ("1" * 5000, "1" * 5000),
        ("NaN", "NaN"),
        ("plain = text", "plain = text"),
        ('{"a": [1, {"b": 2.50}]}', {"a": [1, {"b": "2.50"}]}),
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_values_are_json_where_the_format_has_them(
    room: LogRoom, capsys: pytest.CaptureFixture[str], text: str, value: object
) -> None:
    code, document = answer(capsys, *CALL, "--metadata", f"value={text}")
    if len(text) > 65_000:
        assert (code, document["error"]["code"]) == (2, "log.draft_refused")
    else:
        assert code == 0
        assert json.loads(room.lines()[-1])["metadata"]["value"] == value
    assert room.findings() == []


@pytest.mark.parametrize(
    ("kind", "category"),
    [
        ("rotation", "security"),
        ("genesis", "operations"),
        ("recovery", "operations"),
        ("key_rotation", "operations"),
        ("key_revocation", "operations"),
        ("checkpoint", "operations"),
        ("segment", "operations"),
        ("void", "operations"),
        ("flush_failed", "operations"),
        ("incident_summary", "stage4_incident"),
        ("incident_closed", "stage4_incident"),
        ("scheduler_enabled", "runtime_control"),
        (" checkpoint ", "operations"),
        ("anything", "decision_log"),
    ],
)
def test_what_only_a_program_may_say_is_refused(
    room: LogRoom, capsys: pytest.CaptureFixture[str], kind: str, category: str
) -> None:
    before = room.path.read_bytes()
    code, document = answer(capsys, "--kind", kind, "--category", category, "--stage", "x", "--status", "x")
    assert (code, document["error"]["code"]) == (4, "logview.kind_refused")
    assert room.path.read_bytes() == before


@pytest.mark.parametrize(
    ("argv", "code", "error"),
    [
        (["--metadata", "engine=incidents"], 4, "logview.member_reserved"),
        (["--metadata", "decision_id=x"], 4, "logview.member_reserved"),
        (["--metadata", "broken"], 2, "log.bad_member"),
        (["--metadata", "=3"], 2, "log.bad_member"),
        (["--metadata", "a=1", "--metadata", "a=2"], 2, "logview.member_twice"),
        (["--artefact", "a=1", "--artefact-from-file", "a=config/core.yaml"], 2, "logview.member_twice"),
        (["--artefact-from-file", "a=absent"], 3, "files.missing"),
        (["--artefact-from-file", "a=config"], 3, "files.unreadable"),
        (["--artefact-from-file", "a=/dev/zero"], 3, "files.unreadable"),
        (["--incident", "T-1"], 2, "ids.bad_incident_id"),
        (["--metadata", "zażółć=1"], 2, "log.draft_refused"),
        (["--metadata", "x=" + "[" * 40 + "]" * 40], 2, "log.draft_refused"),
        (["--tag", "\udcff"], 2, "log.draft_refused"),
        (["--stage", " "], 2, "log.draft_refused"),
    ],
)
def test_a_refused_call_appends_nothing(
    room: LogRoom, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, error: str
) -> None:
    before = room.path.read_bytes()
    got, document = answer(capsys, *CALL, *argv)
    assert (got, document["error"]["code"]) == (code, error)
    assert room.path.read_bytes() == before


def test_a_dry_run_prints_the_entry_and_appends_nothing(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    before = room.path.read_bytes()
    assert main(["log", "append", *CALL, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["kind"] == "manual_note"
    code, document = answer(capsys, *CALL, "--dry-run")
    assert (code, document["dry_run"], document["entry"]["seq"]) == (0, True, 3)
    assert room.path.read_bytes() == before
