"""`stage4 incident sign`: what the statement says of the log is told before it is signed."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from stage4.cli import main
from support.log_rooms import CORE

DOUBT = {"code": "closing.log_unknown", "place": "/mnt/notes", "logs": "other"}
STATEMENT = json.dumps({"schema": "stage4.statement/1", "log_doubts": [DOUBT]})


class Service(BaseHTTPRequestHandler):
    """Gives out the statement, whatever is asked."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"schema": "stage4.to_sign/1", "statement": STATEMENT}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody listens."""


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "core.yaml").write_bytes(CORE.read_bytes())
    (tmp_path / "var" / "run").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STAGE4_LANG", "en")
    with socketserver.UnixStreamServer("var/run/service.sock", Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield tmp_path
        server.shutdown()
        thread.join()


def test_a_log_that_a_place_outside_does_not_know_is_said_before_anybody_signs(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["incident", "sign", "INC-20261123-0001", "--by", "im-jan", "--role", "incident_manager"]
    assert main(["--root", str(installation), *argv, "--statement", "s.json"]) == 0
    heard = capsys.readouterr().err.splitlines()
    assert len(heard) == 1
    assert heard[0].startswith("warning: /mnt/notes does not know the decision log, though it knows others (other)")
    assert Path("s.json").read_text() == STATEMENT
