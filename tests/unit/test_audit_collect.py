"""What the collectors see of real files, judged by the controls."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from stage4.audit.collect import collect
from stage4.audit.controls import CONTROLS
from stage4.audit.finding import Finding, Outcome
from stage4.audit.policy import Policy
from stage4.audit.report import judge, message
from stage4.audit.report_signature import SIGNATURE, signature
from stage4.clock import format_instant
from stage4.config import load
from stage4.decisionlog import key_changes
from stage4.decisionlog.checkpoints import notary
from stage4.decisionlog.open import load_keyring, open_log
from stage4.security.keyring import KeyRing, KeyState
from stage4.testing.clock import ManualClock
from support.audits import NOW, demo_installation
from support.certificates import CLIENT, SERVER, Made, ec_key, key_pem, make, pem, rsa_key
from support.decision_logs import draft

BUNDLE = "secrets/mtls/core-oem-{}.pem"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("collect") / "demo"
    return root, demo_installation(root)


@pytest.fixture
def root(made: tuple[Path, dict[str, str]], tmp_path: Path) -> Path:
    copy = tmp_path / "demo"
    shutil.copytree(made[0], copy)
    return copy


@pytest.fixture
def environ(made: tuple[Path, dict[str, str]]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **made[1]}


def wrong(root: Path, environ: dict[str, str], bundle: str = "core-oem") -> list[Finding]:
    """What is not accepted of the installation at `root`."""
    installation = load(root)
    evidence = collect(installation, bundle, environ=environ, now=NOW, clock=ManualClock(NOW), pepper=b"p" * 32)
    report = judge(CONTROLS, evidence, Policy.of(installation.settings, bundle=bundle), NOW)
    fine = (Outcome.PASS, Outcome.SKIPPED)
    return [f for f in report.findings if f.outcome not in fine and f.code != "audit.log_absent"]


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


def install(root: Path, ca: Made, server: Made, client: Made) -> None:
    for role, file in (("ca", ca), ("server", server), ("client", client)):
        (root / BUNDLE.format(role)).write_bytes(pem(file.certificate))
        if role != "ca":
            (root / BUNDLE.format(f"{role}-key")).write_bytes(key_pem(file.key))


def test_a_fresh_installation_has_nothing_wrong(root: Path, environ: dict[str, str]) -> None:
    assert wrong(root, environ) == []


def test_certificates_without_key_identifiers_are_a_warning_only(root: Path, environ: dict[str, str]) -> None:
    ca = make("ca", ca=True, identifiers=False)
    server = make("server", ca, eku=SERVER, sans=("localhost",), identifiers=False)
    client = make("client", ca, eku=CLIENT, sans=("client",), identifiers=False)
    install(root, ca, server, client)
    core = root / "config/core.yaml"
    core.write_text(
        core.read_text(encoding="utf-8").replace("host: 127.0.0.1\n    port: 8741", "host: localhost\n    port: 8741")
    )

    findings = wrong(root, environ)

    assert {(f.outcome, f.code) for f in findings} == {(Outcome.WARN, "cert.no_key_identifiers")}


def test_an_rsa_key_proves_itself_against_its_certificate(root: Path, environ: dict[str, str]) -> None:
    ca = make("ca", ca=True)
    install(root, ca, make("server", ca, key=rsa_key(2048), eku=SERVER), make("client", ca, eku=CLIENT))

    assert "audit.key_differs" not in codes(wrong(root, environ))


@pytest.mark.parametrize(
    ("server", "code"),
    [
        (lambda ca: make("s", ca, key=rsa_key(1024), eku=SERVER, sans=("localhost",)), "cert.weak_key"),
        (lambda ca: make("s", ca, eku=(*SERVER, *CLIENT), sans=("localhost",)), "cert.both_purposes"),
        (lambda ca: make("s", ca, sans=("localhost",)), "cert.any_purpose"),
        (lambda ca: make("s", ca, eku=SERVER, sans=("elsewhere",)), "security.chain_wrong_host"),
        (lambda ca: make("s", eku=SERVER, sans=("localhost",)), "security.chain_unknown_issuer"),
        (lambda ca: make("s", ca, ca=True, eku=SERVER, sans=("localhost",)), "cert.leaf_is_ca"),
    ],
)
def test_a_wrong_server_certificate_is_named(root: Path, environ: dict[str, str], server: object, code: str) -> None:
    ca = make("ca", ca=True)
    install(root, ca, server(ca), make("client", ca, eku=CLIENT, sans=("client",)))  # type: ignore[operator]

    assert code in codes(wrong(root, environ))


def test_one_key_for_server_and_client_is_found(root: Path, environ: dict[str, str]) -> None:
    ca, key = make("ca", ca=True), ec_key()
    server, client = make("s", ca, key=key, eku=SERVER, sans=("localhost",)), make("c", ca, key=key, eku=CLIENT)
    install(root, ca, server, client)

    assert "audit.key_shared" in codes(wrong(root, environ))


def test_the_key_of_the_authority_is_found_under_any_name(root: Path, environ: dict[str, str]) -> None:
    ca = make("ca", ca=True)
    install(root, ca, make("s", ca, eku=SERVER, sans=("localhost",)), make("c", ca, eku=CLIENT))
    (root / "secrets/mtls/notes.txt").write_bytes(key_pem(ca.key))

    findings = [f for f in wrong(root, environ) if f.control == "FS-03"]

    assert [(f.outcome, f.subject) for f in findings] == [(Outcome.WARN, "secrets/mtls/notes.txt")]


def test_an_encrypted_key_fails_because_the_service_cannot_use_it(root: Path, environ: dict[str, str]) -> None:
    encrypted = ec_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    (root / BUNDLE.format("server-key")).write_bytes(encrypted)

    findings = {f.control: f for f in wrong(root, environ) if f.control in ("X509-01", "X509-03")}

    assert (findings["X509-01"].outcome, findings["X509-01"].code) == (Outcome.FAIL, "security.key_encrypted")
    assert findings["X509-03"].outcome is Outcome.UNKNOWN


def test_another_bundle_than_the_configured_one_is_not_accepted(root: Path, environ: dict[str, str]) -> None:
    assert {"audit.bundle_foreign", "audit.rotation_missing"} <= codes(wrong(root, environ, bundle="desk-2"))


def test_an_open_directory_and_a_link_that_leads_out_are_found(root: Path, environ: dict[str, str]) -> None:
    (root / "secrets/mtls").chmod(0o777)
    moved = root.parent / "ca.pem"
    (root / BUNDLE.format("ca")).rename(moved)
    (root / BUNDLE.format("ca")).symlink_to(moved)

    findings = {(f.control, f.subject) for f in wrong(root, environ)}

    assert {("FS-02", "secrets/mtls"), ("FS-02", BUNDLE.format("ca"))} <= findings


def test_a_key_under_version_control_is_found(root: Path, environ: dict[str, str]) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True)

    git("init", "-q")
    assert wrong(root, environ) == []
    git("add", "-f", BUNDLE.format("client-key"))

    findings = wrong(root, environ)

    assert [(f.control, f.subject, f.code) for f in findings] == [
        ("FS-04", BUNDLE.format("client-key"), "audit.tracked")
    ]


def test_without_git_nobody_can_tell(root: Path, environ: dict[str, str]) -> None:
    (root / ".git").mkdir()

    findings = wrong(root, {**environ, "PATH": str(root / "nothing-here")})

    assert [(f.control, f.outcome) for f in findings if f.control == "FS-04"] == [("FS-04", Outcome.UNKNOWN)]


def test_a_token_hash_of_a_secret_in_use_elsewhere_is_found(root: Path, environ: dict[str, str]) -> None:
    digest = hashlib.sha256(environ["METRICS_SERVICE_AUTH_TOKEN"].encode()).hexdigest()
    core = root / "config/core.yaml"
    text = core.read_text(encoding="utf-8").replace("token_env: CORE_SCHEDULER_TOKEN", f"token_hash: 'sha256:{digest}'")
    core.write_text(text, encoding="utf-8")

    assert [(f.control, f.code) for f in wrong(root, environ)] == [("RBAC-08", "audit.secret_shared")]


def test_an_installation_without_any_secret_fails_and_raises_nothing(root: Path) -> None:
    shutil.rmtree(root / "secrets")
    shutil.rmtree(root / "var")

    findings = wrong(root, {})

    assert {"X509-02", "ROT-01", "DLOG-01", "RBAC-03", "RBAC-06"} <= {f.control for f in findings}


def test_rotated_and_revoked_keys_of_the_log_pass(root: Path, environ: dict[str, str]) -> None:
    installation, clock = load(root), ManualClock(NOW)
    log, ring = open_log(installation, clock, environ), load_keyring(installation, environ)
    first = ring.active
    log.append(draft())
    key_changes.rotate(log, ring, clock, "ninety days")
    key_changes.revoke(log, ring, clock, first, "stolen", checkpoint=lambda now: notary.make(log, now, clock))
    assert wrong(root, environ) == []
    ring = load_keyring(installation, environ)
    facts = collect(installation, "core-oem", environ=environ, now=NOW, clock=clock, pepper=b"p" * 32).log
    assert facts.active is not None
    assert (facts.active.key_id, ring.keys[first].state) == (ring.active, KeyState.REVOKED)
    key_changes.revoke(log, ring, clock, ring.active, "stolen too")
    assert [(f.control, f.code) for f in wrong(root, environ)] == [("DLOG-03", "audit.log_finding")]


def test_a_private_key_in_a_backup_is_as_secret_as_the_one_in_use(root: Path, environ: dict[str, str]) -> None:
    backup = root / "var/security/backups/20261101T000000Z-core-oem"
    backup.mkdir(parents=True)
    shutil.copy(root / BUNDLE.format("server-key"), backup / "server-key.pem")
    (backup / "server-key.pem").chmod(0o644)

    assert [(f.control, f.code) for f in wrong(root, environ)] == [("FS-01", "audit.mode_open")]


AT = "2026-11-23T09:42:00Z"
REGISTRIES: dict[str, tuple[bytes, dict[str, str]]] = {
    "a list": (b"[]", {"": "security.registry_not_an_object"}),
    "nothing": (b"", {"": "files.bad_json"}),
    "null": (b"null", {"": "security.registry_not_an_object"}),
    "a BOM": (b"\xef\xbb\xbf{}", {"": "files.bad_json"}),
    "no UTF-8": (b'{"a::b": "\xff"}', {"": "files.bad_json"}),
    "NaN": (b'{"a::b": NaN}', {"": "files.bad_json"}),
    "a row twice": (f'{{"a::b": "{AT}", "a::b": "{AT}"}}'.encode(), {"": "files.bad_json"}),
    "nested without end": (b'{"a::b": ' * 100_000, {"": "files.bad_json"}),
    "huge": (b"{" + b" " * (1 << 20) + b"}", {"": "files.too_large"}),
    "mixed case": (f'{{"Live-Router::DECISION-log": "{AT}", "core-oem::metrics-token": "{AT}"}}'.encode(), {}),
    "an offset": (
        b'{"live-router::decision-log": "2026-11-23T10:42:00+01:00", "core-oem::metrics-token": "2026-11-23 09:42Z"}',
        {},
    ),
    "two spellings": (f'{{"a::b": "{AT}", "A::b": "{AT}"}}'.encode(), {"#A::b": "rotation.row_twice"}),
    "no zone": (b'{"a::b": "2026-11-23T09:42:00"}', {"#a::b": "rotation.row_instant"}),
    "a day": (b'{"a::b": "2026-11-23"}', {"#a::b": "rotation.row_instant"}),
    "no calendar day": (b'{"a::b": "2026-02-30T00:00:00Z"}', {"#a::b": "rotation.row_instant"}),
    "a number": (b'{"a::b": 1764000000}', {"#a::b": "rotation.row_instant"}),
    "no separator": (f'{{"a": "{AT}"}}'.encode(), {"#a": "rotation.row_name"}),
    "an escape": (f'{{"\\u001b[2J::b": "{AT}"}}'.encode(), {"#\ufffd[2J::b": "rotation.row_name"}),
    "half a pair": (f'{{"\\ud800::b": "{AT}"}}'.encode(), {"#\ufffd::b": "rotation.row_name"}),
    "a second ahead": (b'{"a::b": "2026-11-23T09:42:01Z"}', {"#a::b": "audit.rotation_future"}),
    "the last year": (b'{"a::b": "9999-12-31T23:59:59Z"}', {"#a::b": "audit.rotation_future"}),
    "the last year of a key under rotation": (
        b'{"live-router::decision-log": "9999-12-31T23:59:59Z"}',
        {"#live-router::decision-log": "audit.rotation_future"},
    ),
    "beyond the last year": (b'{"a::b": "9999-12-31T23:59:59-01:00"}', {"#a::b": "rotation.row_instant"}),
}


@pytest.mark.parametrize("name", REGISTRIES)
def test_a_registry_that_is_wrong_is_named_row_by_row(name: str, root: Path, environ: dict[str, str]) -> None:
    content, expected = REGISTRIES[name]
    path = "var/security/key_rotation.json"
    (root / path).write_bytes(content)

    found = wrong(root, environ)

    assert {f.subject.removeprefix(path): f.code for f in found if f.control == "ROT-01"} == expected
    if not expected:
        assert not found
    for finding in found:
        message(finding, "pl")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path)])
def test_what_is_no_file_cannot_be_told_and_keeps_nobody_waiting(
    make: Callable[[Path], object], root: Path, environ: dict[str, str]
) -> None:
    path = root / "var/security/tls_rotation.json"
    path.unlink()
    make(path)

    found = {f.control: f.outcome for f in wrong(root, environ) if f.control.startswith("ROT")}

    assert found == dict.fromkeys(("ROT-01", "ROT-02", "ROT-03", "ROT-04", "ROT-05"), Outcome.UNKNOWN)


def kept(root: Path, stamp: str, document: dict[str, object]) -> None:
    """A signed report that began at `stamp`."""
    ring = KeyRing.load(root / "secrets/decision_log/keyring.json", {})
    began = datetime.strptime(stamp + "+0000", "%Y%m%dT%H%M%SZ%z")
    document = document | {"started_at": format_instant(began)}
    document |= {SIGNATURE: signature(document, ring, "audited")}
    path = root / f"var/audit/acceptance/{stamp}/stage4_support/compliance.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(document))


def report(spki: object, bundle: str = "core-oem", **members: object) -> dict[str, object]:
    certificates = [{"role": "server", "spki_sha256": spki}]
    return {"results": [], "policy": {"bundle": bundle}, "certificates": certificates} | members


def compared(root: Path, environ: dict[str, str]) -> str:
    """What ROT-05 compares the server's key with; empty for nothing."""
    installation = load(root)
    evidence = collect(installation, "core-oem", environ=environ, now=NOW, clock=ManualClock(NOW), pepper=b"p" * 32)
    found = judge(CONTROLS, evidence, Policy.of(installation.settings), NOW)
    (finding,) = [f for f in found.findings if f.control == "ROT-05" and f.subject.endswith("tls_server")]
    return str(finding.params.get("source", "")).removeprefix("var/audit/acceptance/")[:9]


