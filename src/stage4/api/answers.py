"""One shape for every answer and every error."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stage4 import files, words
from stage4.errors import Conflict, Refused, Stage4Error, Unavailable, UsageError

STATUS: tuple[tuple[type[Stage4Error], int], ...] = (
    (UsageError, 400),
    (Unavailable, 503),
    (Conflict, 409),
    (Refused, 403),
)
BODY_LIMIT = 4 << 20
Endpoint = Callable[[Request], Awaitable[Response]]


def error_response(error: Stage4Error, status: int | None = None) -> JSONResponse:
    """`{"schema": "stage4.error/1", "exit_code", "error": {"code", "message", "params", "hint"?}}`."""
    params = {name: value if isinstance(value, (int, float)) else str(value) for name, value in error.params.items()}
    problem: dict[str, Any] = {"code": error.code, "message": words.text(error.code, "en", **params), "params": params}
    hint = words.hint(error.code, "en", **params)
    if hint:
        problem["hint"] = hint
    found = status or next((status for kind, status in STATUS if isinstance(error, kind)), 500)
    body = {"schema": "stage4.error/1", "exit_code": int(error.exit_code), "error": problem}
    return JSONResponse(body, status_code=found)


async def read_body(request: Request) -> bytes:
    """The body, up to 4 MiB; raises UsageError `api.body_too_large`."""
    body = await read_start(request, BODY_LIMIT + 1)
    if len(body) > BODY_LIMIT:
        raise UsageError("api.body_too_large", limit=BODY_LIMIT)
    return body


async def read_start(request: Request, size: int) -> bytes:
    """The first `size` bytes of the body; what follows is read and let go."""
    kept = bytearray()
    async for part in request.stream():
        kept += part[: size - len(kept)]
    return bytes(kept)


async def read_object(request: Request) -> dict[str, Any]:
    """The body as one strict JSON object; an empty body is an empty object."""
    content = await read_body(request)
    document = files.parse_json(content, "the request's body") if content else {}
    if not isinstance(document, dict):
        raise UsageError("api.not_an_object")
    return document


def endpoint(work: Callable[[Request], Awaitable[Callable[[], Mapping[str, Any]]]]) -> Endpoint:
    """
    Read the request on the event loop, do the work in the bounded thread pool, answer JSON.

    `work` returns what is to be done; it runs outside the loop because it may write to the disk.
    """

    async def answer(request: Request) -> Response:
        try:
            return JSONResponse(await run_in_threadpool(await work(request)))
        except Stage4Error as error:
            return error_response(error)

    return answer
