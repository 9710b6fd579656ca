"""
The watchdog: a process of its own that stops a scheduler which no longer beats.

It reads the scheduler's last word once a second. Where the same beat stands too long it puts the stop of everything in
place, and where that does not help ends the process by SIGKILL: that very process, known by boot id, pid and start
time. It needs no network, no database and no log; what the log could not take is kept in its own word,
`var/runtime/watchdog.json`, marked as unlogged, and appended as soon as the log is back.

It fails towards stopped: a scheduler that cannot write its word (full disk, damaged file) is stopped like one that
hangs. Where no scheduler runs nothing trades, and nothing is done. What it cannot see: a scheduler that beats and
does wrong; that is the alerts' business. It must run on the scheduler's machine, in its pid namespace and from its
account.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec

from stage4 import files
from stage4.clock import Clock, format_duration, format_instant
from stage4.config import Installation
from stage4.decisionlog.entry import Draft
from stage4.errors import Stage4Error
from stage4.runtime import kill
from stage4.runtime.heartbeat import Beat, Silence, Verdict, WatchdogLimits, heard, judge
from stage4.runtime.state import STATE_FILE, RuntimeState, decode, encode, process_started, read_state
from stage4.runtime.stop import ALL
from stage4.runtime.stop_request import StopRequest, end_draft, log_draft

WORD_FILE = Path("var/runtime/watchdog.json")
LOCK_FILE = Path("var/run/watchdog.lock")
SCHEMA: Literal["stage4.watchdog_word/1"] = "stage4.watchdog_word/1"
WHO = "watchdog"
LIMIT = 1 << 20
LOG_AGAIN = timedelta(seconds=10)

Tell = Callable[[str, Mapping[str, object]], None]


class WatchdogWord(msgspec.Struct, frozen=True, kw_only=True):
    """What the watchdog says of itself; `unlogged` are the entries that the decision log has not taken yet."""

    schema: Literal["stage4.watchdog_word/1"] = SCHEMA
    pid: int
    process_started: int
    boot_id: str
    heartbeat_ns: int
    at: datetime
    verdict: Verdict
    unlogged: tuple[Draft, ...] = ()


def read_word(path: Path) -> WatchdogWord:
    """The watchdog's last word; raises Unavailable `files.*`, UsageError `gate.bad_document`."""
    return decode(files.read_limited(path, LIMIT), WatchdogWord, path)


@dataclass(slots=True)
class Watchdog:
    """Looks after the scheduler of `installation`; with `rehearse` it says what it would do and does nothing."""

    installation: Installation
    clock: Clock
    limits: WatchdogLimits
    append: Callable[[Draft], object]
    tell: Tell
    rehearse: bool = False
    deeds: list[dict[str, object]] = field(default_factory=list)
    """What was done, or would have been, in order."""
    _known: RuntimeState | None = None
    _silence: Silence | None = None
    _stopped: str | None = None
    _done: set[str] = field(default_factory=set)
    _unlogged: list[Draft] = field(default_factory=list)
    _log_next_ns: int = 0

    def __post_init__(self) -> None:
        with contextlib.suppress(Stage4Error):
            self._unlogged.extend(read_word(self.installation.path(WORD_FILE)).unlogged)

    @property
    def unlogged(self) -> int:
        """How many entries the decision log has not taken yet."""
        return len(self._unlogged)

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while not stop.is_set():
            self.look()
            stop.wait(self.limits.look_every.total_seconds())
        self._log()

    def look(self) -> Verdict:
        """One look, and what follows from it."""
        with contextlib.suppress(Stage4Error):
            # A word that cannot be read any more leaves the last one that could: its writer may still trade.
            self._known = read_state(self.installation.path(STATE_FILE))
        known = self._known if self._known is not None and kill.runs(self._known, self.clock) else None
        if known is None:
            self._silence = None
        else:
            beat = Beat(known.boot_id, known.pid, known.process_started, known.heartbeat_ns)
            self._silence = heard(self._silence, beat, self.clock.monotonic_ns(), self.limits)
        verdict = judge(self._silence, self.limits)
        if verdict in (Verdict.NOBODY, Verdict.BEATING):
            self._done.clear()
            self._stopped = None
        if known is not None and self._silence is not None and verdict in (Verdict.STOP, Verdict.KILL):
            request = self._request(known, self._silence)
            self._stop(request, known)
            if verdict is Verdict.KILL:
                self._kill(request, known)
        self._log()
        self._write_word(verdict)
        return verdict

    def _request(self, known: RuntimeState, silence: Silence) -> StopRequest:
        return StopRequest(
            scope=ALL,
            reason=f"no heartbeat for {format_duration(silence.lasted)} (pid {known.pid})",
            ticket=None,
            requested_by=WHO,
            component=WHO,
        )

    def _stop(self, request: StopRequest, known: RuntimeState) -> None:
        if "stop" in self._done:
            return
        if self.rehearse:
            self._note("stop", "watchdog.would_stop", pid=known.pid, reason=request.reason)
            return
        try:
            receipt = request.place(self.installation.root, self.clock)
        except Stage4Error as error:
            # Tried again at the next look; the kill does not wait for it.
            self.tell("watchdog.not_stopped", {"reason": str(error)})
            return
        self._stopped = receipt.facts.digest
        self._note("stop", "watchdog.stopped", pid=known.pid, reason=request.reason, already=receipt.already)
        self._keep(log_draft(request, receipt, self.installation.root))

    def _kill(self, request: StopRequest, known: RuntimeState) -> None:
        if "kill" in self._done:
            return
        if self.rehearse:
            self._note("kill", "watchdog.would_kill", pid=known.pid)
            return
        ended = kill.kill_process(known, self.clock)
        self._note("kill", f"watchdog.{ended.outcome}", pid=known.pid, reason=ended.reason or "")
        self._keep(end_draft(request, self._stopped, None, ended))

    def _note(self, deed: str, code: str, **params: object) -> None:
        self._done.add(deed)
        self.deeds.append(
            {"deed": deed, "code": code, "at": format_instant(self.clock.now()), "dry_run": self.rehearse, **params}
        )
        self.tell(code, params)

    def _keep(self, draft: Draft) -> None:
        self._unlogged.append(replace(draft, timestamp=self.clock.now()))
        self._log_next_ns = 0

    def _log(self) -> None:
        """Append what is due; a log that does not take it is asked again later, so that it holds up no look."""
        if self.rehearse or not self._unlogged or self.clock.monotonic_ns() < self._log_next_ns:
            return
        while self._unlogged:
            try:
                self.append(self._unlogged[0])
            except Stage4Error as error:
                self._log_next_ns = self.clock.monotonic_ns() + LOG_AGAIN // timedelta(microseconds=1) * 1000
                self.tell("watchdog.unlogged", {"n": len(self._unlogged), "reason": str(error)})
                return
            self._unlogged.pop(0)

    def _write_word(self, verdict: Verdict) -> None:
        if self.rehearse:
            return
        word = WatchdogWord(
            pid=os.getpid(),
            process_started=process_started(os.getpid()),
            boot_id=self.clock.boot_id(),
            heartbeat_ns=self.clock.boottime_ns(),
            at=self.clock.now(),
            verdict=verdict,
            unlogged=tuple(self._unlogged),
        )
        # On a full disk nobody hears of us, and we go on all the same.
        with contextlib.suppress(Stage4Error):
            files.atomic_write(self.installation.path(WORD_FILE), encode(word), 0o600)
