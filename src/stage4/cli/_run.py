"""
What every command shares: the outer guard, the document on stdout, the conversation on stderr.

`guarded` and `spoken` are the only places that catch `Exception`: an unexpected one is a bug, exit 70, with its
traceback only under STAGE4_DEBUG.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from stage4 import words
from stage4.errors import ExitCode, Stage4Error
from stage4.words import Language


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
    params = _readable(error.params)
    message = words.text(error.code, "en", **params)
    problem: dict[str, object] = {"code": error.code, "message": message, "params": params}
    hint = words.hint(error.code, "en", **params)
    if hint:
        problem["hint"] = hint
    return {"schema": schema, "exit_code": int(error.exit_code), "error": problem}


def emit(document: object) -> None:
    """The document on stdout: whole, at the end, once.

    A reader who went away does not change the verdict. Raises Unavailable `files.cannot_write` where stdout takes
    nothing, for example on a full disk.
    """
    from stage4 import files
    from stage4.errors import Unavailable

    try:
        sys.stdout.buffer.write(files.json_bytes(document))
        sys.stdout.buffer.flush()
    except OSError as error:
        _give_up(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            raise Unavailable("files.cannot_write", path="stdout", reason=files.reason(error)) from error


def _emit_last(document: object) -> None:
    """The document of a failure, whose exit code is told even where the document cannot be."""
    with contextlib.suppress(Stage4Error):
        emit(document)


def save(document: object, path: Path, mode: int = 0o644) -> None:
    """The same document in `--output FILE`, whole or not at all."""
    from stage4 import files

    files.write_json(path, document, mode)


def require_apart(target: Path | None, log: Path, *read: Path | None) -> None:
    """Raise UsageError `cli.in_the_way` where writing `target` would replace the log, its archives or a file `read`."""
    from stage4.errors import UsageError

    if target is None:
        return
    aimed, home = Path(os.path.realpath(target)), Path(os.path.realpath(log))
    folder = home if home.is_dir() else home.parent
    belongs = aimed.parent == folder and (aimed.exists() if home.is_dir() else aimed.name.startswith(home.stem))
    if belongs or any(each is not None and aimed == Path(os.path.realpath(each)) for each in read):
        raise UsageError("cli.in_the_way", target=target)


@contextlib.contextmanager
def _as_unavailable() -> Iterator[None]:
    """What the operating system refused, where nobody else has put it into words, is no bug of ours."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        from stage4 import files
        from stage4.errors import Unavailable

        raise Unavailable("cli.system", path=error.filename or "-", reason=files.reason(error)) from error


def guarded(
    schema: str,
    body: Callable[[], int],
    lang: Callable[[], Language] | None = None,
    bugged: Callable[[dict[str, object]], None] | None = None,
) -> int:
    """Run a command that always prints one JSON document; the exit code is its verdict.

    `body` prints its own document when it returns; when it raises, the document says why. `lang` is asked late,
    because the settings that name the language may be what cannot be read. `bugged` may complete and keep the
    document of a bug before it is printed; where that fails too, it is printed as it stands then.
    """
    chosen = lang or language
    settle_process()
    try:
        with _as_unavailable():
            return int(body())
    except Stage4Error as error:
        say_error(error, chosen())
        _emit_last(error_document(schema, error))
        return int(error.exit_code)
    except KeyboardInterrupt:
        say(words.text("cli.interrupted", chosen()))
        _emit_last({"schema": schema, "exit_code": int(ExitCode.INTERRUPTED), "error": {"code": "cli.interrupted"}})
        return int(ExitCode.INTERRUPTED)
    except Exception as bug:  # noqa: BLE001 - the outer guard
        say_bug(bug, chosen())
        document: dict[str, object] = {
            "schema": schema,
            "exit_code": int(ExitCode.BUG),
            "error": {"code": "cli.bug", "message": repr(bug), "params": {"what": repr(bug)}},
        }
        if bugged is not None:
            with contextlib.suppress(Exception):
                bugged(document)
        _emit_last(document)
        return int(ExitCode.BUG)


def spoken(body: Callable[[], int], *, lang: Callable[[], Language], as_json: bool, schema: str) -> int:
    """Run a command that speaks to people, or prints a JSON document under `--json`, also on failure."""
    if as_json:
        return guarded(schema, body, lang)
    try:
        with _as_unavailable():
            return int(body())
    except Stage4Error as error:
        say_error(error, lang())
        return int(error.exit_code)
    except KeyboardInterrupt:
        say(words.text("cli.interrupted", lang()))
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our lines went away (`| head`): nothing is left to say.
        _give_up(sys.stdout)
        return int(ExitCode.DONE)
    except Exception as bug:  # noqa: BLE001 - the outer guard
        say_bug(bug, lang())
        return int(ExitCode.BUG)


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
