"""The certificate of a server or a client with one thing wrong: how a row says so, and both sides of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from cryptography import x509

from support.certificates import Made
from support.hostile import der
from support.hostile.cases import Case, case
from support.hostile.ground import Ground
from support.hostile.pki import (
    NAMES,
    alternative,
    leaf,
)

Make = Callable[[str, Ground], Made]
Row = tuple[str, str, Make, tuple[str, ...]]  # id, what, the certificate, the findings; CHAIN is X509-04 or -05


def right_but(**changes: Any) -> Make:
    """The right certificate but for arguments of `certificates.make`."""
    return lambda side, ground: leaf(side, ground.pki.ca, **changes)


def right_and(*extensions: tuple[x509.ExtensionType, bool], **changes: Any) -> Make:
    """The right certificate with more extensions."""
    return lambda side, ground: leaf(
        side, ground.pki.ca, extensions=(alternative(*NAMES[side]), *extensions), **changes
    )


def rewritten(edit: Callable[[der.Fields], object]) -> Make:
    """The right certificate, taken apart, changed and signed again by the CA."""
    return lambda side, ground: der.changed(leaf(side, ground.pki.ca), ground.pki.ca, edit)


def lasting(begins: datetime, ends: datetime) -> Make:
    return right_but(begins=begins, ends=ends)


def sided(group: str, rows: tuple[Row, ...]) -> Iterator[Case]:
    for side, chain in (("server", "X509-04"), ("client", "X509-05")):
        for row, what, make, expected in rows:

            def spoil(ground: Ground, side: str = side, make: Make = make) -> None:
                ground.install(side, make(side, ground))

            findings = (each.replace("CHAIN", chain) for each in expected)
            yield case(f"{group}-{side}-{row}", f"{side}: {what}", spoil, *findings)
