"""Following the metrics stream for a while: over its breaks, with bounded memory, until the time is over."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from stage4.clock import Clock
from stage4.errors import Stage4Error
from stage4.telemetry.grpc_client import Endpoint, Headers, MetricsClient, MetricsStream, Snapshot
from stage4.telemetry.watch import Tally

UNREAD_LIMIT = 4096
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds before the next attempt, by the number of attempts in a row that brought nothing."""
LOOK_SECONDS = 0.1


class _Reading(threading.Thread):
    """Reads one stream into a bounded queue; ends with None, or with the error that ended the stream."""

    def __init__(self, stream: MetricsStream) -> None:
        super().__init__(name="stage4-watch", daemon=True)
        self.unread: queue.Queue[Snapshot | Stage4Error | None] = queue.Queue(UNREAD_LIMIT)
        self._stream = stream

    def run(self) -> None:
        try:
            for message in self._stream:
                self.unread.put(message)
        except Stage4Error as error:
            self.unread.put(error)
        else:
            self.unread.put(None)

    def end(self) -> None:
        self._stream.cancel()
        while self.is_alive():  # a full queue would hold it back
            with suppress(queue.Empty):
                self.unread.get(timeout=0.05)


@dataclass(slots=True)
class Following:
    """One watch of the stream into `tally`, for `duration` or until `limit` new messages came.

    `endpoint` is asked anew for each connection, so that replaced certificates are shown. `show` gets the seconds
    since the beginning, about ten times a second; `broken` gets the reason of each break.
    """

    endpoint: Callable[[], Endpoint]
    headers: Headers = field(repr=False)
    tally: Tally
    clock: Clock
    duration: timedelta
    limit: int | None
    show: Callable[[float], None]
    broken: Callable[[str], None]
    _begun_ns: int = 0

    def run(self) -> bool:
        """Follow to the end; True when a person interrupted it."""
        self._begun_ns = self.clock.monotonic_ns()
        failures = 0
        try:
            while not self._over():
                before = self.tally.messages
                reason = self._read_one_stream()
                if reason is None:
                    break
                self.broken(reason)
                failures = 0 if self.tally.messages > before else failures + 1
                left = self.duration.total_seconds() - self._elapsed()
                self.clock.sleep(max(0.0, min(PAUSES[min(failures, len(PAUSES) - 1)], left)))
                self.tally.reconnected()
        except KeyboardInterrupt:
            return True
        return False

    def _elapsed(self) -> float:
        return (self.clock.monotonic_ns() - self._begun_ns) / 1e9

    def _over(self) -> bool:
        enough = self.limit is not None and self.tally.messages >= self.limit
        return enough or self._elapsed() >= self.duration.total_seconds()

    def _read_one_stream(self) -> str | None:
        """Why the stream broke off, or None when the watch is over."""
        with MetricsClient(self.endpoint(), self.headers) as client:
            reading = _Reading(client.stream())
            reading.start()
            try:
                while not self._over():
                    self.show(self._elapsed())
                    try:
                        item = reading.unread.get(timeout=LOOK_SECONDS)
                    except queue.Empty:
                        continue
                    if item is None:
                        return "end of stream"
                    if isinstance(item, Stage4Error):
                        return str(item.params.get("status", item.code))
                    self.tally.take(item, self.clock.now())
                return None
            finally:
                reading.end()
