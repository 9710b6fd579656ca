"""
A verdict as the document `stage4.verify/1` and as lines for people.

The lines say first what the verdict is, then what to do, then what was found, the weightiest first. Nothing ever
calls a log complete: they say what a checkpoint vouches for, and how many entries nobody vouches for.
"""

from __future__ import annotations

from collections.abc import Iterator

from stage4 import words
from stage4.decisionlog.verification.verdict import (
    Completeness,
    Coverage,
    Fault,
    Finding,
    Integrity,
    Mode,
    Unmet,
    Verdict,
)
from stage4.words import Language

SCHEMA = "stage4.verify/1"
_SHOWN = 20
_ISLANDS_SHOWN = 5
# What weighs most comes first: what nobody but a holder of keys can do, then what was lost, then the rest.
_WEIGHT = {
    fault: weight
    for weight, fault in enumerate(
        (
            Fault.ROLLBACK,
            Fault.TRUNCATION,
            Fault.CHECKPOINT,
            Fault.KEY_MISUSE,
            Fault.ALGORITHM,
            Fault.EDIT,
            Fault.INSERTION,
            Fault.DELETION,
            Fault.FOREIGN,
            Fault.REPLAY,
            Fault.REORDER,
            Fault.ARCHIVE,
            Fault.FORMAT,
            Fault.TORN,
            Fault.UNVERIFIABLE,
        )
    )
}


