"""The watchdog: what it takes for a hang, what it does then, and what it leaves alone."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from stage4.app.watchdog import WORD_FILE, Watchdog, read_word
from stage4.config import Installation
from stage4.config.settings import Settings, WatchdogSettings
from stage4.decisionlog.entry import Draft
from stage4.errors import Unavailable
from stage4.runtime.heartbeat import Beat, Silence, Verdict, WatchdogLimits, heard, judge
from stage4.runtime.latch import GATE_FILE
from stage4.runtime.state import STATE_FILE, read_state, write_state
from stage4.runtime.stop import OVERRIDES
from stage4.testing.clock import ManualClock
from support.gates import Site, make_site
from support.sleepers import hung, state_of

LIMITS = WatchdogLimits(timedelta(seconds=1), timedelta(seconds=10), timedelta(seconds=10))
BEAT = Beat("boot-1", 7, 100, 5_000)


def looked(*seconds: float, limits: WatchdogLimits = LIMITS) -> Verdict:
    """The verdict after looks at these instants that all found the same beat."""
    silence: Silence | None = None
    for second in seconds:
        silence = heard(silence, BEAT, round(second * 1e9), limits)
    return judge(silence, limits)


def test_the_limits_are_those_of_the_settings() -> None:
    assert WatchdogLimits.of(WatchdogSettings()) == LIMITS
    assert WatchdogLimits.of(WatchdogSettings(kill_after=None)).kill_after is None


def test_a_scheduler_is_silent_then_stopped_then_killed() -> None:
    assert looked(0) is Verdict.BEATING
    assert looked(0, 1) is Verdict.SILENT
    assert looked(*range(10)) is Verdict.SILENT
    assert looked(*range(11)) is Verdict.STOP
    assert looked(*range(20)) is Verdict.STOP
    assert looked(*range(21)) is Verdict.KILL
    assert judge(None, LIMITS) is Verdict.NOBODY


def test_where_killing_is_not_wanted_it_stays_with_the_stop() -> None:
    limits = WatchdogLimits(LIMITS.look_every, LIMITS.stop_after, None)
    assert looked(*range(1000), limits=limits) is Verdict.STOP


def test_time_that_the_watchdog_slept_through_itself_does_not_count() -> None:
    assert looked(0, 1, 3600) is Verdict.SILENT, "a suspended machine"
    assert looked(0, 9, 18, 27, 36) is Verdict.SILENT, "a host that gave nobody a turn: eight seconds count"


def test_a_new_beat_and_a_new_process_begin_anew() -> None:
    silence = heard(heard(None, BEAT, 0, LIMITS), BEAT, 1_000_000_000, LIMITS)
    for other in (Beat("boot-1", 7, 100, 6_000), Beat("boot-1", 7, 101, 5_000), Beat("boot-2", 7, 100, 5_000)):
        assert judge(heard(silence, other, 2_000_000_000, LIMITS), LIMITS) is Verdict.BEATING


@dataclass
class Log:
    """A decision log that can be away."""

    away: bool = False
    drafts: list[Draft] = field(default_factory=list)

    def append(self, draft: Draft) -> None:
        if self.away:
            raise Unavailable("files.missing", path="log", reason="gone")
        self.drafts.append(draft)

    @property
    def kinds(self) -> list[str]:
        return [draft.kind for draft in self.drafts]


@dataclass
class House:
    site: Site
    clock: ManualClock
    log: Log
    process: subprocess.Popen[bytes]
    told: list[str] = field(default_factory=list)

    def watchdog(self, *, rehearse: bool = False) -> Watchdog:
        return Watchdog(
            Installation(self.site.root, Settings()),
            self.clock,
            LIMITS,
            append=self.log.append,
            tell=lambda code, params: self.told.append(code),
            rehearse=rehearse,
        )

    def look(self, watchdog: Watchdog, seconds: int) -> Verdict:
        for _ in range(seconds):
            watchdog.look()
            self.clock.advance(seconds=1)
        return watchdog.look()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    clock = ManualClock()
    site = make_site(tmp_path, clock)
    with hung(tmp_path, clock) as process:
        yield House(site, clock, Log(), process)


def test_a_hung_scheduler_is_stopped_and_later_killed_and_both_are_recorded(house: House) -> None:
    watchdog = house.watchdog()
    assert house.look(watchdog, 9) is Verdict.SILENT
    assert not house.site.wide_file.exists()
    assert house.look(watchdog, 1) is Verdict.STOP
    assert house.site.wide_file.exists()
    assert b'"requested_by": "watchdog"' in house.site.wide_file.read_bytes()
    assert house.process.poll() is None
    assert house.look(watchdog, 10) is Verdict.KILL
    assert house.process.wait(5) == -signal.SIGKILL
    assert house.look(watchdog, 1) is Verdict.NOBODY
    assert house.log.kinds == ["scheduler_stop_requested", "scheduler_killed"]
    assert house.told == ["watchdog.stopped", "watchdog.killed"]
    assert [deed["deed"] for deed in watchdog.deeds] == ["stop", "kill"]


def test_a_scheduler_that_obeys_the_stop_is_not_killed(house: House) -> None:
    watchdog = house.watchdog()
    assert house.look(watchdog, 11) is Verdict.STOP
    for _ in range(60):
        write_state(house.site.root / STATE_FILE, state_of(house.process.pid, house.clock))
        assert house.look(watchdog, 1) in (Verdict.BEATING, Verdict.SILENT)
    assert house.process.poll() is None


def test_where_no_scheduler_runs_nothing_is_done(house: House) -> None:
    house.process.kill()
    house.process.wait()
    watchdog = house.watchdog()
    assert house.look(watchdog, 60) is Verdict.NOBODY
    assert list((house.site.root / OVERRIDES).iterdir()) == []
    assert house.told == []


def test_a_word_that_was_damaged_or_removed_meanwhile_is_silence_and_no_end(house: House) -> None:
    watchdog = house.watchdog()
    watchdog.look()
    (house.site.root / STATE_FILE).write_bytes(b"\xff")
    assert house.look(watchdog, 5) is Verdict.SILENT
    (house.site.root / STATE_FILE).unlink()
    assert house.look(watchdog, 6) is Verdict.STOP
    assert house.site.wide_file.exists()


def test_what_the_log_does_not_take_is_kept_marked_and_appended_when_it_is_back(house: House) -> None:
    house.log.away = True
    house.look(house.watchdog(), 21)
    assert house.site.wide_file.exists()
    assert house.process.wait(5) == -signal.SIGKILL
    assert [draft.kind for draft in read_word(house.site.root / WORD_FILE).unlogged] == [
        "scheduler_stop_requested",
        "scheduler_killed",
    ]
    stopped_at = read_word(house.site.root / WORD_FILE).unlogged[0].timestamp
    house.log.away = False
    house.clock.advance(hours=2)
    house.watchdog().look()  # another process, after a restart
    assert house.log.kinds == ["scheduler_stop_requested", "scheduler_killed"]
    assert house.log.drafts[0].timestamp == stopped_at, "it says when it was done, not when it was written"
    assert read_word(house.site.root / WORD_FILE).unlogged == ()


def test_a_stop_that_cannot_be_made_does_not_hold_up_the_kill(house: House) -> None:
    house.site.overrides.rmdir()
    house.site.overrides.write_text("in the way")
    (house.site.root / GATE_FILE).unlink()
    assert house.look(house.watchdog(), 20) is Verdict.KILL
    assert house.process.wait(5) == -signal.SIGKILL
    assert "watchdog.not_stopped" in house.told
    assert house.log.kinds == ["scheduler_killed"]
    assert not house.log.drafts[0].runtime_flags["stop_stands"]


def test_a_dry_run_says_what_it_would_do_once_and_does_nothing(house: House) -> None:
    watchdog = house.watchdog(rehearse=True)
    assert house.look(watchdog, 60) is Verdict.KILL
    assert house.told == ["watchdog.would_stop", "watchdog.would_kill"]
    assert house.process.poll() is None
    assert list((house.site.root / OVERRIDES).iterdir()) == []
    assert not (house.site.root / WORD_FILE).exists()
    assert house.log.drafts == []
    assert read_state(house.site.root / STATE_FILE).pid == house.process.pid
