"""One contract suite over all notifiers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from stage4.notify import DeliveryState, Notifier
from stage4.notify.notifiers.file import FileNotifier
from stage4.notify.notifiers.slack import SlackNotifier
from stage4.testing import notifier_contract as contract

Channel = tuple[Notifier, Callable[[], list[str]], Callable[[int], None]]


class _Webhook(BaseHTTPRequestHandler):
    texts: list[str]
    status: int

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        server = self.server
        if server.status == 200:  # type: ignore[attr-defined]
            server.texts.append(json.loads(body)["text"])  # type: ignore[attr-defined]
        self.send_response(server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(params=["file", "slack"])
def channel(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Channel]:
    if request.param == "file":
        path = tmp_path / "notices.jsonl"

        def received() -> list[str]:
            return [json.loads(line)["text"] for line in path.read_text().splitlines()] if path.exists() else []

        def answer(status: int) -> None:
            path.mkdir() if status >= 500 else None

        yield FileNotifier("file", path, "pl"), received, answer
        return
    server = HTTPServer(("127.0.0.1", 0), _Webhook)
    server.texts, server.status = [], 200  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def set_status(status: int) -> None:
        server.status = status  # type: ignore[attr-defined]

    url = f"http://127.0.0.1:{server.server_port}/services/SECRET"
    yield SlackNotifier("slack", "#ops-trading", "pl", url), lambda: server.texts, set_status  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def test_same_key_twice_is_one_message(channel: Channel) -> None:
    contract.same_key_twice_is_one_message(channel[0], channel[1])


def test_another_key_is_another_message(channel: Channel) -> None:
    contract.another_key_is_another_message(channel[0], channel[1])


def test_a_broken_channel_is_retry_and_keeps_its_secret(channel: Channel) -> None:
    channel[2](503)
    contract.a_broken_channel_is_retry(channel[0], "SECRET")


def test_slack_rejects_what_retrying_cannot_mend(channel: Channel) -> None:
    if not isinstance(channel[0], SlackNotifier):
        return
    channel[2](404)
    assert channel[0].deliver(contract.notice()).state is DeliveryState.REJECTED
    channel[2](429)
    assert channel[0].deliver(contract.notice()).state is DeliveryState.RETRY


def test_a_dead_server_is_retry() -> None:
    notifier = SlackNotifier("slack", "#ops-trading", "pl", "http://127.0.0.1:1/SECRET")
    contract.a_broken_channel_is_retry(notifier, "SECRET")
