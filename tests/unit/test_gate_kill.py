"""The last resort ends the very process of the last word, and no other."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from stage4 import words
from stage4.clock import SystemClock
from stage4.runtime import kill
from stage4.runtime.kill import Kill, kill_process, kill_scheduler
from stage4.runtime.state import STATE_FILE
from support.sleepers import hung, sleeper, state_of

CLOCK = SystemClock()


def test_the_process_of_the_last_word_is_ended_even_when_it_was_stopped(tmp_path: Path) -> None:
    with hung(tmp_path, CLOCK) as process:
        process.send_signal(signal.SIGSTOP)
        assert kill_scheduler(tmp_path, CLOCK) == Kill("killed", process.pid)
        assert process.wait(5) == -signal.SIGKILL
        assert kill_scheduler(tmp_path, CLOCK).outcome == "gone"


@pytest.mark.parametrize("changed", [{"process_started": 1}, {"boot_id": "another"}, {"process_started": 0}])
def test_another_process_with_the_same_number_is_left_alone(changed: dict[str, object]) -> None:
    with sleeper() as process:
        assert kill_process(state_of(process.pid, CLOCK, **changed), CLOCK).outcome == "gone"
        assert process.poll() is None


def test_a_number_nobody_has_is_gone() -> None:
    with sleeper() as process:
        state = state_of(process.pid, CLOCK)
    assert kill_process(state, CLOCK) == Kill("gone", state.pid)


@pytest.mark.parametrize("pid", [0, 1, os.getpid()], ids=["the group", "the first", "oneself"])
def test_neither_the_first_process_nor_oneself_is_ever_ended(pid: int) -> None:
    state = msgspec.structs.replace(state_of(os.getpid(), CLOCK), pid=pid)
    assert kill_process(state, CLOCK).outcome == "refused"


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff" * 10])
def test_without_a_readable_word_nobody_is_ended(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / STATE_FILE
    path.parent.mkdir(parents=True)
    if content is not None:
        path.write_bytes(content)
    assert kill_scheduler(tmp_path, CLOCK).outcome == "unknown"


def test_a_signal_that_is_not_permitted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with sleeper() as process:
        monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
        ended = kill_process(state_of(process.pid, CLOCK), CLOCK)
        assert (ended.outcome, ended.reason) == ("refused", "Operation not permitted")


def test_a_process_that_does_not_end_is_said_to_survive(monkeypatch: pytest.MonkeyPatch) -> None:
    with sleeper() as process:
        monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: None)
        monkeypatch.setattr(kill, "END_SECONDS", 0.05)
        assert kill_process(state_of(process.pid, CLOCK), CLOCK).outcome == "survived"


def test_what_worked_at_the_venue_is_told_with_it() -> None:
    with sleeper() as process:
        ended = kill_process(state_of(process.pid, CLOCK, working_orders=3), CLOCK)
    assert (ended.outcome, ended.working_orders) == ("killed", 3)


def test_every_end_has_words() -> None:
    for outcome in get_args(kill.Outcome):
        assert words.has(f"kill.{outcome}")
        assert outcome == "unknown" or words.has(f"watchdog.{outcome}")
