"""Files are whole or absent."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stage4 import files
from stage4.errors import Unavailable, UsageError


def test_a_write_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "state.json"
    files.write_json(target, {"ż": 1}, 0o600)
    files.write_json(target, {"ż": 2}, 0o600)
    assert files.read_json(target) == {"ż": 2}
    assert target.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in target.parent.iterdir()] == ["state.json"]


def test_a_failed_write_keeps_the_old_file_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    target.write_text("old")
    # A size limit stands for a full disk: the kernel refuses the bytes in the same place.
    script = (
        "import resource, signal, sys; from pathlib import Path; from stage4 import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "files.atomic_write(Path(sys.argv[1]), b'x' * 5000)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=False)
    assert "files.cannot_write" in ended.stderr
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_the_first_exclusive_writer_wins(tmp_path: Path) -> None:
    target = tmp_path / "stop.json"
    assert files.exclusive_write(target, b"first")
    assert not files.exclusive_write(target, b"second")
    assert target.read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


def test_reading_says_what_is_wrong_and_where(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="files.missing"):
        files.read_limited(tmp_path / "absent")
    with pytest.raises(Unavailable, match="files.unreadable"):
        files.read_limited(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Unavailable, match="files.unreadable"):
        files.read_limited(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 11)
    with pytest.raises(Unavailable, match="files.too_large"):
        files.read_limited(tmp_path / "large", 10)


@pytest.mark.parametrize(
    "content", [b'{"a": 1, "a": 2}', b"[NaN]", b"[1e999]", b"[-1e999]", b"\xff", b"{", b"[" * 100_000]
)
def test_json_is_read_strictly(content: bytes) -> None:
    with pytest.raises(UsageError, match="files.bad_json"):
        files.parse_json(content, "here")


def test_a_secret_file_never_has_another_mode_not_even_for_a_moment(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.atomic_write(tmp_path / "key", b"secret", 0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("through_a_link", [False, True])
def test_nothing_but_a_regular_file_is_replaced(tmp_path: Path, through_a_link: bool) -> None:
    """A rename over a device node, which root may do, would take it from the whole machine."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    target = tmp_path / "link" if through_a_link else pipe
    if through_a_link:
        target.symlink_to(pipe)
    with pytest.raises(Unavailable, match=r"files\.cannot_write"):
        files.atomic_write(target, b"document")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert target.is_symlink() is through_a_link
    assert len(list(tmp_path.iterdir())) == 1 + through_a_link


def test_the_digest_of_something_without_an_end_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(Unavailable, match=r"files\.unreadable"):
            files.sha256_file(path)


def test_json_escapes_what_a_terminal_would_act_on_and_keeps_its_value() -> None:
    told = "żółć \x1b\x7f\x9b2J \u202e\u2028 \U000e0001 \udcff \u00a0 \U0001f4a5\n\t"
    written = files.json_bytes({told: [told]}).decode("utf-8")
    assert json.loads(written) == {told: [told]}
    assert all(each.isprintable() or each == "\n" for each in written)
    assert "żółć \\u001b\\u007f\\u009b2J \\u202e\\u2028 \\udb40\\udc01 \\udcff \\u00a0 \U0001f4a5\\n\\t" in written
    assert files.json_text({"ż": 1}) == '{"ż": 1}'


def test_the_beginning_of_a_file_is_as_long_as_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"abcdef")
    assert files.beginning(tmp_path / "long", 4) == b"abcd"
    assert files.beginning(tmp_path / "long", 9) == b"abcdef"
    with pytest.raises(Unavailable, match=r"files\.missing"):
        files.beginning(tmp_path / "absent", 4)
