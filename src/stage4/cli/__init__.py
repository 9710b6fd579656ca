"""The command line: a file a command group; this file only finds the one that is asked for."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence

_INTERRUPTED = b"""{
  "schema": "stage4.error/1",
  "exit_code": 130,
  "error": {
    "code": "cli.interrupted"
  }
}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The `stage4` command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    called: Callable[[list[str]], int] | None = None
    try:
        from stage4.cli.root import run

        called = run
        return called(arguments)
    except KeyboardInterrupt:
        # It fell into the imports, or beside the guard: there is nobody to ask for words or for a document.
        with contextlib.suppress(OSError):
            os.write(2, b"interrupted\n")
            if called is None and "--json" in arguments:
                os.write(1, _INTERRUPTED)
        return 130
