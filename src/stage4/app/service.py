"""
What `stage4 serve` joins: the incident engine, its intake and pages on TCP, its commands on a private socket.

The event loop only accepts; requests work in a bounded thread pool, machine steps in a pool of their own, and one
thread drives time. It fails towards people: while anything is wrong with one part, the clock of the others goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from stage4.app.incident_ports import AlertmanagerAlerts, Panels, PeopleRegister, RosterFile, Switch, VerifiedLog
from stage4.app.listening import listen_private, listen_tcp, only_one
from stage4.app.log_keeping import LogKeeper
from stage4.app.service_log import configure, tell
from stage4.app.surroundings import refuse_unfitting
from stage4.clock import Clock, parse_duration
from stage4.config import Installation
from stage4.errors import Refused, Stage4Error
from stage4.incidents.assembly import Parts, assemble, rules_of
from stage4.incidents.checklist import load_playbook
from stage4.incidents.commands import ChildRunner
from stage4.incidents.engine import Engine
from stage4.incidents.incident import State
from stage4.incidents.own_intake import IntakeAlerts
from stage4.incidents.ports import AlertSource
from stage4.incidents.store_sql import Store
from stage4.incidents.view import IncidentView
from stage4.words import Language

if TYPE_CHECKING:
    import socket

    from starlette.applications import Starlette

TICK_SECONDS = 0.25
STEP_WORKERS = 4
CLOSED_SHOWN = 20
STALE_TICK = timedelta(seconds=30)
LOCK_FILE = "var/run/service.lock"


def build_engine(
    installation: Installation,
    clock: Clock,
    environ: Mapping[str, str],
    *,
    time_scale: float = 1.0,
    spawn: Callable[[Callable[[], None]], None] = lambda work: work(),
    deliver: Callable[[str, Callable[[], None]], None] = lambda _notifier, work: work(),
) -> Engine:
    """The engine of `installation` with its real parts; raises what reading its files raises."""
    from stage4.decisionlog.open import open_log
    from stage4.notify.notifiers import configured
    from stage4.reports.incident_document import render_incident

    if time_scale != 1.0 and not installation.is_rehearsal:
        raise Refused("service.real_time_only")
    operations = installation.settings.operations
    playbook = load_playbook(installation.path(operations.support_playbook))
    store = Store(operations.storage_url, installation.root)
    roster = RosterFile(installation)
    register = PeopleRegister(installation)
    # A service that knows nobody could take alerts in, but nobody could act on them: better said at its start.
    register.people()

    def render(record: Mapping[str, object], lang: Language) -> str:
        return render_incident(record, playbook, lang)

    def kept_audit(before: datetime) -> Mapping[str, object] | None:
        from stage4.audit.kept_reports import KeptReports

        found = KeptReports.of(installation, environ, clock.now()).newest(before, what_if=False)
        return found.document if found else None

    return assemble(
        Parts(
            root=installation.root,
            store=store,
            clock=clock,
            log=open_log(installation, clock, environ),
            reader=VerifiedLog(installation, clock, environ),
            roster=roster,
            register=register,
            notifiers=configured(installation),
            runner=ChildRunner(installation.root, clock, environ),
            alerts=_alert_source(installation, store, clock),
            panels=Panels(installation, clock, environ),
            switch=Switch(installation.root, clock),
            render=render,
            playbook=playbook,
            rules=rules_of(operations.incident),
            time_limit=parse_duration(operations.incident.step_time_limit),
            time_scale=time_scale,
            channel=roster.channel,
            scheduler=next(iter(installation.settings.runtime.multi_strategy_schedulers), ""),
            spawn=spawn,
            deliver=deliver,
            kept_audit=kept_audit,
        )
    )


def _alert_source(installation: Installation, store: Store, clock: Clock) -> AlertSource:
    url = installation.settings.operations.monitoring.alertmanager_url
    return AlertmanagerAlerts(url.rstrip("/")) if url else IntakeAlerts(store, clock)


class Lanes:
    """One thread a notifier, so that a channel that does not answer holds up nothing but itself."""

    def __init__(self) -> None:
        self._lanes: dict[str, ThreadPoolExecutor] = {}
        self._under_way: dict[str, Future[None]] = {}

    def deliver(self, notifier: str, work: Callable[[], None]) -> None:
        """Do the work in the notifier's own thread, unless it is at work already: then it will see what waits."""
        before = self._under_way.get(notifier)
        if before is not None and not before.done():
            return
        lane = self._lanes.setdefault(notifier, ThreadPoolExecutor(1, f"notify-{notifier}"))
        self._under_way[notifier] = lane.submit(work)
        self._under_way[notifier].add_done_callback(_tell_failure)

    def close(self) -> None:
        """Let the deliveries under way come to their end."""
        for lane in self._lanes.values():
            lane.shutdown()


class Heart:
    """The thread that drives time: timers, notices, machine steps.

    It outlives what does not answer and says it. A bug ends it, and the service with it: one that takes alerts in and
    calls nobody any more must not look alive; whoever supervises it starts it again.
    """

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._ending = threading.Event()
        self._beat_at = clock.now()
        self._told: str | None = None
        self._thread = ThreadPoolExecutor(1, "heart")

    def start(self) -> Future[None]:
        """Begin to beat; the future is done when it ends, with the bug that ended it."""
        return self._thread.submit(self._run)

    def close(self) -> None:
        self._ending.set()
        self._thread.shutdown()

    def facts(self) -> Mapping[str, Any]:
        """For `/healthz`: not ready once the last whole tick is half a minute old."""
        age = self._clock.now() - self._beat_at
        return {"schema": "stage4.health/1", "ready": age < STALE_TICK, "tick_age_seconds": age.total_seconds()}

    def _run(self) -> None:
        while not self._ending.wait(TICK_SECONDS):
            try:
                self._engine.tick()
                self._beat_at, self._told = self._clock.now(), None
            except Stage4Error as error:
                # Said once for each new reason, not four times a second.
                if str(error) != self._told:
                    self._told = str(error)
                    tell(error.code, error.params)


