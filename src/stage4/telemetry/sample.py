"""Samples: what the runtime says about itself, and the pipe that carries it to the telemetry process.

The pipe fails open: a full pipe or a dead reader drops samples and counts them, it never makes the scheduler wait.
A gap in `Sample.seq` shows the reader how many were lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Protocol

import msgspec

PIPE_CAPACITY = 1 << 20
LONGEST_LINE = 64 * 1024
READ_SIZE = 1 << 16


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """Values at one instant, of one schedule, of the whole desk or of one market feed.

    `values` maps full metric names of the catalogue to finite floats in the metric's unit; a value that cannot be told
    is left out. Values of one risk profile or of the desk have an empty `schedule` and `strategy`, and the desk's
    `risk_profile` is `desk`; a feed's have only their `venue`. `flags` are states that are no
    metric (`warming_up`, `window_closed`).
    """

    seq: int
    at: datetime
    schedule: str = ""
    strategy: str = ""
    risk_profile: str = ""
    values: Mapping[str, float] = {}
    flags: Mapping[str, bool] = {}
    scheduler: str = ""
    venue: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Sample)


def encode(sample: Sample) -> bytes:
    """One JSON line. Values that are not finite numbers mean "cannot tell" and are left out."""
    if not all(map(math.isfinite, sample.values.values())):
        finite = {name: value for name, value in sample.values.items() if math.isfinite(value)}
        sample = msgspec.structs.replace(sample, values=finite)
    return _encoder.encode(sample) + b"\n"


def decode(line: bytes) -> Sample:
    """The sample of one line; msgspec.DecodeError when it is malformed or names no time zone."""
    sample = _decoder.decode(line)
    if sample.at.tzinfo is None:
        raise msgspec.ValidationError("a sample's instant needs a time zone")
    return sample


class SampleSink(Protocol):
    """Where the runtime puts its samples.

    * `offer` never blocks and never raises for a reader that is slow or gone.
    * It returns False when the sample was dropped.
    """

    def offer(self, sample: Sample) -> bool: ...


class PipeSink:
    """Writes samples into a pipe without ever waiting. Owns `fd`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._unsent = b""
        self._begun = False
        self._reader_gone = False
        self.dropped = 0
        os.set_blocking(fd, False)
        with contextlib.suppress(OSError):  # the system's own size is smaller, but it works
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_CAPACITY)

    def offer(self, sample: Sample) -> bool:
        if self._flushed():
            self._unsent = encode(sample)
            # A line begun is finished by a later offer: half a line would corrupt the next one.
            if self._flushed() or self._begun:
                return True
            self._unsent = b""
        self.dropped += 1
        return False

    def _flushed(self) -> bool:
        """Write what is left of the last line; True when nothing is left."""
        self._begun = False
        while self._unsent and not self._reader_gone:
            try:
                written = os.write(self._fd, self._unsent)
            except BlockingIOError:
                return False
            except BrokenPipeError:
                self._reader_gone = True
                break
            self._begun = True
            self._unsent = self._unsent[written:]
        return not self._reader_gone

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._reader_gone = True


class SampleParser:
    """Turns the bytes of the pipe into samples; a malformed line is counted and passed over."""

    def __init__(self) -> None:
        self._rest = b""
        self.malformed = 0

    def feed(self, piece: bytes) -> list[Sample]:
        """The samples that `piece` completes."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._rest = b""
            self.malformed += 1
        samples = []
        for line in lines:
            try:
                samples.append(decode(line))
            except msgspec.DecodeError:
                self.malformed += 1
        return samples


def read_samples(fd: int, parser: SampleParser | None = None) -> Iterator[Sample]:
    """The samples that come through `fd`, blocking, until the writer closes it."""
    parser = parser or SampleParser()
    while piece := os.read(fd, READ_SIZE):
        yield from parser.feed(piece)
