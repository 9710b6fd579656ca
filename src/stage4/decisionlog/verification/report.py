"""A verdict as the document `stage4.verify/1` and as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from stage4 import words
from stage4.decisionlog.verification.verdict import Finding, Verdict
from stage4.words import Language

SCHEMA = "stage4.verify/1"
_SHOWN = 20


def document(verdict: Verdict, path: object) -> dict[str, object]:
    """The whole verdict for programs: enum values and messages in English."""
    integrity = verdict.integrity
    prefix = verdict.prefix
    return {
        "schema": SCHEMA,
        "exit_code": int(verdict.exit_code),
        "path": str(path),
        # Every line was read and judged; no other mode exists that would skip values.
        "mode": "full",
        "integrity": {"verdict": integrity.value, "text": words.text(f"log.integrity_{integrity.value}", "en")},
        "completeness": {
            "verdict": "unknown",
            "entries_without_checkpoint": verdict.completeness.uncovered,
            "text": words.text("log.completeness_unknown", "en", n=verdict.completeness.uncovered),
        },
        "log_id": verdict.log_id,
        "lines": verdict.lines,
        "bytes": verdict.size,
        "entries": verdict.entries,
        "first_seq": verdict.first_seq,
        "last_seq": verdict.last_seq,
        "head": verdict.head,
        # The seal covers the bytes of the old lines; their own signatures are not judged.
        "sealed_prefix": None if prefix is None else {"lines": prefix.lines, "bytes": prefix.size},
        "findings_total": verdict.findings_total,
        "classes": {fault.value: count for fault, count in sorted(verdict.faults.items(), key=lambda f: f[0].value)},
        "findings": [_finding(finding) for finding in verdict.findings],
        "islands_total": verdict.islands_total,
        "islands": [
            {
                "first_line": island.first_line,
                "last_line": island.last_line,
                "first_seq": island.first_seq,
                "last_seq": island.last_seq,
            }
            for island in verdict.islands
        ],
    }


def sentences(verdict: Verdict, path: object, lang: Language) -> Iterator[str]:
    """The verdict for people: integrity, the first findings with their places, completeness."""
    yield words.text("log.verified", lang, path=path, lines=verdict.lines, entries=verdict.entries)
    yield words.text(f"log.integrity_{verdict.integrity.value}", lang)
    for finding in verdict.findings[:_SHOWN]:
        where = "log.at_entry" if finding.seq is not None else "log.at_line"
        place = words.text(where, lang, line=finding.line, offset=finding.offset, seq=finding.seq)
        yield f"  {place}: {finding.fault.value}: {words.text(finding.code, lang, **finding.params)}"
    if verdict.findings_total > _SHOWN:
        yield "  " + words.text("log.more_findings", lang, n=verdict.findings_total - _SHOWN)
    yield words.text("log.completeness_unknown", lang, n=verdict.completeness.uncovered)


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "line": finding.line,
        "seq": finding.seq,
        "offset": finding.offset,
        "class": finding.fault.value,
        "code": finding.code,
        "message": words.text(finding.code, "en", **finding.params),
        "params": dict(finding.params),
    }
