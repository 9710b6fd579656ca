"""Opens the decision log of an installation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stage4.clock import Clock
from stage4.config import Installation
from stage4.decisionlog.writer import DecisionLog
from stage4.security.keyring import KeyRing


def load_keyring(installation: Installation, environ: Mapping[str, str]) -> KeyRing:
    """The key ring that the settings name."""
    return KeyRing.load(installation.keyring_path, environ)


def open_log(
    installation: Installation, clock: Clock, environ: Mapping[str, str], *, path: Path | None = None
) -> DecisionLog:
    """The configured log, or another one at `path`, with the installation's keys.

    Nothing is made on the disk before the first append.
    """
    return DecisionLog(
        path or installation.decision_log_path,
        load_keyring(installation, environ),
        clock,
        origin=installation.settings.operations.installation_id,
    )
