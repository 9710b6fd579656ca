"""A file that the caller names for an answer: only an earlier answer of the same kind is ever replaced."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stage4.audit.formats import FORMATS
from stage4.cli import (
    _answers,
    audit_security_baseline,
    load_test_scheduler,
    main,
    verify_decision_log,
    watch_metrics_stream,
)
from stage4.errors import UsageError
from support.audit_place import Place
from support.decision_logs import LogRoom, draft
from support.log_rooms import INCIDENT, installed_log

VERIFIED = b'{\n  "schema": "stage4.verify/1",\n  "exit_code": 0\n}\n'
SUMMED = b'{\n  "schema": "stage4.summary/1",\n  "exit_code": 0\n}\n'


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    room = installed_log(tmp_path, monkeypatch)
    for number in (3, 4):
        assert main(["log", "checkpoint"]) == 0
        room.log().append(draft(number))
    return room


def answered(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str | None]:
    """Exit code, and the code of the error."""
    capsys.readouterr()
    code = main([*argv, "--json"])
    document = json.loads(capsys.readouterr().out)
    return code, document.get("error", {}).get("code")


REFUSED = (2, "cli.in_the_way")


def kept(room: LogRoom) -> list[Path]:
    """Every file of the installation; none of them is an answer."""
    return [path for path in Path.cwd().rglob("*") if path.is_file() and path != room.path.with_name("answer")]


def test_nothing_of_an_installation_is_replaced(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    other = Path("elsewhere.jsonl")
    other.write_bytes(room.path.read_bytes())
    before = {path: path.read_bytes() for path in kept(room)}
    names = {path.name for path in before}
    assert {"core.yaml", "keyring.json", "runtime.jsonl", "runtime.jsonl.checkpoint"} <= names
    assert any(name.endswith(".key") for name in names)
    for path in before:
        assert answered(capsys, "log", "verify", str(other), "--output", str(path)) == REFUSED
        assert answered(capsys, "log", "verify", "--save-checkpoint", str(path)) == REFUSED
        assert answered(capsys, "log", "prove", "--seq", "1", "--output", str(path)) == REFUSED
    assert {path: path.read_bytes() for path in kept(room)} == before


def test_a_hint_names_the_way_out(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["log", "verify", "--output", "config/core.yaml", "--lang", "en"]) == 2
    assert "hint: name another file" in capsys.readouterr().err


def test_an_earlier_answer_is_replaced_and_its_name_is_free(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    beside = room.path.with_name("runtime-report.json")
    for _ in range(2):
        assert answered(capsys, "log", "verify", "--output", str(beside)) == (0, None)
        assert answered(capsys, "log", "verify", "--save-checkpoint", "seen.checkpoint") == (0, None)
        assert answered(capsys, "log", "prove", "--seq", "1", "--output", "entry.proof") == (0, None)
        assert answered(capsys, "log", "prove", "--from", "4", "--output", "growth.proof") == (0, None)
    kept_for_later = ("--from-checkpoint", "seen.checkpoint", "--save-checkpoint", "seen.checkpoint")
    assert answered(capsys, "log", "verify", *kept_for_later) == (0, None)
    assert answered(capsys, "log", "verify", "--output", "seen.checkpoint") == REFUSED
    assert answered(capsys, "log", "verify", "--save-checkpoint", "entry.proof") == REFUSED
    assert answered(capsys, "log", "prove", "--seq", "1", "--output", str(beside)) == REFUSED
    assert answered(capsys, "log", "verify", "--output", "both", "--save-checkpoint", "both") == REFUSED


def test_a_name_that_belongs_to_a_log_is_not_given_away(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("runtime-0000000099.jsonl", "runtime-0000000099.jsonl.zst", "runtime.manifest.jsonl", "new.jsonl"):
        assert answered(capsys, "log", "verify", "--output", str(room.path.with_name(name))) == REFUSED
    room.path.with_name("runtime.jsonl.checkpoint").unlink()
    beside = str(room.path.with_name("runtime.jsonl.checkpoint"))
    assert answered(capsys, "log", "verify", "--save-checkpoint", beside) == REFUSED


@pytest.mark.parametrize(
    ("content", "free"),
    [
        (VERIFIED, True),
        (b'{"schema":"stage4.verify/1"}', True),
        (SUMMED, False),
        (b'{"schema": "stage4.verify/10"}', False),
        (b'{"log": 1, "schema": "stage4.verify/1"}', False),
        (b'[{"schema": "stage4.verify/1"}]', False),
        (b"stage4.verify/1", False),
        (b"", False),
    ],
)
def test_an_answer_is_known_by_its_schema(tmp_path: Path, content: bytes, free: bool) -> None:
    target = tmp_path / "answer.json"
    target.write_bytes(content)
    assert asked(target) is free


def asked(target: Path, kind: str = "stage4.verify/1", *read: Path) -> bool:
    try:
        _answers.require_free(target, kind, *read)
    except UsageError:
        return False
    return True


def test_links_lead_to_what_is_asked_about(tmp_path: Path) -> None:
    letter, answer = tmp_path / "letter", tmp_path / "answer"
    letter.write_text("dear all")
    answer.write_bytes(VERIFIED)
    for name, target, free in (("a", letter, False), ("b", answer, True), ("c", tmp_path / "nowhere", False)):
        (tmp_path / name).symlink_to(target)
        assert asked(tmp_path / name) is free
    os.link(letter, tmp_path / "hard")
    assert not asked(tmp_path / "hard")
    assert not asked(answer, "stage4.verify/1", tmp_path / "b")
    assert asked(tmp_path / "new")


def test_evidence_that_looks_like_an_answer_stays(tmp_path: Path) -> None:
    for place in ("var/audit/acceptance/x", "var/evidence/sha256"):
        evidence = tmp_path / place / "report.json"
        evidence.parent.mkdir(parents=True)
        evidence.write_bytes(VERIFIED)
        assert not asked(evidence)


def scripted(capsys: pytest.CaptureFixture[str], command: Any, *argv: str) -> tuple[int, str | None]:
    capsys.readouterr()
    code = command.main(list(argv))
    return code, json.loads(capsys.readouterr().out).get("error", {}).get("code")


def test_the_scripts_ask_before_they_work(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in kept(room)}
    for path in before:
        for command, more in (
            (load_test_scheduler, ()),
            (watch_metrics_stream, ()),
            (verify_decision_log, ()),
            (verify_decision_log, ("summary", "--incident", INCIDENT)),
        ):
            assert scripted(capsys, command, *more, "--output", str(path)) == REFUSED
    assert {path: path.read_bytes() for path in kept(room)} == before


@pytest.mark.parametrize("option", ["--output-json={}", *(f"--format={name}={{}}" for name in sorted(FORMATS))])
def test_an_audit_replaces_its_own_report_and_nothing_else(place: Place, option: str) -> None:
    foreign, own = place.root / "config/core.yaml", place.root.parent / "report"
    settings = foreign.read_bytes()
    refused = place.run(option.format(foreign))
    assert (refused.code, refused.document["error"]["code"]) == REFUSED
    assert foreign.read_bytes() == settings
    for _ in range(2):
        assert place.run(option.format(own)).code in (0, 1)
    answer = place.run("--output-json", str(own), "--format", f"sarif={own}")
    assert answer.code == 2
    other = place.run(option.format(own), main=audit_security_baseline.main)
    assert other.code in ((2,) if option.startswith("--output-json") else (0, 1))
