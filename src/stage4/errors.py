"""
Every exception stage4 raises on purpose.

* Stage4Error
  + UsageError       the caller or the configuration is malformed         exit 2
  + Unavailable      a file, key, database or peer did not answer         exit 3
  + Refused          policy, role or current state says no                exit 4
    - Conflict       someone else changed it first                        exit 4

An error carries a code of the message catalogue and its parameters; the rim (command line, API, console)
turns them into Polish or English. `str(error)` is for logs and tests.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What a command answers; the whole product uses these and no others."""

    DONE = 0
    NO = 1
    USAGE = 2
    CANNOT_TELL = 3
    REFUSED = 4
    BUG = 70
    INTERRUPTED = 130


class Stage4Error(Exception):
    """Base of all errors raised on purpose; `code` is a catalogue code, `params` fill its text."""

    exit_code: ClassVar[ExitCode] = ExitCode.BUG

    def __init__(self, code: str, /, **params: object) -> None:
        self.code = code
        self.params = params
        super().__init__(code)

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.params.items())
        return f"{self.code} ({facts})" if facts else self.code


class UsageError(Stage4Error):
    """The call or the configuration is malformed: fix it and call again."""

    exit_code = ExitCode.USAGE


class Unavailable(Stage4Error):
    """Something needed did not answer, so nothing can be said: retry, then escalate."""

    exit_code = ExitCode.CANNOT_TELL


class Refused(Stage4Error):
    """Policy, role or state says no: ask the right person."""

    exit_code = ExitCode.REFUSED


class Conflict(Refused):
    """Someone else changed it first: read again, then decide."""
