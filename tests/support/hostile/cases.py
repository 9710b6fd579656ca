"""One hostile condition: what is done to a clean installation, and what the audit has to answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from support.hostile.ground import Ground

Spoil = Callable[[Ground], object]


@dataclass(frozen=True, slots=True)
class Expected:
    """A finding that has to be there; an empty `code` leaves the words open."""

    control: str
    outcome: str
    code: str = ""

    @classmethod
    def of(cls, text: str) -> Expected:
        """`"X509-07 fail cert.expired"`, the code as far as one wants to be held to it."""
        control, outcome, *code = text.split()
        return cls(control, outcome, *code)

    def __str__(self) -> str:
        return " ".join(filter(None, (self.control, self.outcome, self.code)))


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the matrix; `flags` are options that the audit is called with."""

    id: str
    what: str
    spoil: Spoil
    expected: tuple[Expected, ...]
    flags: tuple[str, ...] = ()
    as_root: bool = False  # only root can make the condition

    @property
    def outcomes(self) -> set[str]:
        return {each.outcome for each in self.expected}


def case(
    name: str, what: str, spoil: Spoil, *expected: str, flags: tuple[str, ...] = (), as_root: bool = False
) -> Case:
    """A row whose expected findings are written as `Expected.of` reads them."""
    return Case(name, what, spoil, tuple(map(Expected.of, expected)), flags, as_root)
