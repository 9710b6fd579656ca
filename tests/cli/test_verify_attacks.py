"""What is done to a log, and what the command answers: exit code, class and place, never a traceback."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stage4.cli.verify_decision_log import main
from stage4.decisionlog.checkpoints.note import SignerKey
from stage4.security.keyring import create_keyring
from support import v2_logs
from support.checkpointed import CheckpointedLog
from support.decision_logs import LogRoom, draft
from support.log_archives import cut, joined, packed

SCRIPT = Path(__file__).parents[2] / "scripts" / "verify_decision_log.py"
Lines = list[bytes]
Finding = tuple[str, int, int | None]
NESTED = b"[" * 100_000 + b"]" * 100_000


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No installation around, and English."""
    monkeypatch.chdir("/")
    monkeypatch.delenv("STAGE4_ROOT", raising=False)
    monkeypatch.setenv("STAGE4_LANG", "en")


def answer(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, Any, str]:
    """Exit code, document and what was said to people."""
    code = main([str(argument) for argument in argv])
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document["exit_code"] == code
    assert "Traceback" not in said.err
    return code, document, said.err


def found(document: Any) -> list[Finding]:
    return [(finding["class"], finding["line"], finding["seq"]) for finding in document["findings"]]


def changed(number: int, old: bytes, new: bytes) -> Callable[[Lines], Lines]:
    """Replaces `old` by `new` in line `number`."""

    def attack(lines: Lines) -> Lines:
        assert old in lines[number - 1]
        return [*lines[: number - 1], lines[number - 1].replace(old, new, 1), *lines[number:]]

    return attack


def instead(number: int, line: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[: number - 1], line, *lines[number:]]


V3: dict[str, tuple[Callable[[Lines], Lines], list[Finding]]] = {
    "edit": (changed(5, b'"number":4', b'"number":9'), [("edit", 5, 4)]),
    "delete": (lambda ls: [*ls[:4], *ls[5:]], [("deletion", 5, 4)]),
    "reorder": (lambda ls: [*ls[:4], ls[5], ls[4], *ls[6:]], [("reorder", 6, 4)]),
    "insert": (lambda ls: [*ls[:5], ls[4].replace(b'"number":4', b'"number":9'), *ls[5:]], [("insertion", 6, None)]),
    "replay": (lambda ls: [*ls[:6], ls[2], *ls[6:]], [("replay", 7, 2)]),
    "key id stripped": (
        changed(5, b'"HMAC-SHA256","key_id":"ops-2026-11"', b'"HMAC-SHA256"'),
        [("key_misuse", 5, 4)],
    ),
    "key id changed": (lambda ls: [*ls[:4], ls[4].replace(b"ops-2026-11", b"dev"), *ls[5:]], [("key_misuse", 5, 4)]),
    "algorithm changed": (changed(5, b"HMAC-SHA256", b"HMAC-SHA384"), [("algorithm", 5, 4)]),
    "forged tail": (lambda ls: [*ls, ls[10].replace(b'"seq":10', b'"seq":11')], [("edit", 12, 11)]),
    "unsigned tail": (lambda ls: [*ls, b'{"v":3,"kind":"note"}'], [("format", 12, None)]),
    "member twice": (changed(5, b'{"artefacts"', b'{"stage":"L2","artefacts"'), [("format", 5, 4)]),
    "NaN": (changed(5, b'"number":4', b'"number":NaN'), [("format", 5, 4)]),
    "infinity": (changed(5, b'"number":4', b'"number":1e400'), [("format", 5, 4)]),
    "lone surrogate": (changed(5, b"uwaga", b"\\ud800"), [("format", 5, 4)]),
    "nesting of 100,000": (instead(5, NESTED), [("format", 5, 4)]),
    "integer of 5,000 digits": (changed(5, b'"number":4', b'"number":' + b"4" * 5000), [("format", 5, 4)]),
    "invalid UTF-8": (changed(5, b"uwaga", b"uwag\xff"), [("format", 5, 4)]),
    "byte order mark": (lambda ls: [b"\xef\xbb\xbf" + ls[0], *ls[1:]], [("format", 1, 0)]),
    "U+2028": (changed(5, b"uwaga", "\u2028".encode()), [("edit", 5, 4)]),
    "blank line": (lambda ls: [*ls[:4], b"", *ls[4:]], [("format", 5, None)]),
    "line of a megabyte": (instead(5, b"x" * (1 << 20)), [("format", 5, 4)]),
    "binary rubbish": (instead(5, bytes(range(10)) * 50 + b"\xff\x00"), [("format", 5, 4)]),
    "old entry before the first": (lambda ls: [b'{"kind":"old"}', *ls], [("insertion", 1, None)]),
    "emptied": (lambda _ls: [], [("deletion", 1, None)]),
}


