"""What a notice is, and what a notifier promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from stage4 import words
from stage4.words import Language


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one target.

    `key` is its idempotency key: the same key is the same message. `target` is the tier or channel that is
    addressed (`l1`, `l2`, `l2_deputy`, `incident_manager`, `#ops-trading`), `person_id` the person on duty there,
    if anyone is. The text is a catalogue code with parameters, so that each reader gets their own language.
    """

    key: str
    target: str
    code: str
    params: Mapping[str, object]
    at: datetime
    incident_id: str | None = None
    person_id: str | None = None
    urgency: str = "normal"
    attempt: int = 1
    extra: Mapping[str, str] = field(default_factory=dict)


class DeliveryState(StrEnum):
    """What became of one attempt."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Delivery:
    """The result says whether to try again; `detail` is for people and holds no secret."""

    state: DeliveryState
    detail: str


class Notifier(Protocol):
    """Delivers notices over one channel.

    * The same key twice MUST be one message.
    * A time-out, a refusal to connect, 429 and 5xx MUST be RETRY; any other refusal MUST be REJECTED.
    * It MUST NOT raise for anything that the channel does, and MUST NOT put a secret into `detail`.
    """

    @property
    def id(self) -> str:
        """Names the channel in the log and in the settings."""

    def deliver(self, notice: Notice) -> Delivery:
        """Hand the notice over; blocks no longer than the notifier's own time limit."""


def render(notice: Notice, lang: Language) -> str:
    """The notice as one line in `lang`, with the incident's id in front."""
    text = words.text(notice.code, lang, **notice.params)
    return f"[{notice.incident_id}] {text}" if notice.incident_id else text
