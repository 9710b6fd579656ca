"""The tool bootstrap: quick when nothing is missing, clear when it cannot help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.programs import REPOSITORY

SCRIPT = REPOSITORY / "tools" / "fetch_tools.py"
TOOLS = ("prometheus", "promtool", "alertmanager", "amtool", "openssl", "ssh-keygen")


def fetch(home: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with `path` as the only place for programs."""
    return subprocess.run(
        [sys.executable, SCRIPT, home], env={"PATH": str(path)}, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_system_without_debians_tools_is_told_what_to_install(tmp_path: Path) -> None:
    answer = fetch(tmp_path / "tools", tmp_path)
    assert answer.returncode == 3
    assert "this system has no apt-get and no dpkg" in answer.stderr
    assert "hint: install prometheus, promtool, alertmanager, amtool, openssl and ssh-keygen on PATH" in answer.stderr
    assert not (tmp_path / "tools").exists()


def test_installed_tools_are_enough(tmp_path: Path) -> None:
    for tool in TOOLS:
        (tmp_path / tool).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / tool).chmod(0o755)
    answer = fetch(tmp_path / "tools", tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert not (tmp_path / "tools").exists()


def test_unpacked_tools_are_not_fetched_again(tmp_path: Path) -> None:
    unpacked = tmp_path / "tools" / "bin"
    unpacked.mkdir(parents=True)
    for tool in TOOLS:
        (unpacked / tool).write_text("#!/bin/sh\n", encoding="utf-8")
        (unpacked / tool).chmod(0o755)
    answer = fetch(tmp_path / "tools", tmp_path)
    assert (answer.returncode, answer.stderr) == (0, "")