@pytest.mark.parametrize("name", V3)
def test_version_3(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = LogRoom.create(tmp_path, 10)
    attack, expected = V3[name]
    lines = attack(room.lines())
    room.put(lines)
    code, document, said = answer(capsys, room.path, "--keyring", room.ring.path)
    assert (code, found(document)) == (1, expected)
    for finding in document["findings"]:
        assert finding["offset"] == sum(len(line) + 1 for line in lines[: finding["line"] - 1])
        assert f"line {finding['line']}" in said
    assert said.splitlines()[0].startswith("TAMPERED WITH")


V2: dict[str, tuple[Callable[[Lines], Lines], tuple[str, int] | None]] = {
    "untouched": (lambda ls: ls, None),
    "blank lines": (lambda ls: [b"", *ls[:4], b"  \r", *ls[4:]], None),
    "edit": (changed(5, b'"status": "ok"', b'"status": "no"'), ("edit", 5)),
    "insert": (lambda ls: [*ls[:4], ls[4].replace(b'"ok"', b'"no"'), *ls[4:]], ("edit", 5)),
    "spliced from a log of another key": (instead(5, v2_logs.signed(v2_logs.entry(5), b"other")), ("edit", 5)),
    "key id stripped": (changed(5, b', "key_id": "ops-2025"', b""), ("key_misuse", 5)),
    "key id stripped first": (changed(1, b', "key_id": "ops-2025"', b""), ("key_misuse", 1)),
    "key id changed": (changed(5, b"ops-2025", b"dev-2025"), ("key_misuse", 5)),
    "algorithm changed": (changed(5, b"HMAC-SHA256", b"HMAC-SHA384"), ("algorithm", 5)),
    "algorithm none": (changed(5, b"HMAC-SHA256", b"none"), ("algorithm", 5)),
    "forged tail": (lambda ls: [*ls, ls[3].replace(b'"ok"', b'"no"')], ("edit", 10)),
    "unsigned tail": (lambda ls: [*ls, b'{"stage": "x", "status": "ok"}'], ("format", 10)),
    "member twice": (changed(5, b"{", b'{"status": "bad", '), ("format", 5)),
    "NaN": (changed(5, b"59.94", b"NaN"), ("format", 5)),
    "infinity": (changed(5, b"59.94", b"1e400"), ("format", 5)),
    "lone surrogate": (changed(5, b"uwaga", b"\\ud800"), ("format", 5)),
    "nesting of 100,000": (instead(5, NESTED), ("format", 5)),
    "nesting in a short line": (instead(5, b'{"a": ' + NESTED[80_000:120_000] + b"}"), ("format", 5)),
    "integer of 5,000 digits": (changed(5, b"59.94", b"9" * 5000), ("format", 5)),
    "invalid UTF-8": (changed(5, b"uwaga", b"\xff"), ("format", 5)),
    "byte order mark inside": (lambda ls: [*ls[:4], b"\xef\xbb\xbf" + ls[4], *ls[5:]], ("format", 5)),
    "U+2028": (changed(5, "–".encode(), "\u2028".encode()), ("edit", 5)),
    "line of a megabyte": (instead(5, b"x" * (1 << 20)), ("format", 5)),
    "binary rubbish": (instead(5, bytes(range(10)) * 50 + b"\xff\x00"), ("format", 5)),
    "an array": (instead(5, b"[1, 2]"), ("format", 5)),
}


@pytest.mark.parametrize("name", V2)
@pytest.mark.parametrize("options", [[], ["--hmac-key-id", v2_logs.KEY_ID]])
def test_version_2(name: str, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attack, expected = V2[name]
    path = v2_logs.put(tmp_path / "old.jsonl", attack(v2_logs.lines(9)))
    key = v2_logs.key_file(tmp_path)
    code, document, said = answer(capsys, path, "--hmac-key-file", key, *options)
    if expected is None:
        assert (code, document["v2"]["entries"], document["keys"]) == (0, 9, {v2_logs.KEY_ID: 9})
        assert "version 2 has no chain" in said
    else:
        assert code == 1
        assert [(finding["class"], finding["line"]) for finding in document["findings"]] == [expected]


@pytest.mark.parametrize("packing", ["", "gz", "zst"])
def test_a_large_log_of_version_2_in_every_wire_form(
    packing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = v2_logs.lines(4000, mixed=True)
    path = tmp_path / ("old.jsonl" + (f".{packing}" if packing else ""))
    options = (path, "--hmac-key-file", v2_logs.key_file(tmp_path), "--hmac-key-id", v2_logs.KEY_ID)
    path.write_bytes(packed(joined(lines), packing))
    code, document, _ = answer(capsys, *options)
    assert (code, document["v2"]["entries"], document["lines"]) == (0, 4000, 4000)
    altered = [0, 1, 1750, 1751, 2500, 3999]
    for index in altered:
        lines[index] = lines[index].replace(b"snapshot", b"snap").replace(b"metadata", b"meta-data")
    path.write_bytes(packed(joined(lines), packing))
    code, document, _ = answer(capsys, *options)
    assert (code, document["v2"]["entries"]) == (1, 4000 - len(altered))
    places = [(finding["class"], finding["line"], finding["offset"]) for finding in document["findings"]]
    assert places == [("edit", index + 1, len(joined(lines[:index]))) for index in altered]


def test_what_version_2_cannot_show_is_said_and_not_called_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = v2_logs.lines(9)
    key = v2_logs.key_file(tmp_path)
    for attacked in (lines[1:], lines[:-1], [lines[1], lines[0], *lines[2:]], [*lines, lines[3]]):
        path = v2_logs.put(tmp_path / "old.jsonl", attacked)
        code, document, said = answer(capsys, path, "--hmac-key-file", key)
        assert code == 0
        assert document["completeness"]["verdict"] == "unknown"
        assert "deleted, moved, repeated and cut off entries cannot be seen" in said
        assert "nobody vouches" in said


def test_a_wrong_or_missing_key_of_version_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = v2_logs.put(tmp_path / "old.jsonl", v2_logs.lines(9))
    wrong = v2_logs.key_file(tmp_path, b"wrong")
    code, document, _ = answer(capsys, path, "--hmac-key-file", wrong)
    assert (code, document["classes"]) == (1, {"edit": 9})
    right = v2_logs.key_file(tmp_path)
    code, document, _ = answer(capsys, path, "--hmac-key-file", right, "--hmac-key-id", "other")
    assert (code, document["classes"]) == (1, {"key_misuse": 9})
    code, document, _ = answer(capsys, path)
    assert (code, document["classes"]) == (3, {"unverifiable": 1})
    code, document, _ = answer(capsys, path, "--hmac-key-file", tmp_path / "absent")
    assert (code, document["error"]["code"]) == (3, "files.missing")
    empty = v2_logs.key_file(tmp_path, b"  \n")
    code, document, _ = answer(capsys, path, "--hmac-key-file", empty)
    assert (code, document["error"]["code"]) == (2, "verify.v2_key_empty")
    code, document, _ = answer(capsys, path, "--hmac-key-id", "ops")
    assert (code, document["error"]["code"]) == (2, "verify.key_id_alone")


@pytest.mark.parametrize("target", [2, 7])
def test_a_sealed_prefix_is_judged_with_its_own_key(
    target: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = LogRoom.create(tmp_path)
    lines = v2_logs.lines(9, mixed=True)
    v2_logs.put(room.path, lines)
    room.log().append_many([draft(1), draft(2)])
    key = v2_logs.key_file(tmp_path)
    options = (room.path, "--keyring", room.ring.path, "--hmac-key-file", key)
    code, document, said = answer(capsys, *options)
    assert (code, document["sealed_prefix"]["judged"]) == (0, 9)
    assert document["keys"] == {room.ring.active: 3, v2_logs.KEY_ID: 9}
    assert "9 lines of version 2 are sealed" in said
    attacked = room.lines()
    attacked[target - 1] = v2_logs.signed(v2_logs.entry(99), wire=v2_logs.compact_sorted)
    room.put(attacked)
    code, document, _ = answer(capsys, *options)
    # The line verifies by itself; the seal knows that another one stood there.
    assert (code, found(document)) == (1, [("edit", 1, None)])


def test_an_entry_of_another_log_under_the_same_ring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = LogRoom.create(tmp_path / "one", 6)
    other = LogRoom.create(tmp_path / "two", 6, room.ring)
    room.put([*room.lines()[:4], other.lines()[4], *room.lines()[5:]])
    code, document, _ = answer(capsys, room.path, "--keyring", room.ring.path)
    assert (code, found(document)) == (1, [("foreign", 5, 4)])


@pytest.fixture
def sealed(tmp_path: Path) -> CheckpointedLog:
    """Twelve entries; numbers 3, 7 and 11 are checkpoints."""
    return CheckpointedLog.create(tmp_path, 12, 4)


def kept(folder: Path, log: CheckpointedLog) -> list[object]:
    """What an auditor keeps elsewhere, as options: the newest note and the pinned keys."""
    note, pin = folder / "elsewhere.checkpoint", folder / "pin"
    note.write_bytes(log.notes[-1].encode())
    pin.write_text("# the auditor's\n" + "\n".join(str(key) for key in log.pins) + "\n")
    return ["--keyring", log.ring.path, "--checkpoint", note, "--pin", pin]


def test_a_checkpoint_kept_elsewhere_vouches(
    sealed: CheckpointedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, options = sealed.write(tmp_path / "log.jsonl"), kept(tmp_path, sealed)
    code, document, said = answer(capsys, path, *options)
    completeness = document["completeness"]
    assert (code, completeness["verdict"], completeness["covered"]) == (0, "covered", 12)
    assert (completeness["uncovered"], completeness["pinned"]) == (0, True)
    assert "a checkpoint vouches for the first 12 entries" in said
    sealed.extend(15)
    sealed.write(path)
    code, document, said = answer(capsys, path, *options)
    assert (code, document["completeness"]["uncovered"]) == (0, 3)
    assert "3 newer entries are vouched for by nobody" in said


def test_without_the_ring_a_pinned_checkpoint_proves_what_it_covers(
    sealed: CheckpointedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, options = sealed.write(tmp_path / "log.jsonl"), kept(tmp_path, sealed)[2:]
    assert answer(capsys, path, *options)[0] == 0
    sealed.extend(13)
    sealed.write(path)
    code, document, _ = answer(capsys, path, *options)
    assert (code, document["classes"]) == (3, {"unverifiable": 1})


COMPLETENESS: dict[str, tuple[Callable[[CheckpointedLog], CheckpointedLog], str, str]] = {
    "truncated": (lambda log: log.cut(9), "truncation", "truncated"),
    "truncated to its first entry": (lambda log: log.cut(1), "truncation", "truncated"),
    "rolled back and gone on": (lambda log: _gone_on(log.cut(6), 12), "rollback", "contradicted"),
}


def _gone_on(log: CheckpointedLog, to: int) -> CheckpointedLog:
    while len(log.lines) < to:
        log.append(draft(1000 + len(log.lines)))
    return log


@pytest.mark.parametrize("name", COMPLETENESS)
def test_what_only_a_checkpoint_shows(
    name: str, sealed: CheckpointedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attack, fault, verdict = COMPLETENESS[name]
    options = kept(tmp_path, sealed)
    path = attack(sealed).write(tmp_path / "log.jsonl")
    code, document, said = answer(capsys, path, *options)
    assert (code, document["completeness"]["verdict"]) == (1, verdict)
    assert fault in document["classes"]
    assert document["integrity"]["verdict"] == "intact"
    assert said.splitlines()[0].startswith(("TRUNCATED", "CONTRADICTED"))
    # The chain alone cannot know: without the checkpoint nothing is wrong, and nobody vouches for it.
    code, document, said = answer(capsys, path, "--keyring", sealed.ring.path)
    assert code == 0


def test_a_checkpoint_with_a_wrong_next_key(
    sealed: CheckpointedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = kept(tmp_path, sealed)
    sealed.extend(13)
    thief = SignerKey(sealed.forward(0).name, b"t" * 32)
    sealed.checkpoint(key=thief.verifier)
    path = sealed.write(tmp_path / "log.jsonl")
    code, document, _ = answer(capsys, path, *options)
    assert (code, found(document)) == (1, [("checkpoint", 14, 13)])
    assert document["completeness"]["verdict"] == "contradicted"


def test_a_note_that_is_none_or_of_another_log(
    sealed: CheckpointedLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sealed.write(tmp_path / "log.jsonl")
    other = CheckpointedLog.create(tmp_path / "other", 4, 4, "BBBBBBBBBBBBBBBBBBBBBB")
    for content in (b"", b"nonsense\n", b"\xff\xfe", other.notes[-1].encode()):
        note = tmp_path / "note"
        note.write_bytes(content)
        code, document, _ = answer(capsys, path, "--keyring", sealed.ring.path, "--checkpoint", note)
        assert (code, document["classes"]) == (1, {"checkpoint": 1})


def test_archives_that_are_cut_or_explode(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = LogRoom.create(tmp_path, 10)
    whole = gzip.compress(room.path.read_bytes())
    archive = tmp_path / "runtime-0000000000.jsonl.gz"
    archive.write_bytes(whole)
    room.path.unlink()
    assert answer(capsys, archive, "--keyring", room.ring.path)[0] == 0
    for content in (whole[: len(whole) // 2], whole[:-4], whole[:40], b"", b"nonsense", gzip.compress(bytes(80 << 20))):
        archive.write_bytes(content)
        code, document, _ = answer(capsys, archive, "--keyring", room.ring.path)
        assert code == 1, content[:10]
        assert document["findings"]


def test_a_log_with_archives_that_are_damaged_or_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    room = LogRoom.create(tmp_path, 20)
    ring = ("--keyring", room.ring.path)
    lines = room.lines()
    first, second = cut(room.path, [8, 6], ["zst", "gz"])
    for whole in (room.path, tmp_path):
        code, document, _ = answer(capsys, whole, *ring)
        assert (code, document["entries"], len(document["parts"])) == (0, 21, 3)
    content = second.read_bytes()
    second.write_bytes(content[:100])
    code, document, _ = answer(capsys, room.path, *ring)
    assert (code, "archive" in document["classes"]) == (1, True)
    second.unlink()
    code, document, said = answer(capsys, room.path, *ring)
    assert (code, document["classes"]) == (1, {"deletion": 1})
    (finding,) = document["findings"]
    assert (finding["part"], finding["line"], finding["seq"]) == (room.path.name, 1, 8)
    assert "6 entries were deleted, from number 8 on" in said
    second.write_bytes(packed(joined([*lines[8:10], lines[10].replace(b"recorded", b"recorder"), *lines[11:14]]), "gz"))
    code, document, _ = answer(capsys, room.path, *ring)
    (finding,) = document["findings"]
    assert (code, finding["class"], finding["part"], finding["line"]) == (1, "edit", second.name, 3)
    assert finding["offset"] == sum(len(line) + 1 for line in lines[8:10])
    first.unlink()
    assert answer(capsys, room.path, *ring)[1]["classes"] == {"deletion": 1, "edit": 1}


def test_a_directory_without_logs_an_absent_file_and_absent_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = LogRoom.create(tmp_path, 10)
    (tmp_path / "empty").mkdir()
    assert answer(capsys, tmp_path / "empty", "--keyring", room.ring.path)[0] in (2, 3)
    code, document, _ = answer(capsys, tmp_path / "absent.jsonl", "--keyring", room.ring.path)
    assert (code, document["error"]["code"]) == (3, "files.missing")
    (tmp_path / "secrets" / "ops-2026-11.key").unlink()
    code, document, _ = answer(capsys, room.path, "--keyring", room.ring.path)
    assert (code, found(document)) == (3, [("unverifiable", 1, 0)])
    stranger = create_keyring(tmp_path / "other" / "keyring.json", room.clock.now().replace(month=12))
    code, document, _ = answer(capsys, room.path, "--keyring", stranger.path)
    assert (code, document["findings"][0]["class"]) == (1, "key_misuse")
    shutil.rmtree(tmp_path / "secrets")
    code, document, _ = answer(capsys, room.path, "--keyring", room.ring.path)
    assert (code, document["error"]["code"]) == (3, "files.missing")


def test_a_revoked_key_proves_nothing_that_no_checkpoint_covers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = LogRoom.create(tmp_path, 10)
    create_keyring(room.ring.path.with_name("next.json"), room.clock.now().replace(month=12))
    later = json.loads(room.ring.path.with_name("next.json").read_text())
    ring = json.loads(room.ring.path.read_text())
    ring["keys"][0]["state"] = "revoked"
    ring |= {"keys": ring["keys"] + later["keys"], "active": later["active"]}
    room.ring.path.write_text(json.dumps(ring))
    code, document, _ = answer(capsys, room.path, "--keyring", room.ring.path)
    assert (code, document["classes"]) == (1, {"key_misuse": 1})


@pytest.mark.parametrize("name", ["nesting of 100,000", "integer of 5,000 digits", "invalid UTF-8", "lone surrogate"])
def test_a_process_of_its_own_answers_the_same(name: str, tmp_path: Path) -> None:
    path = v2_logs.put(tmp_path / "old.jsonl", V2[name][0](v2_logs.lines(9)))
    done = subprocess.run(
        [sys.executable, SCRIPT, path, "--hmac-key-file", v2_logs.key_file(tmp_path)],
        capture_output=True,
        env={**os.environ, "STAGE4_LANG": "pl"},
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["classes"] == {"format": 1}
    assert done.stderr.decode().startswith("NARUSZONY – ")
    assert b"Traceback" not in done.stderr
