"""
What `stage4 run` joins: the environment, its telemetry process, and the log of what was decided about it.

The scheduler never waits for either: samples go through a pipe that drops when it is full, log entries through a
queue with a thread of its own. Nothing trades before the telemetry listens; one that dies later is started again.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from stage4.app.service_log import configure, tell
from stage4.app.surroundings import refuse_unfitting
from stage4.clock import Clock
from stage4.config import Installation
from stage4.decisionlog.entry import Draft
from stage4.errors import Stage4Error, Unavailable
from stage4.telemetry.sample import PipeSink, Sample

if TYPE_CHECKING:
    from stage4.runtime.gate import OrderOutcome
    from stage4.runtime.state import StopProgress
    from stage4.runtime.stop_progress import Stage
    from stage4.runtime.suspension import Suspension

_START_SECONDS = 30.0
_RESTART_SECONDS = 1.0
_END_SECONDS = 5.0


class TelemetryProcess:
    """A `SampleSink` into a child process that is kept alive.

    Raises Unavailable `service.telemetry_not_started` when it does not listen the first time; the child has said why.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._ending = threading.Event()
        self._sink, self._child, listens = self._start()
        if not listens:
            self._sink.close()
            raise Unavailable("service.telemetry_not_started", code=self._child.wait())
        self._keeper = threading.Thread(target=self._keep, name="telemetry-keeper", daemon=True)
        self._keeper.start()

    def offer(self, sample: Sample) -> bool:
        """Hand over without waiting; False when the sample was dropped."""
        return self._sink.offer(sample)

    def close(self) -> None:
        """Close the pipe and let the process end; one that does not is killed."""
        self._ending.set()
        self._sink.close()
        try:
            self._child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._keeper.join(_END_SECONDS)

    def _start(self) -> tuple[PipeSink, subprocess.Popen[bytes], bool]:
        """The pipe, the child, and whether it listens; waits until it does or has ended."""
        reading, writing = os.pipe()
        hearing, telling = os.pipe()
        root = str(self._installation.root)
        argv = [sys.executable, "-m", "stage4", "--root", root, "_telemetry", str(reading), str(telling)]
        try:
            # gRPC's core would write a line of its own for every refused handshake; ours says who was refused.
            environ = {"GRPC_VERBOSITY": "NONE", **os.environ}
            child = subprocess.Popen(argv, pass_fds=(reading, telling), stdin=subprocess.DEVNULL, env=environ)
        finally:
            os.close(reading)
            os.close(telling)
        with open(hearing, "rb", buffering=0) as word:
            heard, _, _ = select.select([word], [], [], _START_SECONDS)
            listens = bool(heard and word.read(1))
        if not listens:
            child.kill()
        return PipeSink(writing), child, listens

    def _keep(self) -> None:
        while not self._ending.is_set():
            code = self._child.wait()
            if self._ending.wait(_RESTART_SECONDS):
                return
            tell("service.telemetry_restarted", {"code": code})
            old = self._sink
            self._sink, self._child, _ = self._start()
            old.close()


class LogThread:
    """Appends drafts to the decision log in a thread, in order; what cannot be appended is told."""

    def __init__(self, append: Callable[[Draft], object]) -> None:
        self._append = append
        self._drafts: queue.Queue[Draft | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="decision-log")
        self._thread.start()

    def put(self, draft: Draft) -> None:
        """Take a draft without waiting."""
        self._drafts.put(draft)

    def close(self) -> None:
        """Append what is left, then end."""
        self._drafts.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (draft := self._drafts.get()) is not None:
            try:
                self._append(draft)
            except Stage4Error as error:
                tell("service.unlogged", {"kind": draft.kind, "reason": str(error)})


@contextlib.contextmanager
def _log_thread(installation: Installation, clock: Clock, environ: Mapping[str, str]) -> Iterator[LogThread]:
    from stage4.decisionlog.open import open_log

    thread = LogThread(open_log(installation, clock, environ).append)
    try:
        yield thread
    finally:
        thread.close()


