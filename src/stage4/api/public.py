"""
What monitoring sends: Alertmanager's webhook and direct signals, both with a token of scope `alerts.write`.

Nothing is lost by an answer: storage that fails is 503, so that Alertmanager tries again; a body that nobody can
read is kept in quarantine and answered 200 with a warning, so that it is not sent for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stage4.api.answers import Endpoint, error_response, read_start
from stage4.errors import Refused, Stage4Error
from stage4.incidents.intake import BODY_LIMIT
from stage4.security.tokens import ALERTS_WRITE, TokenBook, bearer

ALERTMANAGER_PATH = "/api/v1/alerts/alertmanager"
SIGNALS_PATH = "/api/v1/signals"


class Intake(Protocol):
    """Takes deliveries in; returns only when what it says is durable."""

    def receive_alertmanager(self, body: bytes) -> Mapping[str, Any]: ...

    def receive_signal(self, body: bytes) -> Mapping[str, Any]: ...


def routes(intake: Intake, tokens: TokenBook, ready: Callable[[], Mapping[str, Any]]) -> list[BaseRoute]:
    """The routes of the intake, and `/healthz` for those who watch the service."""

    def receiving(receive: Callable[[bytes], Mapping[str, Any]]) -> Endpoint:
        async def answer(request: Request) -> Response:
            try:
                tokens.authorize(bearer(request.headers.get("authorization")), ALERTS_WRITE)
            except Refused as refusal:
                # 401 for a caller nobody knows, 403 for one who may do something else.
                return error_response(refusal, 403 if refusal.code == "security.scope_missing" else 401)
            # One byte too many is enough for the intake to see it, to keep what there is and to say so.
            body = await read_start(request, BODY_LIMIT + 1)
            try:
                return JSONResponse(await run_in_threadpool(receive, body))
            except Stage4Error as error:
                # What could not be kept has to come again, whatever the reason; after a 4xx it never would.
                return error_response(error, 503)

        return answer

    async def healthz(_request: Request) -> Response:
        facts = ready()
        return JSONResponse(facts, status_code=200 if facts.get("ready") else 503)

    return [
        Route(ALERTMANAGER_PATH, receiving(intake.receive_alertmanager), methods=["POST"]),
        Route(SIGNALS_PATH, receiving(intake.receive_signal), methods=["POST"]),
        Route("/healthz", healthz, methods=["GET"]),
    ]
