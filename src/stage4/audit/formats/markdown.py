"""
The report for people, in Polish or English.

Line 1 is the verdict, lines 2 to 4 are what to do next; then the findings by weight (severity, then outcome), the
waivers, the changes since the earlier report, and how much was passed.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from stage4 import words
from stage4.audit.baseline import SCHEMA as BASELINE_SCHEMA
from stage4.audit.comparison import KINDS, MOST_SHOWN
from stage4.audit.finding import Finding, Outcome
from stage4.audit.report import Report, answered_for, headline, message, remedy, since
from stage4.clock import parse_instant
from stage4.words import Language

_SHOWN: Final = (Outcome.FAIL, Outcome.UNKNOWN, Outcome.WARN)
_MEANING: Final = re.compile(r"([\\`*_\[\]<>|#])")


def render(report: Report, document: Mapping[str, object], lang: Language) -> bytes:
    """UTF-8."""
    lines = [f"# {_plain(headline(report, lang))}", *_next(report, document, lang), ""]
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
    lines = [
        f"# {_plain(_say('summary_none', lang))}",
        f"1. {_plain(words.text(code, lang, **told))}. {_plain(words.hint(code, lang, **told) or '')}".rstrip(),
        f"2. {_say('next_fail', lang)}",
        f"3. {_say('next_again', lang, command=_code(_script(document)))}",
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _next(report: Report, document: Mapping[str, object], lang: Language) -> Iterator[str]:
    """Three lines: the first thing to mend, whom to tell, how to look again."""
    first = next((f for f in report.by_weight if f.outcome in (Outcome.FAIL, Outcome.UNKNOWN)), None)
    first = first or next((f for f in report.by_weight if f.outcome is Outcome.WARN), None)
    if first is None:
        yield f"1. {_say('next_nothing', lang)}"
    else:
        step = _plain(remedy(first, lang) or "")
        yield f"1. {_say('next_first', lang, control=first.control, subject=_code(first.subject), step=step)}"
    kind = "what_if" if document.get("what_if") is True else report.status
    explain = f"`{_script(document)} --explain {first.control}`" if first else ""
    yield f"2. {_say(f'next_{kind}', lang)}" + (f" {_say('next_explain', lang, command=explain)}" if explain else "")
    yield f"3. {_say('next_again', lang, command=_code(_again(document)))}"


def _script(document: Mapping[str, object]) -> str:
    name = "audit_security_baseline" if document["schema"] == BASELINE_SCHEMA else "audit_stage4_compliance"
    return f"python scripts/{name}.py"


def _again(document: Mapping[str, object]) -> str:
    """The command that asks the same of the installation as it is by then."""
    policy = document["policy"]
    asked = policy if isinstance(policy, Mapping) else {}
    flags = ["--mtls-bundle-name", str(asked.get("bundle"))]
    flags += [f"--{name.replace('_', '-')}" for name in ("allow_missing_env", "check_paths") if asked.get(name) is True]
    return f"{_script(document)} {shlex.join(flags)}"


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
    found = [finding for finding in report.by_weight if finding.outcome in _SHOWN]
    if not found:
        return
    yield from (f"## {_say('findings', lang)}", "")
    for finding in found:
        outcome = words.text(f"audit.outcome_{finding.outcome}", lang)
        yield f"- **{outcome}** {_named(report, finding, lang)}: {_plain(message(finding, lang))}"
        if step := remedy(finding, lang):
            yield f"  - {_say('do', lang, step=_plain(step))}"
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
