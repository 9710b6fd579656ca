"""
How long `audit_stage4_compliance.py --probe` looks at a healthy metrics service.

    python bench/bench_probe.py [--times 15]

The bound is what its connections cost at least: one TLS handshake with a client certificate up to the server's first
byte, by the standard library, times the connections. "command" is the whole process with and without `--probe`. What
the service says of those it refuses goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stage4.app.installing import create, read_environment
from stage4.audit import collect_live
from stage4.audit.collect_live import Target
from stage4.clock import SystemClock
from stage4.config import Installation, load
from stage4.security.tokens import TokenBook, service_token
from stage4.telemetry.grpc_server import MetricsServer
from stage4.telemetry.identities import client_paths, server_identity
from stage4.telemetry.recorder import Recorder

HERE = Path(__file__).parents[1]
HOST = "127.0.0.1"
CLOCK = SystemClock()


@contextmanager
def service(installation: Installation, environ: dict[str, str]) -> Iterator[int]:
    """The real service in a thread; gives its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    own = service_token(installation.settings.runtime.metrics_service)
    book = TokenBook.from_settings((own,) if own else (), environ, installation.root)
    server = MetricsServer(Recorder(), book, "bench", CLOCK.now())
    try:
        yield asyncio.run_coroutine_threadsafe(server.start(HOST, 0, server_identity(installation)), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def handshake(installation: Installation, port: int) -> None:
    certificate, key, trusted = client_paths(installation)
    context = ssl.create_default_context(cafile=str(trusted))
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(certificate, key)
    with socket.create_connection((HOST, port)) as plain, context.wrap_socket(plain, server_hostname=HOST) as secured:
        if not secured.recv(1):
            raise SystemExit("the service turned its own client away")


def milliseconds(work: Callable[[], object], times: int) -> list[float]:
    work()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return sorted(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=15, help="how often each is measured")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "demo"
        create(root, CLOCK, installation_id="bench")
        installation, secrets = load(root), read_environment(root)
        with service(installation, secrets) as port:
            target = Target(HOST, port, configured=True)

            def probe() -> collect_live.Live:
                return collect_live.collect(installation, target, "core-oem", environ=secrets, clock=CLOCK, seconds=5.0)

            def command(*flags: str) -> None:
                argv = [sys.executable, str(HERE / "scripts/audit_stage4_compliance.py"), "--root", str(root), *flags]
                done = subprocess.run(argv, env={**os.environ, **secrets}, capture_output=True)
                if done.returncode:
                    raise SystemExit(done.stderr.decode())

            seen = probe()
            if not any(call.status == "OK" for call in seen.calls):
                raise SystemExit("the positive control does not work")
            connections = len(seen.attempts) + len(seen.calls)
            bare = milliseconds(lambda: handshake(installation, port), times)
            rows = [
                ("one handshake (the bound)", bare),
                (f"{connections} handshakes", [one * connections for one in bare]),
                (f"probe, {connections} connections", milliseconds(probe, times)),
                ("command without --probe", milliseconds(command, times)),
                ("command with --probe", milliseconds(lambda: command("--probe", f"{HOST}:{port}"), times)),
            ]
    print(f"{'':<32} {'best ms':>8} {'median':>8}   ({times} times)")
    for name, taken in rows:
        print(f"{name:<32} {taken[0]:>8.1f} {statistics.median(taken):>8.1f}")


if __name__ == "__main__":
    main()
