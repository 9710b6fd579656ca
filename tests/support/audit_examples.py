"""For each control evidence that it does not accept, with the outcome and the words it has to answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from stage4.audit.comparison import Summary
from stage4.audit.evidence import (
    DirectoryFacts,
    Evidence,
    FileFacts,
    OtherSecret,
    Problem,
    Secret,
    ServiceFacts,
    SettingNotice,
)
from stage4.audit.finding import Outcome
from stage4.audit.policy import RequiredRotation
from support import audits
from support.audit_example import Example
from support.audits import BUNDLE, GOOD, LOG, NOW, POLICY, ROTATED, TOKENS, certificate_file, token
from support.live_examples import LIVE_EXAMPLES
from support.log_examples import LOG_EXAMPLES
from support.x509_examples import X509_EXAMPLES

FAIL, WARN, UNKNOWN = Outcome.FAIL, Outcome.WARN, Outcome.UNKNOWN
ASKED = replace(POLICY, check_paths=True)
LENIENT = replace(POLICY, allow_missing_env=True)
GONE = Problem("files.missing", {"path": "x"})
LOCKED = Problem("files.unreadable", {"path": "x", "reason": "denied"}, undecided=True)
UNSET = Problem("security.token_env_missing", {"token_id": "metrics", "variable": "METRICS"})
WEAK = Secret(bits=40.0, placeholder=False, tag="weak")
PLACEHOLDER = Secret(bits=200.0, placeholder=True, tag="placeholder")


def metrics(**changes: object) -> Evidence:
    """Healthy but for the metrics service."""
    service, *others = GOOD.services
    return replace(GOOD, services=(replace(service, **changes), *others))  # type: ignore[arg-type]


def first_token(**changes: object) -> Evidence:
    """Healthy but for the first token."""
    return audits.tokens(replace(TOKENS[0], **changes), *TOKENS[1:])  # type: ignore[arg-type]


def file(**changes: object) -> Evidence:
    """Healthy but for the first file."""
    first, *others = audits.FILES.facts
    return audits.files(facts=(replace(first, **changes), *others))  # type: ignore[arg-type]


def believed(**changes: object) -> Evidence:
    """Healthy but for the CA that the service believes."""
    return audits.bundle(client_ca=replace(certificate_file("ca", **changes), role="client_ca"))


def text_beside_the_ca() -> Evidence:
    return audits.bundle(client_ca=replace(certificate_file("ca"), role="client_ca", stray_text=True))


def idle_authority() -> Evidence:
    """A second CA stands in the bundle's own file, which the service believes."""
    other = audits.facts("ca", subject="CN=other", issuer="CN=other", fingerprint="8" * 64)
    both = replace(certificate_file("ca"), certificates=(audits.facts("ca"), other))
    return audits.bundle(certificates=(both, *BUNDLE.certificates[1:]), client_ca=replace(both, role="client_ca"))


def earlier_authorities(*fingerprints: str, since: str = "2026-11-22T09:42:00Z") -> Summary:
    """A report of the same settings, with the CAs that were believed."""
    return Summary(since, (), config="0" * 64, policy={"bundle": "core-oem"}, authorities=frozenset(fingerprints))


