"""Credentials follow their files, and never in the middle of a change."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from stage4.errors import Unavailable, UsageError
from stage4.security.certificate_facts import facts_of
from stage4.security.certificates import load_certificates
from stage4.security.demo_pki import CreatedBundle, create_bundle
from stage4.security.mtls import ClientIdentity, ServerIdentity, peer_names
from support.certificates import NOW


@dataclass(frozen=True)
class Renewal:
    """The bundle in use and the one that will replace it, file by file."""

    used: CreatedBundle
    fresh: CreatedBundle

    def bring(self, role: str) -> None:
        """Replace one file as a deployment does it: beside, then rename."""
        source, target = getattr(self.fresh, role), getattr(self.used, role)
        beside = target.with_suffix(".new")
        shutil.copy(source, beside)
        os.replace(beside, target)

    def server(self) -> ServerIdentity:
        return ServerIdentity(self.used.server, self.used.server_key, self.used.ca)


@pytest.fixture
def renewal(tmp_path: Path) -> Renewal:
    used = create_bundle(tmp_path / "used", "core-oem", now=NOW)
    return Renewal(used, create_bundle(tmp_path / "fresh", "core-oem", now=NOW))


def test_an_identity_holds_the_pem_of_its_three_files(renewal: Renewal) -> None:
    material = renewal.server().material
    assert material.chain == renewal.used.server.read_bytes()
    assert material.private_key == renewal.used.server_key.read_bytes()
    assert material.trusted == renewal.used.ca.read_bytes()
    assert material.fingerprint == facts_of(load_certificates(renewal.used.server)[0]).fingerprint
    assert "PRIVATE" not in repr(material)


def test_nothing_is_reloaded_while_nothing_changes(renewal: Renewal) -> None:
    identity = renewal.server()
    assert identity.reload() is None
    os.utime(renewal.used.server, (1, 1))
    assert identity.reload() is None
    assert identity.problem is None


def test_a_half_done_renewal_keeps_the_old_pair_and_says_why(renewal: Renewal) -> None:
    identity = renewal.server()
    before = identity.material
    renewal.bring("server")
    assert identity.reload() is None
    assert identity.material == before
    assert identity.problem is not None
    assert identity.problem.code == "security.key_mismatch"

    renewal.bring("server_key")
    renewed = identity.reload()
    assert renewed is not None
    assert renewed == identity.material
    assert renewed.fingerprint != before.fingerprint
    assert identity.problem is None
    assert identity.reload() is None


def test_a_file_that_vanishes_keeps_the_old_material_in_use(renewal: Renewal) -> None:
    identity = ClientIdentity(renewal.used.client, renewal.used.client_key, renewal.used.ca)
    before = identity.material
    renewal.used.ca.unlink()
    assert identity.reload() is None
    assert identity.problem is not None
    assert identity.problem.code == "files.missing"
    renewal.bring("ca")
    assert identity.reload() is not None
    assert identity.material.chain == before.chain


def test_the_first_load_has_nothing_to_fall_back_on(renewal: Renewal, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"security\.key_mismatch"):
        ServerIdentity(renewal.used.server, renewal.used.client_key, renewal.used.ca)
    with pytest.raises(Unavailable, match=r"files\.missing"):
        ServerIdentity(renewal.used.server, renewal.used.server_key, tmp_path / "absent.pem")
    renewal.used.ca.write_text("not a certificate")
    with pytest.raises(UsageError, match=r"security\.certificate_missing"):
        renewal.server()


def test_the_names_of_a_peer_are_read_from_grpcs_context() -> None:
    context = {"x509_subject_alternative_name": [b"stage4-client", b"desk.example"], "x509_common_name": [b"cn"]}
    assert peer_names(context) == {"stage4-client", "desk.example"}
    assert peer_names({}) == frozenset()
