"""
What every command shares: the outer guard, the document on stdout, the conversation on stderr.

`guarded` and `spoken` are the only places that catch `Exception`: an unexpected one is a bug, exit 70, with its
traceback only under STAGE4_DEBUG.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stage4 import words
from stage4.errors import ExitCode, Stage4Error
from stage4.words import Language


def language(environ: Mapping[str, str] | None = None, configured: Language | None = None) -> Language:
    """`STAGE4_LANG`, else the installation's setting, else English."""
    chosen = (os.environ if environ is None else environ).get("STAGE4_LANG", "")
    return chosen if chosen in words.languages else configured or "en"


def say(line: str) -> None:
    """One line to people, on stderr."""
    print(line, file=sys.stderr, flush=True)


def say_error(error: Stage4Error, lang: Language) -> None:
    """`error:` and, where there is one, `hint:`."""
    params = _readable(error.params)
    say(f"error: {words.text(error.code, lang, **params)}")
    hint = words.hint(error.code, lang, **params)
    if hint:
        say(f"hint: {hint}")


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
    """The document on stdout: whole, at the end, once."""
    from stage4 import files

    sys.stdout.buffer.write(files.json_bytes(document))
    sys.stdout.buffer.flush()


def save(document: object, path: Path, mode: int = 0o644) -> None:
    """The same document in `--output FILE`, whole or not at all."""
    from stage4 import files

    files.write_json(path, document, mode)


def guarded(schema: str, body: Callable[[], int], lang: Callable[[], Language] | None = None) -> int:
    """Run a command that always prints one JSON document; the exit code is its verdict.

    `body` prints its own document when it returns; when it raises, the document says why. `lang` is asked late,
    because the settings that name the language may be what cannot be read.
    """
    chosen = lang or language
    try:
        return int(body())
    except Stage4Error as error:
        say_error(error, chosen())
        emit(error_document(schema, error))
        return int(error.exit_code)
    except KeyboardInterrupt:
        say(words.text("cli.interrupted", chosen()))
        emit({"schema": schema, "exit_code": int(ExitCode.INTERRUPTED), "error": {"code": "cli.interrupted"}})
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        return _closed_pipe()
    except Exception as bug:  # noqa: BLE001 - the outer guard
        say_bug(bug, chosen())
        emit({"schema": schema, "exit_code": int(ExitCode.BUG), "error": {"code": "cli.bug", "message": repr(bug)}})
        return int(ExitCode.BUG)


def spoken(body: Callable[[], int], *, lang: Callable[[], Language], as_json: bool, schema: str) -> int:
    """Run a command that speaks to people, or prints a JSON document under `--json`, also on failure."""
    if as_json:
        return guarded(schema, body, lang)
    try:
        return int(body())
    except Stage4Error as error:
        say_error(error, lang())
        return int(error.exit_code)
    except KeyboardInterrupt:
        say(words.text("cli.interrupted", lang()))
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        return _closed_pipe()
    except Exception as bug:  # noqa: BLE001 - the outer guard
        say_bug(bug, lang())
        return int(ExitCode.BUG)


def say_bug(bug: Exception, lang: Language) -> None:
    """`bug:` in one line, and the traceback under STAGE4_DEBUG."""
    say("bug: " + words.text("cli.bug", lang, what=f"{type(bug).__name__}: {bug}"))
    if os.environ.get("STAGE4_DEBUG"):
        say("".join(traceback.format_exception(bug)))
    else:
        say("hint: " + (words.hint("cli.bug", lang) or ""))


def terminate_as_interrupt() -> None:
    """Let SIGTERM end a command as Ctrl-C does, so that records are finished and children ended."""

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _closed_pipe() -> int:
    # The reader of our output went away (`| head`): nothing is left to say, and flushing would fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(ExitCode.DONE)


def _readable(params: Mapping[str, object]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (int, float, str)) or value is None else str(value)
        for name, value in params.items()
    }
