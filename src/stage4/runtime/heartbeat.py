"""
Whether a scheduler is alive, judged from its heartbeat by somebody outside: the watchdog's rule, pure.

Counted is the time through which the watchdog itself was awake and saw the same beat. Time in which the watchdog did
not look (a suspended machine, a host that gave neither process its turn) says nothing about the scheduler and counts
for two looks at most. It fails towards stopped, because a scheduler whose word cannot be read any more may trade; and
towards not killing, because a kill cannot be taken back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from stage4.clock import parse_duration
from stage4.config.settings import WatchdogSettings

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class WatchdogLimits:
    """When to look, when to stop a scheduler that does not beat, and how long after that to kill it; None: never."""

    look_every: timedelta
    stop_after: timedelta
    kill_after: timedelta | None

    @classmethod
    def of(cls, settings: WatchdogSettings) -> WatchdogLimits:
        """The limits as the settings spell them."""
        kill_after = settings.kill_after
        return cls(
            parse_duration(settings.look_every),
            parse_duration(settings.stop_after),
            None if kill_after is None else parse_duration(kill_after),
        )


@dataclass(frozen=True, slots=True)
class Beat:
    """One beat of one process; two beats are the same where nothing was written in between."""

    boot_id: str
    pid: int
    process_started: int
    heartbeat_ns: int


@dataclass(frozen=True, slots=True)
class Silence:
    """Since when one beat is the last one, in the watchdog's own waking time."""

    beat: Beat
    looked_ns: int
    lasted: timedelta = timedelta(0)


class Verdict(StrEnum):
    """`nobody`: no scheduler runs, so nothing trades and nothing is done; `kill` includes `stop`."""

    NOBODY = "nobody"
    BEATING = "beating"
    SILENT = "silent"
    STOP = "stop"
    KILL = "kill"


def heard(before: Silence | None, beat: Beat, now_ns: int, limits: WatchdogLimits) -> Silence:
    """The silence after a look at `now_ns` (monotonic) that found `beat` as the last one."""
    if before is None or before.beat != beat:
        return Silence(beat, now_ns)
    passed = timedelta(microseconds=(now_ns - before.looked_ns) / 1000)
    return replace(before, looked_ns=now_ns, lasted=before.lasted + min(passed, 2 * limits.look_every))


def judge(silence: Silence | None, limits: WatchdogLimits) -> Verdict:
    """What is to be done about a scheduler that runs; None: none runs."""
    if silence is None:
        return Verdict.NOBODY
    if silence.lasted >= limits.stop_after:
        if limits.kill_after is not None and silence.lasted >= limits.stop_after + limits.kill_after:
            return Verdict.KILL
        return Verdict.STOP
    return Verdict.SILENT if silence.lasted else Verdict.BEATING
