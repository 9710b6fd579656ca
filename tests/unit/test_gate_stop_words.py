"""Asking to stop, and what the scheduler's state means as an answer."""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from stage4.clock import SystemClock
from stage4.errors import Unavailable, UsageError
from stage4.runtime import enable
from stage4.runtime.latch import GATE_FILE
from stage4.runtime.state import STATE_FILE, RuntimeState, SchedulerState, process_started, read_state, write_state
from stage4.runtime.stop import (
    ALL,
    Scope,
    ScopeKind,
    StopFacts,
    judge_word,
    request_stop,
    wait_for_word,
    wait_until_enabled,
)
from support.answering import state_of
from support.gates import EWA_AND_JAN, INSTALLATION, Site, ask, make_site, people, signers


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def test_the_override_file_is_private_and_says_everything(site: Site) -> None:
    receipt = request_stop(
        site.root,
        reason="INC-20261123-0001",
        ticket="OUT-7",
        requested_by="l2-jan",
        expires_at=site.clock.now() + timedelta(minutes=30),
        clock=site.clock,
    )
    assert receipt.path.stat().st_mode & 0o777 == 0o600
    written = msgspec.json.decode(receipt.path.read_bytes())
    assert written.pop("id")
    assert written == {
        "schema": "stage4.scheduler.override",
        "schema_version": "1.0",
        "installation_id": INSTALLATION,
        "timestamp": "2026-11-23T09:00:00Z",
        "action": "disable_multi_strategy",
        "component": "multi_strategy",
        "scope": {"kind": "all", "name": ""},
        "reason": "INC-20261123-0001",
        "ticket": "OUT-7",
        "requested_by": "l2-jan",
        "expires_at": "2026-11-23T09:30:00Z",
    }


def test_a_second_stop_finds_the_first_and_changes_nothing(site: Site) -> None:
    first = request_stop(site.root, reason="one", clock=site.clock)
    content = first.path.read_bytes()
    second = request_stop(site.root, reason="two", clock=site.clock)
    assert (first.already, second.already) == (False, True)
    assert second.facts == first.facts
    assert first.path.read_bytes() == content


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_whatever_stands_there_already_stops(site: Site, make) -> None:  # type: ignore[no-untyped-def]
    make(site.wide_file)
    receipt = request_stop(site.root, reason="r", clock=site.clock)
    assert receipt.already
    assert receipt.facts.fault is not None


def test_stopping_needs_neither_memory_nor_directory(site: Site) -> None:
    (site.root / GATE_FILE).unlink()
    site.overrides.rmdir()
    receipt = request_stop(site.root, reason="r", clock=site.clock)
    assert receipt.path.exists()
    assert not receipt.latched
    assert not ask(site.gate()).open


def test_where_no_file_can_be_made_the_stop_says_so(site: Site) -> None:
    site.overrides.rmdir()
    site.overrides.write_text("a file where the directory should be")
    (site.root / GATE_FILE).unlink()
    with pytest.raises(Unavailable, match=r"stop\.cannot_write"):
        request_stop(site.root, reason="r", clock=site.clock)


def test_where_no_file_can_be_made_the_memory_stops_a_running_gate_and_the_next_one(site: Site) -> None:
    gate = site.gate()
    with no_names_in(site.overrides):
        receipt = request_stop(site.root, reason="r", clock=site.clock)
    assert (receipt.placed, receipt.latched, receipt.facts.fault) == (False, True, "gate.stop_unplaced")
    assert not site.wide_file.exists()
    gate.refresh()
    verdict = ask(gate)
    assert (verdict.open, verdict.reason_code) == (False, "gate.stop_unplaced")
    assert gate.alarms == ("gate.stop_unplaced",)
    state = state_of(site.root, gate)
    assert judge_word(state, receipt.facts) == "disabled"
    gate.close()
    again = site.gate()
    assert not ask(again).open
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    assert [result.outcome for result in again.apply_orders(people())] == ["accepted"]
    assert ask(again).open


def test_a_part_without_a_file_stops_its_part_alone(site: Site) -> None:
    gate = site.gate()
    with no_names_in(site.overrides):
        request_stop(site.root, scope=Scope(ScopeKind.SCHEDULE, "s1"), reason="r", clock=site.clock)
    gate.refresh()
    assert not ask(gate, schedule="s1").open
    assert ask(gate, schedule="s2").open


