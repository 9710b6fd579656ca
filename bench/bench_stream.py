"""
How many messages a second the metrics stream carries over mTLS, to one client and to ten.

Beside it runs the limit: a bare grpc.aio server that sends one ready-made message over and over, with the same TLS,
message and client, but without tokens, queues and encoding. Server on core 0, clients in one process on core 1.

    python bench/bench_stream.py [--seconds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from stage4.config.settings import RbacToken
from stage4.security.demo_pki import bundle_paths, create_bundle
from stage4.security.mtls import ClientIdentity, ServerIdentity
from stage4.security.tokens import TokenBook
from stage4.telemetry.grpc_server import QUEUE_LIMIT, SERVICE, MetricsServer, server_credentials, snapshot
from stage4.telemetry.proto import metrics_pb2 as pb
from stage4.telemetry.recorder import Recorder
from stage4.telemetry.sample import Sample

METHOD = f"/{SERVICE}/StreamMetrics"
TOKEN = "bench"
VALUES = ("avg_abs_zscore", "loop_latency_seconds", "lateness_seconds", "signals_total", "schedule_suspended")


def sample(seq: int) -> Sample:
    """A message of the size that a schedule sends: five values."""
    return Sample(
        seq=seq,
        at=datetime.now(UTC),
        scheduler="core_multi_pipeline",
        schedule=f"schedule_{seq % 3}",
        strategy="core_mean_reversion",
        risk_profile="balanced",
        values={f"stage4_{name}": 1.25 for name in VALUES},
    )


def identity(folder: Path, role: str) -> tuple[Path, Path, Path]:
    paths = bundle_paths(folder, "bench")
    return paths[role], paths[f"{role}_key"], paths["ca"]


async def serve_ours(folder: Path) -> None:
    """The real server, fed as fast as its readers take messages, so that nothing is conflated."""
    book = TokenBook.from_settings(
        [RbacToken(token_id="bench", token_env="TOKEN", scopes=("metrics.read",))], {"TOKEN": TOKEN}, folder
    )
    server = MetricsServer(Recorder(), book, "bench", datetime.now(UTC))
    print(await server.start("127.0.0.1", 0, ServerIdentity(*identity(folder, "server"))), flush=True)
    for seq in itertools.count(1):
        server.publish(sample(seq))
        if seq % 32 == 0:
            await asyncio.sleep(0)
        while server.backlog > QUEUE_LIMIT - 64:
            await asyncio.sleep(0.001)


async def serve_bare(folder: Path) -> None:
    encoded = snapshot(sample(1))

    async def stream(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        while True:
            yield encoded

    server = grpc.aio.server()
    method = grpc.unary_stream_rpc_method_handler(stream)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"StreamMetrics": method}),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(ServerIdentity(*identity(folder, "server"))))
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


async def read(folder: Path, port: int, clients: int, seconds: float) -> None:
    """Read with `clients` connections for `seconds` after a second of warm-up; prints counts as JSON."""
    material = ClientIdentity(*identity(folder, "client")).material
    credentials = grpc.ssl_channel_credentials(material.trusted, material.private_key, material.chain)
    received = [0] * clients

    async def one(index: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
            call = channel.unary_stream(METHOD, pb.StreamRequest.SerializeToString, pb.MetricsSnapshot.FromString)
            async for _ in call(pb.StreamRequest(), metadata=(("authorization", f"Bearer {TOKEN}"),)):
                received[index] += 1

    readers = [asyncio.create_task(one(index)) for index in range(clients)]
    await asyncio.sleep(1.0)
    before, begun = sum(received), time.perf_counter()
    await asyncio.sleep(seconds)
    rate = (sum(received) - before) / (time.perf_counter() - begun)
    failed = [repr(reader.exception()) for reader in readers if reader.done()]
    print(json.dumps({"rate": rate, "failed": failed}), flush=True)
    os._exit(0)  # the streams never end by themselves


def measure(folder: Path, kind: str, clients: int, seconds: float) -> float:
    me = [sys.executable, __file__, "--folder", str(folder)]
    with subprocess.Popen([*me, "--serve", kind], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            arguments = ["--read", port, "--clients", str(clients), "--seconds", str(seconds)]
            read_out = subprocess.run([*me, *arguments], capture_output=True, text=True, check=True)
        finally:
            server.kill()
    result = json.loads(read_out.stdout)
    if result["failed"]:
        raise SystemExit(f"a reader failed: {result['failed']}")
    return float(result["rate"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--serve", choices=("ours", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--read", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--clients", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if arguments.serve:
        os.sched_setaffinity(0, {cores[0]})
        asyncio.run({"ours": serve_ours, "bare": serve_bare}[arguments.serve](arguments.folder))
    elif arguments.read:
        os.sched_setaffinity(0, {cores[-1]})
        asyncio.run(read(arguments.folder, arguments.read, arguments.clients, arguments.seconds))
    else:
        with tempfile.TemporaryDirectory() as name:
            create_bundle(Path(name), "bench", now=datetime.now(UTC) - timedelta(minutes=1))
            print(f"{'clients':>8} {'metrics stream msg/s':>22} {'bare grpc.aio msg/s':>22} {'share':>7}")
            for clients in (1, 10):
                ours = measure(Path(name), "ours", clients, arguments.seconds)
                bare = measure(Path(name), "bare", clients, arguments.seconds)
                print(f"{clients:>8} {ours:>22,.0f} {bare:>22,.0f} {ours / bare:>7.0%}")


if __name__ == "__main__":
    main()
