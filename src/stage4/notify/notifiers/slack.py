"""
Slack over an incoming webhook.

A webhook has no message ids and no idempotency of its own, so the keys that this process has delivered are
remembered; after a restart the outbox decides, and a repeat is marked there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from stage4 import files
from stage4.config.addresses import is_loopback
from stage4.config.installation import Installation
from stage4.config.settings import Notifier as NotifierSettings
from stage4.errors import UsageError
from stage4.notify.notice import Delivery, DeliveryState, Notice, render
from stage4.words import Language

_TIMEOUT_SECONDS = 5.0
_REMEMBERED = 10_000


@dataclass(slots=True)
class SlackNotifier:
    """Posts the notice's text to one webhook; the address is a secret and never leaves this object."""

    id: str
    channel: str
    language: Language
    url: str = field(repr=False)
    _delivered: dict[str, None] = field(default_factory=dict, repr=False)

    @classmethod
    def from_settings(cls, installation: Installation, settings: NotifierSettings) -> SlackNotifier:
        """The notifier of one entry of kind `slack`; rehearsals may only reach this machine."""
        if not settings.url_file:
            raise UsageError("notify.field_missing", id=settings.id, field="url_file")
        path = installation.path(settings.url_file)
        url = files.read_limited(path, 4096).decode("utf-8", "replace").strip()
        address = urlsplit(url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise UsageError("notify.bad_url", id=settings.id, path=path)
        if installation.is_rehearsal and not is_loopback(address.hostname):
            raise UsageError("notify.not_local", id=settings.id)
        return cls(settings.id, settings.channel, installation.settings.operations.language, url)

    def deliver(self, notice: Notice) -> Delivery:
        """POST the text; 2xx delivers, 429, 5xx and no answer are RETRY, anything else is REJECTED."""
        import httpx

        if notice.key in self._delivered:
            return Delivery(DeliveryState.DELIVERED, f"slack {self.channel}")
        body = {"channel": self.channel, "text": render(notice, self.language)}
        try:
            answer = httpx.post(self.url, json=body, timeout=_TIMEOUT_SECONDS, trust_env=False)
        except httpx.HTTPError as error:
            return Delivery(DeliveryState.RETRY, f"slack {self.channel}: {type(error).__name__}")
        detail = f"slack {self.channel}: HTTP {answer.status_code}"
        if answer.is_success:
            self._remember(notice.key)
            return Delivery(DeliveryState.DELIVERED, detail)
        retry = answer.status_code == 429 or answer.status_code >= 500
        return Delivery(DeliveryState.RETRY if retry else DeliveryState.REJECTED, detail)

    def _remember(self, key: str) -> None:
        self._delivered[key] = None
        if len(self._delivered) > _REMEMBERED:
            del self._delivered[next(iter(self._delivered))]
