"""The playbook's command: exit code, one document on stdout, sentences on stderr, and a log that verifies after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stage4.cli import main as stage4
from stage4.cli.verify_decision_log import main
from stage4.security.keyring import create_keyring
from support.decision_logs import LogRoom, draft

CORE = Path(__file__).parents[2] / "config" / "core.yaml"
INCIDENT = "INC-20261123-0001"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    """An installation with settings and key ring, no database, its log three entries long; the working directory."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "core.yaml").write_bytes(CORE.read_bytes())
    (tmp_path / "audit" / "decision_logs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STAGE4_ROOT", raising=False)
    monkeypatch.setenv("STAGE4_LANG", "en")
    blank = LogRoom.create(tmp_path / "unused")
    ring = create_keyring(tmp_path / "secrets" / "decision_log" / "keyring.json", blank.clock.now())
    room = LogRoom(tmp_path / "audit" / "decision_logs" / "runtime.jsonl", ring, blank.clock)
    room.log().append_many([draft(1), draft(2)])
    return room


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any, str]:
    """Exit code, document and what was said to people."""
    code = main(argv)
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


def test_the_configured_log_verifies_and_completeness_is_told_apart(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document, said = answer(capsys)
    assert (code, document["exit_code"], document["schema"]) == (0, 0, "stage4.verify/1")
    assert next(iter(document)) == "schema"
    assert document["integrity"]["verdict"] == "intact"
    assert document["completeness"]["verdict"] == "unknown"
    assert "no checkpoint covers 3 entries" in document["completeness"]["text"]
    assert "no checkpoint covers 3 entries" in said


def test_one_changed_byte_exits_1_and_names_line_and_kind(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    head, _, tail = room.path.read_bytes().rpartition(b"uwaga")
    room.path.write_bytes(head + b"Uwaga" + tail)
    code, document, said = answer(capsys, "audit/decision_logs/runtime.jsonl")
    assert code == 1
    assert document["integrity"]["verdict"] == "broken"
    (finding,) = document["findings"]
    assert (finding["line"], finding["class"]) == (3, "edit")
    assert "line 3, entry 2" in said
    assert document["islands"] == [{"first_line": 1, "last_line": 2, "first_seq": 0, "last_seq": 1}]


def test_verifying_needs_no_installation(
    room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    code, document, _ = answer(capsys, str(room.path), "--keyring", str(room.ring.path))
    assert (code, document["root"]) == (0, None)
    code, document, said = answer(capsys, str(room.path))
    assert code == 3
    assert [note["code"] for note in document["notes"]] == ["verify.no_keyring_given"]
    assert [finding["class"] for finding in document["findings"]] == ["unverifiable"]
    assert "signatures of the entries cannot be" in said


@pytest.mark.parametrize(
    ("argv", "code", "error"),
    [
        (["audit"], 2, "input.no_log"),
        (["absent.jsonl"], 3, "files.missing"),
        (["--no-such-option"], 2, "arguments.malformed"),
        (["--root", "audit"], 2, "config.not_an_installation"),
        (["--keyring", "config/core.yaml"], 2, "files.bad_json"),
        (["summary"], 2, "arguments.malformed"),
        (["summary", "--incident", "T-1"], 2, "ids.bad_incident_id"),
        (["summary", "--incident"], 2, "log.no_open_incident"),
        (["summary", "--incident", INCIDENT, "--metadata", "loss=0.5", "--tag", "\udcff"], 2, "log.draft_refused"),
        (["summary", "--incident", INCIDENT, "--metadata", "broken"], 2, "log.bad_member"),
        (["summary", "--incident", INCIDENT, "--artefact-from-file", "a=absent"], 3, "files.missing"),
    ],
)
def test_a_call_that_cannot_be_answered_says_why(
    room: LogRoom, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, error: str
) -> None:
    before = room.path.read_bytes()
    got, document, said = answer(capsys, *argv)
    assert (got, document["exit_code"], document["error"]["code"]) == (code, code, error)
    assert "error: " in said
    assert room.path.read_bytes() == before


def test_the_summary_is_appended_with_ticket_and_timestamp_even_without_a_database(
    room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    artefacts = ["--artefact", "count=3", "--artefact-from-file", "core=config/core.yaml"]
    more = ["--ticket", "OPS-7", "--metadata", "loss=0.5", "--tag", "latency"]
    code, document, said = answer(capsys, "summary", "--incident", INCIDENT, *artefacts, *more)
    assert (code, document["schema"], document["seq"], document["line"]) == (0, "stage4.summary/1", 3, 4)
    entry = json.loads(room.lines()[-1])
    assert document["entry"] == entry
    assert (entry["kind"], entry["category"]) == ("incident_summary", "stage4_incident")
    assert entry["metadata"]["incident_id"] == INCIDENT
    assert entry["metadata"]["ticket"] == "OPS-7"
    assert entry["metadata"]["loss"] == "0.5"
    assert entry["timestamp"].endswith("Z")
    assert entry["artefacts"]["count"] == 3
    assert entry["artefacts"]["core"].startswith("sha256:")
    assert entry["metadata"]["looked_up"] is False
    assert [warning["code"] for warning in document["warnings"]] == ["log.not_looked_up"]
    assert "warning: " in said
    assert answer(capsys)[0] == 0


def test_a_dry_run_prints_the_entry_and_appends_nothing(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    before = room.path.read_bytes()
    code, document, _ = answer(capsys, "summary", "--incident", INCIDENT, "--dry-run", "--output", "out.json")
    assert (code, document["dry_run"], document["entry"]["seq"]) == (0, True, 3)
    assert "signature" not in document["entry"]
    assert json.loads(Path("out.json").read_text()) == document
    assert room.path.read_bytes() == before


def test_another_log_can_be_named(room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = room.path.read_bytes()
    code, document, _ = answer(capsys, "summary", "--incident", INCIDENT, "--append", "other.jsonl")
    assert (code, document["seq"]) == (0, 1)
    assert room.path.read_bytes() == before
    assert answer(capsys, "other.jsonl")[0] == 0


def test_people_read_and_verify_the_log_with_stage4_log(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage4(["log", "show", "--incident", INCIDENT, "--last", "1"]) == 0
    assert "uwaga nr 2" in capsys.readouterr().out
    assert stage4(["--json", "log", "show", "--category", "decision_log"]) == 0
    assert [entry["kind"] for entry in json.loads(capsys.readouterr().out)["entries"]] == ["genesis"]
    assert stage4(["--lang", "pl", "log", "verify"]) == 0
    assert "NIENARUSZONY" in capsys.readouterr().out
    room.put(room.lines()[1:])
    assert stage4(["--json", "log", "verify"]) == 1
    assert json.loads(capsys.readouterr().out)["classes"] == {"deletion": 1}


def test_the_script_works_as_the_playbook_writes_it(room: LogRoom) -> None:
    script = Path(__file__).parents[2] / "scripts" / "verify_decision_log.py"
    done = subprocess.run(
        [sys.executable, str(script), "audit/decision_logs/runtime.jsonl"],
        capture_output=True,
        env={**os.environ, "STAGE4_LANG": "pl"},
        timeout=30,
        check=False,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["exit_code"] == 0
    assert "żaden punkt kontrolny nie obejmuje 3 wpisów" in done.stderr.decode()
