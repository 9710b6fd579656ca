"""Evidence as of a healthy installation, made by hand, and a demonstration installation to audit for real."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stage4.app.installing import create, read_environment
from stage4.audit.comparison import Summary
from stage4.audit.evidence import (
    Bundle,
    CertificateFile,
    Chain,
    DirectoryFacts,
    EarlierCertificate,
    Evidence,
    FileFacts,
    Files,
    Input,
    KeyFile,
    LogFacts,
    LogVerdict,
    Pair,
    RegistryFacts,
    Revocation,
    RevocationFile,
    Secret,
    ServiceFacts,
    SigningKey,
    TokenFacts,
)
from stage4.audit.policy import Policy, RequiredRotation
from stage4.audit.waivers import Waiver
from stage4.security.certificate_facts import CertificateFacts
from stage4.testing.clock import ManualClock
from support.live import LIVE

NOW = datetime(2026, 11, 23, 9, 42, tzinfo=UTC)
ROTATED = NOW - timedelta(days=10)

ROTATIONS = (
    *(RequiredRotation("tls", "core-oem", purpose, 90.0, 14.0) for purpose in ("tls_ca", "tls_server", "tls_client")),
    RequiredRotation("keys", "live-router", "decision-log", 90.0, 14.0),
)
POLICY = Policy(bundle="core-oem", rotations=ROTATIONS, rotation_interval_days=90.0, rotation_warn_days=14.0)


def facts(role: str, **changes: object) -> CertificateFacts:
    """An EC certificate of `role` that was made when the registry says it was."""
    authority = role == "ca"
    certificate = CertificateFacts(
        subject=f"CN={role}",
        issuer="CN=ca",
        serial={"ca": 1, "server": 2, "client": 3}.get(role, 4),
        sans=() if authority else (f"DNS:{role}",),
        not_before=ROTATED,
        not_after=ROTATED + timedelta(days=398 if authority else 120),
        eku=None if authority else ("clientAuth" if role == "client" else "serverAuth",),
        is_ca=authority,
        aki="bb",
        ski="bb",
        key_kind="ec",
        key_bits=256,
        key_curve="secp256r1",
        signature_hash="sha256",
        fingerprint={"ca": "a", "server": "b", "client": "c"}.get(role, "d") * 64,
        spki_sha256={"ca": "1", "server": "2", "client": "3"}.get(role, "4") * 64,
        key_usage=("keyCertSign", "cRLSign") if authority else ("digitalSignature",),
        key_usage_critical=True,
        self_signed=authority,
    )
    return replace(certificate, **changes)  # type: ignore[arg-type]


def certificate_file(role: str, **changes: object) -> CertificateFile:
    return CertificateFile(
        role=role,
        path=f"secrets/mtls/core-oem-{role}.pem",
        certificates=(facts(role, **changes),),
    )


def strong(tag: str) -> Secret:
    return Secret(bits=256.0, placeholder=False, tag=tag)


def token(service: str, token_id: str, *scopes: str, **changes: object) -> TokenFacts:
    made = TokenFacts(service, token_id, f"env:{token_id.upper()}", 1, scopes, secret=strong(token_id))
    return replace(made, **changes)  # type: ignore[arg-type]


TOKENS = (
    token("metrics_service", "metrics", "metrics.read"),
    token("operations", "alerts", "alerts.write"),
    token("scheduler:core", "scheduler", "runtime.schedule.read", "runtime.schedule.write"),
)
NOT_REVOKED = Revocation("good", "CN=server", "CN=ca", next_update=NOW + timedelta(days=7))
BUNDLE = Bundle(
    certificates=tuple(certificate_file(role) for role in ("ca", "server", "client")),
    keys=tuple(KeyFile(f"{role}_key", f"secrets/mtls/core-oem-{role}-key.pem") for role in ("server", "client")),
    pairs=(Pair("server", True), Pair("client", True)),
    chains=(
        Chain("server", "server", "localhost", "valid", revocation=NOT_REVOKED, path=("b" * 64, "a" * 64)),
        Chain("client", "client", None, "valid", revocation=NOT_REVOKED, path=("c" * 64, "a" * 64)),
    ),
    revocation_files=(RevocationFile("secrets/mtls/core-oem.crl"),),
    client_ca=replace(certificate_file("ca"), role="client_ca"),
)
FILES = Files(
    owner=1000,
    facts=(
        FileFacts("secrets/mtls/core-oem-server-key.pem", secret=True, mode=0o600, owner=1000),
        FileFacts("secrets/mtls/core-oem-ca.pem", secret=False, mode=0o644, owner=1000),
    ),
    directories=(DirectoryFacts("secrets", 0o700), DirectoryFacts("/srv", 0o755, above=True)),
    referred=(FileFacts("ops/operators.yaml", secret=False, mode=0o644, owner=1000),),
)
LOG = LogFacts(
    path="audit/decision_logs/runtime.jsonl",
    present=True,
    active=SigningKey("ops-2026-11", ROTATED),
    verdict=LogVerdict(entries=7, exit_code=0),
    router_sources=1,
    router_key_id="live-router",
    router_reference="env:LIVE_DECISION_LOG_HMAC",
    router_secret=strong("router"),
)
GOOD = Evidence(
    collected_at=NOW,
    installation="production",
    bundle=BUNDLE,
    files=FILES,
    services=(
        ServiceFacts("metrics_service", True, True, True, pinned=("sha256:" + "b" * 64,)),
        ServiceFacts("operations", True),
        ServiceFacts("scheduler:core", True),
    ),
    tokens=TOKENS,
    registries=(
        RegistryFacts(
            "tls",
            "var/security/tls_rotation.json",
            rows={("core-oem", purpose): ROTATED for purpose in ("tls_ca", "tls_server", "tls_client")},
        ),
        RegistryFacts("keys", "var/security/key_rotation.json", rows={("live-router", "decision-log"): ROTATED}),
    ),
    log=LOG,
    inputs=(Input("config/core.yaml", "0" * 64),),
    earlier_report=Summary("2026-11-22T09:42:00Z", (), config="0" * 64),
    earlier_certificates=tuple(
        EarlierCertificate(
            role,
            "var/audit/acceptance/20261101T000000Z/stage4_support/compliance.json",
            ROTATED - timedelta(days=12),
            digit * 64,
        )
        for role, digit in (("ca", "7"), ("server", "8"), ("client", "9"))
    ),
    live=LIVE,
)
# What an audit would hold that found nothing at all.
EMPTY = Evidence(
    collected_at=NOW,
    installation="production",
    bundle=Bundle(),
    files=Files(owner=1000),
    services=(),
    tokens=(),
    registries=(),
    log=LogFacts(path="-", present=False),
)


def waiver(control: str = "X509-13", subject: str = "*", **changes: object) -> Waiver:
    """In force at NOW."""
    made = Waiver(
        control,
        subject,
        owner="l2-marek",
        approver="po-jan",
        ticket="OPS-1812",
        justification="a new certificate comes in December",
        granted=NOW.date() - timedelta(days=1),
        expires=NOW.date() + timedelta(days=30),
        line=2,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def bundle(**changes: object) -> Evidence:
    return replace(GOOD, bundle=replace(BUNDLE, **changes))  # type: ignore[arg-type]


def certificate(role: str, **changes: object) -> Evidence:
    """Healthy but for facts of the certificate of `role`."""
    files = (certificate_file(role, **changes) if file.role == role else file for file in BUNDLE.certificates)
    return bundle(certificates=tuple(files))


def files(**changes: object) -> Evidence:
    return replace(GOOD, files=replace(FILES, **changes))  # type: ignore[arg-type]


def tokens(*changed: TokenFacts) -> Evidence:
    return replace(GOOD, tokens=changed)


def log(**changes: object) -> Evidence:
    return replace(GOOD, log=replace(LOG, **changes))  # type: ignore[arg-type]


def registry(name: str, **changes: object) -> Evidence:
    registries = (replace(r, **changes) if r.name == name else r for r in GOOD.registries)  # type: ignore[arg-type]
    return replace(GOOD, registries=tuple(registries))


def demo_installation(root: Path) -> dict[str, str]:
    """Make a demonstration installation at `root`, as of NOW; its environment variables."""
    create(root, ManualClock(NOW), installation_id="audited")
    return read_environment(root)
