"""
One audit with something of everything, made by hand, and the committed files that it becomes in every format.

`cd tests && python -m support.audit_reports` writes the files again; read them before they are committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from stage4.audit.comparison import Result, Summary
from stage4.audit.controls import CONTROLS
from stage4.audit.evidence import Chain, Evidence, Pair
from stage4.audit.formats import FORMATS
from stage4.audit.report import Report, demands, judge
from stage4.audit.report_document import Origin, document
from stage4.words import Language
from support import audits, live
from support.audits import BUNDLE, GOOD, NOW, POLICY, certificate_file, waiver

GOLDEN = Path(__file__).parent.parent / "vectors" / "audit_report"
JUDGED = ("X509-03", "X509-13", "FS-05", "RBAC-08", "ROT-03", "DLOG-03", "AUD-01", "AUD-02")
EARLIER = Summary(
    checked_at="2026-11-22T09:42:00Z",
    results=(
        Result("X509-03", "server", "pass", "the key belongs to certificate server"),
        Result("X509-03", "client", "fail", "the key does not belong to certificate client"),
        Result("X509-13", "server", "warn", "certificate server lacks AKI or SKI"),
        Result("FS-05", "ops/operators.yaml", "pass", "ops/operators.yaml exists"),
        Result("RBAC-08", "operations/alerts", "fail", "operations/alerts and another have the same secret"),
        Result("RBAC-08", "operations/gone", "fail", "operations/gone and another have the same secret"),
        Result("DLOG-03", "audit/decision_logs/runtime.jsonl", "pass", "the log verifies, entries: 6"),
        Result("TLS-01", "metrics_service", "pass", "service metrics_service demands TLS"),
    ),
    catalogue="0" * 64,
    config="1" * 64,
    policy=demands(replace(POLICY, check_paths=True)),
    path="var/audit/acceptance/20261122T094200Z/stage4_support/compliance.json",
)
SPOILT = replace(
    GOOD,
    bundle=replace(
        BUNDLE,
        certificates=(BUNDLE.certificates[0], certificate_file("server", aki=None), BUNDLE.certificates[2]),
        pairs=(Pair("server", False), Pair("client", None)),
    ),
    registries=audits.registry("keys", rows={("live-router", "decision-log"): NOW - timedelta(days=80)}).registries,
    waivers=(
        waiver("X509-13", "ser*"),
        waiver("ROT-03", "nothing*", owner="l2-ewa", line=10),
        waiver("RBAC-08", "operations/*", expires=NOW.date() - timedelta(days=1), line=18),
    ),
    earlier_report=EARLIER,
)


# An expired client and a target on which nobody listens: what follows from each stands in one line.
DEAD = replace(
    audits.bundle(
        certificates=(*BUNDLE.certificates[:2], certificate_file("client", not_after=NOW - timedelta(hours=6))),
        chains=(BUNDLE.chains[0], Chain("client", "client", None, "expired")),
    ),
    live=live.without_control("refused"),
    earlier_report=None,
)


def report() -> Report:
    """The report of the spoilt evidence."""
    return judge([control for control in CONTROLS if control.id in JUDGED], SPOILT, POLICY, NOW)


def written(judged: Report, evidence: Evidence = SPOILT) -> dict[str, object]:
    """Its document, with the version of another day."""
    origin = Origin(Path("/srv/stage4"), Path("/srv/stage4/config/core.yaml"), "desk-1")
    made = document(judged, evidence, POLICY, origin, schema="stage4.audit/1", now=NOW)
    tool = made["tool"]
    assert isinstance(tool, dict)
    again = ["python", "scripts/audit_stage4_compliance.py", "--mtls-bundle-name", "core-oem"]
    return made | {"tool": tool | {"version": "9.9.9"}, "again": again}


def probed() -> tuple[Report, dict[str, object]]:
    """The report of the dead target with its document."""
    judged = judge(CONTROLS, DEAD, POLICY, NOW)
    made = written(judged, DEAD)
    assert DEAD.live is not None
    assert isinstance(made["again"], list)
    return judged, made | {"probe": DEAD.live.document(), "again": [*made["again"], "--probe", DEAD.live.target]}


def files() -> Mapping[str, bytes]:
    """The committed files by name."""
    judged = report()
    made = written(judged)
    cases: tuple[tuple[str, str, Language], ...] = (
        ("compliance.pl.md", "markdown", "pl"),
        ("compliance.en.md", "markdown", "en"),
        ("compliance.sarif", "sarif", "en"),
        ("compliance.junit.xml", "junit", "en"),
    )
    langs: tuple[Language, ...] = ("pl", "en")
    dead = {f"probed.{lang}.md": FORMATS["markdown"].render(*probed(), lang) for lang in langs}
    return {name: FORMATS[form].render(judged, made, lang) for name, form, lang in cases} | dead


if __name__ == "__main__":
    for name, content in files().items():
        (GOLDEN / name).write_bytes(content)
