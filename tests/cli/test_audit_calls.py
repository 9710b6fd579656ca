"""How an audit is asked: what a wrong call leaves behind, what broken settings do, and how the same is asked again."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from stage4.audit.formats import FORMATS
from stage4.cli import audit_security_baseline, audit_stage4_compliance
from stage4.incidents.steps.rule import AuditVerdict, verdict_of_document
from support.audit_place import Answer, Main, Place, findings
from support.installation import free_ports

BOTH = pytest.mark.parametrize("main", [audit_stage4_compliance.main, audit_security_baseline.main])
NAME = ["python", "scripts/audit_stage4_compliance.py", "--mtls-bundle-name"]


def kept(place: Place) -> list[Path]:
    return sorted((place.root / "var/audit/acceptance").glob("*/stage4_support/*"))


def calls_people(document: dict[str, Any]) -> bool:
    """Whether the watch over kept reports takes it for a fail."""
    return document["what_if"] is not True and verdict_of_document(document)[0] is AuditVerdict.CANNOT_TELL


def break_settings(place: Place) -> None:
    place.settings("port: 8741", "port: many")


@pytest.mark.parametrize(
    ("flags", "code", "error"),
    [
        (("--compare", "nope.json"), 2, "audit_report.no_report"),
        (("--evidence", "config/core.yaml"), 2, "files.bad_json"),
        (("--evidence", "nope.json"), 3, "files.missing"),
        (("--evidence", "nope.json", "--probe"), 2, "probe.with_evidence"),
        (("--scheduler-required-scope", "x.y"), 2, "audit.scope_unheard"),
        (("--probe", "10.0.0.1:80"), 4, "probe.host_refused"),
        (("--probe", "nonsense"), 2, "probe.bad_target"),
        (("--probe-timeout", "soon"), 2, "arguments.bad_seconds"),
        (("--config", "config/nope.yaml"), 3, "files.missing"),
        (("--format", "html"), 2, "audit_report.format_unknown"),
        (("--at", "yesterday"), 2, "clock.bad_instant"),
    ],
)
def test_a_wrong_call_is_answered_and_leaves_nothing_that_calls_people(
    place: Place, flags: tuple[str, ...], code: int, error: str
) -> None:
    place.patch.chdir(place.root)

    answer = place.run(*flags, at=False)

    assert (answer.code, answer.document["error"]["code"], answer.document["stored"]) == (code, error, None)
    assert kept(place) == []
    assert "usage" not in answer.err
    assert "Call L2" not in answer.err


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--at", "wczoraj"), "„wczoraj” nie jest chwilą w czasie z przesunięciem"),
        (("--rotation-warn-days", "dużo"), "--rotation-warn-days: „dużo” to nie jest liczba dni"),
        (("--probe-timeout", "0"), "--probe-timeout: „0” to nie jest liczba sekund"),
        (("--fail-on", "nigdy"), "--fail-on: nie ma wartości „nigdy”"),
        (("--bzdura",), "audit_stage4_compliance.py: nieznane argumenty: --bzdura"),
    ],
)
def test_a_complaint_about_a_flag_is_in_one_language(place: Place, flags: tuple[str, ...], complaint: str) -> None:
    place.patch.setenv("STAGE4_LANG", "pl")

    audit_stage4_compliance.main(["--root", str(place.root), *flags])

    error, hint = place.capture.readouterr().err.splitlines()
    assert error == f"error: {complaint}"
    assert hint.startswith("hint: ")


@BOTH
def test_broken_settings_are_kept_and_call_people(place: Place, main: Main) -> None:
    break_settings(place)

    answer = place.run(main=main, at=False)

    assert calls_people(answer.document)
    stored = Path(answer.document["stored"])
    assert {path.name for path in kept(place)} >= {stored.name, stored.with_suffix(".md").name}
    markdown = stored.with_suffix(".md").read_text(encoding="utf-8").splitlines()
    assert markdown[0] == "# audit: CANNOT TELL, which counts as fail: it came to no result"
    assert "port" in markdown[1]
    assert markdown[2].startswith("2. Call L2 and the Incident Manager at once")
    said = answer.err.splitlines()
    assert [line.partition(":")[0] for line in said[:2]] == ["error", "hint"]
    assert said[2].startswith("Call L2 and the Incident Manager at once")
    assert said[3] == f"Then look again: {shlex.join(answer.document['again'])}"


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_an_audit_without_a_result_lies_beside_its_document_in_every_format(place: Place, name: str) -> None:
    break_settings(place)

    answer = place.run("--format", name, at=False)

    beside = Path(answer.document["stored"]).with_suffix("").with_name("compliance" + FORMATS[name].suffix)
    assert "port" in beside.read_text(encoding="utf-8")


def test_a_question_about_another_time_calls_nobody_whatever_it_came_to(place: Place) -> None:
    break_settings(place)

    answer = place.run()

    assert answer.document["what_if"] is True
    assert not calls_people(answer.document)
    assert "it calls nobody" in answer.err


def test_evidence_of_another_bundle_calls_nobody(place: Place) -> None:
    evidence = Path(place.run().document["stored"]).with_name("evidence.json")

    answer = place.run("--evidence", str(evidence), "--mtls-bundle-name", "other", at=False)

    assert answer.document["error"]["code"] == "audit_report.evidence_of_other"
    assert answer.document["what_if"] is True


def test_a_file_for_the_report_says_that_the_call_was_wrong(place: Place) -> None:
    output = place.root.parent / "result.md"

    place.run("--format", f"markdown={output}", "--compare", "nope.json")

    steps = output.read_text(encoding="utf-8").splitlines()[2:4]
    assert steps[0] == "2. Nothing was judged, and this calls nobody: correct the call."


@pytest.mark.parametrize(
    ("flags", "again"),
    [
        ((), ()),
        (("--allow-missing-env", "--check-paths"), ("--allow-missing-env", "--check-paths")),
        (("--rotation-warn-days", "30"), ("--rotation-warn-days", "30")),
        (("--warn-expiring-days", "30"), ("--rotation-warn-days", "30")),
        (("--rotation-interval-days", "45.5"), ("--rotation-interval-days", "45.5")),
        (("--fail-on", "warn"), ("--fail-on", "warn")),
        (("--config", "config/core.yaml"), ("--config", "config/core.yaml")),
        (
            ("--metrics-required-scope", "metrics.read", "--metrics-required-scope", "risk.read"),
            ("--metrics-required-scope", "metrics.read", "--metrics-required-scope", "risk.read"),
        ),
        (("--risk-required-scope", "risk.read"), ("--risk-required-scope", "risk.read")),
        (("--scheduler-required-scope", "risk.read"), ("--scheduler-required-scope", "risk.read")),
        (("--at", "2026-11-23T09:42:00Z", "--format", "sarif", "--print", "--compare", "latest"), ()),
    ],
)
def test_what_was_demanded_is_demanded_again(place: Place, flags: tuple[str, ...], again: tuple[str, ...]) -> None:
    place.patch.chdir(place.root)

    answer = place.run(*flags)

    assert answer.document["again"] == [*NAME, "core-oem", *again]
    assert answer.err.splitlines()[3] == f"3. Then look again: {shlex.join(answer.document['again'])}"
    assert audit_stage4_compliance.main(["--root", str(place.root), *answer.document["again"][2:]]) in (0, 1)
    assert json.loads(place.capture.readouterr().out)["policy"] == answer.document["policy"]


def test_settings_elsewhere_are_named_in_full_and_a_word_with_a_blank_is_one(place: Place) -> None:
    other = place.root.parent / "other core.yaml"
    other.write_bytes((place.root / "config/core.yaml").read_bytes())

    answer = place.run("--config", str(other), "--mtls-bundle-name", "no such")

    assert answer.document["again"] == [*NAME, "no such", "--config", str(other)]
    assert f"--mtls-bundle-name 'no such' --config '{other}'" in answer.err


def probed(place: Place, *flags: str) -> tuple[Answer, list[str]]:
    answer = place.run(*flags)
    return answer, answer.document["again"][4:]


def test_what_was_probed_is_probed_again_and_from_stored_evidence_too(place: Place) -> None:
    port = free_ports(1)
    target = f"127.0.0.1:{port}"
    answer, again = probed(place, "--probe", target, "--probe-timeout", "2.5")
    assert again == ["--probe", target, "--probe-timeout", "2.5"]
    assert findings(answer.document, "unknown") >= {"LIVE-01", "LIVE-02"}
    assert answer.err.splitlines()[1].startswith(f"1. Begin with LIVE-01 {target}: start the service (stage4 run)")
    assert "only follow from these: LIVE-02, LIVE-03, LIVE-04, LIVE-05, LIVE-06." in answer.err
    assert not [line for line in answer.err.splitlines() if line.startswith("CANNOT TELL LIVE-02")]

    evidence = Path(answer.document["stored"]).with_name("evidence.json")
    _, again = probed(place, "--evidence", str(evidence))
    assert again == ["--probe", target]

    place.settings("port: 8741", f"port: {port}")
    _, again = probed(place, "--probe")
    assert again == ["--probe", target]


def test_broken_settings_are_asked_about_again_as_they_were(place: Place) -> None:
    break_settings(place)

    answer = place.run("--probe", "--fail-on", "warn", at=False)

    assert answer.document["again"] == [*NAME, "core-oem", "--fail-on", "warn", "--probe"]
    assert answer.err.splitlines()[3].endswith("--fail-on warn --probe")


def test_the_baseline_never_asks_for_a_probe(place: Place) -> None:
    evidence = Path(place.run("--probe", f"127.0.0.1:{free_ports(1)}").document["stored"]).with_name("evidence.json")

    answer = place.run("--evidence", str(evidence), main=audit_security_baseline.main, at=False)

    assert answer.document["again"] == ["python", "scripts/audit_security_baseline.py", *NAME[2:], "core-oem"]
