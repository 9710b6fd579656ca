"""For each control evidence that it does not accept, with the outcome and the words it has to answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from stage4.audit.evidence import (
    Chain,
    DirectoryFacts,
    Evidence,
    FileFacts,
    KeyFile,
    LogVerdict,
    Pair,
    Problem,
    RevocationFile,
    Secret,
    ServiceFacts,
    SettingNotice,
    SigningKey,
)
from stage4.audit.finding import Outcome
from stage4.audit.policy import Policy
from stage4.security.certificates import CertificateFacts
from stage4.security.revocation import RevocationState
from support import audits
from support.audits import BUNDLE, GOOD, LOG, NOW, POLICY, ROTATED, TOKENS, certificate_file, facts, token

FAIL, WARN, UNKNOWN = Outcome.FAIL, Outcome.WARN, Outcome.UNKNOWN
ASKED = replace(POLICY, check_paths=True)
LENIENT = replace(POLICY, allow_missing_env=True)
GONE = Problem("files.missing", {"path": "x"})
LOCKED = Problem("files.unreadable", {"path": "x", "reason": "denied"}, undecided=True)
UNSET = Problem("security.token_env_missing", {"token_id": "metrics", "variable": "METRICS"})
WEAK = Secret(bits=40.0, placeholder=False, tag="weak")
PLACEHOLDER = Secret(bits=200.0, placeholder=True, tag="placeholder")


@dataclass(frozen=True)
class Example:
    """One thing that is wrong, and what the control says of it."""

    control: str
    name: str
    evidence: Evidence
    outcome: Outcome
    code: str
    policy: Policy = POLICY


def metrics(**changes: object) -> Evidence:
    """Healthy but for the metrics service."""
    service, *others = GOOD.services
    return replace(GOOD, services=(replace(service, **changes), *others))  # type: ignore[arg-type]


def first_token(**changes: object) -> Evidence:
    """Healthy but for the first token."""
    return audits.tokens(replace(TOKENS[0], **changes), *TOKENS[1:])  # type: ignore[arg-type]


def beside(role: str, *others: CertificateFacts) -> Evidence:
    """Healthy but for the certificates that stand after the first one of `role` in its file."""
    files = (replace(f, certificates=(*f.certificates, *others)) if f.role == role else f for f in BUNDLE.certificates)
    return audits.bundle(certificates=tuple(files))


def revocation(state: RevocationState | None, *files: RevocationFile, **changes: object) -> Evidence:
    """Healthy but for what the revocation lists say of the server."""
    verdict = None if state is None else replace(audits.NOT_REVOKED, state=state, **changes)  # type: ignore[arg-type]
    chain = replace(BUNDLE.chains[0], revocation=verdict)
    return audits.bundle(chains=(chain, *BUNDLE.chains[1:]), revocation_files=files)


def file(**changes: object) -> Evidence:
    """Healthy but for the first file."""
    first, *others = audits.FILES.facts
    return audits.files(facts=(replace(first, **changes), *others))  # type: ignore[arg-type]


def believed(**changes: object) -> Evidence:
    """Healthy but for the CA that the service believes."""
    return audits.bundle(client_ca=replace(certificate_file("ca", **changes), role="client_ca"))


DAY = timedelta(days=1)
SOON = NOW + 5 * DAY
EXAMPLES = (
    Example(
        "X509-01",
        "a file is unreadable",
        audits.bundle(keys=(KeyFile("server_key", "k", LOCKED),)),
        UNKNOWN,
        "files.unreadable",
    ),
    Example(
        "X509-01",
        "a file has more in it than PEM",
        audits.bundle(keys=(KeyFile("server_key", "k", stray_text=True),)),
        FAIL,
        "audit.stray_text",
    ),
    Example("X509-02", "a file is missing", audits.bundle(keys=BUNDLE.keys[:1]), FAIL, "audit.bundle_incomplete"),
    Example(
        "X509-02", "another bundle is meant", audits.bundle(foreign_names=("old-ca.pem",)), FAIL, "audit.bundle_foreign"
    ),
    Example("X509-03", "a key differs", audits.bundle(pairs=(Pair("server", False),)), FAIL, "audit.key_differs"),
    Example(
        "X509-03", "a key is unread", audits.bundle(pairs=(Pair("server", None),)), UNKNOWN, "audit.pair_unreadable"
    ),
    Example(
        "X509-04",
        "the server has another name",
        audits.bundle(chains=(Chain("server", "server", "localhost", "wrong_host"),)),
        FAIL,
        "security.chain_wrong_host",
    ),
    Example(
        "X509-04",
        "there is no chain to judge",
        audits.bundle(chains=(Chain("server", "server", "localhost", None),)),
        UNKNOWN,
        "audit.chain_unreadable",
    ),
    Example(
        "X509-05",
        "the client comes from elsewhere",
        audits.bundle(chains=(Chain("client", "client", None, "unknown_issuer"),)),
        FAIL,
        "security.chain_unknown_issuer",
    ),
    Example(
        "X509-06", "one key serves two", audits.certificate("client", spki_sha256="2" * 64), FAIL, "audit.key_shared"
    ),
    Example("X509-06", "the CA serves", audits.certificate("server", is_ca=True), FAIL, "cert.leaf_is_ca"),
    Example("X509-06", "any purpose", audits.certificate("server", eku=None), FAIL, "cert.any_purpose"),
    Example(
        "X509-06",
        "two purposes",
        audits.certificate("client", eku=("serverAuth", "clientAuth")),
        FAIL,
        "cert.both_purposes",
    ),
    Example("X509-07", "expired", audits.certificate("server", not_after=NOW - DAY), FAIL, "cert.expired"),
    Example("X509-07", "not begun", audits.certificate("ca", not_before=NOW + DAY), FAIL, "cert.not_yet_valid"),
    Example("X509-08", "ends in a day", audits.certificate("client", not_after=NOW + DAY), FAIL, "audit.expires_now"),
    Example("X509-08", "ends in five days", audits.certificate("client", not_after=SOON), WARN, "audit.expires_soon"),
    Example(
        "X509-08",
        "most of its life is over",
        audits.certificate("server", not_before=NOW - 90 * DAY, not_after=NOW + 30 * DAY),
        WARN,
        "audit.life_used",
    ),
    Example(
        "X509-08",
        "outlives its CA",
        audits.certificate("server", not_after=NOW + 500 * DAY),
        WARN,
        "cert.outlives_issuer",
    ),
    Example("X509-09", "SHA-1", audits.certificate("server", signature_hash="sha1"), FAIL, "cert.weak_signature"),
    Example(
        "X509-10",
        "RSA of 1024 bits",
        audits.certificate("client", key_kind="rsa", key_bits=1024, key_curve=None),
        FAIL,
        "cert.weak_key",
    ),
    Example(
        "X509-11",
        "the demo CA in production",
        audits.bundle(certificates=(replace(certificate_file("server"), demo=True),)),
        FAIL,
        "audit.demo_certificate",
    ),
    Example("X509-12", "no CA", audits.certificate("ca", is_ca=False), FAIL, "cert.ca_is_no_ca"),
    Example("X509-12", "may not sign", audits.certificate("ca", key_usage=("cRLSign",)), FAIL, "cert.ca_may_not_sign"),
    Example(
        "X509-12",
        "says it loosely",
        audits.certificate("ca", constraints_critical=False),
        WARN,
        "cert.ca_constraints_loose",
    ),
    Example(
        "X509-12",
        "an intermediate that may not sign",
        beside("server", facts("ca", fingerprint="e" * 64, key_usage=())),
        FAIL,
        "cert.ca_may_not_sign",
    ),
    Example(
        "X509-12",
        "name constraints that do not bind",
        audits.certificate("ca", permitted_names=("DNS:desk.example",)),
        WARN,
        "cert.name_constraints_loose",
    ),
    Example("X509-13", "no key identifiers", audits.certificate("server", aki=None), WARN, "cert.no_key_identifiers"),
    Example("X509-13", "no name", audits.certificate("client", sans=()), WARN, "cert.no_san"),
    Example("X509-13", "a name with a space", audits.certificate("server", sans=("DNS:a b",)), WARN, "cert.bad_san"),
    Example(
        "X509-13",
        "a life of two years",
        audits.certificate("server", not_after=ROTATED + 730 * DAY),
        WARN,
        "cert.long_life",
    ),
    Example("X509-01", "a second leaf", beside("server", facts("client")), FAIL, "cert.second_leaf"),
    Example("X509-01", "the anchor in the file", beside("server", facts("ca")), WARN, "cert.anchor_in_file"),
    Example(
        "X509-06",
        "the leaf signs certificates",
        audits.certificate("server", key_usage=("digitalSignature", "keyCertSign")),
        FAIL,
        "cert.leaf_signs_certificates",
    ),
    Example(
        "X509-06",
        "the leaf signs no handshake",
        audits.certificate("client", key_usage=("keyEncipherment",)),
        FAIL,
        "cert.no_digital_signature",
    ),
    Example("X509-06", "signed by itself", audits.certificate("server", self_signed=True), FAIL, "cert.self_signed"),
    Example(
        "X509-07",
        "a validity that ends before it begins",
        audits.certificate("server", not_before=NOW, not_after=NOW - DAY),
        FAIL,
        "cert.validity_reversed",
    ),
    Example(
        "X509-09",
        "SHA-1 over an intermediate",
        beside("server", facts("ca", subject="CN=middle", signature_hash="sha1", self_signed=False)),
        FAIL,
        "cert.weak_signature",
    ),
    Example("X509-10", "an exponent of 3", audits.certificate("client", rsa_exponent=3), FAIL, "cert.weak_exponent"),
    Example(
        "X509-11",
        "a key of gRPC's tests",
        audits.certificate("server", spki_sha256="a1196859090ccf33cf5355055e04a0d6f3869eabbac7c4c417ee2b95cff013d4"),
        FAIL,
        "cert.known_key",
    ),
    Example(
        "X509-13",
        "an extension nobody evaluates",
        audits.certificate("server", unknown_critical=("1.2.3.4",)),
        FAIL,
        "cert.unknown_critical",
    ),
    Example("X509-13", "serial zero", audits.certificate("server", serial=0), FAIL, "cert.serial_not_positive"),
    Example(
        "X509-13", "a serial of 21 octets", audits.certificate("client", serial=1 << 160), FAIL, "cert.serial_long"
    ),
    Example("X509-13", "one serial for two", audits.certificate("client", serial=2), FAIL, "cert.serial_shared"),
    Example(
        "X509-13",
        "a life shorter than the rotation",
        audits.certificate("server", not_after=ROTATED + 60 * DAY),
        WARN,
        "audit.short_life",
    ),
    Example(
        "X509-14",
        "revoked",
        revocation(RevocationState.REVOKED, *BUNDLE.revocation_files, revoked_at=NOW, reason="keyCompromise"),
        FAIL,
        "security.revocation_revoked",
    ),
    Example(
        "X509-14",
        "a stale list",
        revocation(RevocationState.STALE, *BUNDLE.revocation_files),
        FAIL,
        "security.revocation_stale",
    ),
    Example("X509-14", "no list at all", revocation(RevocationState.UNCHECKED), WARN, "audit.no_revocation"),
    Example(
        "X509-14",
        "the only list is locked away",
        revocation(RevocationState.UNCHECKED, RevocationFile("crl", LOCKED)),
        UNKNOWN,
        "audit.no_list_readable",
    ),
    Example("FS-01", "readable by all", file(mode=0o666), FAIL, "audit.mode_open"),
    Example("FS-01", "readable by the group", file(mode=0o640), FAIL, "audit.mode_open"),
    Example("FS-01", "of another account", file(owner=0), FAIL, "audit.owner_foreign"),
    Example("FS-01", "absent", file(mode=None, problem=GONE), FAIL, "files.missing"),
    Example(
        "FS-02",
        "an open directory",
        audits.files(directories=(DirectoryFacts("secrets", 0o777),)),
        FAIL,
        "audit.directory_open",
    ),
    Example(
        "FS-02",
        "an open directory above",
        audits.files(directories=(DirectoryFacts("secrets", 0o700), DirectoryFacts("/srv", 0o777, above=True))),
        FAIL,
        "audit.directory_open",
    ),
    Example("FS-02", "a link that leads out", file(outside=True), FAIL, "audit.link_outside"),
    Example(
        "FS-02",
        "a certificate that others may change",
        audits.files(facts=(FileFacts("ca.pem", secret=False, mode=0o666, owner=1000),)),
        FAIL,
        "audit.writable",
    ),
    Example("FS-03", "the CA's key is here", audits.bundle(authority_keys=("ca.key",)), WARN, "audit.ca_key_here"),
    Example(
        "FS-04", "a key under version control", audits.files(in_repository=True, tracked=("k",)), FAIL, "audit.tracked"
    ),
    Example(
        "FS-04", "git does not answer", audits.files(in_repository=True, tracked=None), UNKNOWN, "audit.git_unknown"
    ),
    Example("FS-04", "production below /tmp", audits.files(world_writable_home=True), FAIL, "audit.temporary_home"),
    Example(
        "FS-05",
        "a path is missing",
        audits.files(referred=(FileFacts("x", secret=False, problem=GONE),)),
        FAIL,
        "files.missing",
        ASKED,
    ),
    Example("TLS-01", "no TLS", metrics(tls_enabled=False), FAIL, "audit.tls_off"),
    Example("TLS-01", "no client certificate", metrics(require_client_auth=False), FAIL, "audit.client_auth_off"),
    Example("TLS-02", "no CA is set", audits.bundle(client_ca=None), FAIL, "audit.client_ca_unset"),
    Example("TLS-02", "a leaf", believed(is_ca=False), FAIL, "audit.believes_leaf"),
    Example("TLS-02", "an expired CA", believed(not_after=NOW - DAY), FAIL, "audit.believes_expired"),
    Example("TLS-02", "a foreign CA", believed(fingerprint="9" * 64), FAIL, "audit.believes_foreign"),
    Example("TLS-03", "another certificate", metrics(pinned=("sha256:" + "9" * 64,)), FAIL, "audit.pin_differs"),
    Example("TLS-03", "no fingerprint", metrics(pinned=("md5:00",)), FAIL, "audit.pin_malformed"),
    Example("RBAC-01", "a service without tokens", audits.tokens(*TOKENS[1:]), FAIL, "audit.no_token"),
    Example("RBAC-02", "two sources", first_token(sources=2), FAIL, "audit.token_sources"),
    Example("RBAC-02", "no source", first_token(sources=0, secret=None), FAIL, "audit.token_sources"),
    Example(
        "RBAC-02",
        "the secret in the settings",
        replace(GOOD, notices=(SettingNotice("runtime.metrics_service.rbac_tokens.0.token_value", 9),)),
        FAIL,
        "audit.inline_secret",
    ),
    Example(
        "RBAC-03",
        "an unset variable",
        first_token(problem=UNSET, missing_variable=True, secret=None),
        FAIL,
        "security.token_env_missing",
    ),
    Example(
        "RBAC-03",
        "an unset variable that may be unset",
        first_token(problem=UNSET, missing_variable=True, secret=None),
        WARN,
        "security.token_env_missing",
        LENIENT,
    ),
    Example(
        "RBAC-03",
        "a blank secret, leniency or not",
        first_token(problem=Problem("security.token_blank", {"token_id": "metrics"}), secret=None),
        FAIL,
        "security.token_blank",
        LENIENT,
    ),
    Example("RBAC-04", "easy to guess", first_token(secret=WEAK), FAIL, "audit.secret_weak"),
    Example("RBAC-04", "a placeholder", first_token(secret=PLACEHOLDER), FAIL, "audit.secret_placeholder"),
    Example(
        "RBAC-05",
        "MD5",
        first_token(
            reference="hash",
            secret=None,
            problem=Problem("security.token_hash_bad", {"token_id": "metrics", "accepted": "sha256"}),
        ),
        FAIL,
        "security.token_hash_bad",
    ),
    Example("RBAC-06", "nobody may read", first_token(scopes=("risk.read",)), FAIL, "audit.scope_uncovered"),
    Example("RBAC-06", "the only reader has no secret", first_token(problem=GONE), FAIL, "audit.scope_uncovered"),
    Example(
        "RBAC-06",
        "the only reader waits",
        first_token(problem=UNSET, missing_variable=True),
        WARN,
        "audit.scope_waits",
        LENIENT,
    ),
    Example("RBAC-07", "no scopes", first_token(scopes=()), FAIL, "audit.no_scopes"),
    Example("RBAC-07", "a wildcard", first_token(scopes=("metrics.read", "*")), FAIL, "audit.scope_unknown"),
    Example("RBAC-07", "admin", first_token(scopes=("metrics.read", "admin")), FAIL, "audit.scope_unknown"),
    Example(
        "RBAC-07",
        "a reader that writes",
        first_token(scopes=("metrics.read", "overrides.write")),
        WARN,
        "audit.reader_writes",
    ),
    Example(
        "RBAC-08",
        "one secret for two services",
        audits.tokens(*TOKENS[:2], replace(TOKENS[2], secret=TOKENS[0].secret)),
        FAIL,
        "audit.secret_shared",
    ),
    Example(
        "RBAC-08",
        "the log's key as a token",
        first_token(secret=LOG.router_secret),
        FAIL,
        "audit.secret_shared",
    ),
    Example(
        "RBAC-08",
        "a hash of a secret that another service has in the clear",
        audits.tokens(
            token("metrics_service", "metrics", "metrics.read", secret=replace(WEAK, hashed_tags=frozenset({"h"}))),
            token("operations", "alerts", reference="hash:sha256", secret=None, hash_tag="h"),
        ),
        FAIL,
        "audit.secret_shared",
    ),
    Example("RBAC-08", "an id that stands twice", audits.tokens(*TOKENS, TOKENS[0]), FAIL, "audit.token_id_twice"),
    Example("ROT-01", "absent", audits.registry("tls", problem=GONE), FAIL, "files.missing"),
    Example(
        "ROT-01",
        "a row that is no instant",
        audits.registry("keys", bad_rows=(("a::b", "security.registry_row_instant"),)),
        FAIL,
        "audit.registry_row",
    ),
    Example(
        "ROT-01",
        "a date to come",
        audits.registry("keys", rows={("live-router", "decision-log"): NOW + 4000 * DAY}),
        FAIL,
        "audit.rotation_future",
    ),
    Example("ROT-02", "never recorded", audits.registry("keys", rows={}), FAIL, "audit.rotation_missing"),
    Example("ROT-02", "unread", audits.registry("tls", problem=LOCKED), UNKNOWN, "audit.registry_unread"),
    Example(
        "ROT-03",
        "overdue",
        audits.registry("keys", rows={("live-router", "decision-log"): NOW - 91 * DAY}),
        FAIL,
        "audit.rotation_overdue",
    ),
    Example(
        "ROT-03",
        "due in ten days",
        audits.registry("keys", rows={("live-router", "decision-log"): NOW - 80 * DAY}),
        WARN,
        "audit.rotation_due",
    ),
    Example(
        "ROT-03",
        "dated to come",
        audits.registry("keys", rows={("live-router", "decision-log"): NOW + DAY}),
        UNKNOWN,
        "audit.rotation_undated",
    ),
    Example(
        "ROT-04",
        "recorded but not done",
        audits.certificate("server", not_before=ROTATED - 60 * DAY),
        FAIL,
        "audit.rotation_claimed",
    ),
    Example(
        "ROT-04",
        "done but not recorded",
        audits.certificate("server", not_before=ROTATED + 3 * DAY),
        WARN,
        "audit.rotation_unrecorded",
    ),
    Example("DLOG-01", "no ring", audits.log(ring_problem=GONE, active=None), FAIL, "files.missing"),
    Example("DLOG-01", "two sources of the router's key", audits.log(router_sources=2), FAIL, "audit.router_sources"),
    Example("DLOG-01", "a key without an id", audits.log(router_key_id=None), FAIL, "audit.router_key_id"),
    Example(
        "DLOG-02",
        "the secret does not answer",
        audits.log(active=SigningKey("ops", ROTATED, LOCKED)),
        UNKNOWN,
        "files.unreadable",
    ),
    Example("DLOG-02", "a weak key", audits.log(router_secret=WEAK), FAIL, "audit.secret_weak"),
    Example(
        "DLOG-02",
        "an unset variable",
        audits.log(
            router_secret=None,
            router_missing_variable=True,
            router_problem=Problem("audit.variable_missing", {"variable": "LIVE_DECISION_LOG_HMAC"}),
        ),
        FAIL,
        "audit.variable_missing",
    ),
    Example("DLOG-03", "no log yet", audits.log(present=False, verdict=None), WARN, "audit.log_absent"),
    Example("DLOG-03", "a log that was there", audits.log(present=False, entries_before=7), FAIL, "audit.log_gone"),
    Example("DLOG-03", "fewer entries than before", audits.log(entries_before=8), FAIL, "audit.log_shrunk"),
    Example("DLOG-03", "not verified", audits.log(verdict=None), UNKNOWN, "audit.log_unverified"),
    Example(
        "DLOG-03",
        "an edited line",
        audits.log(
            verdict=LogVerdict(
                6, 1, Problem("audit.log_finding", {"path": "p", "line": 3, "offset": 99, "fault": "edit"}), 1
            )
        ),
        FAIL,
        "audit.log_finding",
    ),
    Example(
        "DLOG-04", "in use for long", audits.log(active=SigningKey("ops", NOW - 100 * DAY)), WARN, "audit.log_key_old"
    ),
    Example("DLOG-04", "dated to come", audits.log(active=SigningKey("ops", NOW + DAY)), FAIL, "audit.log_key_future"),
    Example(
        "AUD-03",
        "a misspelt demand",
        replace(GOOD, notices=(SettingNotice("runtime.metrics_service.tls.require_client_auht", 30),)),
        WARN,
        "audit.setting_unknown",
    ),
)
# A disabled service is not judged; the service that is not there at all is another thing.
DISABLED = ServiceFacts("metrics_service", False, False, False)
