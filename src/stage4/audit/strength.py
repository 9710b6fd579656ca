"""
How hard a secret is to guess, from its form alone.

The estimate is an upper bound: the length of the shortest part that repeats, times the bits of the smallest
alphabet that holds its characters, less where only few of them are in use, where they run in order or where a
part has stood before. It recognises what people type, not what a generator with a flaw makes: it knows digests of the
words that are tried first, words in CamelCase with a year, and nothing of other words, other languages' sentences,
digits of rarer constants, keys of a keyboard, or a digest of anything else. What was published somewhere looks like
chance to it.
"""

from __future__ import annotations

import hashlib
import math
import re
from functools import cache
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
# A part of this length stands twice in a random token once in ten million.
_ECHO: Final = 8
# Six letters and more: shorter words turn up by chance in a random token.
_PLACEHOLDERS: Final = (
    "changeme",
    "change-me",
    "change_me",
    "changethis",
    "change-this",
    "change_this",
    "default",
    "example",
    "hasło",
    "letmein",
    "password",
    "placeholder",
    "przyklad",
    "przykład",
    "qwerty",
    "replace",
    "sample",
    "secret",
    "sekret",
    "tajemnica",
    "test-token",
    "test_token",
    "testtoken",
    "twoj-token",
    "twój-token",
    "yourtoken",
    "your-token",
    "your_token",
    "zmien-mnie",
    "zmien_mnie",
    "zmienmnie",
    "zmień",
)
# What is tried first against a token of which only a hash is known.
COMMON: Final = (
    "",
    *_PLACEHOLDERS,
    *("a", "abc", "admin", "core-oem", "metrics", "operator", "risk", "root", "scheduler", "stage4", "test", "token"),
    *("1234", "12345678", "1234567890", "abc123", "password1"),
    *(letter * size for letter in "0ax" for size in (16, 24, 32, 64)),
)
_DIGESTS: Final = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b")
_DIGEST_SIZES: Final = frozenset({32, 40, 56, 64, 96, 128})
# `MyCompanyTradingDeskToken2026`: words that begin with a capital each, and a year; chance makes no such row.
_WORDED: Final = re.compile(r"(?:[a-z]+|[A-Z][a-z]+)(?:[A-Z][a-z]+){2,}[ _.-]?(?:19|20)\d\d[!?.]?")
_WORDS: Final = re.compile(r"[A-Z]?[a-z]+|\d+")
_WORD_BITS: Final = 14.0
_RUNNING: Final = 0.8
# How pi, e, the golden ratio and the root of two begin behind the point.
_CONSTANTS: Final = ("14159265358979", "71828182845904", "61803398874989", "41421356237309")
# What a template leaves behind where nobody filled it in.
_TEMPLATE: Final = re.compile(r"\$\{.*\}|\$\(.*\)|\$[A-Za-z_]\w*|\{\{.*\}\}|<[^<>]*>|%\w+%|__\w+__", re.DOTALL)


# RFC 9562: of 128 bits six are fixed, and only version 4 draws the others; time and place are in the rest.
_UUID: Final = re.compile(
    r"\{?[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\}?", re.IGNORECASE
)
_UUID_BITS: Final = 122.0
_UUID_OF_TIME_BITS: Final = 60.0


def bits(secret: str) -> float:
    """An upper bound of the guessing work, in bits; 0 for nothing."""
    if uuid := _UUID.fullmatch(secret):
        return _UUID_BITS if uuid.group(1) == "4" else _UUID_OF_TIME_BITS
    unit = secret[: _period(secret)]
    if not unit:
        return 0.0
    halves = secret[::2], secret[1::2]
    if len(secret) >= _ECHO and all(_is_run(half) for half in halves):
        return 0.0
    if any(digits in secret for digits in _CONSTANTS):
        return 0.0
    used = set(unit)
    alphabet = next((len(a) for a in _ALPHABETS if used <= a), _OTHER_SYMBOLS)
    # Chance uses about this many different characters; far fewer mean that only those few were chosen from.
    expected = alphabet * (1 - (1 - 1 / alphabet) ** len(unit))
    symbol_bits = math.log2(alphabet if len(used) >= _VARIETY * expected else len(used))
    # A run such as "abcdefgh", "4321" or "aaaa" is one choice, not several.
    runs = 1 + sum(1 for a, b in pairwise(unit) if abs(ord(b) - ord(a)) > 1)
    choices = len(unit) if runs > len(unit) / 2 else runs
    estimate = symbol_bits * min(choices, _without_echoes(unit))
    # A word is one of thousands, a number of a few digits too.
    return min(estimate, _WORD_BITS * len(_WORDS.findall(secret))) if _WORDED.fullmatch(secret) else estimate


def is_placeholder(secret: str) -> bool:
    """Whether it holds a word that people put where a secret should be, is a digest of one, or an unfilled template."""
    lowered = secret.lower()
    if any(word in lowered for word in _PLACEHOLDERS) or _TEMPLATE.fullmatch(secret) is not None:
        return True
    return len(lowered) in _DIGEST_SIZES and lowered in _digests()


@cache
def _digests() -> frozenset[str]:
    """Hexadecimal digests of the words that everybody tries first."""
    return frozenset(
        hashlib.new(name, word.encode(), usedforsecurity=False).hexdigest() for name in _DIGESTS for word in COMMON
    )


def _is_run(half: str) -> bool:
    """Whether its characters go up or down one by one, or stay, nearly all the way."""
    steps = [ord(b) - ord(a) for a, b in pairwise(half)]
    return sum(abs(step) <= 1 for step in steps) >= _RUNNING * len(steps)


def _period(secret: str) -> int:
    """The length of the shortest part whose repetition makes the whole."""
    return (secret + secret).find(secret, 1) if secret else 0


def _without_echoes(unit: str) -> int:
    """How many characters are left when a part of some length that has stood before counts as one choice."""
    seen: set[str] = set()
    choices = position = 0
    while position < len(unit):
        part = unit[position : position + _ECHO]
        echo = len(part) == _ECHO and part in seen
        step = _ECHO if echo else 1
        for start in range(max(position - _ECHO + 1, 0), position + step - _ECHO + 1):
            seen.add(unit[start : start + _ECHO])
        position += step
        choices += 1
    return choices
