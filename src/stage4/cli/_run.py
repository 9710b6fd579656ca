"""
What every command shares: the outer guard, the document on stdout, the conversation on stderr.

`guarded` and `spoken` are the only places that catch `Exception` for good: an unexpected one is a bug, exit 70, with
its traceback only under STAGE4_DEBUG. The streams themselves are in `_streams`; commands find its functions here.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stage4 import words
from stage4.cli._streams import (
    deafen,
    emit,
    emit_last,
    lose,
    lost,
    out,
    out_bytes,
    own_stdout,
    say,
    settle_process,
    stream,
    stream_now,
    streaming,
    terminate_as_interrupt,
)
from stage4.errors import ExitCode, Stage4Error
from stage4.words import Language

__all__ = [
    "emit",
    "error_document",
    "error_lines",
    "guarded",
    "language",
    "lose",
    "out",
    "out_bytes",
    "save",
    "say",
    "say_bug",
    "say_error",
    "settle_process",
    "spoken",
    "stream",
    "stream_now",
    "streaming",
    "terminate_as_interrupt",
]

# What the operating system may refuse without naming a file; any other nameless OSError is a mistake of ours.
_REFUSALS = frozenset(
    (
        *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM),
    )
)


def language(environ: Mapping[str, str] | None = None, configured: Language | None = None) -> Language:
    """`STAGE4_LANG`, else the installation's setting, else English."""
    chosen = (os.environ if environ is None else environ).get("STAGE4_LANG", "")
    return chosen if chosen in words.languages else configured or "en"


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

    def tell(failure: Mapping[str, object]) -> None:
        document: dict[str, object] = {"schema": schema, **failure}
        if bugged is not None and document["exit_code"] == ExitCode.BUG:
            with contextlib.suppress(Exception):
                bugged(document)
        emit_last(document)

    return _guarded(body, lang or language, tell)


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
    with own_stdout():
        try:
            with _as_unavailable():
                code = int(body())
            if problem := lost():
                say_error(problem, lang())
                return code or int(ExitCode.CANNOT_TELL)
            return code
        except Stage4Error as error:
            say_error(error, lang())
            tell(_failure(error))
            return int(error.exit_code)
        except KeyboardInterrupt:
            deafen()
            say(_interrupted(lang))
            tell({"exit_code": int(ExitCode.INTERRUPTED), "error": {"code": "cli.interrupted"}})
            return int(ExitCode.INTERRUPTED)
        except Exception as bug:  # noqa: BLE001 - the outer guard
            say_bug(bug, lang())
            what = repr(bug)
            failure = {"code": "cli.bug", "message": what, "params": {"what": what}}
            tell({"exit_code": int(ExitCode.BUG), "error": failure})
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


def _readable(params: Mapping[str, object]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (int, float, str)) or value is None else str(value)
        for name, value in params.items()
    }
