"""
The commands of this machine's people, over a Unix socket that only this account may open.

`POST /v1/incidents` opens or lists, `POST /v1/incidents/<id>/<verb>` acts. The body is one JSON object; `by` names who
acts. The socket proves the account and nothing more: what has to prove a person carries that person's signature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from stage4.api.answers import endpoint, read_object
from stage4.clock import parse_instant
from stage4.errors import UsageError
from stage4.incidents.engine import Engine
from stage4.incidents.incident import Incident, Kind

INCIDENTS_PATH = "/v1/incidents"
Body = Mapping[str, Any]
Verb = Callable[[Engine, str, Body], Mapping[str, Any]]


def _field(body: Body, name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value.strip():
        raise UsageError("api.field_missing", field=name)
    return value


def _optional(body: Body, name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise UsageError("api.field_missing", field=name)
    return value


def _told(incident: Incident) -> dict[str, Any]:
    """The incident's own facts, as every act answers them."""
    facts: dict[str, Any] = msgspec.to_builtins(incident)
    return {"schema": "stage4.incident_facts/1", **facts}


def _escalate(engine: Engine, incident_id: str, body: Body) -> Mapping[str, Any]:
    to = _field(body, "to")
    if to == "l2":
        return _told(engine.escalate(incident_id, _field(body, "by"), "l2", _optional(body, "reason")))
    if to == "incident_manager":
        return _told(engine.escalate(incident_id, _field(body, "by"), "incident_manager", _optional(body, "reason")))
    raise UsageError("api.field_missing", field="to")


def _statement(engine: Engine, incident_id: str, body: Body) -> Mapping[str, Any]:
    statement = engine.statement(incident_id, _field(body, "role"), _field(body, "by"))
    return {"schema": "stage4.to_sign/1", "namespace": "stage4-signoff", "statement": statement.decode("utf-8")}


def _sign(engine: Engine, incident_id: str, body: Body) -> Mapping[str, Any]:
    sign_off = engine.sign(incident_id, _field(body, "role"), _field(body, "signature"), _field(body, "by"))
    facts: dict[str, Any] = msgspec.to_builtins(sign_off)
    return {"schema": "stage4.sign_off/1", **facts}


def _evidence(engine: Engine, incident_id: str, body: Body) -> Mapping[str, Any]:
    from stage4.reports.evidence_folder import write_folder

    view = engine.view(incident_id)
    folder = write_folder(Path(_field(body, "path")), view.artefacts, engine.evidence)
    return {"schema": "stage4.evidence/1", "incident": incident_id, "path": str(folder), "n": len(view.artefacts)}


def _run(engine: Engine, incident_id: str, body: Body) -> Mapping[str, Any]:
    started = engine.run_step(incident_id, _field(body, "step"), _field(body, "by"))
    return {"schema": "stage4.step_run/1", "incident": incident_id, "step": body["step"], "started": started}


def _answer(engine: Engine, incident_id: str, body: Body) -> Mapping[str, Any]:
    choice, text = _optional(body, "choice"), _optional(body, "text")
    return _told(engine.answer_step(incident_id, _field(body, "step"), _field(body, "by"), choice=choice, text=text))


VERBS: Mapping[str, Verb] = {
    "show": lambda engine, incident_id, _body: engine.view(incident_id).document(),
    "ack": lambda engine, incident_id, body: _told(engine.acknowledge(incident_id, _field(body, "by"))),
    "note": lambda engine, incident_id, body: _told(engine.note(incident_id, _field(body, "text"), _field(body, "by"))),
    "run": _run,
    "answer": _answer,
    "escalate": _escalate,
    "confirm": lambda engine, incident_id, body: _told(engine.confirm_escalation(incident_id, _field(body, "by"))),
    "stop": lambda engine, incident_id, body: _told(
        engine.stop(incident_id, _field(body, "reason"), _field(body, "by"))
    ),
    "rollback-complete": lambda engine, incident_id, body: _told(
        engine.complete_rollback(incident_id, _field(body, "by"))
    ),
    "attach": lambda engine, incident_id, body: _told(
        engine.attach(incident_id, Path(_field(body, "path")), _field(body, "by"))
    ),
    "resolve": lambda engine, incident_id, body: _told(engine.resolve(incident_id, _field(body, "by"))),
    "reopen": lambda engine, incident_id, body: _told(engine.reopen(incident_id, _field(body, "by"))),
    "not-applicable": lambda engine, incident_id, body: _told(
        engine.not_applicable(incident_id, _field(body, "reason"), _field(body, "by"))
    ),
    "evidence": _evidence,
    "statement": _statement,
    "sign": _sign,
    "close": lambda engine, incident_id, body: _told(engine.close(incident_id, _field(body, "by"))),
}


def _open(engine: Engine, body: Body) -> Mapping[str, Any]:
    kind = _field(body, "kind")
    if kind not in {known.value for known in Kind}:
        raise UsageError("api.field_missing", field="kind")
    reported = _optional(body, "reported_at")
    incident = engine.open_manual(
        Kind(kind),
        _field(body, "title"),
        _field(body, "by"),
        reported_at=parse_instant(reported) if reported else None,
        ticket=_optional(body, "ticket") or None,
    )
    return _told(incident)


def routes(engine: Engine) -> list[BaseRoute]:
    """All routes of the private socket."""

    async def act(request: Request) -> Callable[[], Mapping[str, Any]]:
        body = await read_object(request)
        verb, incident_id = request.path_params["verb"], request.path_params["incident_id"]
        if verb not in VERBS:
            raise UsageError("api.unknown_verb", verb=verb)
        return lambda: VERBS[verb](engine, incident_id, body)

    async def open_or_list(request: Request) -> Callable[[], Mapping[str, Any]]:
        if request.method == "POST":
            body = await read_object(request)
            return lambda: _open(engine, body)
        return lambda: {
            "schema": "stage4.incidents/1",
            "incidents": [_told(incident) for incident in engine.list()],
        }

    return [
        Route(INCIDENTS_PATH, endpoint(open_or_list), methods=["GET", "POST"]),
        Route(INCIDENTS_PATH + "/{incident_id}/{verb}", endpoint(act), methods=["POST"]),
    ]
