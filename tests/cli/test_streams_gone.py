"""Whoever stops reading or interrupts gets the verdict of the command itself, and one document."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stage4.cli import _run, main
from stage4.errors import Unavailable
from stage4.words import Language
from support.decision_logs import LogRoom
from support.log_rooms import installed_log

STAGE4 = (sys.executable, "-m", "stage4")
APPEND = ("log", "append", "--kind", "manual", "--category", "desk", "--stage", "L1", "--status", "open")
COMMANDS = Path(_run.__file__).parent


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    return installed_log(tmp_path, monkeypatch)


def breaking(room: LogRoom) -> None:
    room.path.write_bytes(room.path.read_bytes().replace(b"opened", b"closed", 1) + b'{"not an entry":1}\n')


def nobody() -> int:
    """A pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def call(*argv: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE) -> tuple[int, str, str]:
    ended = subprocess.run([*STAGE4, *argv], stdout=stdout, stderr=stderr, text=True, check=False, timeout=60)
    for given in (stdout, stderr):
        if given >= 0:
            os.close(given)
    return ended.returncode, ended.stdout or "", ended.stderr or ""


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_broken_log_is_broken_though_nobody_reads_it(room: LogRoom, form: list[str]) -> None:
    breaking(room)
    assert call("log", "verify", *form)[0] == 1
    assert call("log", "verify", *form, stdout=nobody())[0] == 1
    assert call("log", "explain", "99", *form, stdout=nobody())[0] == 1
    assert call("log", "explain", "0", "--raw", *form, stdout=nobody())[0] == call("log", "explain", "0", *form)[0]


def test_a_proof_that_proves_nothing_says_so_though_nobody_reads_it(room: LogRoom, tmp_path: Path) -> None:
    assert call("log", "checkpoint")[0] == 0
    assert call("log", "prove", "--seq", "1", "--output", "proof")[0] == 0
    pin = tmp_path / "pin"
    pin.write_text(call("log", "checkpoint", "--pin")[1])
    entry = tmp_path / "entry"
    entry.write_text("another entry\n")
    asked = ("log", "check-proof", "proof", "--pin", str(pin))
    assert (call(*asked, stdout=nobody())[0], call(*asked)[0]) == (0, 0)
    assert (call(*asked, "--entry", "entry", stdout=nobody())[0], call(*asked, "--entry", "entry")[0]) == (1, 1)


@pytest.mark.parametrize(
    "argv", [["show"], ["tail"], ["grep", "."], ["tail", "-f"], ["tail", "-f", "--json"], ["prove"]]
)
def test_what_only_prints_ends_with_its_reader(room: LogRoom, argv: list[str]) -> None:
    if argv == ["prove"]:
        assert call("log", "checkpoint")[0] == 0
        argv = ["prove", "--seq", "1"]
    code, _, said = call("log", *argv, stdout=nobody())
    assert (code, "Traceback" in said, "bug" in said) == (0, False, False)


def test_help_ends_with_its_reader(room: LogRoom) -> None:
    assert call("--help", stdout=nobody())[0] == 0
    assert call("log", "--help", stdout=nobody())[0] == 0


@pytest.mark.parametrize("argv", [["log", "show"], ["log", "verify"], [*APPEND, "--dry-run"]])
def test_a_full_disk_behind_stdout_is_no_pass(room: LogRoom, argv: list[str]) -> None:
    code, _, said = call(*argv, stdout=full())
    assert (code, "error: cannot write stdout" in said) == (3, True)


def test_a_full_disk_behind_stdout_does_not_mend_a_broken_log(room: LogRoom) -> None:
    breaking(room)
    assert call("log", "verify", stdout=full())[0] == 1


