"""Runs the playbook's commands as child processes, with a time limit and everything they left kept.

A command that crashes, hangs, floods its output or cannot be started gives a result too: nobody waits for ever.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import IO

from stage4 import files
from stage4.clock import Clock, format_instant
from stage4.errors import Stage4Error, Unavailable
from stage4.incidents.ports import CommandResult, Content

OUTPUT_LIMIT = 16 << 20
GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ChildRunner:
    """Runs commands in the installation `root`; `python` in the playbook is the interpreter that runs stage4."""

    root: Path
    clock: Clock
    environ: Mapping[str, str]

    def run(self, argv: tuple[str, ...], time_limit: timedelta, outputs: tuple[str, ...] = ()) -> CommandResult:
        started = self.clock.now()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            exit_code, reason = self._wait(argv, time_limit, out, err)
            stdout, stderr = _tail_bounded(out), _tail_bounded(err)
        return CommandResult(
            argv=argv,
            exit_code=exit_code,
            started_at=started,
            ended_at=self.clock.now(),
            stdout=stdout,
            stderr=stderr,
            document=document_of(stdout),
            produced=tuple(self._produced(outputs, started.timestamp())),
            reason=reason,
        )

    def _wait(
        self, argv: tuple[str, ...], time_limit: timedelta, out: IO[bytes], err: IO[bytes]
    ) -> tuple[int | None, str]:
        words = [sys.executable if argv[0] == "python" else argv[0], *argv[1:]]
        environ = {**self.environ, "STAGE4_ROOT": str(self.root)}
        try:
            child = subprocess.Popen(
                words, cwd=self.root, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=err, process_group=0
            )
        except OSError as e:
            return None, files.reason(e)
        try:
            return child.wait(time_limit.total_seconds()), ""
        except subprocess.TimeoutExpired:
            # Interrupted first, so that a command may finish its record; then ended with all its children.
            _signal_group(child.pid, signal.SIGINT)
            try:
                child.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                _signal_group(child.pid, signal.SIGKILL)
                child.wait()
            return None, "time limit"

    def _produced(self, outputs: tuple[str, ...], not_before: float) -> list[Content]:
        contents = []
        for relative in outputs:
            path = self.root / relative
            try:
                # An output left by an earlier run must not pass for this one's; file times are coarser than the clock.
                if path.stat().st_mtime >= not_before - 1.0:
                    contents.append(Content(relative, files.read_limited(path, OUTPUT_LIMIT)))
            except (OSError, Unavailable):
                continue
        return contents


def command_log(result: CommandResult) -> Content:
    """The record of one command: argv, exit code, stdout, stderr and times."""
    document = {
        "schema": "stage4.command_log/1",
        "argv": list(result.argv),
        "exit_code": result.exit_code,
        "reason": result.reason,
        "started_at": format_instant(result.started_at),
        "ended_at": format_instant(result.ended_at),
        "stdout": result.stdout.decode("utf-8", "replace"),
        "stderr": result.stderr.decode("utf-8", "replace"),
    }
    return Content("command_log.json", files.json_bytes(document))


def document_of(stdout: bytes) -> Mapping[str, object] | None:
    """The one JSON document on stdout, or None when there is none that can be trusted."""
    try:
        document = files.parse_json(stdout, "stdout")
    except Stage4Error:
        return None
    return document if isinstance(document, dict) and isinstance(document.get("schema"), str) else None


def fill(argv: tuple[str, ...], values: Mapping[str, str], time_scale: float = 1.0) -> tuple[str, ...]:
    """The playbook's command with its places filled; a rehearsal shortens what it watches along with its timers."""
    from stage4.clock import format_duration, parse_duration

    words = [word.format_map(values) if "{" in word else word for word in argv]
    if time_scale != 1.0 and "--duration" in words:
        place = words.index("--duration") + 1
        shorter = max(parse_duration(words[place]) * time_scale, timedelta(seconds=2))
        words[place] = format_duration(shorter)
    return tuple(words)


def outputs_of(argv: tuple[str, ...]) -> tuple[str, ...]:
    """The files a command writes by its own options."""
    return tuple(argv[place + 1] for place, word in enumerate(argv[:-1]) if word in ("--output", "--output-json"))


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _tail_bounded(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read(OUTPUT_LIMIT)
