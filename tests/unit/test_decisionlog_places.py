"""Places outside: each takes the newest note on its own; one that fails is said and holds up no other."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stage4 import words
from stage4.config import Installation, load
from stage4.decisionlog.checkpoints import notary, places
from stage4.decisionlog.checkpoints.places import DirectoryPlace, HttpPlace, Memory, Parcel
from stage4.errors import Conflict, Stage4Error, Unavailable, UsageError
from support.decision_logs import LogRoom, draft


@pytest.fixture
def room(tmp_path: Path) -> LogRoom:
    return LogRoom.create(tmp_path / "log", 4)


def parcel(room: LogRoom) -> Parcel:
    """The newest checkpoint, after one more entry."""
    room.log().append(draft())
    made = notary.make(room.log(), room.ring, room.clock)
    assert made is not None
    return places.parcel_of(made.note, made.pin)


class Endpoint(ThreadingHTTPServer):
    """A real server on loopback that answers as it is told and keeps what it heard."""

    daemon_threads = True
    status = 200
    silent = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard: list[tuple[str, dict[str, str], bytes]] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/checkpoints"


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.heard.append((self.path, headers, body))
        if self.server.silent:
            self.server.released.wait(10)
            return
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def failure(place: places.Place, what: Parcel) -> Stage4Error:
    error = places.push_to(place, what).error
    assert error is not None
    assert words.text(error.code, "pl", **error.params)
    return error


def test_a_directory_keeps_a_file_for_every_size_and_the_first_pin(room: LogRoom, tmp_path: Path) -> None:
    outside = DirectoryPlace(tmp_path / "outside", own=True)
    first, second = parcel(room), parcel(room)
    for each in (first, second, second):
        outside.push(each)
    folder = tmp_path / "outside" / room.log_id()
    assert sorted(path.name for path in folder.iterdir()) == ["7.checkpoint", "9.checkpoint", "pin"]
    assert (folder / "7.checkpoint").read_bytes() == first.note.encode()
    assert (folder / "pin").read_text() == first.pin
    assert (folder / "pin").stat().st_mode & 0o222 == 0


def test_a_directory_never_loses_a_note_to_another_one(room: LogRoom, tmp_path: Path) -> None:
    outside = DirectoryPlace(tmp_path, own=True)
    good = parcel(room)
    outside.push(good)
    kept = tmp_path / room.log_id() / "7.checkpoint"
    kept.chmod(0o644)
    kept.write_bytes(b"another history")
    error = failure(outside, good)
    assert (error.code, isinstance(error, Conflict)) == ("checkpoint.place_differs", True)
    assert kept.read_bytes() == b"another history"


def test_a_directory_that_knows_a_longer_log_says_so(room: LogRoom, tmp_path: Path) -> None:
    outside = DirectoryPlace(tmp_path, own=True)
    older = parcel(room)
    outside.push(parcel(room))
    error = failure(outside, older)
    assert (error.code, error.params["newest"]) == ("checkpoint.place_ahead", 9)


def test_a_mount_that_is_not_there_is_not_made_up(room: LogRoom, tmp_path: Path) -> None:
    missing = DirectoryPlace(tmp_path / "mnt")
    assert failure(missing, parcel(room)).code == "checkpoint.place_missing"
    assert not missing.path.exists()


def test_a_directory_that_takes_no_files_is_said(room: LogRoom, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert failure(DirectoryPlace(tmp_path / "file", own=True), parcel(room)).code == "checkpoint.place_failed"


def test_an_endpoint_gets_the_note_and_the_token(room: LogRoom, endpoint: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    what = parcel(room)
    HttpPlace(endpoint.url).push(what)
    HttpPlace(endpoint.url, tmp_path / "token").push(what)
    HttpPlace(endpoint.url, None, "TOKEN", {"TOKEN": "from-env"}).push(what)
    assert [body for _, _, body in endpoint.heard] == [what.note.encode()] * 3
    assert [headers.get("authorization") for _, headers, _ in endpoint.heard] == [
        None,
        "Bearer from-file",
        "Bearer from-env",
    ]
    assert endpoint.heard[0][1]["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (201, None),
        (302, "checkpoint.place_failed"),
        (401, "checkpoint.place_failed"),
        (409, "checkpoint.place_differs"),
        (500, "checkpoint.place_failed"),
    ],
)
def test_only_2xx_means_taken(room: LogRoom, endpoint: Endpoint, status: int, code: str | None) -> None:
    endpoint.status = status
    error = places.push_to(HttpPlace(endpoint.url), parcel(room)).error
    assert (None if error is None else error.code) == code


def test_an_endpoint_that_never_answers_is_given_up_and_holds_up_no_other(
    room: LogRoom, endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "_TIMEOUT_SECONDS", 0.1)
    endpoint.silent = True
    targets = (HttpPlace(endpoint.url), DirectoryPlace(tmp_path / "outside", own=True))
    memory = Memory.beside(room.path)
    what = parcel(room)
    slow, swift = places.push(targets, what, memory)
    assert slow.error is not None
    assert (slow.error.code, slow.error.params["reason"]) == ("checkpoint.place_failed", "ReadTimeout")
    assert swift.error is None
    assert memory.lacking(targets, what) == targets[:1]


def test_a_port_that_nobody_listens_on_is_said(room: LogRoom, endpoint: Endpoint) -> None:
    endpoint.server_close()
    assert failure(HttpPlace(endpoint.url), parcel(room)).params["reason"] == "ConnectError"


def test_a_token_that_is_not_there_is_said_and_nothing_is_sent(
    room: LogRoom, endpoint: Endpoint, tmp_path: Path
) -> None:
    what = parcel(room)
    assert failure(HttpPlace(endpoint.url, None, "TOKEN", {}), what).code == "checkpoint.place_failed"
    assert failure(HttpPlace(endpoint.url, tmp_path / "none"), what).code == "files.missing"
    assert endpoint.heard == []


def test_the_name_of_an_endpoint_gives_no_secret_away() -> None:
    assert HttpPlace("https://user:secret@example.org/log?key=secret").name == "https://example.org/log"


def test_what_a_place_took_is_remembered_until_there_is_something_newer(room: LogRoom, tmp_path: Path) -> None:
    targets = (DirectoryPlace(tmp_path / "a", own=True), DirectoryPlace(tmp_path / "b", own=True))
    memory = Memory.beside(room.path)
    first = parcel(room)
    assert memory.lacking(targets, first) == targets
    places.push(targets[:1], first, memory)
    assert memory.lacking(targets, first) == targets[1:]
    places.push(targets, first, memory)
    assert memory.lacking(targets, first) == ()
    second = parcel(room)
    assert memory.lacking(targets, second) == targets


@pytest.mark.parametrize("content", [b"", b"[]", b'{"log_id": "another", "taken": {}}', b'{"taken": 1}'])
def test_a_memory_that_is_lost_only_means_pushing_again(room: LogRoom, tmp_path: Path, content: bytes) -> None:
    targets = (DirectoryPlace(tmp_path / "a", own=True),)
    memory = Memory.beside(room.path)
    what = parcel(room)
    places.push(targets, what, memory)
    memory.path.write_bytes(content)
    assert memory.lacking(targets, what) == targets
    assert [each.error for each in places.push(targets, what, memory)] == [None]
    assert memory.lacking(targets, what) == ()


def installation(root: Path, kind: str, settings: list[dict[str, str]]) -> Installation:
    (root / "config").mkdir()
    listed = json.dumps(settings)
    (root / "config/core.yaml").write_text(
        f"operations:\n  installation: {kind}\n  decision_log:\n    checkpoints:\n      places: {listed}\n"
    )
    return load(root)


def test_the_settings_name_the_places(tmp_path: Path) -> None:
    urls = [{"url": "https://log.example.org/in", "token_env": "T"}, {"url": "http://[::1]:9/", "token_file": "t"}]
    listed = [{"directory": "var/outside"}, {"directory": "/mnt/outside"}, *urls]
    found = places.configured(installation(tmp_path, "production", listed), {"T": "x"})
    assert found == (
        DirectoryPlace(tmp_path / "var/outside", own=True),
        DirectoryPlace(Path("/mnt/outside")),
        HttpPlace("https://log.example.org/in", None, "T", {"T": "x"}),
        HttpPlace("http://[::1]:9/", tmp_path / "t", None, {"T": "x"}),
    )


@pytest.mark.parametrize(
    ("kind", "url", "code"),
    [
        ("demo", "https://log.example.org/", "checkpoint.place_not_local"),
        ("production", "http://log.example.org/", "checkpoint.place_insecure"),
    ],
)
def test_a_place_that_this_installation_may_not_use_is_refused(tmp_path: Path, kind: str, url: str, code: str) -> None:
    with pytest.raises(UsageError) as refused:
        places.configured(installation(tmp_path, kind, [{"url": url}]), {})
    assert refused.value.code == code


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"directory": "a", "url": "https://b/"},
        {"directory": "a", "token_env": "T"},
        {"directory": "a", "token_file": "t"},
        {"url": "https://b/", "token_env": "T", "token_file": "t"},
        {"url": "ftp://b/"},
    ],
)
def test_a_place_that_is_no_place_is_refused_with_its_line(tmp_path: Path, settings: dict[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        installation(tmp_path, "production", [settings])
    assert refused.value.code == "config.wrong_value"
    assert str(refused.value.params["key"]).startswith("operations.decision_log.checkpoints.places.0")
    assert refused.value.params["line"] == 5


def test_a_memory_that_cannot_be_written_is_an_error(room: LogRoom, tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    with pytest.raises(Unavailable):
        memory.took(parcel(room), ["somewhere"])


@pytest.mark.parametrize("log_id", ["a\0b", "\ud800", "x" * 300])
def test_a_log_id_that_can_name_no_folder_has_no_newest_note(tmp_path: Path, log_id: str) -> None:
    assert places.newest_file(tmp_path / log_id) is None
