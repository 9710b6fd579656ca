"""`verify_decision_log.py summary`: every option, and nothing appended where one of them is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stage4.cli.verify_decision_log import main
from support.decision_logs import LogRoom
from support.log_rooms import INCIDENT, installed_log


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    return installed_log(tmp_path, monkeypatch)


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any, str]:
    code = main(["summary", "--incident", INCIDENT, *argv])
    heard = capsys.readouterr()
    return code, json.loads(heard.out), heard.err


def test_every_option_reaches_the_entry(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    Path("report.bin").write_bytes(os.urandom(1) * 2_500_000)
    argv = [
        *("--ticket", "OPS-7", "--stage", "L2.1", "--status", "mitigated", "--tag", "latency", "--tag", "l2"),
        *("--artefact", "ok=true", "--artefact", 'list=["kept as text"]', "--artefact", "gap="),
    ]
    code, document, _ = answer(capsys, *argv)
    assert (code, document["error"]["code"]) == (2, "log.bad_member")
    facts = ["--metadata", 'scope={"kind": "all", "limit": 1.5}', "--metadata", "count=3"]
    code, document, said = answer(capsys, *argv[:-2], "--artefact-from-file", "report=report.bin", *facts)
    entry = json.loads(room.lines()[-1])
    assert (code, document["entry"]) == (0, entry)
    assert (entry["stage"], entry["status"], entry["tags"]) == ("L2.1", "mitigated", ["latency", "l2"])
    assert entry["artefacts"] == {
        "incident": INCIDENT,
        "ticket": "OPS-7",
        "ok": True,
        "list": '["kept as text"]',
        "report": "sha256:" + hashlib.sha256(Path("report.bin").read_bytes()).hexdigest(),
    }
    assert entry["metadata"]["scope"] == {"kind": "all", "limit": "1.5"}
    assert (entry["metadata"]["count"], entry["metadata"]["ticket"]) == (3, "OPS-7")
    assert f"entry 3 (line 4) is in {room.path}: incident {INCIDENT}, ticket OPS-7" in said
    assert room.findings() == []


def test_an_incident_is_stored_as_it_was_judged(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, _ = answer(capsys, "--incident", f" {INCIDENT} ")
    assert (code, document["entry"]["metadata"]["incident_id"]) == (0, INCIDENT)


@pytest.mark.parametrize(
    ("argv", "code", "error"),
    [
        (["--metadata", "ticket=FORGED"], 2, "logview.member_reserved"),
        (["--metadata", "looked_up=true"], 2, "logview.member_reserved"),
        (["--artefact", "incident=INC-20260101-0001"], 2, "logview.member_reserved"),
        (["--artefact", "a=1", "--artefact", "a=1"], 2, "logview.member_twice"),
        (["--artefact-from-file", "a="], 2, "log.bad_member"),
        (["--artefact-from-file", "a=config"], 3, "files.unreadable"),
        (["--artefact-from-file", "a=absent"], 3, "files.missing"),
        (["--artefact-from-file", "a=pipe"], 3, "files.unreadable"),
        (["--metadata", 'x={"zażółć": 1}'], 2, "log.draft_refused"),
        (["--metadata", "x=" + "a" * 70_000], 2, "log.draft_refused"),
        (["--stage", ""], 2, "log.draft_refused"),
        (["--append", "config"], 2, "log.not_a_file"),
        (["--append", "rotation.json"], 3, "log.not_a_log"),
    ],
)
def test_a_wrong_option_appends_nothing(
    room: LogRoom, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, error: str
) -> None:
    os.mkfifo("pipe")
    Path("rotation.json").write_text('{"rotation": []}')
    before = room.path.read_bytes()
    got, document, said = answer(capsys, *argv)
    assert (got, document["exit_code"], document["error"]["code"]) == (code, code, error)
    assert "error: " in said
    assert room.path.read_bytes() == before
    assert Path("rotation.json").read_text() == '{"rotation": []}'


def test_the_configured_log_is_used_unless_another_is_named(
    room: LogRoom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    code, document, _ = answer(capsys)
    assert (code, document["log"], document["seq"]) == (0, str(room.path), 3)
    code, document, _ = answer(capsys, "--append", "mine.jsonl")
    assert (code, document["log"], document["seq"]) == (0, "mine.jsonl", 1)
    assert (tmp_path / "elsewhere" / "mine.jsonl").exists()


def test_a_summary_waits_for_no_module_that_it_does_not_need(room: LogRoom) -> None:
    script = Path(__file__).parents[2] / "scripts" / "verify_decision_log.py"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(script), "summary", "--incident", INCIDENT],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "stage4" in loaded
    slow = {"alembic", "asyncio", "click", "cryptography", "email", "grpc", "httpx", "logging", "multiprocessing"}
    assert not loaded & (slow | {"shutil", "sqlalchemy", "structlog", "traceback", "zoneinfo", "zstandard"})
