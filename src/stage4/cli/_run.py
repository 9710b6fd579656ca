"""
What every command shares: the outer guard, the document on stdout, the conversation on stderr.

`guarded` and `spoken` are the only places that catch `Exception` for good: an unexpected one is a bug, exit 70, with
its traceback only under STAGE4_DEBUG.

Everything on stdout goes through `out`, `out_bytes`, `stream` or `emit`. A reader who went away changes no verdict:
stdout is given up, the command goes on, and its exit code is its own.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from stage4 import words
from stage4.errors import ExitCode, Stage4Error
from stage4.words import Language, visible

# What the operating system may refuse without naming a file; any other nameless OSError is a mistake of ours.
_REFUSALS = frozenset(
    (
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    )
)


class ReaderGone(Exception):
    """Nobody reads what is streamed any more (`| head`), or nobody can: nothing is left to print."""


@dataclass(slots=True)
class _Stdout:
    """What became of stdout in this call."""

    begun: bool = False  # the one document; what comes after it would be a second one
    lost: OSError | None = None  # why it takes nothing; a reader who went away is no reason
    handlers: dict[int, Any] = field(default_factory=dict)  # of signals, to be put back at the end


_stdout = _Stdout()


def language(environ: Mapping[str, str] | None = None, configured: Language | None = None) -> Language:
    """`STAGE4_LANG`, else the installation's setting, else English."""
    chosen = (os.environ if environ is None else environ).get("STAGE4_LANG", "")
    return chosen if chosen in words.languages else configured or "en"


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
        print(line, file=sys.stderr, flush=True)
    except OSError:
        _give_up(sys.stderr)


def error_lines(error: Stage4Error, lang: Language) -> list[str]:
    """`error:` and, where there is one, `hint:`."""
    params = _readable(error.params)
    lines = [f"error: {words.text(error.code, lang, **params)}"]
    if hint := words.hint(error.code, lang, **params):
        lines.append(f"hint: {hint}")
    return lines


def say_error(error: Stage4Error, lang: Language) -> None:
    """The error to people, on stderr."""
    for line in error_lines(error, lang):
        say(line)


def error_document(schema: str, error: Stage4Error) -> dict[str, object]:
    """The one document of a command that failed: code, English message, parameters."""
    return {"schema": schema, **_failure(error)}


def _failure(error: Stage4Error) -> dict[str, object]:
    params = _readable(error.params)
    message = words.text(error.code, "en", **params)
    problem: dict[str, object] = {"code": error.code, "message": message, "params": params}
    hint = words.hint(error.code, "en", **params)
    if hint:
        problem["hint"] = hint
    return {"exit_code": int(error.exit_code), "error": problem}


def out(text: str, *, end: str = "\n", styled: bool = False) -> None:
    """Text for people on stdout, a terminal's control characters as escapes unless it is `styled` by us."""
    try:
        print(text if styled else "\n".join(map(visible, text.split("\n"))), end=end, flush=True)
    except OSError as error:
        lose(error)


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
        if _stdout.lost is not None:
            raise _cannot_write(error) from error


def _cannot_write(error: OSError) -> Stage4Error:
    from stage4 import files
    from stage4.errors import Unavailable

    return Unavailable("files.cannot_write", path="stdout", reason=files.reason(error))


def _emit_last(document: object) -> None:
    """The document of a failure, whose exit code is told even where the document cannot be; never a second one."""
    if _stdout.begun:
        return
    with contextlib.suppress(Stage4Error):
        emit(document)


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
def _own_stdout() -> Iterator[None]:
    """A call begins with a stdout of which nothing is known, and leaves the signals as it found them."""
    global _stdout
    _stdout = _Stdout()
    try:
        yield
    finally:
        for number, handler in _stdout.handlers.items():
            signal.signal(number, handler)
        _stdout = _Stdout()


def save(document: object, path: Path, mode: int = 0o644) -> None:
    """The same document in `--output FILE`, whole or not at all."""
    from stage4 import files

    files.write_json(path, document, mode)


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    """What the operating system refused, where nobody else has put it into words, is no bug of ours."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno not in _REFUSALS and not isinstance(error, ConnectionError):
            raise
        from stage4 import files
        from stage4.errors import Unavailable

        raise Unavailable("cli.system", path=error.filename or "-", reason=files.reason(error)) from error


def guarded(schema: str, body: Callable[[], int], lang: Callable[[], Language] | None = None) -> int:
    """Run a command that always prints one JSON document; the exit code is its verdict.

    `body` prints its own document when it returns; when it raises, the document says why. `lang` is asked late,
    because the settings that name the language may be what cannot be read.
    """
    return _guarded(body, lang or language, lambda failure: _emit_last({"schema": schema, **failure}))


def spoken(body: Callable[[], int], *, lang: Callable[[], Language], as_json: bool, schema: str) -> int:
    """Run a command that speaks to people, or prints a JSON document under `--json`, also on failure."""
    if as_json:
        return guarded(schema, body, lang)
    return _guarded(body, lang, lambda _failure: None)


def _guarded(
    body: Callable[[], int], lang: Callable[[], Language], tell: Callable[[Mapping[str, object]], None]
) -> int:
    """The outer guard; `tell` is given the document of a failure, without its schema."""
    settle_process()
    with _own_stdout():
        try:
            with _as_unavailable():
                code = int(body())
            if _stdout.lost is None:
                return code
            say_error(_cannot_write(_stdout.lost), lang())
            return code or int(ExitCode.CANNOT_TELL)
        except Stage4Error as error:
            say_error(error, lang())
            tell(_failure(error))
            return int(error.exit_code)
        except KeyboardInterrupt:
            # A second one would only cut short what is said about the first.
            _handle_interrupts(signal.SIG_IGN)
            say(_interrupted(lang))
            tell({"exit_code": int(ExitCode.INTERRUPTED), "error": {"code": "cli.interrupted"}})
            return int(ExitCode.INTERRUPTED)
        except Exception as bug:  # noqa: BLE001 - the outer guard
            say_bug(bug, lang())
            tell({"exit_code": int(ExitCode.BUG), "error": {"code": "cli.bug", "message": repr(bug)}})
            return int(ExitCode.BUG)


def _interrupted(lang: Callable[[], Language]) -> str:
    try:
        return words.text("cli.interrupted", lang())
    except Exception:  # noqa: BLE001 - the interrupt may have fallen into an import that the words need
        return "interrupted"


def say_bug(bug: Exception, lang: Language) -> None:
    """`bug:` in one line, and the traceback under STAGE4_DEBUG."""
    say("bug: " + words.text("cli.bug", lang, what=f"{type(bug).__name__}: {bug}"))
    if os.environ.get("STAGE4_DEBUG"):
        import traceback

        say("".join(traceback.format_exception(bug)))
    else:
        say("hint: " + (words.hint("cli.bug", lang) or ""))


def terminate_as_interrupt() -> None:
    """Let SIGTERM end a command as Ctrl-C does, so that records are finished and children ended."""

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _give_up(stream: TextIO) -> None:
    """Let what is still buffered go nowhere: flushing it at the end would fail again, and give exit 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _readable(params: Mapping[str, object]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (int, float, str)) or value is None else str(value)
        for name, value in params.items()
    }
