"""The gRPC MetricsService: status, live stream, recent series. Fails closed: see `admission`.

Each subscriber has a bounded queue. One that reads too slowly loses older snapshots, keeps the newest of every
source, and is told how many it lost; nobody else waits for it. A snapshot is encoded once for all subscribers.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio

from stage4.config.addresses import is_loopback
from stage4.errors import Refused, Unavailable, UsageError
from stage4.security.mtls import Identity, Material
from stage4.security.tokens import METRICS_READ, TokenBook
from stage4.telemetry import admission, catalogue, recorder
from stage4.telemetry.proto import metrics_pb2 as pb
from stage4.telemetry.recorder import Recorder, Source, microseconds
from stage4.telemetry.sample import Sample

SERVICE = "stage4.telemetry.v1.MetricsService"
QUEUE_LIMIT = 256
OPTIONS = (
    ("grpc.so_reuseport", 0),  # two telemetry processes on one port would each get some of the callers
    ("grpc.max_receive_message_length", 64 * 1024),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
_log = logging.getLogger(__name__)
_Context = Any  # grpc.aio.ServicerContext; grpcio ships no types
_REPLAYED = pb.MetricsSnapshot(replayed=True).SerializeToString()


def snapshot(sample: Sample) -> bytes:
    """The sample as an encoded MetricsSnapshot. Fields may be appended: protobuf merges what is concatenated."""
    return pb.MetricsSnapshot(
        seq=sample.seq,
        at_us=microseconds(sample.at),
        scheduler=sample.scheduler,
        schedule=sample.schedule,
        strategy=sample.strategy,
        risk_profile=sample.risk_profile,
        venue=sample.venue,
        values=sample.values,
        flags=sample.flags,
    ).SerializeToString()


@dataclass(slots=True, eq=False)
class Subscription:
    """What one subscriber has not read yet."""

    schedules: frozenset[str]
    waiting: deque[tuple[Source, bytes]] = field(default_factory=deque)
    dropped: int = 0
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, source: Source, encoded: bytes) -> None:
        schedule = source[1]
        if self.schedules and schedule and schedule not in self.schedules:
            return
        if len(self.waiting) >= QUEUE_LIMIT:
            self._conflate()
        self.waiting.append((source, encoded))
        self.wake.set()

    def _conflate(self) -> None:
        """Keep the newest of every source, and at most half of the queue."""
        kept: dict[Source, bytes] = {}
        for source, encoded in reversed(self.waiting):
            if len(kept) < QUEUE_LIMIT // 2:
                kept.setdefault(source, encoded)
        self.dropped += len(self.waiting) - len(kept)
        self.waiting = deque(reversed(kept.items()))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                _, encoded = self.waiting.popleft()
                if self.dropped:
                    encoded += pb.MetricsSnapshot(dropped=self.dropped).SerializeToString()
                yield encoded


class MetricsServer:
    """Serves one recorder. All methods belong to the event loop that started it."""

    def __init__(self, recorder: Recorder, book: TokenBook, installation_id: str, started_at: datetime) -> None:
        self._recorder = recorder
        self._book = book
        self._installation_id = installation_id
        self._started_at = started_at
        self._subscriptions: set[Subscription] = set()
        self._server: Any = None
        self.malformed = 0
        self.refusals = 0

    async def start(self, host: str, port: int, identity: Identity | None) -> int:
        """
        Listen and return the port (useful for port 0).

        Without `identity` the transport is plain text, which only a loopback address may have. Raises UsageError
        `telemetry.plain_text_refused`, Unavailable `telemetry.port_in_use`.
        """
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((self._handlers(),))
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if identity is not None:
                bound = server.add_secure_port(address, server_credentials(identity))
            elif is_loopback(host):
                bound = server.add_insecure_port(address)
            else:
                raise UsageError("telemetry.plain_text_refused", host=host)
        except RuntimeError as error:
            # gRPC appends advice about its own debugging after a semicolon.
            reason = str(error).partition(";")[0]
            raise Unavailable("telemetry.port_in_use", host=host, port=port, reason=reason) from error
        await server.start()
        self._server = server
        return int(bound)

    async def stop(self, grace_seconds: float = 0.2) -> None:
        if self._server is not None:
            await self._server.stop(grace_seconds)
            self._server = None

    @property
    def backlog(self) -> int:
        """How many snapshots wait for the slowest subscriber, at most `QUEUE_LIMIT`."""
        return max((len(subscription.waiting) for subscription in self._subscriptions), default=0)

    def publish(self, sample: Sample) -> None:
        """Give a sample to every subscriber; never waits."""
        if self._subscriptions:
            encoded = snapshot(sample)
            source = recorder.source_of(sample)
            for subscription in self._subscriptions:
                subscription.offer(source, encoded)

    def _handlers(self) -> Any:
        identity: Callable[[bytes], bytes] = bytes
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "GetStatus": grpc.unary_unary_rpc_method_handler(
                    self._unary(self._status), pb.StatusRequest.FromString, pb.StatusReply.SerializeToString
                ),
                "GetSeries": grpc.unary_unary_rpc_method_handler(
                    self._unary(self._series), pb.SeriesRequest.FromString, pb.SeriesReply.SerializeToString
                ),
                "StreamMetrics": grpc.unary_stream_rpc_method_handler(
                    self._stream, pb.StreamRequest.FromString, identity
                ),
            },
        )

    def _unary(self, answer: Callable[[Any], Any]) -> Callable[[Any, _Context], Awaitable[Any]]:
        async def admitted(request: Any, context: _Context) -> Any:
            await self._admit(context)
            try:
                return answer(request)
            except UsageError as error:
                return await context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.code)

        return admitted

    async def _admit(self, context: _Context) -> None:
        metadata = context.invocation_metadata() or ()
        peer: Mapping[str, list[bytes]] = context.auth_context()
        try:
            grant = admission.admit(self._book, metadata, peer, METRICS_READ)
        except Refused as refusal:
            self.refusals += 1
            _log.warning("refused %s: %s", context.peer(), refusal)
            unknown = admission.is_unauthenticated(refusal)
            status = grpc.StatusCode.UNAUTHENTICATED if unknown else grpc.StatusCode.PERMISSION_DENIED
            await context.abort(status, refusal.code)
            raise
        await context.send_initial_metadata(((admission.TOKEN_HEADER, grant.token_id), *admission.echo(metadata)))

    async def _stream(self, request: Any, context: _Context) -> AsyncIterator[bytes]:
        await self._admit(context)
        subscription = Subscription(frozenset(request.schedules))
        for source, sample in self._recorder.newest.items():
            subscription.offer(source, snapshot(sample) + _REPLAYED)
        self._subscriptions.add(subscription)
        try:
            async for encoded in subscription:
                yield encoded
        finally:
            self._subscriptions.discard(subscription)

    def _status(self, _request: Any) -> Any:
        last = self._recorder.last
        return pb.StatusReply(
            installation_id=self._installation_id,
            started_at_us=microseconds(self._started_at),
            samples=self._recorder.samples,
            lost=self._recorder.lost,
            malformed=self.malformed,
            last_seq=last.seq if last else 0,
            last_sample_at_us=microseconds(last.at) if last else 0,
            subscribers=len(self._subscriptions),
            sources=[
                pb.Source(
                    scheduler=sample.scheduler,
                    schedule=sample.schedule,
                    strategy=sample.strategy,
                    risk_profile=sample.risk_profile,
                    venue=sample.venue,
                    last_at_us=microseconds(sample.at),
                )
                for sample in self._recorder.newest.values()
            ],
        )

    def _series(self, request: Any) -> Any:
        if not catalogue.known(request.metric):
            raise UsageError("telemetry.unknown_metric", metric=request.metric)
        since = datetime.min.replace(tzinfo=UTC)
        if request.seconds > 0 and self._recorder.last is not None:
            since = recorder.instant(microseconds(self._recorder.last.at) - int(request.seconds * 1_000_000))
        return pb.SeriesReply(
            series=[
                pb.Series(
                    labels=series.labels,
                    points=[pb.Point(at_us=microseconds(point.at), value=point.value) for point in series.points],
                )
                for series in self._recorder.series(request.metric, since, request.schedule)
            ]
        )


def server_credentials(identity: Identity) -> Any:
    """mTLS that demands a client certificate and takes new files over at the next handshake."""

    def configuration(material: Material) -> Any:
        pair = (material.private_key, material.chain)
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=material.trusted)

    def fetch() -> Any:
        fresh = identity.reload()
        return None if fresh is None else configuration(fresh)

    return grpc.dynamic_ssl_server_credentials(
        configuration(identity.material), fetch, require_client_authentication=True
    )
