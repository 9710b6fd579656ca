"""The command line: a file a command group; this file only finds the one that is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """The `stage4` command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    from stage4.cli.root import run

    return run(arguments)
