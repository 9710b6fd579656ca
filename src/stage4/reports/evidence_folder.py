"""The evidence of one incident as a folder that people can open and check without this product."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from stage4 import files
from stage4.incidents.evidence import Artefact, EvidenceStore

SUMS = "SHA256SUMS"


def write_folder(directory: Path, artefacts: Sequence[Artefact], store: EvidenceStore) -> Path:
    """
    Copy every artefact to `<directory>/<step>/<name>`, with `SHA256SUMS` for `sha256sum -c`.

    What is there already is replaced whole. Raises Unavailable for an artefact that is no longer what it was.
    """
    sums = []
    for relative, artefact in _placed(artefacts):
        files.atomic_write(directory / relative, store.read(artefact.sha256), 0o444)
        sums.append(f"{artefact.sha256}  {relative}\n")
    files.atomic_write(directory / SUMS, "".join(sums).encode("utf-8"))
    return directory


def _placed(artefacts: Sequence[Artefact]) -> Iterator[tuple[str, Artefact]]:
    """A path for each artefact; the second one of a name gets the beginning of its digest in front."""
    taken: dict[str, str] = {}
    for artefact in artefacts:
        step = _safe(artefact.step)
        relative = f"{step}/{_safe(artefact.name)}"
        if taken.get(relative, artefact.sha256) != artefact.sha256:
            relative = f"{step}/{artefact.sha256[:12]}-{_safe(artefact.name)}"
        if relative not in taken:
            taken[relative] = artefact.sha256
            yield relative, artefact


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name).lstrip(".") or "_"