def document(verdict: Verdict, path: object) -> dict[str, object]:
    """The whole verdict for programs: values of enums, messages in English."""
    integrity, completeness, prefix = verdict.integrity, verdict.completeness, verdict.prefix
    return {
        "schema": SCHEMA,
        "exit_code": int(verdict.exit_code),
        "path": str(path),
        "text": _head(verdict, path, "en"),
        "mode": verdict.mode.value,
        "first_read": verdict.first_read,
        "integrity": {"verdict": integrity.value, "text": words.text(f"verify.integrity_{integrity.value}", "en")},
        "completeness": {
            "verdict": completeness.coverage.value,
            "covered": completeness.covered,
            "uncovered": completeness.uncovered,
            "checkpoints": completeness.checkpoints,
            "pinned": completeness.pinned,
            "own": completeness.own,
            "text": "; ".join(_completeness(completeness, "en")),
        },
        "log_id": verdict.log_id,
        "lines": verdict.lines,
        "bytes": verdict.size,
        "entries": verdict.entries,
        "first_seq": verdict.first_seq,
        "last_seq": verdict.last_seq,
        "head": verdict.head,
        "root_hash": verdict.root,
        "parts": [{"name": part.name, "lines": part.lines, "bytes": part.size} for part in verdict.parts],
        "keys": dict(sorted(verdict.key_ids.items())),
        "v2": {"entries": verdict.v2_entries, "chained": False},
        "sealed_prefix": None
        if prefix is None
        else {"lines": prefix.lines, "bytes": prefix.size, "judged": prefix.judged},
        "matched": verdict.matched,
        "unmet": [_unmet(unmet) for unmet in verdict.unmet],
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
    """The verdict for people: in one line, what to do next, what was found, how far it reaches."""
    yield _head(verdict, path, lang)
    if (step := _step(verdict)) is not None:
        yield words.text(f"verify.next_{step}", lang)
    for unmet in verdict.unmet:
        yield "  " + words.text(unmet.code, lang, **unmet.params)
    yield from _findings(verdict, lang)
    if verdict.islands_total and verdict.findings_total:
        yield "  " + _islands(verdict, lang)
    if verdict.mode is Mode.FULL:
        yield words.text("verify.lines", lang, n=verdict.lines, size=words.number(verdict.size, lang))
    if len(verdict.parts) > 1:
        yield words.text(
            "verify.parts", lang, n=len(verdict.parts), names=", ".join(part.name for part in verdict.parts)
        )
    if verdict.mode is Mode.INCREMENTAL:
        yield words.text("verify.incremental", lang, n=verdict.first_read, first=verdict.first_read)
    if verdict.v2_entries:
        yield words.text("verify.v2_judged", lang, n=verdict.v2_entries)
    if verdict.prefix is not None and verdict.first_seq == 0:
        yield words.text("verify.v2_sealed", lang, n=verdict.prefix.lines)
    if verdict.matched is not None:
        yield words.text("verify.matched", lang, n=verdict.matched)
    yield "; ".join(_completeness(verdict.completeness, lang))


def _head(verdict: Verdict, path: object, lang: Language) -> str:
    name = _headline(verdict)
    n = verdict.findings_total if name == "broken" else verdict.entries + verdict.v2_entries
    return words.text(f"verify.head_{name}", lang, path=path, n=n)


def _headline(verdict: Verdict) -> str:
    """The word of the verdict: what is worst about the log."""
    if verdict.integrity is Integrity.BROKEN:
        return "broken"
    if verdict.completeness.coverage in (Coverage.CONTRADICTED, Coverage.TRUNCATED):
        return str(verdict.completeness.coverage.value)
    if verdict.integrity is Integrity.TORN:
        return "torn"
    return "unmet" if verdict.unmet else verdict.integrity.value


def _step(verdict: Verdict) -> str | None:
    """The word of the next step; None where nothing is left to do."""
    headline = _headline(verdict)
    if headline != "intact":
        return headline
    if verdict.completeness.coverage is Coverage.UNKNOWN:
        # Version 2 has no checkpoints.
        return "unknown" if verdict.entries else None
    return None if verdict.completeness.pinned or verdict.completeness.own else "unpinned"


def _completeness(completeness: Completeness, lang: Language) -> Iterator[str]:
    coverage, uncovered = completeness.coverage, completeness.uncovered
    if coverage is Coverage.UNKNOWN and not uncovered:
        # Nobody vouches for nothing: there is no entry.
        yield words.text("verify.no_entries", lang)
        return
    n = uncovered if coverage is Coverage.UNKNOWN else completeness.covered
    yield words.text(f"verify.completeness_{coverage.value}", lang, n=n)
    if coverage is Coverage.COVERED:
        yield words.text("verify.newer", lang, n=uncovered) if uncovered else words.text("verify.none_newer", lang)
        yield words.text(
            "verify.pinned" if completeness.pinned else "verify.own" if completeness.own else "verify.unpinned", lang
        )


def _findings(verdict: Verdict, lang: Language) -> Iterator[str]:
    weighed = sorted(verdict.findings, key=lambda finding: _WEIGHT[finding.fault])
    for finding in weighed[:_SHOWN]:
        where = "verify.at_entry" if finding.seq is not None else "verify.at_line"
        place = words.text(where, lang, line=finding.line, offset=finding.offset, seq=finding.seq)
        if finding.part and len(verdict.parts) > 1:
            place = f"{finding.part}, {place}"
        yield f"  {place}: {finding.fault.value}: {words.text(finding.code, lang, **finding.params)}"
    if verdict.findings_total > len(weighed[:_SHOWN]):
        yield "  " + words.text("verify.more_findings", lang, n=verdict.findings_total - len(weighed[:_SHOWN]))


def _islands(verdict: Verdict, lang: Language) -> str:
    shown = [f"{island.first_seq}–{island.last_seq}" for island in verdict.islands[:_ISLANDS_SHOWN]]
    if verdict.islands_total > len(shown):
        shown.append("…")
    return words.text("verify.islands", lang, n=verdict.islands_total, places=", ".join(shown))


def _unmet(unmet: Unmet) -> dict[str, object]:
    message = words.text(unmet.code, "en", **unmet.params)
    return {"code": unmet.code, "message": message, "params": dict(unmet.params)}


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "class": finding.fault.value,
        "part": finding.part,
        "line": finding.line,
        "offset": finding.offset,
        "seq": finding.seq,
        "code": finding.code,
        "message": words.text(finding.code, "en", **finding.params),
        "params": dict(finding.params),
    }
