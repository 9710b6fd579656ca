"""A demonstration installation with its real processes: free ports, a clean environment, ended by their own pid."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import yaml

from stage4.app.installing import read_environment

STAGE4 = (sys.executable, "-m", "stage4")
COMMAND_SECONDS = 60.0
WAIT_SECONDS = 30.0
# Below the range that Linux gives out by itself, so that no client's port gets in between choosing and listening.
_PORTS = range(12_000, 30_000)
_chance = random.SystemRandom()  # the seeded one gives every test worker the same ports
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as exactly one JSON document that begins with its schema."""
        document = json.loads(self.out)
        assert next(iter(document)) == "schema", self.out[:200]
        assert self.out.lstrip().startswith('{\n  "schema": "stage4.'), self.out[:200]
        return document

    @property
    def error(self) -> str:
        """The line after `error: `; fails when there is none, or a traceback."""
        assert "Traceback" not in self.err, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert lines, f"no error: line, exit {self.code}: {self.err!r}"
        return lines[0].removeprefix("error: ")

    @property
    def hint(self) -> str:
        lines = [line for line in self.err.splitlines() if line.startswith("hint: ")]
        assert lines, f"no hint: line, exit {self.code}: {self.err!r}"
        return lines[0].removeprefix("hint: ")


@dataclass(slots=True)
class Running:
    """A process that we started, with what it has said so far."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait, and give the exit code; a process that does not end is killed."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise AssertionError(f"process {self.pid} did not end: {self.said[-2000:]}") from None


@dataclass(slots=True)
class Installed:
    """One installation. As a context it ends whatever was started through it."""

    root: Path
    port_base: int
    environ: dict[str, str] = field(repr=False)
    _ending: ExitStack = field(default_factory=ExitStack, repr=False)

    @classmethod
    def make(cls, root: Path, *, language: str = "en") -> Self:
        """`stage4 init`, on three free ports in a row; the environment is that of a clean shell with env.sh."""
        port_base = free_ports(3)
        environ = clean_environ()
        arguments = ("--lang", language, "init", str(root), "--port-base", str(port_base))
        made = subprocess.run(
            [*STAGE4, *arguments], capture_output=True, text=True, env=environ, timeout=COMMAND_SECONDS
        )
        assert made.returncode == 0, made.stderr
        path = f"{Path(sys.executable).parent}:{environ['PATH']}"
        environ |= {"PATH": path, "STAGE4_ROOT": str(root), **read_environment(root)}
        return cls(root, port_base, environ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port_base}"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.port_base + 2}/metrics"

    @property
    def log(self) -> Path:
        return self.root / "audit/decision_logs/runtime.jsonl"

    @property
    def stop_file(self) -> Path:
        return self.root / "var/runtime/overrides/multi_strategy_disable.json"

    @property
    def tokens(self) -> dict[str, str]:
        """The bearer header of Alertmanager."""
        return {"authorization": f"Bearer {(self.root / 'secrets/alertmanager.token').read_text().strip()}"}

    # settings

    def settings(self) -> Any:
        return yaml.safe_load((self.root / "config/core.yaml").read_text(encoding="utf-8"))

    def change(self, edit: Callable[[Any], object]) -> None:
        """Edit the settings, as text that a person could have written."""
        settings = self.settings()
        edit(settings)
        (self.root / "config/core.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")

    # commands

    def stage4(self, *arguments: str, timeout: float = COMMAND_SECONDS) -> Outcome:
        return self.call([*STAGE4, *arguments], timeout=timeout)

    def type(self, line: str) -> subprocess.Popen[str]:
        """A command line as a person types it: a clean shell in the installation, `. ./env.sh`, then the line."""
        return self._open(["sh", "-c", f". ./env.sh && {line}"], clean_environ())

    def shell(self, line: str, timeout: float = COMMAND_SECONDS) -> Outcome:
        """`type`, to its end."""
        return _outcome(self.type(line), timeout)

    def call(self, argv: Sequence[str], timeout: float = COMMAND_SECONDS, **environ: str) -> Outcome:
        return _outcome(self.begin(argv, **environ), timeout)

    def begin(self, argv: Sequence[str], **environ: str) -> subprocess.Popen[str]:
        """A command that goes on by itself; collect it with `collect`."""
        return self._open([*argv], {**self.environ, **environ})

    def _open(self, argv: Sequence[str], environ: dict[str, str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(argv, cwd=self.root, env=environ, **_PIPES)
        self._ending.callback(_end, process)
        return process

    # long-running processes

    def start(self, name: str, *arguments: str) -> Running:
        """A process that is ended with this context; its output goes to a file beside the installation."""
        log = self.root.parent / f"{self.root.name}.{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*STAGE4, *arguments],
                cwd=self.root,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        running = Running(process, log)
        self._ending.callback(running.end)
        return running

    def run(self) -> Running:
        """`stage4 run`, once its own word is there and its telemetry answers."""
        running = self.start("run", "run")
        self.until(lambda: self.word().get("pid") == running.pid or None, "the scheduler's word", running)
        self.until(lambda: answers(self.metrics), "the exporter", running)
        return running

    def run_unheard(self) -> Running:
        """`run`, with a detector whose alerts reach nobody: an alert that arrives all the same came another way."""
        path = self.root / "config/core.yaml"
        heard = path.read_bytes()

        def silence(settings: Any) -> None:
            settings["operations"]["monitoring"]["alertmanager_url"] = "http://127.0.0.1:1"
            settings["operations"]["service"]["port"] = 1

        self.change(silence)
        try:
            return self.run()
        finally:
            path.write_bytes(heard)

    def serve(self, time_scale: float = 1.0) -> Running:
        """`stage4 serve`, once it is ready."""
        running = self.start("serve", "serve", "--time-scale", str(time_scale))
        self.until(lambda: answers(f"{self.page}/healthz"), "the service", running)
        return running

    def until(
        self, ask: Callable[[], _T | None], what: str, running: Running | None = None, seconds: float = WAIT_SECONDS
    ) -> _T:
        """Ask until the answer is not None; a process that ended meanwhile, or `seconds`, end the waiting."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (answer := ask()) is not None:
                return answer
            if running is not None and running.process.poll() is not None:
                raise AssertionError(f"ended before {what}: {running.said[-3000:]}")
            time.sleep(0.05)
        said = "" if running is None else running.said[-3000:]
        raise AssertionError(f"{what} did not come within {seconds} s {said}")

    # what one sees from outside

    def word(self) -> dict[str, Any]:
        """The scheduler's last word, empty where there is none."""
        try:
            word: dict[str, Any] = json.loads((self.root / "var/runtime/state.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return word

    def entries(self, **members: object) -> list[dict[str, Any]]:
        """The entries of the decision log that have these members."""
        if not self.log.exists():
            return []
        whole = self.log.read_bytes().split(b"\n")[:-1]
        entries = [json.loads(line) for line in whole]
        return [entry for entry in entries if members.items() <= entry.items()]

    def incidents(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.stage4("--json", "incident", "list", "--all").document["incidents"]
        return listed

    def show(self, incident_id: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.stage4("--json", "incident", "show", incident_id).document
        return shown

    def key(self, person: str) -> Path:
        return self.root / "secrets/people" / person

    def enable(self, *people: str, wait: str = "10s") -> Outcome:
        """`stage4 enable` with these people's demonstration keys."""
        signers = [part for person in people for part in ("--signer", f"{person}={self.key(person)}")]
        return self.stage4("--json", "enable", *signers, "--wait", wait)


_PIPES: dict[str, Any] = {
    "stdin": subprocess.DEVNULL,
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
    "text": True,
}


def collect(process: subprocess.Popen[str], timeout: float = COMMAND_SECONDS) -> Outcome:
    """Wait for a command of `Installed.begin`."""
    return _outcome(process, timeout)


def _end(process: subprocess.Popen[str]) -> None:
    """End a command that nobody collected."""
    if process.poll() is None:
        process.kill()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait()


def _outcome(process: subprocess.Popen[str], timeout: float) -> Outcome:
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"{shlex.join(map(str, process.args))} did not end: {err[-2000:]}") from None  # type: ignore[arg-type]
    return Outcome(process.returncode, out, err)


def clean_environ() -> dict[str, str]:
    """The environment of a person who has just logged in, without anything of another installation."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR", "TZ")}
    return {**kept, "LC_ALL": "C.UTF-8"}


def answers(url: str) -> bool | None:
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).status_code == 200 or None
    except httpx.HTTPError:
        return None


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on."""
    for _ in range(200):
        base = _chance.choice(_PORTS)
        with ExitStack() as held:
            try:
                for port in range(base, base + count):
                    held.enter_context(listening(port))
            except OSError:
                continue
        return base
    raise AssertionError("no free ports")


@contextmanager
def listening(port: int = 0) -> Iterator[int]:
    """A stranger who holds a port of loopback; gives the port."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        yield stranger.getsockname()[1]
