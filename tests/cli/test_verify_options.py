"""The options of verifying: what is read, what is counted, what is required, where the answer goes."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stage4.cli import _verify
from stage4.cli import main as stage4
from stage4.cli.verify_decision_log import main
from stage4.decisionlog import archive, archives, key_changes
from stage4.decisionlog.verification.requirements import Count
from stage4.errors import UsageError
from stage4.testing.clock import ManualClock
from support import v2_logs
from support.checkpointed import CheckpointedLog
from support.decision_logs import LogRoom, draft

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_decision_log.py"
CORE = Path(__file__).parents[2] / "config" / "core.yaml"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LogRoom:
    """Genesis, five notes of incident 1, four of incident 2 of another kind and category; nothing else around."""
    monkeypatch.chdir("/")
    monkeypatch.delenv("STAGE4_ROOT", raising=False)
    monkeypatch.setenv("STAGE4_LANG", "en")
    room = LogRoom.create(tmp_path, clock=ManualClock())
    log = room.log()
    log.append_many([draft(number) for number in range(1, 6)])
    assert isinstance(room.clock, ManualClock)
    room.clock.advance(seconds=3600)
    second = {"incident_id": "INC-20261123-0002"}
    log.append_many([draft(n, kind="panel", category="risk", metadata=second) for n in range(6, 10)])
    return room


def answer(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, Any, str]:
    code = main([str(argument) for argument in argv])
    said = capsys.readouterr()
    return code, json.loads(said.out), said.err


@pytest.mark.parametrize(
    ("filters", "matched"),
    [
        (["--category", "risk"], 4),
        (["--kind", "panel"], 4),
        (["--kind", "genesis"], 1),
        (["--incident", "INC-20261123-0001"], 5),
        (["--incident", "INC-20261123-0001", "--category", "risk"], 0),
        (["--kind", "no-such-kind"], 0),
    ],
)
def test_filters_count_and_a_line_they_leave_out_is_judged_all_the_same(
    room: LogRoom, capsys: pytest.CaptureFixture[str], filters: list[str], matched: int
) -> None:
    options = (room.path, "--keyring", room.ring.path, *filters)
    code, document, said = answer(capsys, *options)
    assert (code, document["matched"], document["entries"]) == (0, matched, 10)
    assert "all of them were judged" in said
    lines = room.lines()
    for target in (2, 8):
        room.put([*lines[:target], lines[target].replace(b"recorded", b"recorder"), *lines[target + 1 :]])
        code, document, _ = answer(capsys, *options)
        assert (code, document["findings"][0]["line"]) == (1, target + 1)


def test_times_count_from_since_on_and_before_until(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    late = json.loads(room.lines()[-1])["timestamp"]
    options = (room.path, "--keyring", room.ring.path)
    assert answer(capsys, *options, "--since", late)[1]["matched"] == 4
    assert answer(capsys, *options, "--until", late)[1]["matched"] == 6
    assert answer(capsys, *options, "--since", "2026-01-01T00:00:00+01:00", "--until", late)[1]["matched"] == 6
    code, document, _ = answer(capsys, *options, "--since", "yesterday")
    assert (code, document["error"]["code"]) == (2, "logview.bad_time")


@pytest.mark.parametrize(
    ("count", "code"),
    [("10", 0), ("9", 1), ("11", 1), ("10..", 0), ("11..", 1), ("..10", 0), ("..9", 1), ("8..12", 0), ("1..9", 1)],
)
def test_a_required_number_of_entries(room: LogRoom, capsys: pytest.CaptureFixture[str], count: str, code: int) -> None:
    got, document, said = answer(capsys, room.path, "--keyring", room.ring.path, "--require-event-count", count)
    assert got == code
    assert document["integrity"]["verdict"] == "intact"
    assert [unmet["code"] for unmet in document["unmet"]] == ["verify.unmet_count"] * code
    if code:
        assert said.startswith("NOT AS REQUIRED")
        assert f"required number of entries: {count}; there are 10" in said


def test_the_required_number_is_of_what_the_filters_let_through(
    room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = (room.path, "--keyring", room.ring.path, "--category", "risk", "--require-event-count")
    assert answer(capsys, *options, "4")[0] == 0
    assert answer(capsys, *options, "10")[0] == 1
    old = v2_logs.put(tmp_path / "old.jsonl", v2_logs.lines(20))
    options = (old, "--hmac-key-file", v2_logs.key_file(tmp_path), "--require-event-count")
    assert answer(capsys, *options, "20")[0] == 0
    assert answer(capsys, *options, "4", "--kind", "metadata")[0] == 0
    assert answer(capsys, *options, "5", "--kind", "metadata")[0] == 1


@pytest.mark.parametrize("text", ["", "..", "x", "1.5", "-1", "5..4", "1..2..3", "٣", "9" * 30])
def test_what_is_no_number_of_entries(text: str) -> None:
    with pytest.raises(UsageError, match=r"verify\.bad_count"):
        Count.parse(text)


def test_an_unexpected_key(room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = (room.path, "--keyring", room.ring.path, "--expected-key-id")
    assert answer(capsys, *options, room.ring.active, "--expected-key-id", "other")[0] == 0
    code, document, said = answer(capsys, *options, "other")
    assert (code, document["findings"], [each["code"] for each in document["unmet"]]) == (1, [], ["verify.unmet_key"])
    assert said.startswith("NOT AS REQUIRED")
    room.ring.path.with_name(f"{room.ring.active}.key").unlink()
    code, document, _ = answer(capsys, *options, "other")
    assert (code, [each["code"] for each in document["unmet"]]) == (1, ["verify.unmet_key_unjudged"])
    old = v2_logs.put(tmp_path / "old.jsonl", v2_logs.lines(3))
    options = (old, "--hmac-key-file", v2_logs.key_file(tmp_path), "--expected-key-id")
    assert answer(capsys, *options, v2_logs.KEY_ID)[0] == 0
    code, document, said = answer(capsys, *options, "other")
    assert (code, [unmet["code"] for unmet in document["unmet"]]) == (1, ["verify.unmet_key"])
    assert "3 entries were signed with key 'ops-2025', which was not expected" in said


def test_a_log_that_ends_under_a_retired_key_is_remarked(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    options = (room.path, "--keyring", room.ring.path)
    lines = room.lines()
    key_changes.rotate(room.log(), room.ring, room.clock, "every 90 days")
    assert answer(capsys, *options)[1]["notes"] == []
    room.put(lines)
    code, document, said = answer(capsys, *options)
    assert (code, [note["code"] for note in document["notes"]]) == (0, ["verify.ends_retired"])
    assert "either entries were cut off together with the rotation" in said


def test_a_part_of_a_log(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    room.put(room.lines()[4:])
    options = (room.path, "--keyring", room.ring.path)
    assert answer(capsys, *options)[1]["classes"] == {"deletion": 1}
    code, document, _ = answer(capsys, *options, "--partial")
    assert (code, document["first_seq"], document["entries"]) == (0, 4, 6)


def test_archives_alone_are_a_part_of_a_log(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        archive.rotate(room.log())
        room.log().append(draft(number))
    room.path.unlink()
    options = (room.path.parent, "--keyring", room.ring.path)
    code, document, said = answer(capsys, *options)
    assert (code, [each["code"] for each in document["findings"]]) == (1, ["input.live_missing"])
    assert "the log went on after its last archive" in said
    assert answer(capsys, *options, "--partial")[0] == 0
    archives.segments(room.path)[0].copies[0].unlink()
    code, document, _ = answer(capsys, *options)
    assert {each["code"] for each in document["findings"]} == {
        "input.live_missing",
        "input.archive_missing",
        "log.deletion",
    }
    assert answer(capsys, *options, "--partial")[0] == 0


def test_lines_before_a_part_of_a_log_are_not_sealed_by_it(room: LogRoom, capsys: pytest.CaptureFixture[str]) -> None:
    room.put([b'{"kind":"incident_approved","status":"approved"}', *room.lines()[4:]])
    code, document, said = answer(capsys, room.path, "--keyring", room.ring.path, "--partial")
    assert (code, [each["code"] for each in document["findings"]]) == (1, ["log.prefix_unsealed"])
    assert "sealed: their bytes" not in said


def test_a_log_of_blank_lines_is_empty(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    blank = v2_logs.put(tmp_path / "blank.jsonl", [b"", b" "])
    code, document, _ = answer(capsys, blank, "--hmac-key-file", v2_logs.key_file(tmp_path))
    assert (code, [each["code"] for each in document["findings"]]) == (1, ["log.empty"])


def test_standard_input_a_folder_and_several_processes_answer_the_same(
    room: LogRoom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = ("--keyring", room.ring.path)
    facts = [answer(capsys, room.path, *ring), answer(capsys, room.path, *ring, "--workers", 2)]
    facts.append(answer(capsys, room.path.parent, *ring))
    with room.path.open("rb") as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        facts.append(answer(capsys, "-", *ring))
    for code, document, _ in facts:
        assert (code, document["entries"], document["head"]) == (0, 10, facts[0][1]["head"])
    code, document, _ = answer(capsys, room.path, "--workers", "0")
    assert (code, document["error"]["code"]) == (2, "verify.bad_workers")


@pytest.mark.parametrize("option", ["--output", "--save-checkpoint"])
@pytest.mark.parametrize("name", ["runtime.jsonl", "runtime.jsonl.checkpoint", "runtime-0000000000.jsonl.zst"])
def test_nothing_is_written_over_the_log(
    room: LogRoom, capsys: pytest.CaptureFixture[str], option: str, name: str, tmp_path: Path
) -> None:
    before = room.path.read_bytes()
    (tmp_path / "link").symlink_to(room.path.with_name(name))
    for target in (room.path.with_name(name), tmp_path / "link"):
        code, document, said = answer(capsys, room.path, "--keyring", room.ring.path, option, target)
        assert (code, document["error"]["code"]) == (2, "cli.in_the_way")
        assert "hint: name another file" in said
    assert answer(capsys, room.path, "--keyring", room.ring.path, option, room.ring.path)[0] == 2
    assert answer(capsys, room.path.parent, "--keyring", room.ring.path, option, room.path)[0] == 2
    assert room.path.read_bytes() == before


def test_what_the_system_refuses_is_no_bug(
    room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = ("--keyring", room.ring.path)
    assert answer(capsys, tmp_path / ("x" * 300), *ring)[0] == 3
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert answer(capsys, tmp_path / "loop", *ring)[0] == 3
    odd = tmp_path / "a**b.jsonl"
    odd.write_bytes(room.path.read_bytes())
    assert answer(capsys, odd, *ring, "--workers", 99_999_999)[0] == 0

    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", refuse)
    code, document, said = answer(capsys, room.path, *ring)
    assert (code, document["error"]["code"]) == (3, "cli.system")
    assert "refused: " in said
    assert "Permission denied" in said


def test_the_document_goes_to_a_file_too(room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "verdict.json"
    _, document, _ = answer(capsys, room.path, "--keyring", room.ring.path, "--output", out)
    assert json.loads(out.read_text()) == document
    assert next(iter(document)) == "schema"
    assert list(document)[-2:] == ["seconds", "entries_per_second"]


def test_the_checkpoint_beside_the_log_is_read_before_it(
    tmp_path: Path, room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    log = CheckpointedLog.create(tmp_path / "sealed", 12, 4)
    path = log.write(tmp_path / "sealed" / "runtime.jsonl")
    path.with_name("runtime.jsonl.checkpoint").write_bytes(log.notes[-1].encode())
    code, document, said = answer(capsys, path, "--keyring", log.ring.path)
    assert (code, document["completeness"]["covered"], document["completeness"]["pinned"]) == (0, 12, False)
    assert "was not pinned" in said
    log.cut(9).write(path)
    for place in (path, path.parent):
        code, document, _ = answer(capsys, place, "--keyring", log.ring.path)
        assert (code, document["completeness"]["verdict"]) == (1, "truncated")
    assert answer(capsys, path, "--keyring", log.ring.path, "--partial")[0] == 0


def test_with_only_the_pin_filters_count_what_checkpoints_prove(
    tmp_path: Path, room: LogRoom, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    log = CheckpointedLog.create(tmp_path / "sealed", 14, 4)
    path = log.write(tmp_path / "sealed" / "runtime.jsonl")
    path.with_name("runtime.jsonl.checkpoint").write_bytes(log.notes[-1].encode())
    pin = tmp_path / "pin"
    pin.write_text("\n".join(map(str, log.pins)))
    # Entries 12 and 13 are notes too, but no checkpoint covers them and no secret is there to judge them.
    code, document, _ = answer(capsys, path, "--pin", pin, "--kind", "incident_note")
    assert (code, document["entries"], document["matched"]) == (3, 12, 8)
    log.cut(12).write(path)
    assert answer(capsys, path, "--pin", pin, "--kind", "incident_note", "--require-event-count", "8")[0] == 0


@pytest.mark.parametrize(
    ("content", "code", "error"),
    [
        ("", 2, "verify.no_pin"),
        ("# nothing\n\n", 2, "verify.no_pin"),
        ("not a key\n", 2, "verify.bad_pin"),
        (None, 3, "files.missing"),
    ],
)
def test_a_pin_that_is_none(
    room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None, code: int, error: str
) -> None:
    pin = tmp_path / "pin"
    if content is not None:
        pin.write_text(content)
    got, document, _ = answer(capsys, room.path, "--keyring", room.ring.path, "--pin", pin)
    assert (got, document["error"]["code"]) == (code, error)


def test_the_installation_brings_its_checkpoints_and_pins(
    room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "config").mkdir(parents=True)
    places = "      places:\n        - directory: var/checkpoints-outside\n      pin: config/pin\n"
    text = CORE.read_text()
    before, _, after = text.partition("      places:\n")
    (home / "config" / "core.yaml").write_text(before + places + after.partition("\n")[2])
    log = CheckpointedLog.create(home, 12, 4)
    secrets = home / "secrets" / "decision_log"
    secrets.mkdir()
    for file in (home / "secrets").glob("*.*"):
        file.rename(secrets / file.name)
    (home / "config" / "pin").write_text("\n".join(map(str, log.pins)))
    logs = home / "audit" / "decision_logs"
    logs.mkdir(parents=True)
    log.write(logs / "runtime.jsonl")
    outside = home / "var" / "checkpoints-outside" / log.log_id
    outside.mkdir(parents=True)
    for size in (4, 12):
        (outside / f"{size}.checkpoint").write_bytes(log.notes[size // 4 - 1].encode())
    monkeypatch.chdir(home)
    code, document, _ = answer(capsys)
    assert (code, document["completeness"]["covered"], document["completeness"]["pinned"]) == (0, 12, True)
    log.cut(9).write(logs / "runtime.jsonl")
    assert answer(capsys)[1]["completeness"]["verdict"] == "truncated"
    # A whole new log in its place is new to the place outside, and that is said.
    other = CheckpointedLog(log.ring, "C" * 22)
    other.extend(3)
    other.write(logs / "runtime.jsonl")
    code, document, said = answer(capsys)
    assert code == 1
    assert [note["code"] for note in document["notes"]] == ["verify.other_logs"]
    assert "it was replaced" in said


def test_both_doors_take_the_same_options_and_give_the_same_document(
    room: LogRoom, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [str(room.path), "--keyring", str(room.ring.path), "--kind", "panel", "--require-event-count", "4"]
    _, script, said = answer(capsys, *options)
    assert stage4(["--json", "log", "verify", *options]) == 0
    command = json.loads(capsys.readouterr().out)
    for document in (script, command):
        document.pop("seconds")
        document.pop("entries_per_second")
    assert command == script
    assert stage4(["--lang", "en", "log", "verify", *options]) == 0
    assert capsys.readouterr().out == said
    assert stage4(["log", "verify", "--no-such-option"]) == 2
    for door in (main, lambda argv: stage4(["log", "verify", *argv])):
        with pytest.raises(SystemExit) as done:
            door(["--help"])
        assert done.value.code == 0
        assert "every line is read and judged all the same" in capsys.readouterr().out


def test_progress_is_silent_at_first_and_then_says_how_long_it_takes() -> None:
    clock, stream = ManualClock(), io.StringIO()
    progress = _verify.Progress(clock, stream, "en")
    progress(1 << 20, 100 << 20)
    clock.advance(seconds=0.4)
    progress(10 << 20, 100 << 20)
    assert stream.getvalue() == ""
    progress.clear()
    assert stream.getvalue() == ""
    clock.advance(seconds=0.6)
    progress(50 << 20, 100 << 20)
    assert stream.getvalue() == "\r50 of 100 MB, 50 MB/s, 1 s left\x1b[K"
    clock.advance(seconds=1)
    progress(60 << 20, None)
    assert stream.getvalue().endswith("\r60 MB, 30 MB/s\x1b[K")
    progress.clear()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_only_what_came_after_a_kept_checkpoint_is_read_and_that_is_said(
    room: LogRoom, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = CheckpointedLog.create(tmp_path / "sealed", 12, 4)
    path, kept = log.write(tmp_path / "sealed" / "runtime.jsonl"), tmp_path / "kept"
    ring = ("--keyring", log.ring.path)
    code, document, said = answer(capsys, path, *ring, "--save-checkpoint", kept)
    # The newest note is not in the log itself: the one before it is.
    assert (code, document["mode"], kept.exists()) == (0, "full", True)
    assert kept.read_bytes() == log.notes[1].encode()
    log.extend(20, 4)
    log.write(path)
    options = (path, *ring, "--from-checkpoint", kept, "--save-checkpoint", kept)
    code, document, said = answer(capsys, *options)
    assert (code, document["mode"], document["first_read"]) == (0, "incremental", 7)
    assert "only the entries from number 7 on were read; the 7 older ones are vouched for by a checkpoint" in said
    assert kept.read_bytes() == log.notes[3].encode()
    log.lines[18] = log.lines[18].replace(b"recorded", b"recorder")
    log.write(path)
    code, document, said = answer(capsys, *options)
    assert (code, document["classes"]) == (1, {"edit": 1})
    assert document["findings"][0]["line"] == 19
    assert [note["code"] for note in document["notes"]] == ["verify.not_saved"]
    assert kept.read_bytes() == log.notes[3].encode()
    log.cut(9).write(path)
    code, document, _ = answer(capsys, *options)
    assert (code, document["mode"], document["completeness"]["verdict"]) == (1, "full", "truncated")
    code, document, _ = answer(capsys, "-", *ring, "--from-checkpoint", kept)
    assert (code, document["error"]["code"]) == (2, "verify.from_needs_file")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("everybody", [True, False])
def test_an_interrupt_ends_it_with_130_and_leaves_no_children(room: LogRoom, workers: str, everybody: bool) -> None:
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "-", "--keyring", room.ring.path, "--workers", workers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(room.path.read_bytes() * 2000)
    process.stdin.flush()
    (os.killpg if everybody else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "cli.interrupted"
    assert b"Traceback" not in err
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
