"""The telemetry process: samples come in through a pipe and go out over gRPC, Prometheus and to observers.

It lives as long as the pipe: when the scheduler closes it or dies, the process ends. An observer that fails ends the
process too: a detector that has quietly stopped would look like a quiet market.
"""

from __future__ import annotations

import asyncio
import logging
import os
import queue
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from stage4.clock import Clock
from stage4.config import Installation
from stage4.security.tokens import TokenBook, service_token
from stage4.telemetry.exporter import Exporter, MetricsEndpoint
from stage4.telemetry.grpc_server import MetricsServer
from stage4.telemetry.identities import server_identity
from stage4.telemetry.recorder import Recorder
from stage4.telemetry.sample import READ_SIZE, Sample, SampleParser

Observer = Callable[[Sample], None]
OBSERVER_QUEUE = 4096
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the process serves; `grpc_port` is None where the service is switched off."""

    grpc_host: str
    grpc_port: int | None
    metrics_host: str
    metrics_port: int


def run_telemetry(
    installation: Installation,
    fd: int,
    clock: Clock,
    observers: Sequence[Observer] = (),
    *,
    environ: Mapping[str, str] | None = None,
    ready: Callable[[Listening], None] | None = None,
) -> None:
    """
    Serve until the pipe `fd` is closed by its writer, then return.

    Observers are called one after the other in a thread of their own, in the order of the samples; when they are
    too slow, samples pass them by and a warning says how many. Raises Unavailable `telemetry.port_in_use`, and what
    loading the certificates raises.
    """
    process = _Process(installation, clock, os.environ if environ is None else environ)
    asyncio.run(process.serve(fd, observers, ready or (lambda _: None)))


class _Process:
    def __init__(self, installation: Installation, clock: Clock, environ: Mapping[str, str]) -> None:
        self._installation = installation
        self._settings = installation.settings.runtime.metrics_service
        self._recorder = Recorder()
        self._exporter = Exporter()
        own = service_token(self._settings)
        accepted = (*self._settings.rbac_tokens, *((own,) if own else ()))
        book = TokenBook.from_settings(accepted, environ, installation.root)
        for unusable in book.unusable:
            _log.warning("token %s grants nothing: %s", unusable.token_id, unusable.reason)
        name = installation.settings.operations.installation_id
        self._server = MetricsServer(self._recorder, book, name, clock.now())

    async def serve(self, fd: int, observers: Sequence[Observer], ready: Callable[[Listening], None]) -> None:
        monitoring = self._installation.settings.operations.monitoring
        endpoint = MetricsEndpoint(self._exporter, monitoring.metrics_host, monitoring.metrics_port)
        try:
            port = await self._start_grpc()
            ready(Listening(self._settings.host, port, monitoring.metrics_host, endpoint.port))
            await self._carry(fd, observers)
        finally:
            await self._server.stop()
            endpoint.close()

    async def _start_grpc(self) -> int | None:
        if not self._settings.enabled:
            return None
        identity = server_identity(self._installation) if self._settings.tls.enabled else None
        return await self._server.start(self._settings.host, self._settings.port, identity)

    async def _carry(self, fd: int, observers: Sequence[Observer]) -> None:
        """Take samples over until the pipe closes or an observer fails."""
        loop = asyncio.get_running_loop()
        observing = _Observing(observers)
        watched = loop.run_in_executor(None, observing.run)
        closed = asyncio.Event()
        parser = SampleParser()

        def readable() -> None:
            try:
                piece = os.read(fd, READ_SIZE)
            except BlockingIOError:
                return
            for sample in parser.feed(piece):
                self._recorder.apply(sample)
                self._exporter.apply(sample, self._recorder.lost)
                self._server.publish(sample)
                observing.offer(sample)
            self._server.malformed = parser.malformed
            if not piece:
                closed.set()

        os.set_blocking(fd, False)
        loop.add_reader(fd, readable)
        ending = asyncio.ensure_future(closed.wait())
        try:
            await asyncio.wait((ending, watched), return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(fd)
            ending.cancel()
            observing.end()
        await watched


class _Observing:
    """Calls the observers in a thread of their own, behind a bounded queue."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._waiting: queue.Queue[Sample | None] = queue.Queue(OBSERVER_QUEUE)
        self._passed_by = 0

    def offer(self, sample: Sample) -> None:
        if not self._observers:
            return
        try:
            self._waiting.put_nowait(sample)
        except queue.Full:
            self._passed_by += 1
            if self._passed_by.bit_count() == 1:  # at 1, 2, 4, 8, ...
                _log.warning("observers are too slow: %d samples passed them by", self._passed_by)

    def end(self) -> None:
        """What waits is still observed, unless the queue is full; then the oldest makes room for the end."""
        while True:
            with suppress(queue.Full):
                self._waiting.put_nowait(None)
                return
            with suppress(queue.Empty):
                self._waiting.get_nowait()

    def run(self) -> None:
        while (sample := self._waiting.get()) is not None:
            for observer in self._observers:
                observer(sample)
