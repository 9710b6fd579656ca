"""`--allow-missing-env` turns environment secrets that are not set into warnings, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stage4.cli import audit_security_baseline, audit_stage4_compliance
from stage4.errors import ExitCode
from support.audit_rooms import Main, Room, copied
from support.audits import demo_installation

FLAG = "--allow-missing-env"
SCHEDULER = "token_env: CORE_SCHEDULER_TOKEN"
KEY = "secrets/mtls/core-oem-server-key.pem"
BOTH = pytest.mark.parametrize("main", [audit_stage4_compliance.main, audit_security_baseline.main])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("lenient") / "demo"
    return root, demo_installation(root)


@pytest.fixture
def room(made: tuple[Path, dict[str, str]], tmp_path: Path) -> Room:
    return copied(made[0], tmp_path / "demo", made[1])


def hashed(secret: str) -> str:
    return "sha256:" + hashlib.sha256(secret.encode()).hexdigest()


def ring(room: Room, **changes: object) -> None:
    path = room.root / "secrets/decision_log/keyring.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    key = document["keys"][0]
    key.pop("secret_file", None)
    key |= changes
    path.write_text(json.dumps(document), encoding="utf-8")


def blank_token(room: Room) -> None:
    room.environ["CORE_SCHEDULER_TOKEN"] = " \t"


def empty_token(room: Room) -> None:
    room.environ["METRICS_SERVICE_AUTH_TOKEN"] = ""


def blank_router_key(room: Room) -> None:
    room.environ["LIVE_DECISION_LOG_HMAC"] = "\n"


def blank_ring_key(room: Room) -> None:
    ring(room, secret_env="RING_SECRET")
    room.environ["RING_SECRET"] = ""


def missing_token_file(room: Room) -> None:
    (room.root / "secrets/detector.token").unlink()


def token_file_is_a_directory(room: Room) -> None:
    (room.root / "secrets/detector.token").unlink()
    (room.root / "secrets/detector.token").mkdir()


def token_file_is_a_pipe(room: Room) -> None:
    (room.root / "secrets/detector.token").unlink()
    os.mkfifo(room.root / "secrets/detector.token", 0o600)


def token_file_is_huge(room: Room) -> None:
    with (room.root / "secrets/detector.token").open("wb") as out:
        out.truncate(1 << 40)


def blank_token_file(room: Room) -> None:
    (room.root / "secrets/detector.token").write_bytes(b"\n")


def missing_router_file(room: Room) -> None:
    room.edit("hmac_key_env: LIVE_DECISION_LOG_HMAC", "hmac_key_path: secrets/router.key")


def two_sources_of_which_one_is_not_set(room: Room) -> None:
    room.edit(SCHEDULER, "token_env: NOT_SET\n          token_file: secrets/detector.token")


def hash_beside_an_unset_variable(room: Room) -> None:
    room.edit(SCHEDULER, f"token_env: NOT_SET\n          token_hash: '{hashed('b' * 64)}'")


def no_source(room: Room) -> None:
    room.edit(SCHEDULER, "san: desk")


def weak(room: Room) -> None:
    room.environ["CORE_SCHEDULER_TOKEN"] = "x" * 32


def placeholder(room: Room) -> None:
    room.environ["CORE_SCHEDULER_TOKEN"] = "change-me-before-the-desk-opens-on-monday"


def short_router_key(room: Room) -> None:
    room.environ["LIVE_DECISION_LOG_HMAC"] = "Zk3-pQ9_vL2xW8rT5yB1nM7"


def duplicate_secret(room: Room) -> None:
    room.environ["CORE_SCHEDULER_TOKEN"] = room.environ["METRICS_SERVICE_AUTH_TOKEN"]


def duplicate_id(room: Room) -> None:
    room.edit("token_id: detector", "token_id: alertmanager")


def inline(room: Room) -> None:
    room.edit(SCHEDULER, f"{SCHEDULER}\n          token_value: oops")


def bad_hash(room: Room) -> None:
    room.edit(SCHEDULER, "token_hash: 'md5:00'")


def guessable_hash(room: Room) -> None:
    room.edit(SCHEDULER, f"token_hash: '{hashed('password')}'")


def wildcard(room: Room) -> None:
    room.edit("scopes: [metrics.read]", 'scopes: [metrics.read, "*"]')


def no_scopes(room: Room) -> None:
    room.edit("scopes: [metrics.read]", "scopes: []")


def uncovered(room: Room) -> None:
    room.edit("scopes: [runtime.schedule.read, runtime.schedule.write]", "scopes: [runtime.schedule.read]")


def open_key(room: Room) -> None:
    (room.root / KEY).chmod(0o666)


def missing_key(room: Room) -> None:
    (room.root / KEY).unlink()


def no_client_auth(room: Room) -> None:
    room.edit("require_client_auth: true", "require_client_auth: false")


def open_directory(room: Room) -> None:
    (room.root / "secrets").chmod(0o777)


# What is wrong, and the control that has to fail of it. The second list is of the whole audit only.
EVERYWHERE: dict[Callable[[Room], None], str] = {
    blank_token: "RBAC-03",
    empty_token: "RBAC-03",
    missing_token_file: "RBAC-03",
    token_file_is_a_directory: "RBAC-03",
    token_file_is_a_pipe: "RBAC-03",
    token_file_is_huge: "RBAC-03",
    blank_token_file: "RBAC-03",
    two_sources_of_which_one_is_not_set: "RBAC-02",
    hash_beside_an_unset_variable: "RBAC-02",
    no_source: "RBAC-02",
    inline: "RBAC-02",
    weak: "RBAC-04",
    placeholder: "RBAC-04",
    guessable_hash: "RBAC-04",
    bad_hash: "RBAC-05",
    uncovered: "RBAC-06",
    wildcard: "RBAC-07",
    no_scopes: "RBAC-07",
    duplicate_secret: "RBAC-08",
    duplicate_id: "RBAC-08",
    open_key: "FS-01",
    missing_key: "X509-01",
    no_client_auth: "TLS-01",
    open_directory: "FS-02",
}
ONLY_WHOLE: dict[Callable[[Room], None], str] = {
    blank_router_key: "DLOG-02",
    blank_ring_key: "DLOG-02",
    missing_router_file: "DLOG-02",
    short_router_key: "DLOG-02",
}
CASES = [
    *((spoil, control, audit_stage4_compliance.main) for spoil, control in (EVERYWHERE | ONLY_WHOLE).items()),
    *((spoil, control, audit_security_baseline.main) for spoil, control in EVERYWHERE.items()),
]


@BOTH
def test_variables_that_are_not_set_fail_and_are_warnings_where_they_may_miss(room: Room, main: Main) -> None:
    room.environ.clear()

    strict, lenient = room.audit(main=main), room.audit(FLAG, main=main)

    assert (strict.code, strict.document["status"]) == (ExitCode.NO, "fail")
    assert (lenient.code, lenient.document["status"]) == (ExitCode.DONE, "warn")
    of_variables = {f for f in strict.results("fail", "unknown") if f[0] in ("RBAC-03", "DLOG-02")}
    assert {f[2] for f in of_variables} <= {"security.token_env_missing", "audit.variable_missing"}
    assert of_variables <= lenient.results("warn")


@pytest.mark.parametrize(("spoil", "control", "main"), CASES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_whatever_else_is_wrong_stays_wrong(
    room: Room, spoil: Callable[[Room], None], control: str, main: Main
) -> None:
    spoil(room)

    strict, lenient = room.audit(main=main), room.audit(FLAG, main=main)

    # What is there and cannot be read is no answer; that is no pass either.
    assert lenient.code == strict.code == (ExitCode.CANNOT_TELL if spoil is token_file_is_huge else ExitCode.NO)
    assert control in lenient.controls("fail", "unknown")
    assert lenient.results("fail", "unknown") == strict.results("fail", "unknown")
    assert lenient.results("warn") == strict.results("warn")


def test_a_missing_variable_of_the_ring_is_a_warning_too(room: Room) -> None:
    ring(room, secret_env="RING_SECRET")

    strict, lenient = room.audit(), room.audit(FLAG)

    wanted = ("DLOG-02", "keyring/ops-2026-11", "keyring.secret_missing")
    assert wanted in strict.results("fail", "unknown")
    assert wanted in lenient.results("warn")


def test_one_variable_that_misses_excuses_no_other_thing(room: Room) -> None:
    del room.environ["CORE_SCHEDULER_TOKEN"]
    room.environ["METRICS_SERVICE_AUTH_TOKEN"] = "short"
    shutil.rmtree(room.root / "secrets/mtls")

    lenient = room.audit(FLAG)

    assert lenient.code == ExitCode.NO
    assert {"RBAC-04", "X509-01"} <= lenient.controls("fail")
    assert "RBAC-03" not in lenient.controls("fail", "unknown")
