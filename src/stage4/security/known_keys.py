"""Keys that are published somewhere, so that whoever wants to can have the private half: test keys, stolen keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files as resources


def known_key(spki_sha256: str) -> str | None:
    """Where the key with this SHA-256 of its SubjectPublicKeyInfo is published; None for one that is not listed."""
    return known_keys().get(spki_sha256)


@cache
def known_keys() -> Mapping[str, str]:
    """The list: digest in lower-case hexadecimal, and the source in words."""
    text = resources("stage4.security").joinpath("known_keys.txt").read_text(encoding="utf-8")
    rows = (line.partition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {digest: source for digest, _, source in rows}
