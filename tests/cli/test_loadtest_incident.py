"""In an incident the load test judges the running scheduler too; without one, or without an answer, it does not."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from stage4.cli._load_test import incident_open
from stage4.config import Installation
from support import desks


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def service(path: Path, body: bytes, status: int = 200) -> Iterator[None]:
    """Somebody on the service's socket who gives this answer to everything."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return None

        def address_string(self) -> str:
            return "socket"

    path.parent.mkdir(parents=True, exist_ok=True)
    with _Server(str(path), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def incidents(*states: str) -> bytes:
    return json.dumps({"schema": "stage4.incidents/1", "incidents": [{"state": state} for state in states]}).encode()


@pytest.fixture
def made(tmp_path: Path) -> Installation:
    return desks.installation(tmp_path)


@pytest.mark.parametrize(
    ("body", "status", "found"),
    [
        (incidents("closed", "triggered"), 200, True),
        (incidents("acknowledged"), 200, True),
        (incidents("resolved", "closed"), 200, False),
        (incidents(), 200, False),
        (b"not json", 200, False),
        (b'{"incidents": "many"}', 200, False),
        (b'{"error": {"code": "service.busy"}}', 503, False),
    ],
)
def test_an_incident_that_is_not_over_asks_for_the_running_scheduler(
    made: Installation, body: bytes, status: int, found: bool
) -> None:
    with service(made.path(made.settings.operations.service.socket), body, status):
        assert incident_open(made) is found


def test_no_service_knows_of_no_incident(made: Installation) -> None:
    assert incident_open(made) is False