@pytest.mark.parametrize("deaf", [nobody, full])
@pytest.mark.parametrize(
    "argv", [APPEND, ("log", "checkpoint"), ("log", "archive"), ("log", "key", "rotate", "--reason", "x")]
)
def test_a_change_is_told_in_its_document_though_nobody_hears_stderr(
    room: LogRoom, argv: tuple[str, ...], deaf: Callable[[], int]
) -> None:
    code, out, _ = call(*argv, "--json", stderr=deaf())
    assert (code, json.loads(out)["exit_code"]) == (0, 0)


def test_no_command_prints_past_the_way_that_knows_about_readers() -> None:
    printing = re.compile(r"\bprint\((?!.*file=sys\.stderr)|click\.echo\(|sys\.stdout\.(write|buffer|flush)")
    found = {path.name for path in COMMANDS.glob("*.py") if printing.search(path.read_text(encoding="utf-8"))}
    assert found == {"_streams.py"}


def interrupting(document: Any) -> Callable[[], int]:
    """A body that is interrupted while its document is on its way to a reader that is slow to read."""

    def body() -> int:
        _run.emit(document)
        return 0

    return body


class Interrupting:
    """A stdout during whose writing Ctrl-C is pressed `times` times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.written = b""
        self.buffer = self

    def write(self, content: bytes) -> None:
        for _ in range(self.times):
            os.kill(os.getpid(), signal.SIGINT)
        self.written += content

    def flush(self) -> None:
        pass


def english() -> Language:
    return "en"


@pytest.mark.parametrize(("times", "code", "documents"), [(0, 0, 1), (1, 0, 1), (2, 130, 0)])
def test_an_interrupt_does_not_cut_a_document_or_add_a_second_one(
    monkeypatch: pytest.MonkeyPatch, times: int, code: int, documents: int
) -> None:
    stdout = Interrupting(times)
    monkeypatch.setattr(sys, "stdout", stdout)
    before = signal.getsignal(signal.SIGINT)
    assert _run.guarded("stage4.test/1", interrupting({"schema": "stage4.test/1"}), english) == code
    assert stdout.written.count(b"schema") == documents
    assert signal.getsignal(signal.SIGINT) is before


def test_a_command_that_calls_another_one_has_one_document_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    def outer() -> int:
        assert _run.guarded("stage4.test/1", interrupting({"schema": "stage4.test/1"}), english) == 0
        raise KeyboardInterrupt

    assert _run.guarded("stage4.error/1", outer, english) == 130
    assert json.loads(capsys.readouterr().out) == {"schema": "stage4.test/1"}


def test_an_interrupt_during_an_import_that_the_words_need_is_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed() -> int:
        raise KeyboardInterrupt

    def half_imported(*_: object) -> str:
        raise AttributeError("partially initialized module 'yaml' has no attribute 'SafeLoader'")

    monkeypatch.setattr(_run.words, "text", half_imported)
    assert _run.spoken(pressed, lang=english, as_json=True, schema="stage4.test/1") == 130
    heard = capsys.readouterr()
    assert (heard.err, json.loads(heard.out)["exit_code"]) == ("interrupted\n", 130)


def test_an_interrupt_before_the_first_guard_is_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Pressed:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "stage4.cli.root":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "stage4.cli.root", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Pressed(), *sys.meta_path])
    assert main(["--json", "log", "show"]) == 130
    heard = capfd.readouterr()
    assert (heard.err, json.loads(heard.out)["exit_code"]) == ("interrupted\n", 130)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(9, "Bad file descriptor"), 70),
        (OSError("not readable"), 70),
        (OSError(28, "No space left on device"), 3),
        (OSError(24, "Too many open files"), 3),
        (FileNotFoundError(2, "No such file or directory", "/nowhere"), 3),
        (BrokenPipeError(32, "Broken pipe"), 3),
        (Unavailable("files.missing", path="x"), 3),
    ],
    ids=lambda value: str(value) if isinstance(value, Exception) else None,
)
def test_what_the_system_refuses_is_no_bug_and_a_bug_is_no_refusal(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> int:
        raise error

    assert _run.guarded("stage4.test/1", body, english) == code
    assert json.loads(capsys.readouterr().out)["exit_code"] == code
