"""How the rotations of an installation stand: both registries as they were read, and one table over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from stage4.audit.collect_bundle import configured_paths
from stage4.audit.policy import Policy
from stage4.audit.rotation_rows import Row, rows
from stage4.config import Installation
from stage4.errors import ExitCode, Stage4Error
from stage4.security.certificates import load_certificates
from stage4.security.demo_pki import is_demo
from stage4.security.rotation import RotationRegistry
from stage4.security.rotation_journal import Journal, read_journal, require_bundle_name


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry as it was read; `error` says why it could not be."""

    path: Path
    content: RotationRegistry | None
    error: Stage4Error | None = None


@dataclass(frozen=True, slots=True)
class RotationTable:
    """Every rotation that is required or on record, the worst first; `journal` is that of one that was interrupted.

    `own` says whether `stage4 rotation rotate` can replace the bundle.
    """

    bundle: str
    own: bool
    rows: tuple[Row, ...]
    registries: Mapping[str, Registry]
    journal: Journal | None

    @property
    def readable(self) -> bool:
        return all(registry.error is None for registry in self.registries.values())

    @property
    def exit_code(self) -> ExitCode:
        """NO for what is wrong whatever else there is, CANNOT_TELL where a registry could not be read."""
        bad_rows = any(each.content is not None and each.content.problems for each in self.registries.values())
        if self.journal is not None or bad_rows or any(row.wrong for row in self.rows):
            return ExitCode.NO
        return ExitCode.DONE if self.readable else ExitCode.CANNOT_TELL


def read(installation: Installation, bundle: str, now: datetime) -> RotationTable:
    """The table at `now`; raises UsageError `rotation.bad_bundle` for what cannot be the name of a bundle."""
    require_bundle_name(bundle)
    found = registries(installation)
    policy = Policy.of(installation.settings, bundle=bundle)
    return RotationTable(
        bundle,
        is_own(installation, bundle),
        rows(policy, {name: registry.content for name, registry in found.items()}, now),
        found,
        read_journal(installation.root, bundle),
    )


def registry_paths(installation: Installation) -> dict[str, Path]:
    """The two registries: `tls` for certificates, `keys` for everything else."""
    settings = installation.settings
    return {
        "tls": installation.path(settings.execution.mtls.rotation_registry),
        "keys": installation.path(settings.observability.key_rotation.registry_path),
    }


def registries(installation: Installation) -> dict[str, Registry]:
    """Both registries; what cannot be read is said in the result."""
    found = {}
    for name, path in registry_paths(installation).items():
        try:
            found[name] = Registry(path, RotationRegistry.load(path))
        except Stage4Error as error:
            found[name] = Registry(path, None, error)
    return found


def is_own(installation: Installation, bundle: str) -> bool:
    """Whether the bundle's CA is the project's own, and this is no production installation."""
    if not installation.is_rehearsal:
        return False
    try:
        found = load_certificates(configured_paths(installation, bundle)["ca"])
    except Stage4Error:
        return False
    return is_demo(found[0])