@dataclass(frozen=True, slots=True)
class PageSource:
    """What the console reads, from the engine."""

    engine: Engine
    clock: Clock

    def list(self) -> Sequence[IncidentView]:
        """All incidents that are not closed, and the newest closed ones."""
        incidents = self.engine.list()
        closed = [incident for incident in incidents if incident.state is State.CLOSED][:CLOSED_SHOWN]
        shown = [incident for incident in incidents if incident.state is not State.CLOSED] + closed
        return [self.engine.view(incident.id) for incident in shown]

    def view(self, incident_id: str) -> IncidentView:
        return self.engine.view(incident_id)

    def evidence(self, sha256: str) -> bytes:
        return self.engine.evidence.read(sha256)

    def on_duty(self) -> Mapping[str, str | None]:
        return {str(rung): person for rung, person in self.engine.core.roster.duties(self.clock.now()).people.items()}


@dataclass(frozen=True, slots=True)
class JsonIntake:
    """The engine's intake, answering JSON objects."""

    engine: Engine

    def receive_alertmanager(self, body: bytes) -> Mapping[str, Any]:
        return {"schema": "stage4.received/1", **asdict(self.engine.receive_alertmanager(body))}

    def receive_signal(self, body: bytes) -> Mapping[str, Any]:
        return {"schema": "stage4.received/1", **asdict(self.engine.receive_signal(body))}


def public_application(
    installation: Installation, engine: Engine, clock: Clock, environ: Mapping[str, str], heart: Heart
) -> Starlette:
    """Intake and pages."""
    from starlette.applications import Starlette

    from stage4.api import public
    from stage4.console.pages import Console
    from stage4.security.tokens import TokenBook

    tokens = TokenBook.from_settings(installation.settings.operations.service.rbac_tokens, environ, installation.root)
    for unusable in tokens.unusable:
        # Monitoring would be answered 401 and give up: somebody has to hear it here.
        tell("service.token_unusable", {"token": unusable.token_id, "reason": unusable.reason})
    pages = Console(installation, PageSource(engine, clock), clock)
    return Starlette(routes=[*public.routes(JsonIntake(engine), tokens, heart.facts), *pages.routes()])


def local_application(engine: Engine) -> Starlette:
    """Commands."""
    from starlette.applications import Starlette

    from stage4.api import local

    return Starlette(routes=local.routes(engine))


@contextlib.contextmanager
def _sockets(installation: Installation) -> Iterator[tuple[socket.socket, socket.socket]]:
    service = installation.settings.operations.service
    path = installation.path(service.socket)
    with only_one(installation.path(LOCK_FILE)), listen_tcp(service.host, service.port) as public:
        private = listen_private(path)
        try:
            yield public, private
        finally:
            private.close()
            path.unlink(missing_ok=True)


def serve(
    installation: Installation,
    clock: Clock,
    environ: Mapping[str, str],
    *,
    time_scale: float = 1.0,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called once requests are answered.

    Raises Refused as `refuse_unfitting`, and what opening the sockets and building the engine raise.
    """
    configure("service", clock)
    refuse_unfitting(installation)
    with _sockets(installation) as (public, private), ThreadPoolExecutor(STEP_WORKERS, "step") as pool:

        def spawn(work: Callable[[], None]) -> None:
            pool.submit(work).add_done_callback(_tell_failure)

        lanes = Lanes()
        engine = build_engine(installation, clock, environ, time_scale=time_scale, spawn=spawn, deliver=lanes.deliver)
        keeper = LogKeeper(installation, clock, environ)
        engine.start()
        heart = Heart(engine, clock)
        beating = heart.start()
        keeper.start().add_done_callback(_tell_failure)
        try:
            applications = [
                (public_application(installation, engine, clock, environ, heart), public),
                (local_application(engine), private),
            ]
            asyncio.run(_serve(applications, ready, beating))
        finally:
            heart.close()
            keeper.close()
            lanes.close()
        beating.result()


def _tell_failure(future: Any) -> None:
    error = future.exception()
    if isinstance(error, Stage4Error):
        tell(error.code, error.params)
    elif error is not None:
        tell("service.background_crashed", {"reason": repr(error)})


async def _serve(
    applications: Sequence[tuple[Starlette, socket.socket]], ready: Callable[[], None], beating: Future[None]
) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # Two servers share this process; the loop's handlers below end both.
            yield

    servers = [
        Server(uvicorn.Config(application, log_config=None, access_log=False, timeout_graceful_shutdown=3))
        for application, _ in applications
    ]

    def end() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    ended = asyncio.wrap_future(beating)
    ended.add_done_callback(lambda _: end())
    tasks = [
        asyncio.create_task(server.serve(sockets=[listener]))
        for server, (_, listener) in zip(servers, applications, strict=True)
    ]
    while not all(server.started for server in servers) and not any(task.done() for task in tasks):
        await asyncio.sleep(0.01)
    ready()
    await asyncio.gather(*tasks)
    # What ended it is raised by who started it.
    if not ended.cancel():
        ended.exception()
