"""Where the programs are that tests run beside ours: unpacked by `make test` into `.tools`, or installed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
UNPACKED: Final = REPOSITORY / ".tools" / "bin"
_DEBIAN_NAME: Final = {"alertmanager": "prometheus-alertmanager"}


def tool(name: str) -> str:
    """The path of one of the programs that `tools/fetch_tools.py` brings."""
    unpacked = UNPACKED / name
    debian = _DEBIAN_NAME.get(name, name)
    found = str(unpacked) if os.access(unpacked, os.X_OK) else shutil.which(name) or shutil.which(debian)
    assert found is not None, f"{name} is missing: run python3 tools/fetch_tools.py"
    return found
