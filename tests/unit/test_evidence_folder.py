"""The evidence of an incident as a folder that the usual tools can check."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stage4.errors import Unavailable
from stage4.incidents.evidence import Artefact, EvidenceStore
from stage4.reports.evidence_folder import SUMS, write_folder

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)


def kept(store: EvidenceStore, step: str, name: str, body: bytes) -> Artefact:
    return Artefact("INC-20261123-0001", step, "output", name, store.keep(body), len(body), "application/json", AT)


def test_the_sums_are_what_sha256sum_checks(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    artefacts = [kept(store, "L1.2", "compliance.json", b"one"), kept(store, "L2.1", "compliance.json", b"two")]
    folder = write_folder(tmp_path / "out", artefacts, store)
    ended = subprocess.run(["sha256sum", "--strict", "-c", SUMS], cwd=folder, capture_output=True, check=False)
    assert ended.returncode == 0
    assert (folder / "L2.1/compliance.json").read_bytes() == b"two"


def test_two_artefacts_of_one_name_are_both_there(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    artefacts = [kept(store, "L1.2", "compliance.json", b"one"), kept(store, "L1.2", "compliance.json", b"two")]
    folder = write_folder(tmp_path / "out", artefacts, store)
    assert {path.read_bytes() for path in (folder / "L1.2").iterdir()} == {b"one", b"two"}


def test_a_hostile_name_stays_inside_the_folder(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    folder = write_folder(tmp_path / "out", [kept(store, "attached", "../../etc/x", b"one")], store)
    inside = [path for path in folder.rglob("*") if path.is_file()]
    assert all(folder in path.parents for path in inside)
    assert any(path.read_bytes() == b"one" for path in inside)


def test_evidence_that_changed_is_not_laid_out_as_if_it_had_not(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    artefact = kept(store, "L1.2", "compliance.json", b"one")
    store.path(artefact.sha256).chmod(0o600)
    store.path(artefact.sha256).write_bytes(b"forged")
    with pytest.raises(Unavailable, match="incident.evidence_changed"):
        write_folder(tmp_path / "out", [artefact], store)
