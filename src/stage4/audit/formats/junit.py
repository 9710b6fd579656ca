"""
The report as JUnit XML: a suite for each group of controls, a case for each control and subject.

A fail is a `failure`, what could not be told an `error`, what does not apply or is waived `skipped` with the reason. A
warning is a case that passes and says so in `system-out`, or a failure where `--fail-on warn` makes one of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.etree import ElementTree as Xml

from stage4.audit.finding import Finding, Outcome
from stage4.audit.report import Report, answered_for, message, remedy
from stage4.words import Language

# What XML 1.0 has no spelling for, not even as a reference.
_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report, document: Mapping[str, object], lang: Language) -> bytes:
    """UTF-8 with a declaration."""
    policy = document["policy"]
    strict = isinstance(policy, Mapping) and policy.get("fail_on") == "warn"
    root = Xml.Element("testsuites", name=_clean(str(document["schema"])))
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    groups: dict[str, list[Finding]] = {}
    for finding in sorted(report.findings, key=lambda f: (f.control, f.subject)):
        groups.setdefault(finding.control.partition("-")[0], []).append(finding)
    for group, findings in groups.items():
        suite = Xml.SubElement(root, "testsuite", name=group, timestamp=str(document["checked_at"]))
        counts = dict.fromkeys(totals, 0)
        for finding in findings:
            counts["tests"] += 1
            if counted := _case(suite, finding, strict):
                counts[counted] += 1
        for name, count in counts.items():
            suite.set(name, str(count))
            totals[name] += count
    for name, count in totals.items():
        root.set(name, str(count))
    return _bytes(root)


def failure(document: Mapping[str, object], error: Mapping[str, object], lang: Language) -> bytes:
    """One case with one error."""
    counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0"}
    root = Xml.Element("testsuites", {"name": _clean(str(document["schema"])), **counts})
    suite = Xml.SubElement(root, "testsuite", {"name": "AUD", "timestamp": str(document["started_at"]), **counts})
    case = Xml.SubElement(suite, "testcase", classname="stage4.AUD-01", name="audit")
    said = _clean(str(error.get("message")))
    Xml.SubElement(case, "error", type=_clean(str(error.get("code"))), message=said).text = said
    return _bytes(root)


def _bytes(root: Xml.Element) -> bytes:
    Xml.indent(root)
    content: bytes = Xml.tostring(root, encoding="utf-8", xml_declaration=True)
    return content + b"\n"


def _case(suite: Xml.Element, finding: Finding, strict: bool) -> str | None:
    """Adds the case; the count that it belongs to besides `tests`."""
    case = Xml.SubElement(suite, "testcase", classname=f"stage4.{finding.control}", name=_clean(finding.subject))
    said = _clean(message(finding, "en"))
    step = remedy(finding, "en")
    text = said + (f"\n{_clean(step)}" if step else "")
    match finding.outcome:
        case Outcome.UNKNOWN:
            Xml.SubElement(case, "error", type="cannot tell", message=said).text = text
            return "errors"
        case Outcome.FAIL:
            Xml.SubElement(case, "failure", type="fail", message=said).text = text
            return "failures"
        case Outcome.WARN if strict:
            Xml.SubElement(case, "failure", type="warn", message=said).text = text
            return "failures"
        case Outcome.WARN:
            Xml.SubElement(case, "system-out").text = f"warn: {text}"
        case Outcome.WAIVED if finding.waiver is not None:
            Xml.SubElement(case, "skipped", message=_clean(f"waived: {said}; {answered_for(finding.waiver, 'en')}"))
            return "skipped"
        case Outcome.SKIPPED:
            Xml.SubElement(case, "skipped", message=said)
            return "skipped"
    return None


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)
