"""Collects the evidence of one audit: every file is read here, once, and nothing is written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from stage4 import files
from stage4.audit import collect_bundle, collect_earlier, collect_files, collect_keys, collect_log, collect_tokens
from stage4.audit.collect_tokens import Marker
from stage4.audit.comparison import Summary
from stage4.audit.evidence import (
    Bundle,
    CertificateFile,
    Evidence,
    Files,
    Input,
    Problem,
    RegistryFacts,
    RevocationFile,
    SettingNotice,
)
from stage4.audit.kept_reports import KeptReports
from stage4.audit.reading import Place, printable, problem_of
from stage4.audit.waivers import WAIVERS, Waiver, require_answerable, waivers_of
from stage4.clock import Clock
from stage4.config import CORE, Installation, read_yaml
from stage4.errors import Stage4Error
from stage4.security.rotation import RotationRegistry, shown
from stage4.security.rotation_journal import backed_up_keys, journal_path

_INPUT_LIMIT: Final = 8 << 20


def collect(
    installation: Installation,
    bundle: str,
    *,
    environ: Mapping[str, str],
    now: datetime,
    clock: Clock,
    pepper: bytes,
    config: Path | None = None,
    earlier: Summary | None = None,
    kept: KeptReports | None = None,
) -> Evidence:
    """Everything the controls judge, as it stands; `pepper` (fresh chance, 16 bytes or more) hides equal secrets.

    `earlier` is the report that the findings will be compared with; `kept` are the kept ones, where the caller has
    read some of them.

    Raises nothing for what is absent, unreadable or malformed: that is evidence too.
    """
    marker, place = Marker(pepper), Place(installation.root)
    core = config or installation.root / CORE
    kept = kept or KeptReports.of(installation, environ, clock.now())
    found = collect_bundle.collect(installation, bundle, now)
    authority = found.certificate("ca")
    wanted = {facts.spki_sha256 for facts in authority.certificates} if authority else set()
    at_hand = collect_keys.collect(installation, wanted)
    found = replace(
        found,
        authority_keys=tuple(map(place.shown, at_hand.wanted)),
        unlooked=tuple(map(place.shown, at_hand.unlooked)),
    )
    waivers, waivers_problem = _waivers(installation, place)
    granted = [installation.root / WAIVERS] if waivers or waivers_problem else []
    registry_paths = {
        "tls": installation.path(installation.settings.execution.mtls.rotation_registry),
        "keys": installation.path(installation.settings.observability.key_rotation.registry_path),
    }
    registries = tuple(_registry(place, name, path) for name, path in registry_paths.items())
    audited = (*registry_paths.values(), *granted)
    journal = journal_path(installation.root, bundle)
    return Evidence(
        collected_at=now,
        installation=installation.settings.operations.installation,
        bundle=found,
        files=_files(installation, bundle, audited, at_hand.private, core, environ),
        services=collect_tokens.services(installation),
        tokens=collect_tokens.collect(installation, environ, marker),
        other_secrets=collect_tokens.others(installation, environ, marker),
        inline_secrets=tuple(collect_tokens.inline(installation)),
        registries=registries,
        log=collect_log.collect(installation, environ, marker, clock, kept),
        notices=tuple(_notices(installation)),
        inputs=tuple(_input(place, path) for path in (core, *_read(installation, found), *audited)),
        waivers=waivers,
        waivers_problem=waivers_problem,
        earlier_report=earlier,
        doubted_reports=kept.doubted(),
        unchecked_reports=kept.any and not kept.can_tell,
        earlier_certificates=collect_earlier.collect(kept, bundle, found, registries[0]),
        unfinished=place.shown(journal) if os.path.lexists(journal) else None,
    )


def _files(
    installation: Installation,
    bundle: str,
    audited: Iterable[Path],
    private: Iterable[Path],
    core: Path,
    environ: Mapping[str, str],
) -> Files:
    """Mode and owner of all that is read; `audited` are public files beside those of the bundle, `private` keys."""
    material = collect_bundle.configured_paths(installation, bundle)
    keys = [path for role, path in material.items() if role.endswith("_key")]
    tls = installation.settings.runtime.metrics_service.tls
    if tls.private_key_path:
        keys.append(installation.path(tls.private_key_path))
    keys += [*backed_up_keys(installation.root), *private]
    public = [path for role, path in material.items() if not role.endswith("_key")]
    public += [installation.path(name) for name in installation.settings.execution.mtls.crls]
    return collect_files.collect(
        installation,
        collect_files.secret_paths(installation, keys),
        (*public, *audited, *collect_files.public_paths(installation, core)),
        environ,
    )


def _read(installation: Installation, bundle: Bundle) -> Iterator[Path]:
    """The certificates and lists; a file that is none may hold anything, a private key too, so no digest is kept."""
    files_read: tuple[CertificateFile | RevocationFile, ...] = (*bundle.certificates, *bundle.revocation_files)
    yield from (installation.path(file.path) for file in files_read if file.problem is None)


def _notices(installation: Installation) -> Iterator[SettingNotice]:
    for notice in installation.notices:
        if "key" in notice.params:
            yield SettingNotice(
                printable(str(notice.params["key"])),
                int(str(notice.params["line"])),
                blank=notice.params.get("text") is not True,
                value=printable(str(notice.params["value"])) if "value" in notice.params else None,
            )


def _waivers(installation: Installation, place: Place) -> tuple[tuple[Waiver, ...], Problem | None]:
    """All waivers of the installation or, where one is malformed or the file does not answer, none and the reason."""
    path = place.root / WAIVERS
    try:
        waivers = waivers_of(read_yaml(path))
        if waivers:
            from stage4.security.people import People

            people = People.load(installation.path(installation.settings.operations.operators_file))
            require_answerable(waivers, people, path)
        return waivers, None
    except Stage4Error as error:
        if error.code == "files.missing" and error.params.get("path") == path:
            return (), None
        return (), problem_of(error, place)


def _registry(place: Place, name: str, path: Path) -> RegistryFacts:
    try:
        registry = RotationRegistry.load(path)
    except Stage4Error as error:
        return RegistryFacts(name, place.shown(path), problem_of(error, place))
    bad_rows = tuple((shown(problem.row), problem.reason) for problem in registry.problems)
    return RegistryFacts(name, place.shown(path), rows=dict(registry.rotated_at), bad_rows=bad_rows)


def _input(place: Place, path: Path) -> Input:
    digest = None
    # Whatever is larger was refused where it was read; taking its digest could last for hours.
    with suppress(Stage4Error):
        digest = hashlib.sha256(files.read_limited(path, _INPUT_LIMIT)).hexdigest()
    return Input(place.shown(path), digest)
