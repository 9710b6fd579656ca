"""Kill trials: stop a working scheduler again and again, and count what leaves after the file is there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psutil

from stage4.app.installing import create
from stage4.clock import SystemClock
from stage4.runtime import enable
from stage4.runtime.stop import request_stop, wait_for_word, wait_until_enabled
from stage4.security import sshsig
from support.kill_desk import RECORD

CLOCK = SystemClock()
PEOPLE = ("im-zofia", "l2-marek")
AFTER_SECONDS = 0.03
"""How long a trial listens for signals after the scheduler has confirmed: several times the cadence."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One stop. Milliseconds count from the moment the override file had its name.

    `before`: signals between the last release and the stop; `after`: signals whose question to the gate was put when
    the file was there; `in_passing`: signals let through before and handed over after it, a matter of microseconds
    between question and deed that no file can close; `after_confirmed`: signals handed over after the scheduler's own
    `disabled`, which closes it.
    `closed_ms` is when the gate was closed by the scheduler's own clock, `confirmed_ms` when the stop's caller knew.
    """

    before: int
    after: int
    in_passing: int
    after_confirmed: int
    closed_ms: float
    confirmed_ms: float


@dataclass(slots=True)
class Trials:
    """A running scheduler under trial."""

    root: Path
    process: subprocess.Popen[bytes]
    reading: int
    chance: random.Random = field(default_factory=lambda: random.Random(20261126))

    def load(self, seconds: float) -> float:
        """The share of all processors that the scheduler with its workers uses, measured for so long."""
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children()]
        began, spent = time.monotonic(), _cpu(family)
        time.sleep(seconds)
        return (_cpu(family) - spent) / (time.monotonic() - began) / (os.cpu_count() or 1)

    def trial(self) -> Trial:
        """Stop, listen, and let two people enable again."""
        time.sleep(self.chance.uniform(0.0, 0.04))
        named_ns, named_at = [], []
        with at_link(lambda: (named_ns.append(time.monotonic_ns()), named_at.append(CLOCK.now()))):
            since = CLOCK.boottime_ns()
            receipt = request_stop(self.root, reason="trial", clock=CLOCK)
        assert not receipt.already
        word = wait_for_word(self.root, receipt.facts, timeout=timedelta(seconds=10), since_ns=since, clock=CLOCK)
        confirmed_ns = time.monotonic_ns()
        assert word.answer == "disabled", word
        assert word.state is not None
        assert word.state.signals_after_stop == 0
        time.sleep(AFTER_SECONDS)
        signals = list(self._signals())
        asked_after = [asked for asked, _ in signals if asked > named_ns[0]]
        passing = [handed for asked, handed in signals if asked <= named_ns[0] < handed]
        closed = word.state.progress[receipt.facts.file_name].closed_at
        self._enable()
        return Trial(
            before=len(signals) - len(asked_after),
            after=len(asked_after),
            in_passing=len(passing),
            after_confirmed=sum(handed > confirmed_ns for _, handed in signals),
            closed_ms=(closed - named_at[0]) / timedelta(milliseconds=1),
            confirmed_ms=(confirmed_ns - named_ns[0]) / 1e6,
        )

    def _signals(self) -> Iterator[tuple[int, int]]:
        while True:
            try:
                yield from RECORD.iter_unpack(os.read(self.reading, RECORD.size * 2048))
            except BlockingIOError:
                return

    def _enable(self) -> None:
        since = CLOCK.boottime_ns()
        statement = enable.prepare(self.root, clock=CLOCK)
        keys = self.root / "secrets/people"
        signed = [(who, sshsig.sign(keys / who, statement.message, sshsig.ENABLE)) for who in PEOPLE]
        enable.submit(self.root, statement, signed)
        word = wait_until_enabled(
            self.root,
            statement.stop,
            statement.stop_digest,
            timeout=timedelta(seconds=10),
            since_ns=since,
            clock=CLOCK,
        )
        assert word.answer == "enabled", word


@contextmanager
def trials(root: Path, cadence: float) -> Iterator[Trials]:
    """A scheduler at work on a new installation at `root`, its schedules every `cadence` seconds."""
    create(root, CLOCK, language="en")
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    argv = [sys.executable, "-m", "support.kill_desk", str(root), str(cadence), str(writing)]
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, sys.path)]),
    }
    process = subprocess.Popen(argv, pass_fds=(writing,), env=environ)
    os.close(writing)
    running = Trials(root, process, reading)
    try:
        _until_trading(running)
        yield running
    finally:
        process.terminate()
        process.wait(20)
        os.close(reading)


def _until_trading(running: Trials) -> None:
    deadline = time.monotonic() + 30
    while not list(running._signals()):
        assert running.process.poll() is None, "the scheduler ended"
        assert time.monotonic() < deadline, "no signal came"
        time.sleep(0.05)


@contextmanager
def at_link(deed: Callable[[], object]) -> Iterator[None]:
    """Do `deed` as soon as a file of this process has got its name by a hard link."""
    link = os.link

    def linked(*arguments: str, **options: bool) -> None:
        link(*arguments, **options)
        deed()

    os.link = linked  # type: ignore[assignment]
    try:
        yield
    finally:
        os.link = link


def _cpu(family: list[psutil.Process]) -> float:
    return sum(sum(member.cpu_times()[:2]) for member in family)
