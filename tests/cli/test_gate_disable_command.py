"""`disable_multi_strategy.py`: document, exit code and words, with and without somebody who answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stage4.app.installing import create
from stage4.cli.disable_multi_strategy import main
from stage4.clock import SystemClock
from stage4.runtime.latch import GATE_FILE, read_latch
from stage4.runtime.stop import OVERRIDES
from support.answering import answering

WIDE = OVERRIDES / "multi_strategy_disable.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "desk"
    create(root, SystemClock(), installation_id="desk-1", language="en")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copied = tmp_path / "desk"
    shutil.copytree(made, copied, symlinks=True)
    monkeypatch.setenv("STAGE4_ROOT", str(copied))
    monkeypatch.setenv("STAGE4_LANG", "en")
    return copied


class Call:
    """One call of the command in this process."""

    def __init__(self, capture: pytest.CaptureFixture[bytes], *arguments: str) -> None:
        self.code = main(arguments)
        out, err = capture.readouterr()
        self.document = json.loads(out)
        self.err = err.decode()
        assert next(iter(self.document)) == "schema"
        assert self.document["schema"] == "stage4.disable/1"
        assert self.document["exit_code"] == self.code

    @property
    def warnings(self) -> list[str]:
        return [warning["code"] for warning in self.document["warnings"]]


def test_the_scheduler_confirms_and_the_log_has_it(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with answering(root):
        call = Call(capfdbinary, "--reason", "latency", "--ticket", "OUT-7", "--requested-by", "l2-jan")
    assert (call.code, call.document["code"], call.document["already"]) == (0, "stop.word_disabled", False)
    assert call.document["scheduler"]["answer"] == "disabled"
    assert call.document["scheduler"]["override_digest"] == call.document["override"]["sha256"]
    assert call.document["decision_log"]["logged"]
    last = json.loads((root / "audit/decision_logs/runtime.jsonl").read_text().splitlines()[-1])
    assert (last["kind"], last["category"]) == ("scheduler_stop_requested", "runtime_control")
    assert last["metadata"]["requested_by"] == "l2-jan"


def test_a_stop_for_an_incident_belongs_to_the_incident(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    call = Call(capfdbinary, "--reason", "INC-20261123-0001", "--ticket", "INC-20261123-0001", "--wait", "0s")
    last = json.loads((root / "audit/decision_logs/runtime.jsonl").read_text().splitlines()[-1])
    assert last["category"] == "stage4_incident"
    assert call.warnings == ["stop.ticket_unverified"], "said once, and nothing prevented"
    assert (root / WIDE).exists()


def test_nobody_answers_and_the_file_stands(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    call = Call(capfdbinary, "--reason", "r", "--wait", "50ms")
    assert (call.code, call.document["code"]) == (3, "stop.word_absent")
    assert (root / WIDE).exists()
    assert "stays stopped at the next start" in call.err


def test_a_scheduler_that_does_not_listen_is_named(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with answering(root, deaf=True):
        call = Call(capfdbinary, "--reason", "r", "--wait", "100ms")
    assert (call.code, call.document["code"]) == (3, "stop.word_enabled")
    assert f"kill -TERM {os.getpid()}" in call.err


def test_something_in_flight_is_not_yet_disabled(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with answering(root, in_flight=1):
        call = Call(capfdbinary, "--reason", "r", "--wait", "100ms")
    assert (call.code, call.document["code"]) == (3, "stop.word_stopping")


def test_stopping_twice_says_already(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with answering(root):
        Call(capfdbinary, "--reason", "one")
        call = Call(capfdbinary, "--reason", "two")
    assert (call.code, call.document["code"], call.document["already"]) == (0, "stop.word_already", True)
    assert call.document["override"]["in_force"]["reason"] == "one"


def test_two_at_once_both_succeed_and_one_says_already(root: Path) -> None:
    command = [sys.executable, "-c", "from stage4.cli.disable_multi_strategy import main; raise SystemExit(main())"]
    with answering(root):
        calls = [
            subprocess.Popen([*command, "--reason", str(n)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            for n in range(2)
        ]
        documents = [json.loads(call.communicate()[0]) for call in calls]
    assert [call.returncode for call in calls] == [0, 0]
    assert sorted(document["already"] for document in documents) == [False, True]
    assert [file.name for file in (root / OVERRIDES).iterdir()] == [WIDE.name]


def test_a_part_is_stopped_alone(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with answering(root):
        call = Call(capfdbinary, "--reason", "r", "--schedule", "cross_exchange_watch")
    assert call.code == 0
    assert call.document["scheduler"]["state"] == "enabled"
    assert call.warnings == []
    assert not (root / WIDE).exists()


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        ((), "stop.reason_missing"),
        (("--reason", "INC-20990101-0001"), "stop.ticket_unverified"),
        (("--reason", "r", "--duration-minutes", "soon"), "stop.duration_unusable"),
        (("--reason", "r", "--duration-minutes", "30"), "stop.expiry_informs"),
        (("--reason", "x" * 100_000), "stop.text_cut"),
        (("--reason", "r", "--schedule", "no_such"), "stop.scope_unknown"),
    ],
)
def test_what_is_odd_about_the_call_warns_and_stops(
    root: Path, capfdbinary: pytest.CaptureFixture[bytes], arguments: tuple[str, ...], warning: str
) -> None:
    call = Call(capfdbinary, *arguments, "--wait", "0")
    assert call.warnings == [warning]
    assert any((root / OVERRIDES).glob("multi_strategy_disable*.json"))
    assert f"warning: {call.document['warnings'][0]['message']}" in call.err


def test_a_malformed_wait_does_not_prevent_the_stop(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with answering(root):
        call = Call(capfdbinary, "--reason", "r", "--wait", "a moment")
    assert (call.code, call.warnings) == (0, ["stop.wait_unusable"])


def test_bytes_that_are_no_text_do_not_prevent_the_stop(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Call(capfdbinary, "--reason", os.fsdecode(b"\xff"), "--wait", "0")
    assert (root / WIDE).exists()


@pytest.mark.parametrize(
    ("broken", "warnings"),
    [
        ("config/core.yaml", ["stop.settings_unreadable"]),
        ("secrets/decision_log/keyring.json", ["stop.unlogged"]),
        (str(GATE_FILE), ["stop.not_latched"]),
    ],
)
def test_nothing_that_is_broken_prevents_the_stop(
    root: Path, capfdbinary: pytest.CaptureFixture[bytes], broken: str, warnings: list[str]
) -> None:
    (root / broken).write_bytes(b"\xff{")
    call = Call(capfdbinary, "--reason", "r", "--wait", "0")
    assert call.code == 3
    assert (root / WIDE).exists()
    assert set(warnings) <= set(call.warnings)


def test_a_stop_whose_file_cannot_be_read_is_recorded_too(
    root: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    (root / WIDE).mkdir()
    call = Call(capfdbinary, "--reason", "r", "--wait", "0s")
    assert (call.code, call.warnings) == (3, ["gate.stop_unreadable"])
    assert call.document["decision_log"]["logged"]
    last = json.loads((root / "audit/decision_logs/runtime.jsonl").read_text().splitlines()[-1])
    assert last["artefacts"]["override_sha256"] is None


def test_a_stop_that_cannot_be_made_says_not_stopped(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    shutil.rmtree(root / OVERRIDES)
    (root / OVERRIDES).write_text("in the way")
    (root / GATE_FILE).unlink()
    code = main(["--reason", "r"])
    out, err = capfdbinary.readouterr()
    assert code == 3
    assert json.loads(out)["error"]["code"] == "stop.cannot_write"
    assert b"NOT STOPPED" in err
    assert b"kill -TERM" in err


def test_where_no_file_can_be_made_the_gates_memory_stops_and_it_is_said_loudly(
    root: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with answering(root):
        os.mkfifo(root / "aside")  # whatever is in the way: the directory itself is replaced by something else
        shutil.rmtree(root / OVERRIDES)
        (root / "aside").rename(root / OVERRIDES)
        call = Call(capfdbinary, "--reason", "r")
    assert "stop.memory_only" in call.warnings
    assert (call.document["override"]["placed"], call.document["override"]["latched"]) == (False, True)
    assert "COULD NOT BE MADE" in call.err
    assert read_latch(root / GATE_FILE).stops.keys() == {WIDE.name}


def test_a_dry_run_stops_nothing(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    call = Call(capfdbinary, "--reason", "r", "--dry-run")
    assert (call.code, call.document["dry_run"]) == (0, True)
    assert list((root / OVERRIDES).iterdir()) == []
    assert not (root / "audit/decision_logs/runtime.jsonl").exists()


def test_a_malformed_call_still_prints_its_document(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    code = main(["--no-such-option"])
    out, _ = capfdbinary.readouterr()
    assert code == 2
    assert json.loads(out)["error"]["code"] == "arguments.malformed"


def test_people_read_their_own_language(
    root: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGE4_LANG", "pl")
    call = Call(capfdbinary, "--wait", "0")
    assert "brak powodu" in call.err
    assert call.document["warnings"][0]["message"].startswith("no reason was given")
