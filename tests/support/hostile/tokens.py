"""Tokens that are weak, stand in the wrong place, grant too much, or are not there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from support.hostile.cases import Case, case
from support.hostile.ground import Ground

SCHEDULER, METRICS, ROUTER = "CORE_SCHEDULER_TOKEN", "METRICS_SERVICE_AUTH_TOKEN", "LIVE_DECISION_LOG_HMAC"
OTHER_SECRET = "Zw8-kq3TxVb_41mHsJcy0RpLfNgaE7uDiOP2vXdCtB9"


def _scheduler(**changes: object) -> Callable[[Ground], None]:
    """The scheduler's token with other members; None takes one out."""
    return _token(lambda v: v["runtime"]["multi_strategy_schedulers"]["core_multi_pipeline"]["rbac_tokens"][0], changes)


def _reader(**changes: object) -> Callable[[Ground], None]:
    return _token(lambda v: v["runtime"]["metrics_service"]["rbac_tokens"][0], changes)


def _alerts(**changes: object) -> Callable[[Ground], None]:
    return _token(lambda v: v["operations"]["service"]["rbac_tokens"][0], changes)


def _token(find: Callable[[Any], Any], changes: dict[str, object]) -> Callable[[Ground], None]:
    def edit(values: Any) -> None:
        token = find(values)
        token.update(changes)
        for name in [name for name, value in changes.items() if value is None]:
            del token[name]

    def spoil(ground: Ground) -> None:
        ground.settings(edit)
        # What stands in the settings in the place of a secret must not be repeated either.
        ground.secrets += [
            str(v)
            for k, v in changes.items()
            if k not in ("scopes", "token_id", "token_env", "token_file") and len(str(v)) > 7
        ]

    return spoil


def variable(name: str, value: str | None) -> Callable[[Ground], None]:
    def spoil(ground: Ground) -> None:
        if value is None:
            del ground.environ[name]
        else:
            ground.environ[name] = value

    return spoil


def _file(content: bytes) -> Callable[[Ground], None]:
    return lambda ground: (ground.root / "secrets/alertmanager.token").write_bytes(content) and None


def _none(*keys: str) -> Callable[[Ground], None]:
    """A service without any token."""

    def edit(values: Any) -> None:
        for key in keys:
            values = values[key]
        values["rbac_tokens"] = []
        values.pop("auth_token_env", None)

    return lambda ground: ground.settings(edit)


def _same(name: str, other: str) -> Callable[[Ground], None]:
    return lambda ground: ground.environ.update({name: ground.environ[other]})


def _file_of(name: str) -> Callable[[Ground], None]:
    """Alertmanager's token is the secret of a variable."""
    return lambda ground: (ground.root / "secrets/alertmanager.token").write_text(ground.environ[name] + "\n") and None


def _hash_of(name: str, algorithm: str = "sha256") -> Callable[[Ground], None]:
    """Alertmanager's token is kept as a hash of a secret that stands elsewhere in the clear."""

    def spoil(ground: Ground) -> None:
        digest = hashlib.new(algorithm, ground.environ[name].encode()).hexdigest()
        _alerts(token_file=None, token_hash=f"{algorithm}:{digest}")(ground)

    return spoil


def _twice(ground: Ground) -> None:
    def edit(values: Any) -> None:
        tokens = values["operations"]["service"]["rbac_tokens"]
        tokens[1]["token_id"] = tokens[0]["token_id"]

    ground.settings(edit)


def _one_file(ground: Ground) -> None:
    (ground.root / "secrets/detector.token").write_bytes((ground.root / "secrets/alertmanager.token").read_bytes())


def _hash(algorithm: str, digits: str) -> Callable[[Ground], None]:
    return _scheduler(token_env=None, token_hash=f"{algorithm}:{digits}")


