"""Whose turn it is to append, also where a thread is interrupted: no turn is lost, none is led by the dead."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stage4.decisionlog.entry import Prepared
from stage4.decisionlog.turns import Turn, Turns
from stage4.errors import Unavailable
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
    assert gone.leading
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
    assert [(error.code, error.params["reason"]) for error in caught] == [("log.append_failed", "interrupted")]
