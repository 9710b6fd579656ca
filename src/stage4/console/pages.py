"""The routes of the console. Every page is whole HTML that works without scripts, at any width, and on paper."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from importlib import resources
from typing import Protocol

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from stage4 import files, words
from stage4.clock import Clock
from stage4.config import Installation
from stage4.console.texts import Texts
from stage4.errors import Refused, Stage4Error, Unavailable
from stage4.incidents.view import IncidentView

REFRESH_SECONDS = 5
YEAR_SECONDS = 365 * 86400
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Incidents(Protocol):
    """What the pages read."""

    def list(self) -> Sequence[IncidentView]:
        """Those that are not closed, and some of the newest closed ones."""

    def view(self, incident_id: str) -> IncidentView:
        """Raises Refused `incident.unknown`."""

    def evidence(self, sha256: str) -> bytes:
        """The bytes of an artefact; raises Unavailable when they are not there or not what they were."""

    def on_duty(self) -> Mapping[str, str | None]:
        """Person ids by rung."""


class Console:
    """Renders the pages of one installation."""

    def __init__(self, installation: Installation, incidents: Incidents, clock: Clock) -> None:
        self._installation = installation
        self._incidents = incidents
        self._clock = clock
        self._templates = Environment(
            loader=PackageLoader("stage4.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._style = resources.files("stage4.console").joinpath("static/console.css").read_bytes()

    def routes(self) -> list[BaseRoute]:
        """All routes, for the application that the composition root builds."""
        return [
            Route("/", self.incidents, methods=["GET"]),
            Route("/incidents/{incident_id}", self.incident, methods=["GET"]),
            Route("/incidents/{incident_id}/evidence/{sha256}", self.artefact, methods=["GET"]),
            Route("/docs/runbooks/{name}", self.runbook, methods=["GET"]),
            Route("/language/{lang}", self.language, methods=["GET"]),
            Route("/static/console.css", self.style, methods=["GET"]),
        ]

    async def incidents(self, request: Request) -> Response:
        """The list of incidents, open ones first."""
        try:
            views = await run_in_threadpool(self._incidents.list)
        except Unavailable as error:
            return self._failed(request, error, 503)
        order = {"triggered": 0, "acknowledged": 1, "resolved": 2, "closed": 3}
        ordered = sorted(views, key=lambda view: (order[view.incident.state], _urgency(view)))
        return await self._page(request, "incidents.html", views=ordered)

    async def incident(self, request: Request) -> Response:
        """One incident: deadlines, checklists, timeline, evidence, signatures."""
        try:
            view = await run_in_threadpool(self._incidents.view, request.path_params["incident_id"])
        except Stage4Error as error:
            return self._failed(request, error, 404 if isinstance(error, Refused) else 503)
        return await self._page(request, "incident.html", view=view)

    async def artefact(self, request: Request) -> Response:
        """One artefact by its digest. Only pictures are shown in the page, everything else is a download."""
        digest = request.path_params["sha256"]
        try:
            view = await run_in_threadpool(self._incidents.view, request.path_params["incident_id"])
            found = next((each for each in view.artefacts if each.sha256 == digest), None)
            if not SHA256.fullmatch(digest) or found is None:
                raise Refused("console.no_artefact", sha256=digest)
            content = await run_in_threadpool(self._incidents.evidence, digest)
        except Stage4Error as error:
            return self._failed(request, error, 404 if isinstance(error, Refused) else 503)
        picture = found.media == "image/png"
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", found.name)
        disposition = f'{"inline" if picture else "attachment"}; filename="{name}"'
        headers = {**HEADERS, "content-disposition": disposition, "cache-control": f"private, max-age={YEAR_SECONDS}"}
        return Response(content, media_type="image/png" if picture else "application/octet-stream", headers=headers)

    async def runbook(self, request: Request) -> Response:
        """A runbook of the installation, or the page of an alert; what every alert's `runbook_url` leads to."""
        name = request.path_params["name"]
        texts = self._texts(request)
        if NAME.fullmatch(name) and ".." not in name:
            path = self._installation.path("docs/runbooks") / name.removesuffix(".md").__add__(".md")
            if path.is_file():
                content = files.read_limited(path).decode("utf-8")
                return await self._page(request, "runbook.html", title=name, content=content, rules=())
            rules = await run_in_threadpool(self._alert_rules, name)
            if rules:
                return await self._page(request, "runbook.html", title=name, content="", rules=rules)
        return self._failed(request, Refused("console.no_runbook", name=name[:80]), 404, texts)

    async def language(self, request: Request) -> Response:
        """Remember the reader's language and go back to the list."""
        answer = RedirectResponse("/", status_code=303, headers=HEADERS)
        chosen = request.path_params["lang"]
        if chosen in words.languages:
            answer.set_cookie("lang", chosen, max_age=YEAR_SECONDS, httponly=True, samesite="strict")
        return answer

    async def style(self, _request: Request) -> Response:
        return Response(self._style, media_type="text/css", headers={**HEADERS, "cache-control": "max-age=3600"})

    def _alert_rules(self, name: str) -> list[dict[str, str]]:
        from stage4.monitoring.alerts import rules_of
        from stage4.monitoring.plan import plan_of

        plan = plan_of(self._installation)
        found = [rule for rule in rules_of(plan) if rule.name == name]
        blank = {"pl": "…", "en": "…"}
        return [
            {"severity": rule.severity, "kind": rule.kind or "–", **rule.annotations(plan, {}, blank)} for rule in found
        ]

    def _texts(self, request: Request) -> Texts:
        operations = self._installation.settings.operations
        chosen = request.query_params.get("lang") or request.cookies.get("lang")
        lang = chosen if chosen in words.languages else operations.language
        return Texts(lang, operations.time_zone, self._clock.now())

    async def _page(self, request: Request, template: str, status: int = 200, **values: object) -> Response:
        texts = self._texts(request)
        operations = self._installation.settings.operations
        refreshes = template in ("incidents.html", "incident.html") and request.query_params.get("refresh") != "0"
        duties = await run_in_threadpool(self._incidents.on_duty)
        body = self._templates.get_template(template).render(
            t=texts,
            say=texts.say,
            installation=operations.installation,
            installation_id=operations.installation_id,
            duties=duties,
            refresh=REFRESH_SECONDS if refreshes else 0,
            path=request.url.path,
            soon=texts.now + timedelta(minutes=1),
            **values,
        )
        return HTMLResponse(body, status_code=status, headers=HEADERS)

    def _failed(self, request: Request, error: Stage4Error, status: int, texts: Texts | None = None) -> Response:
        chosen = texts or self._texts(request)
        body = self._templates.get_template("failed.html").render(
            t=chosen,
            say=chosen.say,
            installation=self._installation.settings.operations.installation,
            installation_id=self._installation.settings.operations.installation_id,
            duties={},
            refresh=0,
            path=request.url.path,
            message=words.text(error.code, chosen.lang, **error.params),
            hint=words.hint(error.code, chosen.lang, **error.params),
        )
        return HTMLResponse(body, status_code=status, headers=HEADERS)


def _urgency(view: IncidentView) -> tuple[bool, float]:
    deadline = view.deadline
    return deadline is None, deadline.timestamp() if deadline else -view.incident.opened_at.timestamp()
