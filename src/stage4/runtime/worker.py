"""
The worker process: evaluates snapshots of one schedule for the scheduler.

Requests and evaluations travel as MessagePack over a socket pair, each with its length in front. It imports as
little as it can, because a failed strategy costs one start of it. A worker whose parent is gone ends itself.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
from dataclasses import dataclass

import msgspec

from stage4.clock import Clock, SystemClock
from stage4.runtime.signal import Snapshot
from stage4.runtime.strategies import StrategySpec

LENGTH_BYTES = 4
READY = b"ready"


@dataclass(frozen=True, slots=True)
class Request:
    """One evaluation to make; `delay_ms` is a staged fault."""

    spec: StrategySpec
    snapshot: Snapshot
    delay_ms: float = 0.0


def framed(message: bytes) -> bytes:
    """`message` with its length in front."""
    return len(message).to_bytes(LENGTH_BYTES, "big") + message


def serve(connection: socket.socket, clock: Clock) -> None:
    """The worker's life: answer requests until the parent closes the connection."""
    decoder = msgspec.msgpack.Decoder(Request)
    connection.sendall(framed(READY))
    while (question := _receive(connection)) is not None:
        request = decoder.decode(question)
        if request.delay_ms:
            clock.sleep(request.delay_ms / 1000.0)
        evaluation = request.spec.build().evaluate(request.snapshot)
        connection.sendall(framed(msgspec.msgpack.encode(evaluation)))


def _receive(connection: socket.socket) -> bytes | None:
    prefix = connection.recv(LENGTH_BYTES, socket.MSG_WAITALL)
    if len(prefix) < LENGTH_BYTES:
        return None
    length = int.from_bytes(prefix, "big")
    message = connection.recv(length, socket.MSG_WAITALL)
    return message if len(message) == length else None


def _end_with_parent(descriptor: int) -> None:
    """Wait until the parent's end is gone, then end, even in the middle of an evaluation that never will."""
    waiting = select.poll()
    waiting.register(descriptor, select.POLLRDHUP)
    waiting.poll()
    os._exit(0)


def main() -> None:
    """Entry of the worker process; the only argument is the descriptor of its socket."""
    # Ctrl-C goes to the whole group of processes; the parent decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        threading.Thread(target=_end_with_parent, args=(connection.fileno(),), daemon=True).start()
        serve(connection, SystemClock())


if __name__ == "__main__":
    main()
