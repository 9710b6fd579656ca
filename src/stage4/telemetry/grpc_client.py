"""A client of the metrics service: status, recent series, live stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import grpc

from stage4.config import Installation
from stage4.errors import Refused, Stage4Error, Unavailable, UsageError
from stage4.security.mtls import Material
from stage4.security.tokens import resolve_secret, service_token
from stage4.telemetry.identities import client_identity
from stage4.telemetry.proto import metrics_pb2 as pb
from stage4.telemetry.proto import metrics_pb2_grpc
from stage4.telemetry.recorder import Point, Series, instant

Headers = Sequence[tuple[str, str | bytes]]
ANSWER_SECONDS = 5.0
OPTIONS = (
    # A channel of its own, with short pauses: gRPC's default waits up to two minutes before it looks again.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # The token goes to the address in the settings, never to a proxy that a variable of the shell names.
    ("grpc.enable_http_proxy", 0),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the service is and what to show it; `material` None means plain text."""

    host: str
    port: int
    material: Material | None = field(repr=False)

    @property
    def target(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Status:
    """What the telemetry process has received; `last_at` None: nothing yet."""

    installation_id: str
    samples: int
    lost: int
    malformed: int
    subscribers: int
    last_seq: int
    last_at: datetime | None
    schedules: Mapping[str, str]
    """Risk profile by schedule."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One message of the stream; `dropped` counts what this subscriber has lost so far by reading too slowly."""

    seq: int
    at: datetime
    scheduler: str
    schedule: str
    strategy: str
    risk_profile: str
    values: Mapping[str, float]
    flags: Mapping[str, bool]
    replayed: bool
    dropped: int


class MetricsClient:
    """One connection. Calls raise Unavailable `telemetry.no_answer` or Refused `telemetry.call_refused`."""

    def __init__(self, endpoint: Endpoint, headers: Headers, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._endpoint = endpoint
        self._headers = tuple(headers)
        self._answer_seconds = answer_seconds
        self._channel = _channel(endpoint)
        make_stub: Any = metrics_pb2_grpc.MetricsServiceStub
        self._stub = make_stub(self._channel)

    @classmethod
    def of(cls, installation: Installation, environ: Mapping[str, str]) -> MetricsClient:
        """The installation's own client with its own token, for other parts of the product."""
        return cls(endpoint_of(installation), token_header(installation, environ))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def status(self) -> Status:
        return self.status_and_headers()[0]

    def status_and_headers(self) -> tuple[Status, Headers]:
        """The status, and the initial metadata of the answer."""
        try:
            reply, call = self._stub.GetStatus.with_call(
                pb.StatusRequest(), timeout=self._answer_seconds, metadata=self._headers
            )
        except grpc.RpcError as error:
            raise translated(error, self._endpoint) from error
        return _status(reply), tuple((key, value) for key, value in call.initial_metadata())

    def series(self, metric: str, *, schedule: str = "", seconds: float = 0) -> list[Series]:
        """The last `seconds` (0: all that is kept, at most 15 minutes) of a metric, one point a second."""
        request = pb.SeriesRequest(metric=metric, schedule=schedule, seconds=seconds)
        try:
            reply = self._stub.GetSeries(request, timeout=self._answer_seconds, metadata=self._headers)
        except grpc.RpcError as error:
            raise translated(error, self._endpoint) from error
        return [
            Series(dict(one.labels), tuple(Point(instant(point.at_us), point.value) for point in one.points))
            for one in reply.series
        ]

    def stream(self, schedules: Sequence[str] = ()) -> MetricsStream:
        """Open the live stream: first the newest snapshot of every source, then each new one."""
        call = self._stub.StreamMetrics(pb.StreamRequest(schedules=schedules), metadata=self._headers)
        return MetricsStream(call, self._endpoint)


class MetricsStream:
    """An open stream; iterate to read, `cancel` from any thread to end the iteration."""

    def __init__(self, call: Any, endpoint: Endpoint) -> None:
        self._call = call
        self._endpoint = endpoint
        self._cancelled = False

    def __iter__(self) -> Iterator[Snapshot]:
        try:
            for message in self._call:
                yield _snapshot(message)
        except grpc.RpcError as error:
            if not self._cancelled:
                raise translated(error, self._endpoint) from error

    def cancel(self) -> None:
        self._cancelled = True
        self._call.cancel()


def endpoint_of(installation: Installation, host: str | None = None, port: int | None = None) -> Endpoint:
    """The configured service, or another address with the same credentials."""
    service = installation.settings.runtime.metrics_service
    material = client_identity(installation).material if service.tls.enabled else None
    return Endpoint(host or service.host, port or service.port, material)


def token_header(installation: Installation, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """`authorization` with the service's token, empty where none is configured.

    Raises Unavailable `security.token_*` or `files.*` when the secret cannot be resolved.
    """
    entry = service_token(installation.settings.runtime.metrics_service)
    if entry is None:
        return ()
    return (("authorization", f"Bearer {resolve_secret(entry, environ, installation.root)}"),)


def translated(error: grpc.RpcError, endpoint: Endpoint) -> Stage4Error:
    """A gRPC status as an error of ours."""
    code, details = error.code(), error.details() or ""
    where: dict[str, object] = {"host": endpoint.host, "port": endpoint.port, "status": code.name, "reason": details}
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return Refused("telemetry.call_refused", **where)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return UsageError("telemetry.call_malformed", **where)
    return Unavailable("telemetry.no_answer", **where)


def _channel(endpoint: Endpoint) -> Any:
    if endpoint.material is None:
        return grpc.insecure_channel(endpoint.target, OPTIONS)
    shown = endpoint.material
    credentials = grpc.ssl_channel_credentials(shown.trusted, shown.private_key or None, shown.chain or None)
    return grpc.secure_channel(endpoint.target, credentials, OPTIONS)


def _status(reply: Any) -> Status:
    return Status(
        installation_id=reply.installation_id,
        samples=reply.samples,
        lost=reply.lost,
        malformed=reply.malformed,
        subscribers=reply.subscribers,
        last_seq=reply.last_seq,
        last_at=instant(reply.last_sample_at_us) if reply.last_sample_at_us else None,
        schedules={source.schedule: source.risk_profile for source in reply.sources if source.schedule},
    )


def _snapshot(message: Any) -> Snapshot:
    return Snapshot(
        seq=message.seq,
        at=instant(message.at_us),
        scheduler=message.scheduler,
        schedule=message.schedule,
        strategy=message.strategy,
        risk_profile=message.risk_profile,
        values=dict(message.values),
        flags=dict(message.flags),
        replayed=message.replayed,
        dropped=message.dropped,
    )
