"""The two long-running processes of an installation as children: started, waited for, and ended by their id."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from stage4.clock import Clock
from stage4.config import Installation
from stage4.errors import Unavailable

START_SECONDS = 30.0
END_SECONDS = 10.0
POLL_SECONDS = 0.05
LOGS = "var/log"


@dataclass(slots=True)
class Child:
    """One process with the file that its words go to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raises Unavailable `demo.child_ended` with its last line when it has ended."""
        code = self.process.poll()
        if code is not None:
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            said = next((line for line in lines if line.startswith("error:")), lines[-1] if lines else "–")
            raise Unavailable("demo.child_ended", name=self.name, code=code, said=said, log=self.log)

    def end(self) -> None:
        """SIGTERM, and SIGKILL for one that does not end within ten seconds."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start(installation: Installation, name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> Child:
    """Start `stage4 ARGUMENTS` in a session of its own, so that a Ctrl-C reaches only its parent."""
    log = installation.path(LOGS) / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "stage4", "--root", str(installation.root), *arguments]
    output: IO[bytes]
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv,
            cwd=installation.root,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Child(name, process, log)


@contextlib.contextmanager
def running(
    installation: Installation, environ: Mapping[str, str], clock: Clock, *, time_scale: float
) -> Iterator[tuple[Child, Child]]:
    """`stage4 run` and `stage4 serve`, up and answering; both are ended on the way out."""
    children: list[Child] = []
    try:
        children.append(start(installation, "run", ["run"], environ))
        children.append(start(installation, "serve", ["serve", "--time-scale", str(time_scale)], environ))
        deadline = clock.monotonic_ns() + int(START_SECONDS * 1e9)
        started_ns = clock.boottime_ns()
        while not (_scheduler_answers(installation, clock, started_ns) and _service_answers(installation)):
            for child in children:
                child.check()
            if clock.monotonic_ns() > deadline:
                raise Unavailable("demo.not_up", seconds=int(START_SECONDS), log=children[0].log.parent)
            clock.sleep(POLL_SECONDS)
        yield children[0], children[1]
    finally:
        for child in reversed(children):
            child.end()


def _scheduler_answers(installation: Installation, clock: Clock, since_ns: int) -> bool:
    from stage4.errors import Stage4Error
    from stage4.runtime.state import STATE_FILE, answers_since, read_state

    try:
        return answers_since(read_state(installation.path(STATE_FILE)), since_ns, clock)
    except Stage4Error:
        return False


def _service_answers(installation: Installation) -> bool:
    from stage4.app.client import ServiceClient

    try:
        ServiceClient(installation).get("/v1/incidents")
    except Unavailable:
        return False
    return True
