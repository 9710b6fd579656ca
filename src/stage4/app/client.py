"""Speaks to the incident service of this installation over its private socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stage4.app.listening import short_address
from stage4.config import Installation
from stage4.errors import Conflict, Refused, Stage4Error, Unavailable, UsageError

TIMEOUT_SECONDS = 30.0
_BY_STATUS: Mapping[int, type[Stage4Error]] = {400: UsageError, 403: Refused, 409: Conflict, 503: Unavailable}


class ServiceClient:
    """Calls the service; its errors come back as the exceptions they were."""

    def __init__(self, installation: Installation) -> None:
        self._path = installation.path(installation.settings.operations.service.socket)

    def get(self, path: str) -> dict[str, Any]:
        """Read; raises Unavailable `service.not_running` when nobody answers."""
        return self._call("GET", path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Act; raises as `get`, and what the service refused with."""
        return self._call("POST", path, body)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        import httpx

        with short_address(self._path) as address:
            transport = httpx.HTTPTransport(uds=address)
            with httpx.Client(transport=transport, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
                try:
                    answer = client.request(method, f"http://stage4{path}", json=body)
                    document: dict[str, Any] = answer.json()
                except (httpx.HTTPError, ValueError) as error:
                    raise Unavailable("service.not_running", path=self._path) from error
        if answer.is_success:
            return document
        problem = document.get("error", {})
        kind = _BY_STATUS.get(answer.status_code, Unavailable)
        raise kind(str(problem.get("code", "service.not_running")), **{"path": self._path, **problem.get("params", {})})
