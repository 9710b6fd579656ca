"""
What the person on call reads: the verdict, the three next steps, the changes, then everything that is not well.

The report in Markdown has the same steps in its lines 2 to 4, in its own spelling.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from stage4 import words
from stage4.audit import schemas
from stage4.audit.finding import Outcome
from stage4.audit.report import NOT_WELL, Report, answered_for, headline, message, remedy, since
from stage4.words import Language

Spell = Callable[[str], str]


def lines(report: Report, document: Mapping[str, object], lang: Language) -> Iterator[str]:
    """The whole report for stderr; worst outcome first, the gravest control first among them."""
    yield headline(report, lang)
    yield from next_steps(report, document, lang)
    if report.comparison is not None:
        yield since(report.comparison, lang)
    for finding in report.by_weight:
        if finding.outcome in (*NOT_WELL, Outcome.WAIVED):
            word = words.text(f"audit.outcome_{finding.outcome}", lang)
            yield f"{word} {finding.control} {words.visible(finding.subject)}: {message(finding, lang)}"
        if finding.waiver is not None:
            yield f"  -> {answered_for(finding.waiver, lang)}"
        elif step := remedy(finding, lang):
            yield f"  -> {step}"
    yield from following(report, lang)


def next_steps(
    report: Report, document: Mapping[str, object], lang: Language, *, code: Spell = str, plain: Spell = str
) -> Iterator[str]:
    """Three lines: the first thing to mend, whom to tell, how to look again; `code` and `plain` spell their parts."""
    first = next((finding for finding in report.by_weight if finding.outcome in NOT_WELL), None)
    tell = _say(f"next_{'what_if' if document.get('what_if') is True else report.status}", lang)
    if first is None:
        yield f"1. {_say('next_nothing', lang)}"
    else:
        named = {"control": code(first.control), "subject": code(first.subject)}
        yield f"1. {_say('next_first', lang, **named, step=plain(remedy(first, lang) or ''))}"
        tell += " " + _say("next_explain", lang, command=code(f"{_script(document)} --explain {first.control}"))
    yield f"2. {tell}"
    yield f"3. {_again(document, lang, code)}"


def no_result(document: Mapping[str, object], lang: Language, *, wrong_call: bool, code: Spell = str) -> Iterator[str]:
    """What to do besides mending what stopped the audit: whom to tell, how to look again."""
    tell = "call" if wrong_call else "what_if" if document.get("what_if") is True else "fail"
    yield _say(f"next_{tell}", lang)
    yield _again(document, lang, code)


def following(report: Report, lang: Language) -> Iterator[str]:
    """One line on what the counts have and the lines above leave out; none where they leave out nothing."""
    counted = Counter(finding.control for finding in report.following)
    if counted:
        controls = ", ".join(f"{name} ×{n}" if n > 1 else name for name, n in sorted(counted.items()))
        yield _say("following", lang, n=counted.total(), controls=controls)


def _script(document: Mapping[str, object]) -> str:
    name = "audit_security_baseline" if document["schema"] == schemas.BASELINE else "audit_stage4_compliance"
    return f"python scripts/{name}.py"


def _again(document: Mapping[str, object], lang: Language, code: Spell) -> str:
    """The command that asks the same of the installation as it is by then."""
    again = document.get("again")
    command = shlex.join(map(str, again)) if isinstance(again, list) else _script(document)
    return _say("next_again", lang, command=code(command))


def _say(name: str, lang: Language, /, **params: object) -> str:
    return words.text(f"audit_report.{name}", lang, **params)
