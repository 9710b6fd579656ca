"""What the templates may say: texts by code, instants, spans, states with their shape and word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from stage4 import words
from stage4.incidents.wording import event_text, outcome_text
from stage4.words import Language

# Colour never stands alone: every state has a shape and a word too.
SHAPES: Mapping[str, str] = {
    "triggered": "■",
    "acknowledged": "▲",
    "resolved": "✓",
    "closed": "○",
    "not_started": "○",
    "running": "◌",
    "waiting": "▲",
    "accepted": "✓",
    "not_accepted": "■",
    "escalated": "▲",
    "skipped": "–",
    "firing": "■",
    "cleared": "✓",
    "unknown": "?",
}


@dataclass(frozen=True, slots=True)
class Texts:
    """The words of one page in one language, as of one instant."""

    lang: Language
    time_zone: str
    now: datetime

    def say(self, name: str, /, **params: object) -> str:
        """A text of the console's own catalogue."""
        return words.text(f"console.{name}", self.lang, **params)

    def text(self, code: str, params: Mapping[str, object] | None = None) -> str:
        """A text of any catalogue; a code of an older version without a text is shown as it is."""
        return words.text(code, self.lang, **(params or {})) if words.has(code) else code

    def event(self, kind: str, params: Mapping[str, object]) -> str:
        """One line of the timeline."""
        return event_text(kind, params, self.lang)

    def outcome(self, code: str, params: Mapping[str, object]) -> str:
        """What a step came to."""
        return outcome_text(code, params, self.lang)

    def instant(self, at: datetime | None) -> str:
        """Local time with offset, and UTC."""
        return words.instant(at, self.time_zone) if at else "–"

    def until(self, at: datetime) -> str:
        """How long until `at`; past it, how long it is overdue."""
        span = at - self.now
        if span.total_seconds() >= 0:
            return words.duration(span)
        return self.say("overdue", span=words.duration(-span))

    def ago(self, at: datetime) -> str:
        return self.say("ago", span=words.duration(self.now - at))

    def shape(self, state: str) -> str:
        return SHAPES.get(state, "●")
