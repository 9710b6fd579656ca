"""How often the crash tests kill: a few times in every run, a thousand times in `make soak`."""

from __future__ import annotations

import os

SOAK = bool(os.environ.get("STAGE4_SOAK"))
SOAK_KILLS = 1000


def kills(short: int) -> int:
    """`short`, or a thousand in a soak."""
    return SOAK_KILLS if SOAK else short