@contextmanager
def no_names_in(directory: Path) -> Iterator[None]:
    """No name can be made in `directory`, as where a file system has no inode left; the rest of the disk has some."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if not active or event not in ("open", "os.link"):
            return
        path, flags = (arguments[1], os.O_CREAT) if event == "os.link" else (arguments[0], arguments[2])
        if isinstance(flags, int) and flags & os.O_CREAT and str(path).startswith(f"{directory}/"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    active = [True]
    sys.addaudithook(hook)  # it cannot be taken away again, only be told that it is over
    try:
        yield
    finally:
        active.clear()


def test_on_a_full_disk_an_empty_file_stops(site: Site) -> None:
    """A file-size limit of zero lets names be made and nothing be written, as a full disk does."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        receipt = request_stop(site.root, reason="r", clock=site.clock)
        os._exit(0 if receipt.partial and not receipt.already and not receipt.latched else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert site.wide_file.read_bytes() == b""
    assert [file.name for file in site.overrides.iterdir()] == [site.wide_file.name]
    assert ask(site.gate()).reason_code == "gate.stop_empty"


@pytest.mark.parametrize("name", ["", "x" * 300])
def test_a_scope_that_no_file_can_carry_is_a_usage_error(site: Site, name: str) -> None:
    with pytest.raises(UsageError, match=r"stop\.bad_scope"):
        request_stop(site.root, scope=Scope(ScopeKind.TAG, name), reason="r", clock=site.clock)


# The word ---------------------------------------------------------------------------------------------------------


def said(digest: str | None, state: SchedulerState, **facts: object) -> RuntimeState:
    clock = SystemClock()
    return RuntimeState(
        installation_id=INSTALLATION,
        state=state,
        pid=os.getpid(),
        process_started=process_started(os.getpid()),
        boot_id=clock.boot_id(),
        heartbeat_ns=clock.boottime_ns(),
        at=clock.now(),
        override_digest=digest,
        **facts,  # type: ignore[arg-type]
    )


WIDE = StopFacts(ALL.file_name, ALL, "d1")
PART_SCOPE = Scope(ScopeKind.SCHEDULE, "s1")
PART = StopFacts(PART_SCOPE.file_name, PART_SCOPE, "d2")


@pytest.mark.parametrize(
    ("facts", "state", "answer"),
    [
        (WIDE, said("d1", SchedulerState.DISABLED), "disabled"),
        (WIDE, said("d1", SchedulerState.STOPPING, in_flight=2), "stopping"),
        (WIDE, said("d1", SchedulerState.DISABLED, in_flight=1), "stopping"),
        (WIDE, said(None, SchedulerState.ENABLED), "enabled"),
        (WIDE, said("another", SchedulerState.DISABLED), "enabled"),
        (StopFacts(ALL.file_name, ALL, ""), said("d9", SchedulerState.DISABLED), "disabled"),
        (StopFacts(ALL.file_name, ALL, ""), said(None, SchedulerState.ENABLED), "enabled"),
        (PART, said(None, SchedulerState.ENABLED), "enabled"),
        (PART, said(None, SchedulerState.ENABLED, stops={PART.file_name: "d2"}), "disabled"),
        (PART, said(None, SchedulerState.ENABLED, stops={PART.file_name: "other"}), "enabled"),
        (PART, said("d1", SchedulerState.DISABLED), "disabled"),
    ],
)
def test_the_state_is_read_as_an_answer(facts: StopFacts, state: RuntimeState, answer: str) -> None:
    assert judge_word(state, facts) == answer


@pytest.mark.parametrize(("schedule", "answer"), [("s1", "stopping"), ("s2", "disabled")])
def test_only_what_is_in_flight_under_the_stop_holds_the_word_back(schedule: str, answer: str) -> None:
    from stage4.runtime.state import ScheduleState

    schedules = {schedule: ScheduleState("a1", in_flight=1)}
    state = said(None, SchedulerState.ENABLED, stops={PART.file_name: "d2"}, in_flight=1, schedules=schedules)
    assert judge_word(state, PART) == answer


def _word(site: Site, facts: StopFacts, since_ns: int = 0) -> str:
    clock = SystemClock()
    return wait_for_word(site.root, facts, timeout=timedelta(0), since_ns=since_ns, clock=clock).answer


def test_no_state_means_no_scheduler(site: Site) -> None:
    assert _word(site, WIDE) == "absent"


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"schema": "other"}'])
def test_a_damaged_state_is_silence(site: Site, content: bytes) -> None:
    (site.root / STATE_FILE).write_bytes(content)
    assert _word(site, WIDE) == "silent"


def test_a_dead_scheduler_is_silent_whatever_its_state_says(site: Site) -> None:
    live = said("d1", SchedulerState.DISABLED)
    dead = {
        "ended": {"pid": 2**22 + 1},
        "another process with its number": {"process_started": live.process_started + 1},
        "before a reboot": {"boot_id": "another"},
    }
    for changes in dead.values():
        write_state(site.root / STATE_FILE, msgspec.structs.replace(live, **changes))
        assert _word(site, WIDE) == "silent"
    write_state(site.root / STATE_FILE, live)
    assert _word(site, WIDE) == "disabled"


def test_a_word_from_before_the_question_does_not_count(site: Site) -> None:
    write_state(site.root / STATE_FILE, said("d1", SchedulerState.DISABLED))
    assert _word(site, WIDE, since_ns=SystemClock().boottime_ns()) == "silent"


def test_the_wait_ends_with_the_time_and_not_before(site: Site) -> None:
    word = wait_for_word(site.root, WIDE, timeout=timedelta(seconds=5), since_ns=0, clock=site.clock)
    assert word.answer == "absent"
    assert 5000 <= word.waited_ms < 5100


def test_enabled_is_a_word_too(site: Site) -> None:
    gate = site.gate()
    receipt = request_stop(site.root, reason="r", clock=site.clock)

    def word() -> str:
        gate.refresh()
        write_state(site.root / STATE_FILE, state_of(site.root, gate))
        facts = receipt.facts
        zero = timedelta(0)
        return wait_until_enabled(
            site.root, facts.file_name, facts.digest, timeout=zero, since_ns=0, clock=SystemClock()
        ).answer

    from stage4.runtime import enable
    from support.gates import EWA_AND_JAN, people, signers

    assert word() == "disabled"
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    gate.apply_orders(people())
    assert word() == "enabled"


def test_a_state_survives_its_file(site: Site) -> None:
    gate = site.gate()
    state = state_of(site.root, gate)
    write_state(site.root / STATE_FILE, state)
    assert read_state(site.root / STATE_FILE) == state
