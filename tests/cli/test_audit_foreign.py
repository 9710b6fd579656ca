"""Settings that other people wrote: what is missing is named once, and nothing that is not there passes."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from pathlib import Path

import pytest

from stage4.cli import audit_security_baseline, audit_stage4_compliance
from stage4.config import load
from stage4.errors import ExitCode
from support.audit_rooms import Answer, Main, Room, bare

FOREIGN = Path(__file__).parent.parent / "vectors/foreign_settings"
NAMES = ("public", "minimal", "hashed", "elsewhere")
BOTH = pytest.mark.parametrize("main", [audit_stage4_compliance.main, audit_security_baseline.main])


def room(tmp_path: Path, name: str) -> Room:
    return bare(tmp_path / name, (FOREIGN / f"{name}.yaml").read_text(encoding="utf-8"))


def missing(answer: Answer) -> Counter[str]:
    """How often each path is named as missing in the lists that people read."""
    listed = [*answer.document["issues"], *answer.document["warnings"]]
    return Counter(entry["message"] for entry in listed if entry["code"] == "files.missing")


@BOTH
@pytest.mark.parametrize("name", NAMES)
def test_settings_of_others_get_a_report_with_everything_missing_named_once(
    tmp_path: Path, name: str, main: Main
) -> None:
    installation = room(tmp_path, name)

    answer = installation.audit("--check-paths", "--allow-missing-env", main=main)

    assert answer.code == answer.document["exit_code"] == ExitCode.NO
    assert answer.document["status"] == "fail"
    assert Path(answer.document["stored"]).is_file()
    named = missing(answer)
    assert named
    assert set(named.values()) == {1}
    # A person reads a page, not a scroll.
    assert len(answer.document["issues"]) <= 30


@pytest.mark.parametrize("name", NAMES)
def test_nothing_passes_that_is_not_there(tmp_path: Path, name: str) -> None:
    answer = room(tmp_path, name).audit("--check-paths", "--allow-missing-env")

    present = {"config", "var", ".", "above"}
    for control, subject, code in answer.results("pass"):
        group = control.partition("-")[0]
        assert group not in ("X509", "ROT"), (control, subject, code)
        assert group != "FS" or subject in present, (control, subject, code)
        assert control not in ("RBAC-03", "RBAC-04", "RBAC-06", "TLS-02", "TLS-03", "DLOG-02", "DLOG-03")


def test_the_public_shape_is_read_where_its_sections_stand(tmp_path: Path) -> None:
    answer = room(tmp_path, "public").audit("--allow-missing-env")

    wrong = answer.results("fail", "unknown", "warn")
    token = "metrics_service/metrics-reader"
    assert ("RBAC-02", token, "audit.inline_secret") in wrong
    assert ("TLS-01", "risk_service", "audit.tls_off") in wrong
    assert ("DLOG-02", "live_router/live-router", "audit.variable_missing") in answer.results("warn")
    assert ("DLOG-04", "live_router/live-router", "audit.router_key_unwatched") in answer.results("warn")
    assert {
        ("ROT-02", f"{row}", "audit.registry_unread") for row in ("binance-api::trading", "core-mtls::cert")
    } <= wrong
    inline = next(r for r in answer.document["results"] if r["code"] == "audit.inline_secret")
    text = (FOREIGN / "public.yaml").read_text(encoding="utf-8").splitlines()
    assert "token_value" in text[inline["params"]["line"] - 1]
    assert "desk-metrics-reader-2026" not in answer.out + answer.err
    grid = "runtime.multi_strategy_schedulers.core_multi.schedules.grid_asia.strategy"
    assert ("AUD-03", grid, "audit.setting_names_nothing") in answer.results("warn")


def test_each_weakness_of_a_desk_with_hashes_is_named(tmp_path: Path) -> None:
    wrong = room(tmp_path, "hashed").audit("--allow-missing-env").results("fail", "unknown", "warn")

    assert {
        ("RBAC-05", "metrics_service/grafana", "security.token_hash_bad"),
        ("RBAC-07", "metrics_service/grafana", "audit.scope_unknown"),
        ("RBAC-07", "metrics_service/desk", "audit.no_scopes"),
        ("RBAC-08", "metrics_service/desk#2", "audit.token_id_twice"),
        ("RBAC-07", "metrics_service/desk#2", "audit.reader_writes"),
        ("RBAC-02", "scheduler:europe/night shift/night", "audit.token_sources"),
        ("TLS-03", "metrics_service", "audit.pin_malformed"),
        ("DLOG-01", "live_router", "audit.router_sources"),
    } <= wrong


def test_settings_without_a_scheduler_or_with_a_misspelt_section_are_not_passed_over(tmp_path: Path) -> None:
    answer = room(tmp_path, "elsewhere").audit()

    assert ("RBAC-01", "scheduler", "audit.no_scheduler") in answer.results("unknown")
    assert ("AUD-03", "observabilty", "audit.setting_unknown") in answer.results("warn")


def test_the_lines_of_a_lifted_section_are_those_of_the_file(tmp_path: Path) -> None:
    settings = "metrics_service:\n  host: 127.0.0.1\n  prot: 8741\nruntime: {}\n"

    notices = load(bare(tmp_path / "lifted", settings).root).notices

    assert [(n.params["key"], n.params["line"]) for n in notices] == [("runtime.metrics_service.prot", 3)]


@BOTH
@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", 1),
        (b"- a\n- list\n", 1),
        (b"just words", 1),
        (b"a: 1\n\x00\x01\x02", 2),
        (b"a: 1\nb: \xff\xfe\n", 2),
        (b"\x7fELF\x02\x01\x01" + bytes(64), 1),
        (b"runtime:\n  metrics_service:\n    port: 70000\n", 3),
        (b"runtime:\n  metrics_service:\n    rbac_tokens: {a: b}\n", 3),
        (b"metrics_service:\n  port: many\n", 2),
        (b"runtime: 7\n", 1),
        (b"a: &x [1]\nb: *x\n", 1),
        (b'runtime:\n  metrics_service:\n    host: "a\\0b"\n', 3),
        (b"runtime:\n  ? [a, b]\n  : c\n", 2),
        (b"a: 2026-13-45\n", 1),
        (b"a: !unheard b\n", 1),
    ],
)
def test_settings_that_are_none_end_with_two_and_say_where(
    tmp_path: Path, main: Main, content: bytes, line: int
) -> None:
    installation = bare(tmp_path / "broken", "")
    (installation.root / "config/core.yaml").write_bytes(content)

    answer = installation.audit(main=main)

    assert answer.code == ExitCode.USAGE, answer.document
    assert answer.document["verdict"] == "cannot tell"
    assert answer.document["error"]["params"]["line"] == line
    assert "core.yaml" in answer.document["error"]["params"]["path"]
    assert json.loads(Path(answer.document["stored"]).read_bytes())["exit_code"] == ExitCode.USAGE


def test_no_word_of_broken_settings_is_repeated(tmp_path: Path) -> None:
    for number, content in enumerate(("t: !hunter2hunter2 x\n", "t: *hunter2hunter2\n", "t: [hunter2hunter2\n")):
        answer = bare(tmp_path / str(number), content).audit()

        assert answer.code == ExitCode.USAGE
        assert "hunter2" not in answer.out + answer.err


def test_ten_thousand_tokens_are_judged_in_seconds(tmp_path: Path) -> None:
    shared = secrets.token_urlsafe(32)
    rows = [f"{{token_id: t-{n}, token_env: TOKEN_{n}, scopes: [runtime.schedule.read]}}" for n in range(10_000)]
    listed = "".join(f"        - {row}\n" for row in rows)
    head = "runtime:\n  multi_strategy_schedulers:\n    desk:\n      schedules: {}\n      rbac_tokens:\n"
    installation = bare(tmp_path / "many", head + listed)
    installation.environ = {f"TOKEN_{n}": secrets.token_urlsafe(32) for n in range(10_000)}
    installation.environ |= {"TOKEN_77": shared, "TOKEN_9999": shared}
    began = time.process_time()

    answer = installation.audit(main=audit_security_baseline.main)

    # Half a second a thousand would still be seconds; an audit that compares each with each takes minutes.
    assert time.process_time() - began < 20
    wrong = {finding for finding in answer.results("fail") if finding[0] == "RBAC-08"}
    assert wrong == {("RBAC-08", "scheduler:desk/t-9999", "audit.secret_shared")}
