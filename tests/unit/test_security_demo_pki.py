"""The demo PKI passes every rule that the audit has for a real one."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from stage4.errors import Conflict
from stage4.security.certificate_chain import ChainReason, Purpose, verify_chain
from stage4.security.certificate_facts import facts_of
from stage4.security.certificates import key_matches, load_certificates, load_private_key
from stage4.security.demo_pki import CreatedBundle, bundle_paths, create_bundle, is_demo
from support.certificates import NOW, make


@pytest.fixture
def bundle(tmp_path: Path) -> CreatedBundle:
    return create_bundle(tmp_path / "mtls", "core-oem", now=NOW + timedelta(microseconds=7))


def test_the_five_files_have_the_names_of_the_field_and_private_keys(bundle: CreatedBundle, tmp_path: Path) -> None:
    names = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "mtls").iterdir()}
    assert names == {
        "core-oem-ca.pem": 0o644,
        "core-oem-server.pem": 0o644,
        "core-oem-client.pem": 0o644,
        "core-oem-server-key.pem": 0o600,
        "core-oem-client-key.pem": 0o600,
    }
    assert bundle.server_key == bundle_paths(tmp_path / "mtls", "core-oem")["server_key"]


@pytest.mark.parametrize(
    ("role", "purpose", "host", "reason"),
    [
        ("server", "server", "localhost", ChainReason.VALID),
        ("server", "server", "127.0.0.1", ChainReason.VALID),
        ("server", "server", "other.example", ChainReason.WRONG_HOST),
        ("server", "client", None, ChainReason.WRONG_PURPOSE),
        ("client", "client", None, ChainReason.VALID),
        ("client", "server", "stage4-client", ChainReason.WRONG_PURPOSE),
    ],
)
def test_each_certificate_is_good_for_its_role_only(
    bundle: CreatedBundle, role: str, purpose: Purpose, host: str | None, reason: ChainReason
) -> None:
    [leaf] = load_certificates(getattr(bundle, role))
    anchors = load_certificates(bundle.ca)
    assert verify_chain(leaf, [], anchors, purpose=purpose, host=host, now=NOW).reason is reason
    assert key_matches(leaf, load_private_key(getattr(bundle, f"{role}_key")))


def test_the_certificates_carry_what_rfc_5280_asks_for(bundle: CreatedBundle) -> None:
    ca, server, client = (facts_of(load_certificates(path)[0]) for path in (bundle.ca, bundle.server, bundle.client))
    assert ca.is_ca
    assert ca.aki == ca.ski == server.aki == client.aki
    assert server.sans == ("DNS:localhost", "IP:127.0.0.1")
    assert client.sans == ("DNS:stage4-client",)
    assert len({facts.spki_sha256 for facts in (ca, server, client)}) == 3
    assert max(server.not_after, client.not_after) <= ca.not_after


def test_the_rotations_agree_with_the_certificates(bundle: CreatedBundle) -> None:
    assert set(bundle.rotations) == {("core-oem", f"tls_{role}") for role in ("ca", "server", "client")}
    for path in (bundle.ca, bundle.server, bundle.client):
        assert facts_of(load_certificates(path)[0]).not_before in bundle.rotations.values()


def test_an_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "core-oem-client.pem").write_text("mine")
    with pytest.raises(Conflict, match=r"security\.bundle_exists"):
        create_bundle(tmp_path, "core-oem", now=NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["core-oem-client.pem"]


def test_a_demo_certificate_is_recognised(bundle: CreatedBundle) -> None:
    assert is_demo(load_certificates(bundle.server)[0])
    assert is_demo(load_certificates(bundle.ca)[0])
    assert not is_demo(make("ca", ca=True).certificate)
