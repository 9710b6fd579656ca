"""A line of an incident's timeline in words, the same on the page and in the story of the demonstration."""

from __future__ import annotations

from collections.abc import Mapping

from stage4 import words
from stage4.words import Language


def event_text(kind: str, params: Mapping[str, object], lang: Language) -> str:
    """The event in the language of its reader; one of an older version without a text is shown by its kind."""
    told = dict(params)
    if "reason" in params:
        told["why"] = _text_or_code(f"escalation.reason_{params['reason']}", {}, lang)
    if "outcome" in params:
        told["result"] = _text_or_code(str(params["outcome"]), params, lang)
    try:
        return words.text(f"event.{kind}", lang, **told)
    except KeyError:
        return kind


def _text_or_code(code: str, params: Mapping[str, object], lang: Language) -> str:
    return words.text(code, lang, **params) if words.has(code) else code
