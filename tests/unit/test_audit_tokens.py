"""What is seen of tokens, keys and their secrets, and that nothing of a secret is kept."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path

import pytest

from stage4.audit.collect_tokens import Marker
from stage4.audit.reading import HIDDEN, shown_name
from support.audit_rooms import Room, copied
from support.audits import demo_installation

SCHEDULER = "token_env: CORE_SCHEDULER_TOKEN"
DESK = "scheduler:core_multi_pipeline/scheduler-local"
STRONG = "Zk3-pQ9_vL2xW8rT5yB1nM7cH4jD6gF0sA_eUiOqYtR"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("tokens") / "demo"
    return root, demo_installation(root)


@pytest.fixture
def room(made: tuple[Path, dict[str, str]], tmp_path: Path) -> Room:
    return copied(made[0], tmp_path / "demo", made[1])


def digest(secret: str, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, secret.encode()).hexdigest()}"


def ring_text(room: Room) -> str:
    return next((room.root / "secrets/decision_log").glob("*.key")).read_text(encoding="ascii").strip()


def test_a_healthy_room_has_nothing_wrong(room: Room) -> None:
    assert room.wrong() == {("DLOG-03", "audit/decision_logs/runtime.jsonl", "audit.log_absent")}


def test_a_hash_beside_its_secret_has_to_be_of_it(room: Room) -> None:
    room.edit(SCHEDULER, f"{SCHEDULER}\n          token_hash: '{digest('another secret')}'")
    assert {("RBAC-05", DESK, "audit.hash_differs"), ("RBAC-02", DESK, "audit.token_sources")} <= room.wrong("RBAC")

    room.edit(digest("another secret"), digest(room.environ["CORE_SCHEDULER_TOKEN"]))

    assert not {f for f in room.wrong("RBAC") if f[0] == "RBAC-05"}
    assert ("RBAC-02", DESK, "audit.token_sources") in room.wrong("RBAC")


@pytest.mark.parametrize(
    "written", ["md5:00", "sha256:abc", "sha1:" + "a" * 40, "sha256:" + "g" * 64, "sha512:" + "a" * 64, ""]
)
def test_a_hash_of_another_form_fails(room: Room, written: str) -> None:
    room.edit(SCHEDULER, f"token_hash: '{written}'")

    assert ("RBAC-05", DESK, "security.token_hash_bad") in room.wrong("RBAC")


@pytest.mark.parametrize("word", ["", "password", "changeme", "test", "x" * 32, "12345678"])
def test_the_hash_of_a_word_that_everybody_tries_is_no_secret(room: Room, word: str) -> None:
    room.edit(SCHEDULER, f"token_hash: '{digest(word, 'sha3_256')}'")

    assert ("RBAC-04", DESK, "audit.secret_common") in room.wrong("RBAC")


def test_one_secret_for_everything_is_found_everywhere(room: Room) -> None:
    for name in room.environ:
        room.environ[name] = STRONG
    (room.root / "secrets/detector.token").write_text(STRONG + "\n", encoding="utf-8")

    shared = {subject for control, subject, _ in room.wrong("RBAC") if control == "RBAC-08"}

    assert shared == {DESK, "operations/detector", "live_router/live-router"}


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha3_384"])
def test_a_secret_and_the_hash_of_it_elsewhere_are_one(room: Room, algorithm: str) -> None:
    room.edit(
        "token_file: secrets/detector.token",
        f"token_hash: '{digest(room.environ['LIVE_DECISION_LOG_HMAC'], algorithm)}'",
    )

    assert ("RBAC-08", "live_router/live-router", "audit.secret_shared") in room.wrong("RBAC")


@pytest.mark.parametrize("spelling", ["as it is", "hex", "url-safe", "hash"])
def test_the_secret_of_the_ring_is_known_again_in_a_token(room: Room, spelling: str) -> None:
    text = ring_text(room)
    raw = base64.b64decode(text)
    if spelling == "hash":
        room.edit(SCHEDULER, f"token_hash: '{digest(text)}'")
    else:
        spelt = {"as it is": text, "hex": raw.hex(), "url-safe": base64.urlsafe_b64encode(raw).decode().rstrip("=")}
        room.environ["CORE_SCHEDULER_TOKEN"] = spelt[spelling]

    assert ("RBAC-08", "keyring/ops-2026-11", "audit.secret_shared") in room.wrong("RBAC")


def test_the_token_of_a_checkpoint_place_is_compared_too(room: Room) -> None:
    room.edit("- directory: var/checkpoints-outside", "- {url: 'http://127.0.0.1:1', token_env: PLACE}")
    room.environ["PLACE"] = room.environ["CORE_SCHEDULER_TOKEN"]

    assert ("RBAC-08", "checkpoints/0", "audit.secret_shared") in room.wrong("RBAC")


def test_a_ring_secret_of_one_letter_is_weak_although_it_is_long_enough(room: Room) -> None:
    path = room.root / "secrets/decision_log/keyring.json"
    ring = json.loads(path.read_text(encoding="utf-8"))
    ring["keys"][0]["fingerprint"] = hashlib.sha256(b"stage4-kid" + bytes(32)).hexdigest()[:16]
    path.write_text(json.dumps(ring), encoding="utf-8")
    next(path.parent.glob("*.key")).write_bytes(base64.b64encode(bytes(32)))

    assert ("DLOG-02", "keyring/ops-2026-11", "audit.secret_weak") in room.wrong("DLOG")


def test_an_hmac_key_of_fewer_than_32_bytes_is_too_short(room: Room) -> None:
    room.environ["LIVE_DECISION_LOG_HMAC"] = STRONG[:31]
    assert ("DLOG-02", "live_router/live-router", "audit.hmac_key_short") in room.wrong("DLOG")

    room.environ["LIVE_DECISION_LOG_HMAC"] = STRONG[:32]

    assert not {f for f in room.wrong("DLOG") if f[0] == "DLOG-02"}


def test_a_router_key_that_nobody_rotates_is_a_warning(room: Room) -> None:
    room.edit("{key: live-router, purpose: decision-log}", "{key: somebody-else, purpose: decision-log}")

    assert ("DLOG-04", "live_router/live-router", "audit.router_key_unwatched") in room.wrong("DLOG")


def test_a_variable_that_several_tokens_miss_is_named_once(room: Room) -> None:
    del room.environ["METRICS_SERVICE_AUTH_TOKEN"]

    named = [subject for control, subject, _ in room.wrong("RBAC") if control == "RBAC-03"]

    assert named == ["metrics_service/metrics-service"]


def test_a_second_entry_of_one_id_is_a_subject_of_its_own(room: Room) -> None:
    room.edit("token_id: detector", "token_id: alertmanager")

    assert ("RBAC-08", "operations/alertmanager#2", "audit.token_id_twice") in room.wrong("RBAC")
    subjects = [(f.control, f.subject) for f in room.findings() if f.control.startswith("RBAC")]
    assert len(subjects) == len(set(subjects))


def test_a_token_without_a_name_fails(room: Room) -> None:
    room.edit("token_id: detector", "token_id: ' '")

    assert ("RBAC-08", "operations/ ", "audit.token_id_blank") in room.wrong("RBAC")


@pytest.mark.parametrize(
    "where", ["token_id: scheduler-local", "scopes: [runtime.schedule.read, runtime.schedule.write]"]
)
def test_a_secret_in_the_place_of_a_name_is_not_repeated(room: Room, where: str) -> None:
    secret = room.environ["CORE_SCHEDULER_TOKEN"]
    room.edit(where, f"token_id: {secret}" if "token_id" in where else f"scopes: [{secret}]")

    answer = room.audit()

    assert secret not in answer.out + answer.err


@pytest.mark.parametrize("source", ["token_env", "token_file", "token_hash"])
def test_a_secret_in_the_place_of_its_source_is_not_repeated(room: Room, source: str) -> None:
    room.edit(SCHEDULER, f"{source}: {STRONG}")

    answer = room.audit("--check-paths")

    assert answer.code == 1
    assert STRONG not in answer.out + answer.err


@pytest.mark.parametrize(
    "name",
    [
        "METRICS_SERVICE_AUTH_TOKEN",
        "LIVE_DECISION_LOG_HMAC",
        "scheduler_token",
        "TOKEN_9999",
        "detector",
        "MetricsReader2026",
        "schedulerReader01",
        "coreschedulertoken2026",
    ],
)
def test_a_name_that_people_give_is_shown(name: str) -> None:
    assert shown_name(name) == name


@pytest.mark.parametrize(
    "name", [STRONG, "5f4dcc3b5aa765d61d8327deb882cf99", "JBSWY3DPEHPK3PXPJBSWY3DPEE", "a" * 25, "vL2xW8rT5yB1nM7c"]
)
def test_a_name_that_seems_to_be_drawn_is_hidden(name: str) -> None:
    assert shown_name(name) == HIDDEN


def test_the_id_of_a_token_may_be_a_uuid(room: Room) -> None:
    room.edit("token_id: scheduler-local", "token_id: 550e8400-e29b-41d4-a716-446655440000")

    assert "scheduler:core_multi_pipeline/550e8400-e29b-41d4-a716-446655440000" in {f.subject for f in room.findings()}


def test_evidence_shows_nothing_of_a_secret(room: Room) -> None:
    evidence = room.evidence()
    secrets = [*room.environ.values(), ring_text(room), (room.root / "secrets/detector.token").read_text().strip()]

    shown = repr(evidence)

    for secret in secrets:
        for form in (secret, hashlib.sha256(secret.encode()).hexdigest(), base64.b64encode(secret.encode()).decode()):
            assert form not in shown
    for token in evidence.tokens:
        if token.secret is not None:
            assert token.secret.tag not in shown


def test_tags_of_two_collections_cannot_be_compared() -> None:
    assert Marker(b"a" * 32).secret(STRONG).tag != Marker(b"b" * 32).secret(STRONG).tag


RISK = """  risk_service:
    enabled: true
    auth_token_env: RISK_TOKEN
    tls: {enabled: true, require_client_auth: true, certificate_path: secrets/mtls/core-oem-server.pem,
          private_key_path: secrets/mtls/core-oem-server-key.pem, client_ca_path: secrets/mtls/core-oem-ca.pem}
  resource_limits:
