"""
The direct alert path: from a sample to Alertmanager, or to the incident service, within a second.

`DirectAlerts` is an observer of the telemetry process. Judging happens where samples arrive; sending happens in a
thread of its own, so that a slow receiver delays no sample. How it fails: open. An alert that no receiver took is
sent again until one takes it, and twice is better than never; receivers know an alert again by its labels. What was
told as firing is remembered beyond the process, so that the next one ends what is well by then.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from stage4.clock import Clock
from stage4.errors import Unavailable
from stage4.monitoring.detector import DetectedAlert, Detector, as_postable, as_signal
from stage4.monitoring.plan import ALERTS_SCOPE, MonitoringPlan, plan_of
from stage4.monitoring.told import TOLD_FILE, ToldAlerts
from stage4.telemetry.sample import Sample

if TYPE_CHECKING:
    from stage4.config import Installation

SIGNALS = "/api/v1/signals"
DETECTOR_TOKEN = "detector"
RENEWED_EVERY = timedelta(seconds=30)
HELD_FOR = timedelta(minutes=4)
"""How long Alertmanager keeps an alert firing that is not renewed: longer than a restart of the telemetry process."""
_TICK_SECONDS = 1.0
_log = logging.getLogger(__name__)


class AlertReceiver(Protocol):
    """
    Takes alerts.

    * `send` returns when all of them were taken, and raises Unavailable otherwise.
    * The same alert sent again is the same alert.
    """

    def send(self, alerts: Sequence[DetectedAlert]) -> None: ...


@dataclass(frozen=True, slots=True)
class AlertmanagerReceiver:
    """Hands alerts to Alertmanager, which tells the incident service."""

    url: str
    clock: Clock

    def send(self, alerts: Sequence[DetectedAlert]) -> None:
        from stage4.monitoring.alertmanager import Alertmanager

        Alertmanager(self.url).post(as_postable(alerts, self.clock.now() + HELD_FOR))


@dataclass(frozen=True, slots=True)
class ServiceReceiver:
    """Hands alerts to the incident service itself; `token` gives the secret at each call, so that it may rotate."""

    url: str
    token: Callable[[], str]
    timeout: float = 5.0

    def send(self, alerts: Sequence[DetectedAlert]) -> None:
        import httpx

        authorization = {"authorization": f"Bearer {self.token()}"}
        for alert in alerts:
            try:
                answer = httpx.post(
                    self.url + SIGNALS,
                    json=as_signal(alert),
                    headers=authorization,
                    timeout=self.timeout,
                    trust_env=False,
                )
            except httpx.HTTPError as error:
                reason = str(error) or type(error).__name__
                raise Unavailable("monitoring.service_unreachable", url=self.url, reason=reason) from error
            if not answer.is_success:
                reason = f"{answer.status_code} {answer.text[:200]}"
                raise Unavailable("monitoring.service_refused", url=self.url, reason=reason)


class DirectAlerts:
    """Judges samples and sends what changes; what still fires is sent again every half minute.

    The first receiver that takes an alert is enough. `told` is the memory of an earlier life.
    """

    def __init__(
        self, plan: MonitoringPlan, receivers: Sequence[AlertReceiver], clock: Clock, told: ToldAlerts | None = None
    ) -> None:
        before = told.load() if told else ()
        self._told = told
        self._detector = Detector(plan, [alert for alert in before if alert.firing])
        self._receivers = tuple(receivers)
        self._clock = clock
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ending = False
        self._unsent: dict[str, list[DetectedAlert]] = {}
        self._hold([alert for alert in before if not alert.firing])
        self._renewed_at = clock.now()
        self._thread = threading.Thread(target=self._run, name="direct-alerts", daemon=True)

    def start(self) -> DirectAlerts:
        """Begin to send and to notice silence."""
        self._thread.start()
        return self

    def __call__(self, sample: Sample) -> None:
        """Observe one sample."""
        with self._lock:
            self._hold(self._detector.observe(sample))

    def close(self) -> None:
        """Send what waits, once, and end. Alerts that fire stay firing: an ending detector has not seen them end."""
        self._ending = True
        self._wake.set()
        self._thread.join()

    def _hold(self, changed: Sequence[DetectedAlert]) -> None:
        for alert in changed:
            # Of one alert the first unsent change and the latest are kept, so that a short one is told of too.
            waiting = self._unsent.setdefault(alert.fingerprint, [])
            del waiting[1:]
            waiting.append(alert)
        if changed:
            self._wake.set()

    def _run(self) -> None:
        while not self._ending:
            self._wake.wait(_TICK_SECONDS)
            self._wake.clear()
            self.send_due()

    def send_due(self) -> None:
        """One round: notice silence, send what changed, renew what fires. A failure is logged and tried again."""
        now = self._clock.now()
        with self._lock:
            self._hold(self._detector.tick(now))
            if now - self._renewed_at >= RENEWED_EVERY:
                self._renewed_at = now
                for alert in self._detector.firing():
                    self._unsent.setdefault(alert.fingerprint, [alert])
            due = {name: tuple(waiting) for name, waiting in self._unsent.items()}
        self._remember()
        firsts = [waiting[0] for waiting in due.values()]
        latest = [waiting[1] for waiting in due.values() if len(waiting) > 1]
        if firsts and self._sent(firsts) and (not latest or self._sent(latest)):
            with self._lock:
                for name, waiting in due.items():
                    if tuple(self._unsent[name]) == waiting:
                        del self._unsent[name]
            self._remember()

    def _remember(self) -> None:
        if self._told is None:
            return
        with self._lock:
            ends = [alert for waiting in self._unsent.values() for alert in waiting if not alert.firing]
            standing = (*self._detector.firing(), *ends)
        self._told.keep(standing)

    def _sent(self, alerts: Sequence[DetectedAlert]) -> bool:
        for receiver in self._receivers:
            try:
                receiver.send(alerts)
            except Unavailable as error:
                _log.warning("an alert was not taken: %s", error)
            else:
                return True
        return False


def direct_alerts(installation: Installation, clock: Clock, environ: Mapping[str, str]) -> DirectAlerts:
    """The direct path of `installation`: Alertmanager where it is configured, then the incident service."""
    from stage4.security.tokens import resolve_secret

    plan = plan_of(installation)
    tokens = [t for t in installation.settings.operations.service.rbac_tokens if ALERTS_SCOPE in t.scopes]
    own = next((t for t in tokens if t.token_id == DETECTOR_TOKEN), tokens[0] if tokens else None)

    def secret() -> str:
        if own is None:
            raise Unavailable("monitoring.no_alerts_token", scope=ALERTS_SCOPE)
        return resolve_secret(own, environ, installation.root)

    receivers: list[AlertReceiver] = [ServiceReceiver(plan.service_url, secret)]
    if plan.alertmanager_url is not None:
        receivers.insert(0, AlertmanagerReceiver(plan.alertmanager_url, clock))
    return DirectAlerts(plan, receivers, clock, ToldAlerts(installation.path(TOLD_FILE)))
