"""Whose turn it is to append, also where a thread is interrupted: no turn is lost, none is led by the dead."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from stage4.decisionlog.entry import Prepared
from stage4.decisionlog.turns import Turn, Turns
from stage4.errors import ExitCode, Unavailable
from support.decision_logs import LogRoom, draft


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path)


class Gate:
    """A gate where something happens, and then Ctrl-C, to whoever waits at it."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile
        self.released = 0

    def acquire(self, timeout: float | None = None) -> bool:
        if timeout is None:
            return True
        self._meanwhile()
        raise KeyboardInterrupt

    def locked(self) -> bool:
        return not self.released

    def release(self) -> None:
        self.released += 1


def interrupted(turns: Turns, meanwhile: Callable[[], object] = lambda: None) -> Turn:
    """A turn whose thread was interrupted while it waited, after `meanwhile` happened."""
    turn = Turn([Prepared(draft())])
    turn.gate = Gate(meanwhile)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        turns.leads(turn, 1)
    return turn


def led(turns: Turns) -> Turn:
    turn = Turn()
    assert turns.leads(turn, 1)
    return turn


def test_an_interrupted_thread_that_waits_is_given_no_turn() -> None:
    turns = Turns()
    leader = led(turns)
    gone = interrupted(turns)
    turns.leave(gone)
    assert turns.company() == []
    turns.leave(leader)
    led(turns)


def test_a_thread_that_is_interrupted_as_it_gets_the_lead_passes_it_on() -> None:
    turns = Turns()
    leader = led(turns)
    gone = interrupted(turns, lambda: turns.leave(leader))
    with pytest.raises(TimeoutError):
        turns.leads(Turn(), 0)
    turns.leave(gone)
    led(turns)


def test_a_thread_that_is_interrupted_after_it_was_taken_along_holds_nobody_up() -> None:
    turns = Turns()
    leader = led(turns)
    gone = interrupted(turns, turns.company)
    turns.leave(gone)
    turns.leave(leader)
    assert gone.answered
    led(turns)


def test_to_leave_twice_gives_the_lead_away_once() -> None:
    turns = Turns()
    leader = led(turns)
    turns.leave(leader)
    other = led(turns)
    turns.leave(leader)
    with pytest.raises(TimeoutError):
        turns.leads(Turn(), 0)
    turns.leave(other)


def test_the_lead_arrives_though_nobody_opened_the_gate() -> None:
    turns = Turns()
    leader, turn = led(turns), Turn()

    class Silent(Gate):
        def acquire(self, timeout: float | None = None) -> bool:
            if timeout is not None:
                turns.leave(leader)
            return timeout is None

    turn.gate = Silent(lambda: None)  # type: ignore[assignment]
    assert turns.leads(turn, 0)


@pytest.mark.parametrize("at", ["taking company", "writing"])
def test_a_log_goes_on_after_the_thread_that_led_was_interrupted(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    log = room.log()
    log.append(draft(1))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        if at == "taking company":
            broken.setattr(log._turns, "company", interrupt)
        else:
            broken.setattr(log, "_append", interrupt)
        with pytest.raises(KeyboardInterrupt):
            log.append(draft(2))
    assert log.append(draft(3)).seq == 2


def test_what_was_taken_along_by_a_thread_that_was_interrupted_is_not_acknowledged(
    room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = room.log(lock_timeout=30)
    caught: list[Unavailable] = []

    def late() -> None:
        with pytest.raises(Unavailable) as error:
            log.append(draft(2))
        caught.append(error.value)

    other = threading.Thread(target=late)

    def interrupt(group: list[Turn]) -> None:
        assert len(group) == 2
        raise KeyboardInterrupt

    company = log._turns.company

    def joined() -> list[Turn]:
        other.start()
        while not log._turns._waiting:
            threading.Event().wait(0.001)
        return company()

    with monkeypatch.context() as broken:
        broken.setattr(log, "_append", interrupt)
        broken.setattr(log._turns, "company", joined)
        with pytest.raises(KeyboardInterrupt):
            log.append(draft(1))
        other.join()
    assert [(error.code, error.exit_code) for error in caught] == [("log.perhaps_written", ExitCode.CANNOT_TELL)]


def lines_of(function: Callable[..., object]) -> list[int]:
    """The numbers of the lines of a function, that of its `def` among them."""
    return sorted({number for _, _, number in function.__code__.co_lines() if number is not None})


@contextlib.contextmanager
def interrupting(function: Callable[..., object], line: int) -> Iterator[None]:
    """Ctrl-C, once, as `function` comes to that line."""

    def entered(frame: FrameType, _event: str, _argument: object) -> Callable[..., object] | None:
        if frame.f_code is not function.__code__:
            return None
        if frame.f_lineno == line:
            sys.settrace(None)
            raise KeyboardInterrupt
        return at_line

    def at_line(frame: FrameType, event: str, _argument: object) -> Callable[..., object]:
        if event == "line" and frame.f_lineno == line:
            sys.settrace(None)
            raise KeyboardInterrupt
        return at_line

    traced = sys.gettrace()
    sys.settrace(entered)
    try:
        yield
    finally:
        sys.settrace(traced)


@pytest.mark.parametrize(
    ("function", "line"), [(each, line) for each in (Turns.leave, Turns._pass_on) for line in lines_of(each)]
)
@pytest.mark.parametrize("call", ["append", "held"])
def test_an_interrupt_anywhere_in_leaving_gives_the_lead_away(
    room: LogRoom, function: Callable[..., object], line: int, call: str
) -> None:
    log = room.log()
    log.append(draft(1))
    with contextlib.suppress(KeyboardInterrupt), interrupting(function, line):
        if call == "append":
            log.append(draft(2))
        else:
            with log.held():
                pass
    assert log.append(draft(3)).seq == (3 if call == "append" else 2)
    other = threading.Thread(target=log.append, args=(draft(4),))
    other.start()
    other.join()
    assert log.head() is not None
    assert room.verify().entries == (5 if call == "append" else 4)


@pytest.mark.parametrize("function", [Turns.leave, Turns._pass_on, Turns.company, Turns.leads])
def test_an_interrupt_anywhere_loses_no_turn_of_those_who_wait(function: Callable[..., object]) -> None:
    for line in lines_of(function):
        turns = Turns()
        leader = led(turns)
        answers: list[bool] = []

        def wait_for_a_turn(turn: Turn, turns: Turns = turns, answers: list[bool] = answers) -> None:
            answers.append(turns.leads(turn, 30))
            turns.leave(turn)

        threads = [
            threading.Thread(target=wait_for_a_turn, args=(turn,))
            for turn in (Turn([Prepared(draft())]), Turn([Prepared(draft())]), Turn())
        ]
        for count, thread in enumerate(threads, 1):
            thread.start()
            while len(turns._waiting) < count:
                threading.Event().wait(0.001)
        late = Turn()
        try:
            with interrupting(function, line):
                turns.company()
                turns.leave(leader)
                turns.leads(late, 30)
        except KeyboardInterrupt:
            pass
        finally:
            turns.leave(leader)
            turns.leave(late)
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads), line
        assert len(answers) == 3
        led(turns)
