"""Steps and timeline of an incident in words, the same on the page, in the document and on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from stage4 import words
from stage4.clock import parse_instant
from stage4.errors import UsageError
from stage4.words import Language

# Parameters that say what changed since an earlier audit, in front of what the step came to.
CHANGES = "audit_changes_"


def event_text(kind: str, params: Mapping[str, object], lang: Language) -> str:
    """The event in the language of its reader; one of an older version without a text is shown by its kind."""
    told = dict(params)
    if "reason" in params:
        told["why"] = _text_or_code(f"escalation.reason_{params['reason']}", {}, lang)
    if "outcome" in params:
        told["result"] = outcome_text(str(params["outcome"]), params, lang)
    try:
        return words.text(f"event.{kind}", lang, **told)
    except KeyError:
        return words.visible(kind)


def outcome_text(code: str, params: Mapping[str, object], lang: Language) -> str:
    """What a step came to; the states of panels are said in words too."""
    told = dict(params)
    if "panels" in params:
        parts = (part.partition(": ") for part in str(params["panels"]).split(", "))
        told["panels"] = ", ".join(f"{name}: {_panel_state(state, lang)}" for name, _, state in parts)
    text = _text_or_code(code, told, lang)
    changes = {name.removeprefix(CHANGES): value for name, value in params.items() if name.startswith(CHANGES)}
    with suppress(UsageError):
        changes["since"] = words.instant(parse_instant(str(changes.get("since"))))
    return f"{_text_or_code('audit_report.since', changes, lang)}; {text}" if changes else text


def _text_or_code(code: str, params: Mapping[str, object], lang: Language) -> str:
    try:
        return words.text(code, lang, **params)
    except KeyError:
        # Recorded by another version, which said it with other words or parameters.
        return words.visible(code)


def _panel_state(state: str, lang: Language) -> str:
    code = f"step.panel_{state}"
    return words.text(code, lang) if words.has(code) else words.visible(state)
