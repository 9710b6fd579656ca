"""How an audit names what it read, and what a failed reading means."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from stage4.audit.evidence import Problem
from stage4.errors import Stage4Error, Unavailable

# Plain facts, although for a service they mean "not available": absent, blank, in conflict, of a wrong form. A
# file that is there and does not answer leaves the question open.
_PLAIN: Final = frozenset({"files.missing", "keyring.secret_differs", "keyring.secret_malformed"})
_SURELY_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})
# What stands in the place of a name that seems to be the secret itself.
HIDDEN: Final = "?"
_BARE_NAME: Final = 16
_LONG_WORD: Final = 24
_MIXED: Final = 0.3


def printable(name: str) -> str:
    """`name` on one line: what would end it, hide it or has no UTF-8 is written as an escape."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def shown_name(name: str) -> str:
    """The name of a variable or file, or `HIDDEN` where somebody seems to have written the secret in its place."""
    odd = len(name) >= _BARE_NAME and re.fullmatch(r"\w+", name, re.ASCII) is None
    return HIDDEN if odd or seems_drawn(name) else name


def seems_drawn(name: str) -> bool:
    """Whether a part of `name` looks as if chance had made it; the parts of a UUID are too short for that."""
    parts = re.split(r"[^A-Za-z0-9]+", name) if name.isascii() else re.split(r"[\W_]+", name)
    return len(name) >= _BARE_NAME and any(_is_drawn(part) for part in parts)


def _is_drawn(part: str) -> bool:
    kinds = [_kind(character) for character in part]
    changes = sum(a != b for a, b in pairwise(kinds))
    # People write words and numbers one after the other, chance mixes their characters.
    mixed = changes > _MIXED * len(part)
    enough = len(part) >= (_BARE_NAME // 2 if len(set(kinds)) > 2 else _BARE_NAME)
    return (mixed and enough) or len(part) > _LONG_WORD


def _kind(character: str) -> str:
    return "d" if character.isdecimal() else "u" if character.isupper() else "l"


def is_there(path: Path) -> bool:
    """Whether there is something at `path`; also True where nobody lets us look, so that reading it says so."""
    try:
        path.stat()
    except OSError as error:
        return error.errno not in _SURELY_ABSENT
    return True


@dataclass(frozen=True, slots=True)
class Place:
    """The installation's root, by which paths are shown short and alike on every machine."""

    root: Path

    def shown(self, path: Path) -> str:
        if path.parent == self.root and not path.suffix:
            return shown_name(printable(path.name))
        return printable(str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path))


def problem_of(error: Stage4Error, place: Place) -> Problem:
    """The problem that `error` stands for, its paths shown as the report shows them."""
    params = {
        name: place.shown(value) if isinstance(value, Path) else value if isinstance(value, int | str) else str(value)
        for name, value in error.params.items()
    }
    plain = error.code in _PLAIN or error.code.startswith("security.")
    undecided = isinstance(error, Unavailable) and not plain
    return Problem(error.code, params, undecided)
