"""
Strategies in processes of their own, one for each schedule.

A strategy that raises, blocks, eats memory or answers nonsense loses its worker and one evaluation; a new worker is
started at once and no other schedule waits.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from stage4.errors import Unavailable
from stage4.runtime.signal import Evaluation, sound
from stage4.runtime.worker import LENGTH_BYTES, READY, Request, framed

TIME_LIMIT_SECONDS = 2.0
START_LIMIT_SECONDS = 20.0
WORKER_COMMAND = (sys.executable, "-P", "-m", "stage4.runtime.worker")
_LONGEST = 16 << 20


class Evaluator(Protocol):
    """Turns a snapshot into an evaluation.

    * A failing strategy is an Unavailable, whatever it did.
    * Nothing that a strategy does makes another call of `evaluate` wait.
    """

    async def evaluate(self, request: Request) -> Evaluation:
        """The strategy's answer; raises Unavailable `runtime.worker_late`, `worker_died` or `nonsense`."""


class _Worker:
    """One child process and our end of its socket."""

    def __init__(self, process: subprocess.Popen[bytes], ours: socket.socket) -> None:
        self.process = process
        self._socket = ours
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @classmethod
    async def start(cls, command: Sequence[str]) -> _Worker:
        ours, theirs = socket.socketpair()
        command = [*command, str(theirs.fileno())]
        try:
            # In a thread, because forking a large parent takes milliseconds that other schedules would wait for.
            process = await asyncio.to_thread(
                subprocess.Popen, command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        worker = cls(process, ours)
        worker._reader, worker._writer = await asyncio.open_connection(sock=ours)
        return worker

    async def receive(self) -> bytes:
        assert self._reader is not None
        length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES), "big")
        if length > _LONGEST:
            raise EOFError
        return await self._reader.readexactly(length)

    async def ask(self, question: bytes) -> bytes:
        assert self._writer is not None
        self._writer.write(framed(question))
        await self._writer.drain()
        return await self.receive()

    async def end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self.process.kill()
        await asyncio.to_thread(self.process.wait)


class WorkerPool:
    """Evaluates each schedule in its own worker process.

    `command` starts a worker; it gets the descriptor of its socket as one more argument.
    """

    def __init__(
        self, *, time_limit_seconds: float = TIME_LIMIT_SECONDS, command: Sequence[str] = WORKER_COMMAND
    ) -> None:
        self._limit = time_limit_seconds
        self._command = command
        self._workers: dict[str, asyncio.Task[_Worker]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False
        self.restarts = 0
        """Workers that had to be replaced."""

    async def start(self, schedules: Iterable[str]) -> None:
        """Start the workers and wait until each answers; raises Unavailable `runtime.worker_died`."""
        await asyncio.gather(*(self._worker(schedule) for schedule in schedules))

    async def evaluate(self, request: Request) -> Evaluation:
        schedule = request.snapshot.schedule
        settled = False
        try:
            async with asyncio.timeout(self._limit):
                worker = await self._worker(schedule)
                answer = await worker.ask(msgspec.msgpack.encode(request))
            evaluation = sound(msgspec.msgpack.decode(answer, type=Evaluation), request.snapshot)
            settled = True
            return evaluation
        except TimeoutError:
            raise Unavailable("runtime.worker_late", schedule=schedule, seconds=self._limit) from None
        except (OSError, EOFError) as error:
            raise Unavailable("runtime.worker_died", schedule=schedule) from error
        except msgspec.DecodeError as error:
            raise Unavailable("runtime.nonsense", schedule=schedule) from error
        finally:
            if not settled:
                self._replace(schedule)

    def pid(self, schedule: str) -> int | None:
        """The process that evaluates `schedule`; None while it starts."""
        started = self._workers.get(schedule)
        if started is None or not started.done() or started.cancelled() or started.exception() is not None:
            return None
        return started.result().process.pid

    async def close(self) -> None:
        """End all workers and wait until they are gone."""
        self._closed = True
        for schedule in tuple(self._workers):
            self._replace(schedule)
        await asyncio.gather(*self._ending)

    async def _worker(self, schedule: str) -> _Worker:
        starting = self._workers.get(schedule)
        if starting is None:
            starting = self._workers[schedule] = asyncio.create_task(_started(schedule, self._command))
        # Shielded: an evaluation that runs out of time must not end a worker that others may still wait for.
        return await asyncio.shield(starting)

    def _replace(self, schedule: str) -> None:
        """End the worker of `schedule`, which may still be at work, and start its successor."""
        old = self._workers.pop(schedule, None)
        if old is not None:
            ending = asyncio.create_task(_ended(old))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        if not self._closed:
            self.restarts += 1
            self._workers[schedule] = asyncio.create_task(_started(schedule, self._command))


async def _started(schedule: str, command: Sequence[str]) -> _Worker:
    try:
        worker = await _Worker.start(command)
    except OSError as error:
        raise Unavailable("runtime.worker_died", schedule=schedule) from error
    ready = False
    try:
        async with asyncio.timeout(START_LIMIT_SECONDS):
            ready = await worker.receive() == READY
    except (TimeoutError, OSError, EOFError):
        pass
    finally:
        if not ready:
            await worker.end()
    if not ready:
        raise Unavailable("runtime.worker_died", schedule=schedule)
    return worker


async def _ended(starting: asyncio.Task[_Worker]) -> None:
    # A worker that still starts is let through to its end: a process cancelled half-way could not be reaped.
    await asyncio.wait({starting})
    if not starting.cancelled() and starting.exception() is None:
        await starting.result().end()