def test_the_newest_report_of_the_bundle_from_before_the_rotation_is_compared(
    root: Path, environ: dict[str, str]
) -> None:
    assert compared(root, environ) == ""
    kept(root, "20261101T000000Z", report("a" * 64))
    kept(root, "20261102T000000Z", report("b" * 64))
    kept(root, "20261103T000000Z", report("c" * 64, bundle="other"))
    kept(root, "20261104T000000Z", {"results": []})
    kept(root, "20261105T000000Z", report("d" * 64, certificates=[]))
    kept(root, "20261201T000000Z", report("e" * 64))
    assert compared(root, environ) == "20261102T"


def test_a_report_that_the_installation_did_not_sign_proves_no_rotation(root: Path, environ: dict[str, str]) -> None:
    kept(root, "20261101T000000Z", report("a" * 64))
    path = root / "var/audit/acceptance/20261101T000000Z/stage4_support/compliance.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {SIGNATURE: None}))

    assert compared(root, environ) == ""


@pytest.mark.parametrize(
    "document",
    [
        report(None),
        report("A" * 64),
        report(7),
        report("a" * 63),
        report("a" * 64, certificates={"role": "server"}),
        report("a" * 64, certificates=["server", None, {"role": ["server"], "spki_sha256": "a" * 64}]),
        report("a" * 64, policy=None),
    ],
)
def test_a_report_that_no_audit_wrote_proves_nothing(
    document: dict[str, object], root: Path, environ: dict[str, str]
) -> None:
    kept(root, "20261101T000000Z", document)
    assert compared(root, environ) == ""
