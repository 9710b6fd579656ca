"""
How hard a secret is to guess, from its form alone.

The estimate is an upper bound: the length of the shortest part that repeats, times the bits of the smallest
alphabet that holds its characters, less where only few of them are in use. It recognises what people
type, not what a generator with a flaw makes.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

_ALPHABETS: Final = (
    frozenset("0123456789"),
    frozenset("0123456789abcdef"),
    frozenset("0123456789ABCDEF"),
    frozenset("abcdefghijklmnopqrstuvwxyz"),
    frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ"),
    frozenset("abcdefghijklmnopqrstuvwxyz0123456789"),
    frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"),
)
_OTHER_SYMBOLS: Final = 90
_VARIETY: Final = 0.6
# Six letters and more: shorter words turn up by chance in a random token.
_PLACEHOLDERS: Final = (
    "changeme",
    "change-me",
    "change_me",
    "default",
    "example",
    "letmein",
    "password",
    "placeholder",
    "qwerty",
    "replace",
    "secret",
    "yourtoken",
    "your-token",
    "your_token",
)


def bits(secret: str) -> float:
    """An upper bound of the guessing work, in bits; 0 for nothing."""
    unit = secret[: _period(secret)]
    if not unit:
        return 0.0
    used = set(unit)
    alphabet = next((len(a) for a in _ALPHABETS if used <= a), _OTHER_SYMBOLS)
    # Chance uses about this many different characters; far fewer mean that only those few were chosen from.
    expected = alphabet * (1 - (1 - 1 / alphabet) ** len(unit))
    symbol_bits = math.log2(alphabet if len(used) >= _VARIETY * expected else len(used))
    # A run such as "abcdefgh" or "aaaa" is one choice, not eight.
    runs = 1 + sum(1 for a, b in pairwise(unit) if ord(b) - ord(a) not in (0, 1))
    choices = len(unit) if runs > len(unit) / 2 else runs
    return symbol_bits * choices


def is_placeholder(secret: str) -> bool:
    """Whether it holds a word that people put where a secret should be."""
    lowered = secret.lower()
    return any(word in lowered for word in _PLACEHOLDERS)


def _period(secret: str) -> int:
    """The length of the shortest part whose repetition makes the whole."""
    return (secret + secret).find(secret, 1) if secret else 0
