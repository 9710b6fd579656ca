"""Real Prometheus and Alertmanager on loopback, on ports of the system's choice; ended by their own pid."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx

from stage4.monitoring.prometheus_rules import START_FLAGS
from support.programs import tool

DEADLINE_SECONDS = 30.0
_LISTENING = re.compile(r'msg="Listening on" address=(127\.0\.0\.1:\d+)')
_T = TypeVar("_T")


def run_tool(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a tool to its end; its answer is in `returncode` and `stdout`."""
    command = [tool(name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)


def until(ask: Callable[[], _T | None], what: str, seconds: float = DEADLINE_SECONDS) -> _T:
    """Ask again and again until the answer is not None; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (answer := ask()) is not None:
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come within {seconds} s")


@contextmanager
def alertmanager(config: Path, storage: Path) -> Iterator[str]:
    """A running Alertmanager; gives its URL."""
    arguments = (
        f"--config.file={config}",
        f"--storage.path={storage}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
    )
    with _running("alertmanager", arguments, storage) as url:
        yield url


@contextmanager
def prometheus(config: Path, storage: Path) -> Iterator[str]:
    """A running Prometheus; gives its URL. Its notifier knows its Alertmanager only after about five seconds."""
    arguments = (
        *START_FLAGS,
        f"--config.file={config}",
        f"--storage.tsdb.path={storage}",
        "--web.listen-address=127.0.0.1:0",
    )
    with _running("prometheus", arguments, storage) as url:
        yield url


@contextmanager
def _running(name: str, arguments: Sequence[str], storage: Path) -> Iterator[str]:
    storage.mkdir(parents=True, exist_ok=True)
    log = storage / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([tool(name), *arguments], stdout=output, stderr=output)
    try:

        def listening() -> str | None:
            assert process.poll() is None, f"{name} ended: {log.read_text()[-2000:]}"
            found = _LISTENING.search(log.read_text())
            return f"http://{found.group(1)}" if found else None

        url = until(listening, f"{name} listening")
        until(lambda: _ready(url), f"{name} ready")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _ready(url: str) -> bool | None:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200 or None
    except httpx.HTTPError:
        return None


@dataclass
class Deliveries:
    """What a webhook receiver was sent: the path, the authorization header and the JSON body, in order."""

    url: str
    received: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        """Every delivered alert whose labels include these, in the order of delivery."""
        return [
            alert
            for _, _, body in list(self.received)
            for alert in body.get("alerts", [body])
            if labels.items() <= alert.get("labels", {}).items()
        ]


@contextmanager
def webhook_receiver(status: int = 200) -> Iterator[Deliveries]:
    """A small HTTP receiver that keeps every POST and answers `status`."""

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            deliveries.received.append((self.path, self.headers.get("authorization", ""), body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet: the deliveries are the record."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    deliveries = Deliveries(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield deliveries
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
