"""Files of a bundle that are not what they should be: each is named, none is waited for, none passes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from stage4.audit.collect import collect
from stage4.audit.controls import CONTROLS
from stage4.audit.finding import Finding, Outcome
from stage4.audit.policy import Policy
from stage4.audit.report import judge
from stage4.config import load
from stage4.testing.clock import ManualClock
from support.audits import NOW, demo_installation
from support.certificates import CLIENT, SERVER, Made, crl_pem, key_pem, make, pem, revocation_list, rsa_key

SERVER_FILE, CLIENT_FILE, CA_FILE = (f"secrets/mtls/core-oem-{role}.pem" for role in ("server", "client", "ca"))
KEY_FILE = "secrets/mtls/core-oem-server-key.pem"
CRL = "secrets/mtls/core-oem.crl"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("bundle") / "demo"
    return root, demo_installation(root)


@pytest.fixture
def root(made: tuple[Path, dict[str, str]], tmp_path: Path) -> Path:
    shutil.copytree(made[0], tmp_path / "demo")
    return tmp_path / "demo"


@pytest.fixture
def environ(made: tuple[Path, dict[str, str]]) -> dict[str, str]:
    return made[1]


def findings(root: Path, environ: dict[str, str]) -> list[Finding]:
    installation, clock = load(root), ManualClock(NOW)
    evidence = collect(installation, "core-oem", environ=environ, now=NOW, clock=clock, pepper=b"p" * 32)
    controls = [control for control in CONTROLS if control.group == "X509"]
    return list(judge(controls, evidence, Policy.of(installation.settings), NOW).findings)


def said(root: Path, environ: dict[str, str], control: str) -> set[tuple[str, str, str]]:
    return {
        (finding.subject, str(finding.outcome), finding.code)
        for finding in findings(root, environ)
        if finding.control == control and finding.outcome is not Outcome.PASS
    }


def binary(path: Path) -> None:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    path.write_bytes(certificate.public_bytes(serialization.Encoding.DER))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def twice(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def with_client(path: Path) -> None:
    path.write_bytes(path.read_bytes() + (path.parent / "core-oem-client.pem").read_bytes())


def appended(tail: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes() + tail) and None


def written(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def a_list(path: Path) -> None:
    path.write_bytes(path.read_bytes() + crl_pem(revocation_list(make("ca", ca=True))))


@pytest.mark.parametrize(
    ("spoil", "outcome", "code"),
    [
        (binary, "fail", "security.certificate_der"),
        (fifo, "unknown", "files.unreadable"),
        (directory, "unknown", "files.unreadable"),
        (written(b""), "fail", "security.certificate_missing"),
        (written(b"cert"), "fail", "security.certificate_missing"),
        (written(b"x" * (1 << 19)), "unknown", "files.too_large"),
        (Path.unlink, "fail", "files.missing"),
        (appended(b"garbage"), "fail", "cert.stray_text"),
        (lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()), "fail", "cert.stray_text"),
        (a_list, "fail", "cert.stray_text"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "fail", "security.certificate_missing"),
        (twice, "warn", "cert.stands_twice"),
        (with_client, "fail", "cert.second_leaf"),
        (
            lambda path: path.write_bytes(path.read_bytes() + (path.parent / "core-oem-server-key.pem").read_bytes()),
            "fail",
            "security.key_in_certificate_file",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_certificate_file_that_is_not_strict_pem_of_one_leaf_is_told(
    root: Path, environ: dict[str, str], spoil: Callable[[Path], object], outcome: str, code: str
) -> None:
    spoil(root / SERVER_FILE)

    assert (SERVER_FILE, outcome, code) in said(root, environ, "X509-01")


def test_lines_that_end_as_in_windows_are_pem_all_the_same(root: Path, environ: dict[str, str]) -> None:
    path = root / SERVER_FILE
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    assert said(root, environ, "X509-01") == set()


def test_a_key_in_binary_form_or_behind_a_passphrase_is_told(root: Path, environ: dict[str, str]) -> None:
    path = root / KEY_FILE
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    none = serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, none))
    assert said(root, environ, "X509-01") == {(KEY_FILE, "fail", "security.key_der")}
    word = serialization.BestAvailableEncryption(b"word")
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, word))
    assert said(root, environ, "X509-01") == {(KEY_FILE, "fail", "security.key_encrypted")}


@pytest.mark.parametrize(
    ("vector", "code"),
    [
        ("custom/two_basic_constraints.pem", "security.certificate_malformed"),
        ("custom/invalid_version.pem", "security.certificate_malformed"),
        ("badasn1time.pem", "security.certificate_malformed"),
    ],
)
def test_what_the_library_does_not_call_a_value_error_is_malformed_too(
    root: Path, environ: dict[str, str], vector: str, code: str
) -> None:
    import cryptography_vectors

    source = Path(cryptography_vectors.__file__).parent / "x509" / vector
    shutil.copy(source, root / CLIENT_FILE)

    assert (CLIENT_FILE, "fail", code) in said(root, environ, "X509-01")


@pytest.fixture
def ca() -> Made:
    return make("ca", ca=True, ends=NOW + timedelta(days=365))


def install(root: Path, ca: Made, *, aki: x509.AuthorityKeyIdentifier | None = None) -> tuple[Made, Made]:
    server = make("server", ca, eku=SERVER, sans=("localhost",), aki=aki)
    client = make("client", ca, eku=CLIENT, sans=("client",))
    for role, made in (("ca", ca), ("server", server), ("client", client)):
        (root / f"secrets/mtls/core-oem-{role}.pem").write_bytes(pem(made.certificate))
        if role != "ca":
            (root / f"secrets/mtls/core-oem-{role}-key.pem").write_bytes(key_pem(made.key))
    core = root / "config/core.yaml"
    text = core.read_text(encoding="utf-8").replace(
        "host: 127.0.0.1\n    port: 8741", "host: localhost\n    port: 8741"
    )
    assert "bundle_directory:" in text
    text = text.replace("bundle_directory:", f"crls: [{CRL}]\n    bundle_directory:", 1)
    core.write_text(text, encoding="utf-8")
    return server, client


def test_a_list_in_the_settings_is_judged_also_in_a_demonstration(
    root: Path, environ: dict[str, str], ca: Made
) -> None:
    server, _ = install(root, ca)
    path = root / CRL
    path.write_bytes(crl_pem(revocation_list(ca)))
    assert said(root, environ, "X509-14") == set()
    path.write_bytes(crl_pem(revocation_list(ca, server)))
    assert said(root, environ, "X509-14") == {("server", "fail", "security.revocation_revoked")}
    path.write_bytes(crl_pem(revocation_list(ca, ends=NOW - timedelta(seconds=1))))
    stale = "security.revocation_stale"
    assert said(root, environ, "X509-14") == {("server", "fail", stale), ("client", "fail", stale)}
    path.write_bytes(crl_pem(revocation_list(make("ca", ca=True))))
    untrusted = "security.revocation_untrusted"
    assert said(root, environ, "X509-14") == {("server", "fail", untrusted), ("client", "fail", untrusted)}
    good, newer = crl_pem(revocation_list(ca)), crl_pem(revocation_list(ca, server))
    path.write_bytes(good + newer.replace(b"-----END X509 CRL-----", b"-----END X509 CRL----"))
    assert (CRL, "fail", "security.list_stray") in said(root, environ, "X509-14")


def test_a_server_whose_key_identifier_leads_elsewhere_fails_the_whole_audit(
    root: Path, environ: dict[str, str], ca: Made
) -> None:
    install(root, ca, aki=x509.AuthorityKeyIdentifier(b"\x02" * 20, None, None))
    (root / CRL).write_bytes(crl_pem(revocation_list(ca)))

    assert said(root, environ, "X509-04") == {("server@localhost", "fail", "security.chain_wrong_identifiers")}


def test_a_list_that_cannot_be_read_leaves_the_question_open(root: Path, environ: dict[str, str], ca: Made) -> None:
    install(root, ca)
    unread = {("server", "unknown", "audit.no_list_readable"), ("client", "unknown", "audit.no_list_readable")}
    assert said(root, environ, "X509-14") == {(CRL, "fail", "files.missing"), *unread}
    (root / CRL).write_bytes(b"no list")
    assert said(root, environ, "X509-14") == {(CRL, "fail", "security.list_missing"), *unread}
    (root / CRL).unlink()
    os.mkfifo(root / CRL)
    assert said(root, environ, "X509-14") == {(CRL, "unknown", "files.unreadable"), *unread}


def test_an_intermediate_in_the_file_is_judged_like_the_anchor(root: Path, environ: dict[str, str], ca: Made) -> None:
    install(root, ca)
    middle = make("middle", ca, ca=True, usages=(), ends=NOW + timedelta(days=2))
    server = make("server", middle, eku=SERVER, sans=("localhost",), ends=NOW + timedelta(days=90))
    (root / SERVER_FILE).write_bytes(pem(server.certificate) + pem(middle.certificate))
    (root / KEY_FILE).write_bytes(key_pem(server.key))

    assert ("server#1", "warn", "cert.no_key_usage") in said(root, environ, "X509-12")
    assert ("server#1", "fail", "audit.expires_now") in said(root, environ, "X509-08")
    assert ("server", "warn", "cert.outlives_issuer") in said(root, environ, "X509-08")


def test_a_bundle_as_the_generators_of_the_field_make_it_is_warned_of_and_does_not_fail(
    root: Path, environ: dict[str, str]
) -> None:
    """RSA, a year for everything, key identifiers nowhere, a client without a name."""
    life = {"begins": NOW - timedelta(days=5), "ends": NOW + timedelta(days=360), "identifiers": False}
    usages = ("digital_signature", "key_encipherment")
    ca_usages = ("digital_signature", "content_commitment", "key_cert_sign", "crl_sign")
    ca = make("Desk Root CA", ca=True, key=rsa_key(2048), path_length=1, usages=ca_usages, **life)  # type: ignore[arg-type]
    server = make("Desk Trading Daemon", ca, key=rsa_key(2048), eku=SERVER, sans=("localhost",), usages=usages, **life)  # type: ignore[arg-type]
    client = make("Desk Desktop Shell", ca, key=rsa_key(2048), eku=CLIENT, usages=usages, **life)  # type: ignore[arg-type]
    for role, made in (("ca", ca), ("server", server), ("client", client)):
        (root / f"secrets/mtls/core-oem-{role}.pem").write_bytes(pem(made.certificate))
        if role != "ca":
            (root / f"secrets/mtls/core-oem-{role}-key.pem").write_bytes(key_pem(made.key))
    core = root / "config/core.yaml"
    text = core.read_text(encoding="utf-8")
    core.write_text(
        text.replace("host: 127.0.0.1\n    port: 8741", "host: localhost\n    port: 8741"), encoding="utf-8"
    )

    wrong = {
        (finding.control, finding.subject, str(finding.outcome), finding.code)
        for finding in findings(root, environ)
        if finding.outcome not in (Outcome.PASS, Outcome.SKIPPED)
    }

    assert wrong == {
        ("X509-13", "ca", "warn", "cert.no_key_identifiers"),
        ("X509-13", "server", "warn", "cert.no_key_identifiers"),
        ("X509-13", "client", "warn", "cert.no_key_identifiers"),
        ("X509-13", "client/no_san", "warn", "cert.no_san"),
    }