def _order_draft(outcome: OrderOutcome, category: str, clock: Clock) -> Draft:
    accepted = outcome.outcome == "accepted"
    return Draft(
        kind="scheduler_enabled" if accepted else "scheduler_enable_refused",
        category=category,
        stage="stage4",
        status="enabled" if accepted else "refused",
        artefacts={"order": outcome.path.name, "stop_digest": outcome.stop.digest if outcome.stop else "none"},
        runtime_flags={"enabled": accepted},
        metadata={"reason": outcome.reason_code or "", "nonce": outcome.nonce or ""},
        tags=("scheduler",),
        timestamp=clock.now(),
    )


def _stop_draft(file_name: str, stage: Stage, progress: StopProgress, category: str, clock: Clock) -> Draft:
    """What the scheduler itself says of a stop: acknowledged (gate closed), orders cancelled, verified (nothing in
    flight); who asked for it stands in `scheduler_stop_requested`."""
    orders = progress.orders
    return Draft(
        kind=f"scheduler_{stage}" if stage == "orders_cancelled" else f"scheduler_stop_{stage}",
        category=category,
        stage="stop",
        status="cancelled" if stage == "orders_cancelled" else stage,
        artefacts={"override": file_name, "stop_digest": progress.digest},
        runtime_flags={"gate_closed": True, "orders_settled": orders.settled},
        metadata={"orders_found": orders.found, "orders_working": orders.working, "orders_fault": orders.fault},
        tags=("kill_switch",),
        timestamp=clock.now(),
    )


def _suspension_draft(schedule: str, suspension: Suspension | None, category: str, clock: Clock) -> Draft:
    """What the scheduler itself says: `scheduler_schedule_suspended`, or `_resumed`; requests have entries of their
    own."""
    document = None if suspension is None else suspension.document
    return Draft(
        kind="scheduler_schedule_resumed" if suspension is None else "scheduler_schedule_suspended",
        category=category,
        stage="stage4",
        status="resumed" if suspension is None else "suspended",
        artefacts={"suspension": None if suspension is None else suspension.file_name},
        runtime_flags={"suspended": suspension is not None},
        metadata={
            "schedule": schedule,
            "cause": None if suspension is None else suspension.cause.value,
            "reason": None if document is None else document.reason,
            "requested_by": None if document is None else document.requested_by,
            "fault": None if suspension is None else suspension.fault,
        },
        tags=("scheduler",),
        timestamp=clock.now(),
    )


def run_environment(
    installation: Installation,
    clock: Clock,
    environ: Mapping[str, str],
    *,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Run the environment of `installation` in this process until SIGTERM or SIGINT; `ready` is called as it begins.

    Raises Refused `runtime.already_running`, and as `refuse_unfitting` and `TelemetryProcess`.
    """
    from stage4.runtime.environment import Environment, run_until_signalled
    from stage4.runtime.run_lock import LOCK_FILE, sole_environment

    configure("scheduler", clock)
    refuse_unfitting(installation)
    category = next(iter(installation.settings.runtime.multi_strategy_schedulers.values())).decision_log_category
    # Asked before the telemetry needs its ports, so that a second environment is told what is really in its way.
    with sole_environment(installation.path(LOCK_FILE)):
        pass
    with _log_thread(installation, clock, environ) as log:
        telemetry = TelemetryProcess(installation)
        try:
            environment = Environment(
                installation,
                clock=clock,
                sink=telemetry,
                events=tell,
                orders=lambda outcome: log.put(_order_draft(outcome, category, clock)),
                stops=lambda name, stage, progress: log.put(_stop_draft(name, stage, progress, category, clock)),
                suspensions=lambda name, suspension: log.put(_suspension_draft(name, suspension, category, clock)),
            )
            ready()
            run_until_signalled(environment)
        finally:
            telemetry.close()


def run_telemetry_process(
    installation: Installation, fd: int, telling: int, clock: Clock, environ: Mapping[str, str]
) -> None:
    """The telemetry process: exporter, gRPC service and detector behind the pipe `fd`; one byte into the pipe
    `telling` says that it listens."""
    from stage4.monitoring.direct import direct_alerts
    from stage4.telemetry.serving import Listening, run_telemetry

    def ready(_where: Listening) -> None:
        os.write(telling, b"!")
        os.close(telling)

    # A terminal sends Ctrl-C to the whole group; this process ends with its pipe, when the last samples are out.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure("telemetry", clock)
    alerts = direct_alerts(installation, clock, environ).start()
    try:
        run_telemetry(installation, fd, clock, [alerts], environ=environ, ready=ready)
    finally:
        alerts.close()