WEAK, SHARED, SOURCES = (
    "RBAC-04 fail audit.secret_weak",
    "RBAC-08 fail audit.secret_shared",
    "RBAC-02 fail audit.token_sources",
)
PLACEHOLDER, BAD_HASH, SCOPE = (
    "RBAC-04 fail audit.secret_placeholder",
    "RBAC-05 fail security.token_hash_bad",
    "RBAC-07 fail audit.scope_unknown",
)
BLANK, UNCOVERED = "RBAC-03 fail security.token_blank", "RBAC-06 fail audit.scope_uncovered"
BLOCKED = "RBAC-06 fail audit.scope_blocked"
READ, WRITE = "runtime.schedule.read", "runtime.schedule.write"
RIGHT = hashlib.sha256(OTHER_SECRET.encode()).hexdigest()
CASES: tuple[Case, ...] = (
    # secrets
    case("token-blank", "the scheduler's secret is blank", variable(SCHEDULER, "   "), BLANK, BLOCKED),
    case("token-empty", "the scheduler's secret is empty", variable(SCHEDULER, ""), BLANK, BLOCKED),
    case("token-newlines", "the scheduler's secret is nothing but lines", variable(SCHEDULER, "\n\t\r\n"), BLANK),
    case(
        "token-blank-allowed",
        "a blank secret, where variables may be unset",
        variable(SCHEDULER, " "),
        BLANK,
        flags=("--allow-missing-env",),
    ),
    case("token-file-blank", "Alertmanager's token file is blank", _file(b"\n"), BLANK),
    case("token-letter", "the secret is one letter", variable(SCHEDULER, "a"), WEAK),
    case("token-one-letter-often", "the secret is one letter, 64 times", variable(SCHEDULER, "x" * 64), WEAK),
    case("token-pattern", "the secret repeats a word", variable(SCHEDULER, "desk2026" * 8), WEAK),
    case("token-run", "the secret is the alphabet", variable(SCHEDULER, "abcdefghijklmnopqrstuvwxyz0123456789"), WEAK),
    case("token-digits", "the secret is 32 digits", variable(SCHEDULER, "83920175640192837465019283746501"), WEAK),
    case("token-short", "the secret has twelve letters", variable(SCHEDULER, "kQ7vTz2mWp9x"), WEAK),
    case(
        "token-placeholder",
        "the secret says changeme",
        variable(SCHEDULER, "changeme-kQ7vTz2mWp9xLr4NcY8uHd3S"),
        PLACEHOLDER,
    ),
    case(
        "token-example", "the secret says example", variable(METRICS, "example.kQ7vTz2mWp9xLr4NcY8uHd3S"), PLACEHOLDER
    ),
    case("token-file-weak", "Alertmanager's token is a word", _file(b"desk-alerts\n"), WEAK),
    case(
        "token-file-password",
        "Alertmanager's token says password",
        _file(b"Password-2026-kQ7vTz2mWp9xLr4NcY8uHd3S\n"),
        PLACEHOLDER,
    ),
    # sources
    case("token-two-sources", "a variable and a file", _scheduler(token_file="secrets/alertmanager.token"), SOURCES),
    case("token-variable-and-hash", "a variable and a hash", _scheduler(token_hash=f"sha256:{RIGHT}"), SOURCES),
    case(
        "token-three-sources",
        "a variable, a file and a hash",
        _scheduler(token_file="secrets/detector.token", token_hash=f"sha256:{RIGHT}"),
        SOURCES,
    ),
    case("token-no-source", "no source at all", _scheduler(token_env=None), SOURCES),
    case(
        "token-inline",
        "the secret in the settings",
        _scheduler(token_env=None, token_value=OTHER_SECRET),
        "RBAC-02 fail audit.inline_secret",
    ),
    case(
        "token-inline-beside",
        "the secret in the settings beside its variable",
        _scheduler(token_value=OTHER_SECRET),
        "RBAC-02 fail audit.inline_secret",
    ),
    case(
        "token-inline-service",
        "the service's secret in the settings",
        lambda g: g.settings(lambda v: v["runtime"]["metrics_service"].update(auth_token=OTHER_SECRET)),
        "RBAC-02 fail audit.inline_secret",
    ),
    case(
        "token-inline-router",
        "the router's key in the settings",
        lambda g: g.settings(lambda v: v["execution"]["live_router"]["decision_log"].update(hmac_key=OTHER_SECRET)),
        "RBAC-02 fail audit.inline_secret",
    ),
    case(
        "token-inline-misspelt",
        "the secret in the settings under another name",
        _scheduler(token_valeu=OTHER_SECRET),
        "AUD-03 warn audit.setting_unknown",
    ),
    case(
        "token-variable-unset",
        "the scheduler's variable is not set",
        variable(SCHEDULER, None),
        "RBAC-03 fail security.token_env_missing",
        BLOCKED,
    ),
    case(
        "token-variable-unset-allowed",
        "the scheduler's variable is not set, and may be unset",
        variable(SCHEDULER, None),
        "RBAC-03 warn security.token_env_missing",
        "RBAC-06 warn audit.scope_waits",
        flags=("--allow-missing-env",),
    ),
    case(
        "token-variable-renamed",
        "the settings name another variable",
        _scheduler(token_env="CORE_SCHEDULER_TOEKN"),
        "RBAC-03 fail security.token_env_missing",
    ),
    case(
        "token-file-missing",
        "Alertmanager's token file is not there",
        lambda g: (g.root / "secrets/alertmanager.token").unlink(),
        "RBAC-03 fail files.missing",
    ),
    case(
        "token-file-missing-allowed",
        "a token file is not there, where variables may be unset",
        lambda g: (g.root / "secrets/alertmanager.token").unlink(),
        "RBAC-03 fail files.missing",
        flags=("--allow-missing-env",),
    ),
    case(
        "token-file-directory",
        "Alertmanager's token file is a directory",
        _alerts(token_file="secrets"),
        "RBAC-03 unknown files.unreadable",
    ),
    case(
        "token-file-huge",
        "Alertmanager's token file is larger than any token",
        _file(b"k" * 5000),
        "RBAC-03 unknown files.too_large",
    ),
    case(
        "token-file-outside",
        "Alertmanager's token lies outside",
        _alerts(token_file="../alertmanager.token"),
        "RBAC-03 fail files.missing",
    ),
    # hashes
    case("hash-md5", "a hash over MD5", _hash("md5", "0" * 32), BAD_HASH, BLOCKED),
    case("hash-sha1", "a hash over SHA-1", _hash("sha1", "0" * 40), BAD_HASH),
    case("hash-crc32", "a hash that is a checksum", _hash("crc32", "cafebabe"), BAD_HASH),
    case("hash-short", "a digest that is too short", _hash("sha256", RIGHT[:-2]), BAD_HASH),
    case("hash-long", "a digest that is too long", _hash("sha256", RIGHT + "00"), BAD_HASH),
    case("hash-of-another", "a digest of another algorithm's length", _hash("sha512", RIGHT), BAD_HASH),
    case("hash-upper-case", "the algorithm in capitals", _hash("SHA256", RIGHT), BAD_HASH),
    case("hash-no-hex", "a digest that is no hexadecimal", _hash("sha256", "g" * 64), BAD_HASH),
    case(
        "hash-base64",
        "a digest in base64",
        _hash("sha256", "R2V0IHRoZSBkaWdlc3QgaW4gYmFzZTY0IGhlcmUgcGxlYXNl"),
        BAD_HASH,
    ),
    case(
        "hash-without-algorithm",
        "a digest without its algorithm",
        _scheduler(token_env=None, token_hash=RIGHT),
        BAD_HASH,
    ),
    case(
        "hash-is-secret",
        "the secret in the place of its hash",
        _scheduler(token_env=None, token_hash=OTHER_SECRET),
        BAD_HASH,
    ),
    case("hash-empty", "an empty hash", _scheduler(token_env=None, token_hash=""), BAD_HASH),
    # reuse
    case("reuse-services", "two services share a secret", _same(METRICS, SCHEDULER), SHARED),
    case("reuse-file", "Alertmanager has the scheduler's secret", _file_of(SCHEDULER), SHARED),
    case("reuse-two-files", "the detector has Alertmanager's secret", _one_file, SHARED),
    case("reuse-hash", "Alertmanager's hash is of the scheduler's secret", _hash_of(SCHEDULER), SHARED),
    case(
        "reuse-hash-sha3",
        "Alertmanager's SHA3 hash is of the metrics service's secret",
        _hash_of(METRICS, "sha3_512"),
        SHARED,
    ),
    case("reuse-router", "the router's key is the scheduler's secret", _same(ROUTER, SCHEDULER), SHARED),
    case("reuse-router-file", "Alertmanager has the router's key", _file_of(ROUTER), SHARED),
    case("reuse-router-hash", "Alertmanager's hash is of the router's key", _hash_of(ROUTER), SHARED),
    case("reuse-variable", "two services name one variable", _scheduler(token_env=METRICS), SHARED),
    case("reuse-ring", "Alertmanager has the secret of the decision log's ring", lambda g: _ring_secret(g), SHARED),
    case("token-id-twice", "two tokens of one service have one id", _twice, "RBAC-08 fail audit.token_id_twice"),
    # scopes
    case("scope-star", "a wildcard", _reader(scopes=["metrics.read", "*"]), SCOPE),
    case("scope-prefix-star", "a wildcard of a part", _scheduler(scopes=[READ, WRITE, "runtime.*"]), SCOPE),
    case("scope-admin", "an administrator", _scheduler(scopes=[READ, WRITE, "admin"]), SCOPE),
    case("scope-unknown", "a scope nobody knows", _alerts(scopes=["alerts.write", "alerts.delete"]), SCOPE),
    case("scope-capitals", "a scope in capitals", _reader(scopes=["METRICS.READ"]), SCOPE),
    case("scope-spaced", "a scope with a space behind it", _scheduler(scopes=[READ, WRITE + " "]), SCOPE, UNCOVERED),
    case("scope-empty-name", "a scope without a name", _scheduler(scopes=[READ, WRITE, ""]), SCOPE),
    case("scope-none", "no scopes", _reader(scopes=[]), "RBAC-07 fail audit.no_scopes"),
    case(
        "scope-reader-writes",
        "the reader of metrics may stop the desk",
        _reader(scopes=["metrics.read", "overrides.write"]),
        "RBAC-07 warn audit.reader_writes",
    ),
    case("scope-write-missing", "nobody may write the schedule", _scheduler(scopes=[READ]), UNCOVERED),
    case("scope-read-missing", "nobody may read the schedule", _scheduler(scopes=[WRITE]), UNCOVERED),
    case(
        "scope-alerts-missing",
        "nobody may send alerts",
        lambda g: g.settings(
            lambda v: [t.update(scopes=["incidents.read"]) for t in v["operations"]["service"]["rbac_tokens"]]
        ),
        UNCOVERED,
    ),
    # services
    case(
        "service-scheduler-open",
        "a scheduler without tokens",
        _none("runtime", "multi_strategy_schedulers", "core_multi_pipeline"),
        "RBAC-01 fail audit.no_token",
        BLOCKED,
    ),
    case(
        "service-metrics-open",
        "the metrics service without tokens",
        _none("runtime", "metrics_service"),
        "RBAC-01 fail audit.no_token",
        BLOCKED,
    ),
    case(
        "service-operations-open",
        "the incident service without tokens",
        _none("operations", "service"),
        "RBAC-01 fail audit.no_token",
        BLOCKED,
    ),
    case(
        "scope-of-the-desk",
        "the token for alerts may stop the desk",
        lambda ground: ground.settings(
            lambda v: v["operations"]["service"]["rbac_tokens"][0]["scopes"].extend(["overrides.write"])
        ),
        "RBAC-07 fail exposure.scope_beyond",
    ),
    case(
        "service-second-scheduler",
        "a second scheduler without tokens",
        lambda g: g.settings(lambda v: v["runtime"]["multi_strategy_schedulers"].update(night={"schedules": {}})),
        "RBAC-01 fail audit.no_token",
    ),
)


def _ring_secret(ground: Ground) -> None:
    held = next((ground.root / "secrets/decision_log").glob("*.key")).read_bytes()
    (ground.root / "secrets/alertmanager.token").write_bytes(held)