"""


def test_a_risk_service_is_judged_as_the_metrics_service_is(room: Room) -> None:
    room.edit("  resource_limits:\n", RISK)
    room.environ["RISK_TOKEN"] = STRONG
    assert not room.wrong("RBAC", "TLS", "X509", "FS")

    room.edit("RISK_TOKEN", "METRICS_SERVICE_AUTH_TOKEN")
    room.edit("tls: {enabled: true, require_client_auth: true,", "tls: {enabled: true,")

    assert room.wrong("RBAC", "TLS") == {
        ("RBAC-08", "risk_service/risk-service", "audit.secret_shared"),
        ("TLS-01", "risk_service", "audit.client_auth_off"),
    }


def test_a_risk_service_with_a_foreign_ca_and_no_certificate_is_found(room: Room) -> None:
    room.edit("  resource_limits:\n", RISK)
    room.environ["RISK_TOKEN"] = STRONG
    room.edit("certificate_path: secrets/mtls/core-oem-server.pem,", "certificate_path: secrets/mtls/risk.pem,")
    room.edit("client_ca_path: secrets/mtls/core-oem-ca.pem}", "client_ca_path: secrets/mtls/core-oem-client.pem}")

    wrong = room.wrong("TLS", "X509")

    assert ("X509-01", "secrets/mtls/risk.pem", "files.missing") in wrong
    assert ("TLS-02", "secrets/mtls/core-oem-client.pem", "audit.believes_leaf") in wrong


def test_the_bundles_certificate_has_to_fit_the_host_of_every_service_that_shows_it(room: Room) -> None:
    room.edit("  resource_limits:\n", RISK.replace("auth_token_env", "host: risk.desk.example\n    auth_token_env"))
    room.environ["RISK_TOKEN"] = STRONG

    assert room.wrong("X509") == {("X509-04", "server@risk.desk.example", "security.chain_wrong_host")}


@pytest.mark.parametrize(
    ("old", "new", "subject"),
    [
        (
            "x-stage4-client: operations",
            "Authorization: Bearer hunter2",
            "runtime.metrics_service.grpc_metadata.Authorization",
        ),
        ("x-stage4-client: operations", "x-bot-auth: hunter2", "runtime.metrics_service.grpc_metadata.x-bot-auth"),
        (
            "x-stage4-client: operations",
            "x-access-token: hunter2",
            "runtime.metrics_service.grpc_metadata.x-access-token",
        ),
        (
            "# prometheus_url: http://127.0.0.1:9090",
            "prometheus_url: http://127.0.0.1:9090/?api_key=hunter2",
            "operations.monitoring.prometheus_url",
        ),
        ("sqlite:///var/stage4.db", "postgresql://desk:hunt/er2@127.0.0.1/stage4", "operations.storage_url"),
        ("sqlite:///var/stage4.db", "postgresql://desk:hunter2@127.0.0.1/stage4", "operations.storage_url"),
        ("# prometheus_url: http://", "prometheus_url: http://desk:hunter2@", "operations.monitoring.prometheus_url"),
    ],
)
def test_a_secret_in_a_header_or_an_address_stands_in_the_settings(
    room: Room, old: str, new: str, subject: str
) -> None:
    room.edit(old, new)

    answer = room.audit()

    assert ("RBAC-02", subject, "audit.inline_setting") in answer.results("fail")
    assert "hunter2" not in answer.out + answer.err


@pytest.mark.parametrize(
    ("line", "control"),
    [
        ("hmac_secret: hunter2", "RBAC-02"),
        ("signing_key: hunter2", "RBAC-02"),
        ("shared_token: 12345", "RBAC-02"),
        ("hmac_key: ''", "AUD-03"),
        ("rotate_token: true", "AUD-03"),
        ("auth_token: {env: NAME}", "AUD-03"),
        ("signing_key_path: secrets/x.key", "AUD-03"),
    ],
)
def test_an_unknown_key_is_a_secret_by_its_name_and_its_value(room: Room, line: str, control: str) -> None:
    room.edit("      key_id: live-router", f"      key_id: live-router\n      {line}")

    key = f"execution.live_router.decision_log.{line.partition(':')[0]}"

    assert [c for c, subject, _ in room.wrong("RBAC", "AUD") if subject == key] == [control]
    assert "hunter2" not in room.audit().out


def test_a_name_cannot_write_a_line_of_its_own_into_the_report(room: Room) -> None:
    room.edit("token_id: scheduler-local", 'token_id: "x\\naudit: ok"')
    room.edit("    core_multi_pipeline:", '    "desk\\nkept nothing":')
    room.edit("      key_id: live-router", '      key_id: "x\\naudit: ok"')
    room.edit("    host: 127.0.0.1", '    host: "x\\naudit: ok"')
    room.edit("strategy: core_mean_reversion", 'strategy: "x\\naudit: ok"')
    (room.root / "secrets/decision_log").joinpath(os.fsdecode(b"\xff\nok.key")).write_bytes(b"x")
    (room.root / "secrets/decision_log").joinpath(os.fsdecode(b"\xff\nok.key")).chmod(0o644)

    answer = room.audit()

    assert answer.code == 1
    begins = {line.partition(" ")[0] for line in answer.err.splitlines()}
    assert begins <= {"audit:", "1.", "2.", "3.", "FAIL", "warn", "CANNOT", "", "kept", "since"}
    assert "audit: ok" not in answer.err.splitlines()
    assert ("FS-01", "secrets/decision_log/\\udcff\\nok.key", "audit.mode_open") in answer.results("fail")


def test_stored_evidence_is_judged_as_the_installation_was(room: Room) -> None:
    raw = base64.b64decode(ring_text(room))
    room.environ["CORE_SCHEDULER_TOKEN"] = raw.hex()
    room.environ["LIVE_DECISION_LOG_HMAC"] = "short"
    room.edit("token_file: secrets/detector.token", f"token_hash: '{digest(raw.hex(), 'sha512')}'")
    room.edit("x-stage4-client: operations", "authorization: Bearer hunter2")
    room.edit("  resource_limits:\n", RISK)
    (room.root / "secrets").chmod(0o777)
    fresh = room.audit()
    evidence = Path(fresh.document["stored"]).with_name("evidence.json")

    again = room.audit("--evidence", str(evidence))

    groups = ("RBAC", "TLS-", "DLOG", "FS-0")
    for outcome in ("pass", "warn", "fail", "unknown", "skipped"):
        mine = {finding for finding in again.results(outcome) if finding[0][:4] in groups}
        assert mine == {finding for finding in fresh.results(outcome) if finding[0][:4] in groups}
    kept = evidence.read_text(encoding="utf-8")
    for secret in (raw.hex(), ring_text(room), "hunter2"):
        assert secret not in kept
        assert hashlib.sha256(secret.encode()).hexdigest() not in kept
