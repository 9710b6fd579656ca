"""How an audit names what it read, and what a failed reading means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stage4.audit.evidence import Problem
from stage4.errors import Stage4Error, Unavailable

# Plain facts, although for a service they mean "not available": absent, blank, in conflict, of a wrong form. A
# file that is there and does not answer leaves the question open.
_PLAIN: Final = frozenset({"files.missing", "keyring.secret_differs", "keyring.secret_malformed"})


@dataclass(frozen=True, slots=True)
class Place:
    """The installation's root, by which paths are shown short and alike on every machine."""

    root: Path

    def shown(self, path: Path) -> str:
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)


def problem_of(error: Stage4Error, place: Place) -> Problem:
    """The problem that `error` stands for, its paths shown as the report shows them."""
    params = {
        name: place.shown(value) if isinstance(value, Path) else value if isinstance(value, int | str) else str(value)
        for name, value in error.params.items()
    }
    plain = error.code in _PLAIN or error.code.startswith("security.")
    undecided = isinstance(error, Unavailable) and not plain
    return Problem(error.code, params, undecided)
