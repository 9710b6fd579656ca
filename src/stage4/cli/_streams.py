"""
The standard streams of a command: the document on stdout, the conversation on stderr, and Ctrl-C between them.

Everything on stdout goes through `out`, `out_bytes`, `stream` or `emit`. A reader who went away changes no verdict:
stdout is given up, the command goes on, and its exit code is its own.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TextIO

from stage4.errors import Stage4Error
from stage4.words import visible


class ReaderGone(Exception):
    """Nobody reads what is streamed any more (`| head`), or nobody can: nothing is left to print."""


@dataclass(slots=True)
class _Stdout:
    """What became of stdout in this call."""

    owned: bool = False  # by a guard; a command that calls another one has one stdout with it
    begun: bool = False  # the one document; what comes after it would be a second one
    lost: OSError | None = None  # why it takes nothing; a reader who went away is no reason
    handlers: dict[int, Any] = field(default_factory=dict)  # of signals, to be put back at the end


_stdout = _Stdout()


def settle_process() -> None:
    """Make the process safe to work in, however it was started; call it first.

    A standard stream that is closed gets the null device: otherwise what is said on stderr would go to stdout, and
    the next file opened would get the stream's number. Text that a stream cannot spell is escaped. Nothing that
    the process makes can be written by others, whatever the caller's umask.
    """
    os.umask(os.umask(0o077) | 0o022)
    # All memory is given back at once when the process ends; searching it for cycles first takes a tenth of a command.
    atexit.register(gc.freeze)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open to the process's end
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(line: str) -> None:
    """One line to people, on stderr; that nobody can hear it stops no command."""
    try:
        print(_harmless(line), file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def out(text: str, *, end: str = "\n", styled: bool = False) -> None:
    """Text for people on stdout, a terminal's control characters as escapes unless it is `styled` by us."""
    try:
        print(text if styled else _harmless(text), end=end, flush=True)
    except OSError as error:
        lose(error)


def _harmless(text: str) -> str:
    return "\n".join(map(visible, text.split("\n")))


def out_bytes(content: bytes) -> None:
    """Bytes as they are on stdout, except on a terminal, which would act on some of them."""
    if sys.stdout.isatty():
        out(content.decode("utf-8", "backslashreplace"), end="")
        return
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        lose(error)


def stream(text: str) -> None:
    """A line of what a command prints and nothing else, harmless already; raises ReaderGone where it goes nowhere."""
    try:
        print(text)
    except OSError as error:
        lose(error)
        raise ReaderGone from error


def stream_now() -> None:
    """Let what was streamed be seen; raises ReaderGone where it goes nowhere."""
    try:
        sys.stdout.flush()
    except OSError as error:
        lose(error)
        raise ReaderGone from error


@contextlib.contextmanager
def streaming() -> Iterator[None]:
    """Ends the streaming within where its reader went away; what was streamed is flushed."""
    with contextlib.suppress(ReaderGone):
        yield
        stream_now()


def lose(error: OSError) -> None:
    """Give stdout up; remembered, except where only the reader went away."""
    _give_up(sys.stdout)
    if not isinstance(error, BrokenPipeError):
        _stdout.lost = error


def emit(document: object) -> None:
    """The document on stdout: whole, at the end, once.

    A reader who went away does not change the verdict. Raises Unavailable `files.cannot_write` where stdout takes
    nothing, for example on a full disk. The first interrupt meanwhile is passed over: the work is done, and half a
    document helps nobody; the second one is heeded.
    """
    from stage4 import files

    content = files.json_bytes(document)
    _hold_interrupts()
    _stdout.begun = True
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        lose(error)
        if problem := lost():
            raise problem from error


def _cannot_write(error: OSError) -> Stage4Error:
    from stage4 import files
    from stage4.errors import Unavailable

    return Unavailable("files.cannot_write", path="stdout", reason=files.reason(error))


def emit_last(document: object) -> None:
    """The document of a failure, whose exit code is told even where the document cannot be; never a second one."""
    if _stdout.begun:
        return
    with contextlib.suppress(Stage4Error):
        emit(document)


def lost() -> Stage4Error | None:
    """Why stdout takes nothing, unless that was said already."""
    error, _stdout.lost = _stdout.lost, None
    return None if error is None else _cannot_write(error)


def deafen() -> None:
    """Pass over every further interrupt: it would only cut short what is said about the first."""
    _handle_interrupts(signal.SIG_IGN)


def _hold_interrupts() -> None:
    """Pass over the next interrupt; after it they are heeded again."""

    def held(number: int, _frame: Any) -> None:
        signal.signal(number, _stdout.handlers[number])

    _handle_interrupts(held)


def _handle_interrupts(handler: Any) -> None:
    """Put `handler` in the place of what raises KeyboardInterrupt, until the command ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        present = signal.getsignal(number)
        if callable(present):
            with contextlib.suppress(ValueError):  # outside the main thread nobody is interrupted
                signal.signal(number, handler)
                _stdout.handlers.setdefault(number, present)


@contextlib.contextmanager
def own_stdout() -> Iterator[None]:
    """A call begins with a stdout of which nothing is known, and leaves the signals as it found them."""
    global _stdout
    if _stdout.owned:
        yield
        return
    _stdout = _Stdout(owned=True)
    try:
        yield
    finally:
        for number, handler in _stdout.handlers.items():
            signal.signal(number, handler)
        _stdout = _Stdout()


def terminate_as_interrupt() -> None:
    """Let SIGTERM end a command as Ctrl-C does, so that records are finished and children ended."""

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _give_up(stream: TextIO) -> None:
    """Let what is still buffered go nowhere: flushing it at the end would fail again, and give exit 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
