"""The scopes that an audit demands, and the baseline that shows who has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stage4.cli import audit_security_baseline, audit_stage4_compliance
from stage4.errors import ExitCode
from support.audit_rooms import Main, Room, copied
from support.audits import NOW, demo_installation

BOTH = pytest.mark.parametrize("main", [audit_stage4_compliance.main, audit_security_baseline.main])
SCHEDULER = "scheduler:core_multi_pipeline"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("scopes") / "demo"
    return root, demo_installation(root)


@pytest.fixture
def room(made: tuple[Path, dict[str, str]], tmp_path: Path) -> Room:
    return copied(made[0], tmp_path / "demo", made[1])


@BOTH
def test_a_demanded_scope_that_no_token_has_fails(room: Room, main: Main) -> None:
    answer = room.audit("--metrics-required-scope", "metrics.read", "--metrics-required-scope", "risk.read", main=main)

    assert answer.code == ExitCode.NO
    assert answer.results("fail") == {("RBAC-06", "metrics_service/risk.read", "audit.scope_uncovered")}
    assert ("RBAC-06", "metrics_service/metrics.read", "audit.scope_covered") in answer.results("pass")


@BOTH
def test_what_is_demanded_replaces_the_default_of_that_service_only(room: Room, main: Main) -> None:
    room.edit("scopes: [runtime.schedule.read, runtime.schedule.write]", "scopes: [runtime.schedule.read]")
    assert room.audit(main=main).code == ExitCode.NO

    answer = room.audit("--scheduler-required-scope", "runtime.schedule.read", main=main)

    assert answer.code == ExitCode.DONE
    subjects = {subject for control, subject, _ in answer.results("pass") if control == "RBAC-06"}
    assert subjects == {f"{SCHEDULER}/runtime.schedule.read", "metrics_service/metrics.read", "operations/alerts.write"}


@BOTH
def test_a_scope_of_a_service_that_the_settings_have_not_is_skipped(room: Room, main: Main) -> None:
    answer = room.audit("--risk-required-scope", "risk.read", main=main)

    assert answer.code == ExitCode.DONE
    assert ("RBAC-06", "risk_service/risk.read", "audit.service_disabled") in answer.results("skipped")


@BOTH
@pytest.mark.parametrize(
    ("flag", "scope"),
    [
        ("--scheduler-required-scope", "runtime.schedule.wirte"),
        ("--risk-required-scope", "Risk.Read"),
        ("--metrics-required-scope", "*"),
        ("--metrics-required-scope", ""),
    ],
)
def test_an_unknown_scope_is_a_wrong_call_and_the_known_ones_are_listed(
    room: Room, main: Main, flag: str, scope: str
) -> None:
    answer = room.audit(flag, "metrics.read", flag, scope, main=main)

    assert answer.code == ExitCode.USAGE
    assert answer.document["error"]["code"] == "audit.scope_unheard"
    assert answer.document["error"]["params"]["option"] == flag
    assert answer.document["error"]["hint"] == (
        "known scopes: alerts.write, incidents.read, incidents.write, metrics.read, overrides.write, risk.read, "
        "runtime.schedule.read, runtime.schedule.write"
    )


def test_the_baseline_has_what_readers_of_the_fields_report_look_for(room: Room) -> None:
    room.edit("scopes: [metrics.read]", 'scopes: ["*"]')

    document = room.audit("--metrics-required-scope", "risk.read", main=audit_security_baseline.main).document

    assert document["generated_at"] == document["checked_at"]
    assert document["config_path"] == "config/core.yaml"
    assert {error["control"] for error in document["errors"]} == {"RBAC-06", "RBAC-07"}
    assert document["warnings"] == []
    services = {service["service"]: service for service in document["tokens"]["services"]}
    assert set(services) == {"metrics_service", "risk_service", "operations", SCHEDULER}
    metrics = services["metrics_service"]
    assert metrics["shared_secret_token"] is True
    assert (metrics["token_count"], metrics["coverage"]) == (2, {"risk.read": []})
    assert {finding["control"] for finding in metrics["findings"]} == {"RBAC-06", "RBAC-07"}
    assert services["risk_service"]["enabled"] is services["risk_service"]["configured"] is False
    assert services[SCHEDULER]["findings"] == []
    assert set(document["tls"]["services"]) == {"metrics_service", "risk_service"}
    assert {entry["role"] for entry in document["tls"]["certificates"]} == {"ca", "server", "client"}


def test_the_baseline_warns_of_certificates_in_the_window_that_is_asked_for(room: Room) -> None:
    quiet = room.audit(main=audit_security_baseline.main)
    warned = room.audit("--warn-expiring-days", "200", main=audit_security_baseline.main)

    assert (quiet.document["status"], warned.document["status"]) == ("ok", "warn")
    assert {(f["control"], f["subject"]) for f in warned.document["tls"]["findings"]} == {
        ("X509-08", "server"),
        ("X509-08", "client"),
    }
    assert all(entry["days_left"] > 0 for entry in quiet.document["tls"]["certificates"])


def test_certificates_of_words_and_an_expired_one_fail_the_baseline_too(room: Room) -> None:
    late = f"{NOW.year + 3}-01-01T00:00:00Z"
    expired = room.audit("--at", late, main=audit_security_baseline.main)
    assert expired.code == ExitCode.NO
    assert "X509-07" in expired.controls("fail")

    for path in (room.root / "secrets/mtls").iterdir():
        path.write_bytes(b"cert")

    answer = room.audit("--allow-missing-env", main=audit_security_baseline.main)

    assert answer.code == ExitCode.NO
    assert "X509-01" in answer.controls("fail")


def test_an_offline_audit_loads_nothing_that_it_does_not_need(room: Room) -> None:
    """What is slow to import and of no use here would be paid for in the middle of an incident."""
    program = (
        "import sys\nfrom stage4.cli import audit_stage4_compliance\n"
        "audit_stage4_compliance.main(sys.argv[1:])\nprint(*sys.modules, file=sys.stderr)\n"
    )
    environ = {**os.environ, **room.environ}
    argv = [sys.executable, "-c", program, "--root", str(room.root)]
    ended = subprocess.run(argv, env=environ, capture_output=True, text=True, check=True)

    loaded = set(ended.stderr.splitlines()[-1].split())
    assert "stage4.audit.collect" in loaded
    assert loaded.isdisjoint({"grpc", "sqlalchemy", "click", "asyncio", "http.client", "ssl", "unittest", "numpy"})


@BOTH
def test_two_runs_over_the_same_input_differ_in_time_only(room: Room, main: Main) -> None:
    of_time = {"started_at", "stored", "summary_signature"}
    first = room.audit(main=main).document
    # The report of the first run would be input of the second.
    for run in (room.root / "var/audit/acceptance").iterdir():
        shutil.rmtree(run)

    second = room.audit(main=main).document

    assert {k: v for k, v in first.items() if k not in of_time} == {k: v for k, v in second.items() if k not in of_time}
