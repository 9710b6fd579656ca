"""
What the service does for the decision log by itself: it makes checkpoints when they are due and leaves them outside,
and archives the log when it has become large.

A thread of its own, because the log's lock, a disk or a place outside may keep it waiting, and incidents must not
wait with it. What fails is said once for each reason and tried again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta

from stage4 import files
from stage4.app.service_log import tell
from stage4.clock import Clock
from stage4.config import Installation
from stage4.decisionlog import archive
from stage4.decisionlog.checkpoints import delivery, notary, places
from stage4.decisionlog.checkpoints.note import Checkpoint
from stage4.decisionlog.checkpoints.places import Parcel, Pushed
from stage4.decisionlog.open import load_keyring, open_log
from stage4.errors import Stage4Error

LOOK_SECONDS = 1.0
RETRY = timedelta(seconds=30)


class LogKeeper:
    """Looks after the log of `installation` from `start` to `close`; raises UsageError for places it may not use."""

    def __init__(self, installation: Installation, clock: Clock, environ: Mapping[str, str]) -> None:
        self._installation = installation
        self._path = installation.decision_log_path
        self._settings = installation.settings.operations.decision_log.checkpoints
        self._clock = clock
        self._environ = environ
        self._ending = threading.Event()
        self._thread = ThreadPoolExecutor(1, "log-keeper")
        self._sealing, self._archiving = _Attempt(clock), _Attempt(clock)
        self._delivery = _Delivery(places.configured(installation, environ), places.Memory.beside(self._path), clock)
        self._seen: tuple[int, int] | None = None
        # How many entries there are, how many the newest checkpoint covers, and since when it does not cover all.
        self._entries = self._covered = 0
        # What waits when the service starts has waited long enough.
        self._uncovered_since: datetime | None = clock.now() - timedelta(minutes=self._settings.every_minutes)

    def start(self) -> Future[None]:
        """Begin to look after the log; the future is done when it ends, with the bug that ended it."""
        return self._thread.submit(self._run)

    def close(self) -> None:
        """End after what is under way."""
        self._ending.set()
        self._thread.shutdown()
        self._delivery.close()

    def look(self) -> None:
        """One round; never raises for what a disk, a lock, a key or a place fails to do."""
        self._try(self._sealing, self._seal)
        self._try(self._archiving, self._archive)
        self._delivery.go_on()

    def _run(self) -> None:
        while not self._ending.wait(LOOK_SECONDS):
            self.look()

    def _try(self, attempt: _Attempt, work: Callable[[], None]) -> None:
        if not attempt.may_try():
            return
        try:
            work()
        except Stage4Error as error:
            attempt.failed(error.code, error.params)
        except OSError as error:
            attempt.failed("files.unreadable", {"path": self._path, "reason": files.reason(error)})
        else:
            attempt.succeeded()

    def _seal(self) -> None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        if (status.st_ino, status.st_size) != self._seen:
            self._measure()
            self._seen = (status.st_ino, status.st_size)
        waiting = self._entries != self._covered
        if waiting and self._uncovered_since is None:
            self._uncovered_since = self._clock.now()
        # A note that covers more than there is belongs to a log that was longer: the notary says so.
        if self._covered > self._entries or notary.due(
            self._entries - 1,
            self._covered,
            self._uncovered_since,
            self._clock.now(),
            self._settings.every_entries,
            self._settings.every_minutes,
        ):
            self._make()
        if not waiting or self._covered == self._entries:
            self._uncovered_since = None

    def _archive(self) -> None:
        limit = self._installation.settings.operations.decision_log.archive_over_mb << 20
        if archive.is_larger(self._path, limit):
            log = open_log(self._installation, self._clock, self._environ)
            rotated = archive.rotate_if_larger(log, limit)
            if rotated is not None and rotated.cut is not None:
                facts = {"path": self._path.with_name(rotated.cut), "live": self._path.name}
                tell("archive.cut", facts, level=logging.INFO)

    def _measure(self) -> None:
        head = open_log(self._installation, self._clock, self._environ).head()
        note = notary.newest_note(self._path)
        self._entries = 0 if head is None else head.seq + 1
        self._covered = 0 if note is None else Checkpoint.of(note).size
        ring = load_keyring(self._installation, self._environ)
        newest = None if head is None else delivery.newest_parcel(ring, head.log_id)
        if newest is not None:
            self._delivery.parcel = newest[1]

    def _make(self) -> None:
        ring = load_keyring(self._installation, self._environ)
        made = notary.make(open_log(self._installation, self._clock, self._environ), ring, self._clock)
        self._measure()
        if made is not None:
            facts = {"number": made.number, "size": made.checkpoint.size, "root": made.checkpoint.tree_head}
            tell("checkpoint.made", facts, level=logging.INFO)


class _Attempt:
    """Tries again half a minute after a failure, and says each new reason once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told: str | None = None
        self._not_before = 0

    def may_try(self) -> bool:
        return self._clock.monotonic_ns() >= self._not_before

    def failed(self, code: str, params: Mapping[str, object]) -> None:
        self._not_before = self._clock.monotonic_ns() + round(RETRY / timedelta(microseconds=1)) * 1000
        reason = f"{code} {params}"
        if reason != self._told:
            self._told = reason
            tell(code, params)

    def succeeded(self) -> None:
        self._told = None


class _Delivery:
    """Takes the newest note to every place that lacks it, each at its own pace."""

    def __init__(self, targets: tuple[places.Place, ...], memory: places.Memory, clock: Clock) -> None:
        self.parcel: Parcel | None = None
        self._targets = targets
        self._memory = memory
        self._attempts = {place.name: _Attempt(clock) for place in targets}
        self._under_way: dict[str, tuple[Parcel, Future[Pushed]]] = {}
        self._pool = ThreadPoolExecutor(max(1, len(targets)), "checkpoint-place")

    def go_on(self) -> None:
        """Settle what came of earlier pushes, and begin those that are needed."""
        for name, (parcel, push) in list(self._under_way.items()):
            if push.done():
                del self._under_way[name]
                self._settle(self._attempts[name], parcel, push.result())
        if self.parcel is None:
            return
        for place in self._memory.lacking(self._targets, self.parcel):
            if place.name not in self._under_way and self._attempts[place.name].may_try():
                self._under_way[place.name] = self.parcel, self._pool.submit(places.push_to, place, self.parcel)

    def _settle(self, attempt: _Attempt, parcel: Parcel, answer: Pushed) -> None:
        error = answer.error
        if error is None:
            try:
                self._memory.took(parcel, [answer.place])
            except Stage4Error as unwritten:
                error = unwritten
        if error is None:
            attempt.succeeded()
        else:
            attempt.failed(error.code, error.params)

    def close(self) -> None:
        """Let the pushes under way come to their end."""
        self._pool.shutdown()
