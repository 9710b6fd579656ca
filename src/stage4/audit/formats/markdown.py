"""
The report for people, in Polish or English.

Line 1 is the verdict, lines 2 to 4 are what to do next; then the findings by weight (outcome, then severity), the
waivers, the changes since the earlier report, and how much was passed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from stage4 import words
from stage4.audit.comparison import KINDS, MOST_SHOWN
from stage4.audit.finding import Finding, Outcome
from stage4.audit.report import NOT_WELL, Report, answered_for, headline, message, remedy, since
from stage4.audit.spoken import following, next_steps, no_result
from stage4.clock import parse_instant
from stage4.words import Language

_MEANING: Final = re.compile(r"([\\`*_\[\]<>|#])")


def render(report: Report, document: Mapping[str, object], lang: Language) -> bytes:
    """UTF-8."""
    steps = next_steps(report, document, lang, code=_code, plain=_plain)
    lines = [f"# {_plain(headline(report, lang))}", *steps, ""]
    lines += [*_about(document, lang), ""]
    lines += [
        *_findings(report, lang),
        *_waivers(report, lang),
        *_changes(report, document, lang),
        *_passed(report, lang),
    ]
    return ("\n".join(lines).rstrip() + "\n").encode("utf-8", "backslashreplace")


def failure(document: Mapping[str, object], error: Mapping[str, object], lang: Language) -> bytes:
    """The error in the place of the verdict; what to do is to mend it, to call people, and to look again."""
    code, params = str(error.get("code")), error.get("params")
    told = dict(params) if isinstance(params, Mapping) else {}
    # Nothing is kept of a call that was wrong.
    kept = document.get("stored") or document.get("not_stored")
    mend = f"{_plain(words.text(code, lang, **told))}. {_plain(words.hint(code, lang, **told) or '')}".rstrip()
    steps = (mend, *no_result(document, lang, wrong_call=not kept, code=_code))
    lines = [f"# {_plain(_say('summary_none', lang))}", *(f"{n}. {step}" for n, step in enumerate(steps, start=1))]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _about(document: Mapping[str, object], lang: Language) -> Iterator[str]:
    installation = document["installation"]
    held = installation if isinstance(installation, Mapping) else {}
    at = words.instant(parse_instant(str(document["checked_at"])))
    params = {
        "id": _code(str(held.get("id"))),
        "kind": held.get("kind"),
        "root": _code(str(held.get("root"))),
        "at": at,
    }
    yield _say("about", lang, **params)
    if document.get("replayed") is True:
        yield _say("about_replayed", lang)
    elif document.get("what_if") is True:
        yield _say("about_what_if", lang)


def _findings(report: Report, lang: Language) -> Iterator[str]:
    found = [finding for finding in report.by_weight if finding.outcome in NOT_WELL]
    if not found:
        return
    yield from (f"## {_say('findings', lang)}", "")
    for finding in found:
        outcome = words.text(f"audit.outcome_{finding.outcome}", lang)
        yield f"- **{outcome}** {_named(report, finding, lang)}: {_plain(message(finding, lang))}"
        if step := remedy(finding, lang):
            yield f"  - {_say('do', lang, step=_plain(step))}"
    for line in following(report, lang):
        yield from ("", line)
    yield ""


def _named(report: Report, finding: Finding, lang: Language) -> str:
    severity = _say(f"severity_{report.severity(finding)}", lang)
    return f"`{finding.control}` ({severity}) {_code(finding.subject)}"


def _waivers(report: Report, lang: Language) -> Iterator[str]:
    held = [finding for finding in report.by_weight if finding.waiver is not None]
    idle = [use for use in report.waivers if not use.subjects]
    if not held and not idle:
        return
    yield from (f"## {_say('waivers', lang)}", "")
    for finding in held:
        yield f"- {_named(report, finding, lang)}: {_plain(message(finding, lang))}"
        if finding.waiver is not None:
            yield f"  - {_plain(answered_for(finding.waiver, lang))}"
    for use in idle:
        state = _say(f"waiver_state_{use.state}", lang)
        yield f"- {_code(use.waiver.name)}: {state}; {_plain(answered_for(use.waiver, lang))}"
    yield ""


def _changes(report: Report, document: Mapping[str, object], lang: Language) -> Iterator[str]:
    changes = report.comparison
    if changes is None:
        return
    yield from (f"## {_say('changes', lang)}", "", _plain(since(changes, lang)))
    kept = document.get("comparison")
    if isinstance(kept, Mapping) and kept.get("with"):
        yield _say("compared_with", lang, path=_code(str(kept["with"])))
    yield ""
    for kind in KINDS:
        found = getattr(changes, kind)
        if found:
            yield f"- {_say(f'kind_{kind}', lang)}: {len(found)}"
            for change in changes.shown(kind):
                names = [_outcome(outcome, lang) for outcome in (change.before, change.after)]
                yield f"  - {_code(change.control)} {_code(change.subject)}: {names[0]} → {names[1]}"
            if len(found) > MOST_SHOWN:
                yield f"  - {_say('changes_more', lang, n=len(found) - MOST_SHOWN)}"
    changed = [
        _say(f"changed_{name}", lang)
        for name, is_so in (("catalogue", changes.catalogue_changed), ("config", changes.config_changed))
        if is_so
    ]
    if changes.policy_changed:
        changed.append(_say("changed_policy", lang, names=", ".join(f"`{name}`" for name in changes.policy_changed)))
    yield from (f"- {each}" for each in changed)
    yield ""


def _outcome(outcome: str | None, lang: Language) -> str:
    return "–" if outcome is None else words.text(f"audit.outcome_{outcome}", lang)


def _passed(report: Report, lang: Language) -> Iterator[str]:
    groups = sorted({finding.control.partition("-")[0] for finding in report.findings})
    counted = Counter((finding.control.partition("-")[0], finding.outcome) for finding in report.findings)
    yield from (f"## {_say('passed', lang)}", "")
    heads = [_say("group", lang), *(words.text(f"audit.outcome_{outcome}", lang) for outcome in Outcome)]
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for group in groups:
        yield "| " + " | ".join([group, *(str(counted[group, outcome]) for outcome in Outcome)]) + " |"


def _say(name: str, lang: Language, /, **params: object) -> str:
    return words.text(f"audit_report.{name}", lang, **params)


def _plain(text: str) -> str:
    """Text in which nothing is a sign of Markdown, on one line."""
    return _MEANING.sub(r"\\\1", words.visible(" ".join(text.split())))


def _code(text: str) -> str:
    """Text as code, whatever stands in it."""
    return "`" + words.visible(" ".join(text.replace("`", "'").split())) + "`"