DAY = timedelta(days=1)
EXAMPLES = (
    *X509_EXAMPLES,
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
    Example(
        "FS-02",
        "a certificate of another account",
        audits.files(facts=(FileFacts("ca.pem", secret=False, mode=0o644, owner=7),)),
        FAIL,
        "exposure.owned_by_another",
    ),
    Example(
        "FS-02",
        "a directory of another account",
        audits.files(directories=(DirectoryFacts("secrets", 0o700, owner=7),)),
        FAIL,
        "audit.directory_foreign",
    ),
    Example(
        "FS-02",
        "a directory with secrets that the group may write to",
        audits.files(directories=(DirectoryFacts("secrets", 0o770, owner=1000, shared_group=True, private=True),)),
        FAIL,
        "audit.directory_group",
    ),
    Example("FS-03", "the CA's key is here", audits.bundle(authority_keys=("ca.key",)), WARN, "audit.ca_key_here"),
    Example(
        "FS-03",
        "nobody could look for the CA's key",
        audits.bundle(unlooked=("secrets/mtls",)),
        UNKNOWN,
        "exposure.authority_unlooked",
    ),
    Example("FS-04", "a key under version control", audits.files(tracked=("k",)), FAIL, "audit.tracked"),
    Example("FS-04", "git does not answer", audits.files(tracked=None), UNKNOWN, "audit.git_unknown"),
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
    Example("TLS-01", "no certificate of its own", metrics(furnished=False), FAIL, "exposure.tls_unfurnished"),
    Example("TLS-02", "text beside the CA", text_beside_the_ca(), FAIL, "cert.stray_text"),
    Example("TLS-02", "a CA that issued nothing", idle_authority(), FAIL, "exposure.authority_idle"),
    Example(
        "TLS-02",
        "a CA that issued nothing where only clients of services believe it",
        replace(
            idle_authority(),
            bundle=replace(idle_authority().bundle, client_ca=replace(certificate_file("ca"), path="clients.pem")),
        ),
        FAIL,
        "exposure.authority_idle",
    ),
    Example("TLS-02", "no CA is set", audits.bundle(client_ca=None), FAIL, "audit.client_ca_unset"),
    Example("TLS-02", "a leaf", believed(is_ca=False), FAIL, "audit.believes_leaf"),
    Example("TLS-02", "an expired CA", believed(not_after=NOW - DAY), FAIL, "audit.believes_expired"),
    Example("TLS-02", "a foreign CA", believed(fingerprint="9" * 64), FAIL, "audit.believes_foreign"),
    Example(
        "TLS-02",
        "more than PEM in it",
        audits.bundle(client_ca=replace(audits.BUNDLE.certificates[0], stray_text=True)),
        FAIL,
        "cert.stray_text",
    ),
    Example(
        "TLS-02",
        "the bundle's CA cannot be read",
        audits.bundle(
            certificates=(replace(audits.BUNDLE.certificates[0], certificates=()), *audits.BUNDLE.certificates[1:])
        ),
        UNKNOWN,
        "audit.believes_unread",
    ),
    Example(
        "TLS-03",
        "there is no certificate to compare",
        replace(metrics(), bundle=replace(audits.BUNDLE, certificates=audits.BUNDLE.certificates[:1])),
        UNKNOWN,
        "audit.pin_unproven",
    ),
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
    Example("RBAC-06", "the only reader has no secret", first_token(problem=GONE), FAIL, "audit.scope_blocked"),
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
        "a token for alerts that may stop the desk",
        audits.tokens(TOKENS[0], replace(TOKENS[1], scopes=("alerts.write", "overrides.write")), TOKENS[2]),
        FAIL,
        "exposure.scope_beyond",
    ),
    Example(
        "RBAC-07",
        "a token that may read another service",
        first_token(scopes=("metrics.read", "risk.read")),
        WARN,
        "exposure.scope_beyond",
    ),
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
        "a hash of the log's key as a token",
        replace(
            audits.tokens(token("operations", "alerts", reference="hash:sha256", secret=None, hash_tag="h")),
            log=replace(LOG, router_secret=replace(WEAK, hashed_tags=frozenset({"h"}))),
        ),
        FAIL,
        "audit.secret_shared",
    ),
    Example(
        "RBAC-08",
        "a key of the ring as a token",
        replace(
            first_token(secret=audits.strong("ring")),
            log=replace(LOG, ring_secrets=(OtherSecret("ops-2026-11", audits.strong("ring")),)),
        ),
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
    Example(
        "RBAC-01",
        "no scheduler at all",
        replace(GOOD, services=GOOD.services[:2]),
        UNKNOWN,
        "audit.no_scheduler",
    ),
    Example("RBAC-04", "the hash of a common word", first_token(guessed=True), FAIL, "audit.secret_common"),
    Example("RBAC-05", "a hash of another secret", first_token(hash_agrees=False), FAIL, "audit.hash_differs"),
    Example("RBAC-06", "nobody has any token", audits.tokens(*TOKENS[1:]), FAIL, "audit.scope_blocked"),
    Example("RBAC-08", "a token without a name", first_token(token_id=""), FAIL, "audit.token_id_blank"),
    Example(
        "RBAC-08",
        "an id that stands twice",
        audits.tokens(*TOKENS, replace(TOKENS[0], position=2)),
        FAIL,
        "audit.token_id_twice",
    ),
    Example("ROT-01", "absent", audits.registry("tls", problem=GONE), FAIL, "files.missing"),
    Example(
        "ROT-01",
        "a row that is no instant",
        audits.registry("keys", bad_rows=(("a::b", "security.registry_row_instant"),)),
        FAIL,
        "rotation.row_instant",
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
        "rotation.overdue_key",
    ),
    Example(
        "ROT-03",
        "due in ten days",
        audits.registry("keys", rows={("live-router", "decision-log"): NOW - 80 * DAY}),
        WARN,
        "rotation.due_key",
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
    Example(
        "ROT-03",
        "a warning window as long as the interval",
        GOOD,
        WARN,
        "rotation.always_due",
        replace(POLICY, rotations=(RequiredRotation("keys", "live-router", "decision-log", 14.0, 14.0),)),
    ),
    Example(
        "ROT-04",
        "a rotation that was interrupted",
        replace(GOOD, unfinished="var/security/rotation.core-oem.json"),
        FAIL,
        "rotation.unfinished",
    ),
    Example(
        "ROT-05", "the old key again", audits.certificate("server", spki_sha256="8" * 64), FAIL, "rotation.key_kept"
    ),
    Example("ROT-05", "no certificate", audits.bundle(certificates=()), UNKNOWN, "audit.rotation_unproven"),
    *LOG_EXAMPLES,
    Example(
        "AUD-01",
        "a waiver that has run out",
        replace(GOOD, waivers=(audits.waiver(expires=NOW.date() - DAY),)),
        FAIL,
        "audit_report.waiver_expired",
    ),
    Example(
        "AUD-01",
        "a malformed waiver",
        replace(
            GOOD,
            waivers_problem=Problem(
                "audit_report.waiver_malformed", {"path": "ops/waivers.yaml", "line": 3, "field": "owner"}
            ),
        ),
        FAIL,
        "audit_report.waiver_malformed",
    ),
    Example("AUD-01", "unreadable waivers", replace(GOOD, waivers_problem=LOCKED), UNKNOWN, "files.unreadable"),
    Example(
        "AUD-02",
        "another CA than before",
        replace(GOOD, earlier_report=earlier_authorities("9" * 64)),
        WARN,
        "exposure.authorities_changed",
    ),
    Example(
        "AUD-02",
        "one CA more than before, beside a rotation on record",
        replace(idle_authority(), earlier_report=earlier_authorities("a" * 64, since="2026-11-01T00:00:00Z")),
        WARN,
        "exposure.authorities_changed",
    ),
    Example(
        "AUD-02",
        "other settings than before",
        replace(GOOD, earlier_report=Summary("2026-11-22T09:42:00Z", (), config="1" * 64)),
        WARN,
        "audit_report.settings_changed",
    ),
    Example(
        "AUD-02",
        "a kept report that nobody signed",
        replace(GOOD, doubted_reports=("var/audit/acceptance/20991231T000000Z/stage4_support/compliance.json",)),
        WARN,
        "audit_report.kept_doubted",
    ),
    Example(
        "AUD-02",
        "kept reports and no ring",
        replace(GOOD, unchecked_reports=True),
        Outcome.SKIPPED,
        "audit_report.kept_unchecked",
    ),
    Example(
        "AUD-03",
        "a misspelt demand",
        replace(GOOD, notices=(SettingNotice("runtime.metrics_service.tls.require_client_auht", 30),)),
        WARN,
        "audit.setting_unknown",
    ),
    *LIVE_EXAMPLES,
)
# A disabled service is not judged; the service that is not there at all is another thing.
DISABLED = ServiceFacts("metrics_service", False, False, False)
