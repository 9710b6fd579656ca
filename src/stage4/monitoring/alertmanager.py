"""A client of Alertmanager's API v2: what it holds, and alerts posted to it.

No proxy of the environment is used: a forgotten variable must not swallow an alert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import httpx

from stage4.errors import Unavailable

ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Alertmanager:
    """Alertmanager at `url`. Every call raises Unavailable when it does not answer or refuses."""

    url: str
    timeout: float = ANSWER_SECONDS

    def alerts(self, filters: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The alerts it holds, silenced and inhibited ones included, as it tells them.

        `filters` are matchers such as `kind="latency"`.
        """
        answer = self._call("GET", "alerts", params={"filter": list(filters)})
        return cast("list[dict[str, Any]]", answer.json())

    def post(self, alerts: Sequence[dict[str, object]]) -> None:
        """Hand alerts over; the same alert twice is one alert."""
        self._call("POST", "alerts", json=list(alerts))

    def _call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = httpx.request(
                method, f"{self.url}/api/v2/{path}", timeout=self.timeout, trust_env=False, **arguments
            )
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise Unavailable("monitoring.alertmanager_unreachable", url=self.url, reason=reason) from error
        if answer.status_code != httpx.codes.OK:
            reason = f"{answer.status_code} {answer.text[:200]}"
            raise Unavailable("monitoring.alertmanager_refused", url=self.url, reason=reason)
        return answer
