"""Servers to be probed, on loopback and ports of the system's choice: good ones and ones that are wrong in one way."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from stage4.config import Installation
from stage4.security.mtls import ServerIdentity
from stage4.telemetry.grpc_server import SERVICE
from stage4.telemetry.proto import metrics_pb2 as pb
from support.certificates import CLIENT, SERVER, Made, make, pem
from support.programs import tool

SETTINGS = b"\0\0\0\4\0\0\0\0\0"
HTTP_1 = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"
Serve = Callable[[socket.socket], None]


def paths(installation: Installation) -> dict[str, Path]:
    directory = installation.root / "secrets/mtls"
    return {role: directory / f"core-oem-{role}.pem" for role in ("ca", "server", "server-key", "client", "client-key")}


def reissue(installation: Installation) -> Made:
    """Replace the bundle by one whose CA we keep; gives another server certificate of the same CA."""
    files = paths(installation)
    now = datetime.now(UTC)  # real handshakes are judged by the real clock
    life: dict[str, Any] = {"begins": now - timedelta(hours=1), "ends": now + timedelta(days=30)}
    ca = make("ca", ca=True, **life)
    files["ca"].write_bytes(pem(ca.certificate))
    directory = files["ca"].parent
    server, other = (make("server", ca, eku=SERVER, sans=("localhost",), **life) for _ in range(2))
    server.write(directory, "core-oem-server")
    make("client", ca, eku=CLIENT, sans=("stage4-client",), **life).write(directory, "core-oem-client")
    return other


@contextmanager
def listening(serve: Serve) -> Iterator[int]:
    """A listener that gives every connection to `serve` in a thread of its own, until the context ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(32) as pool:
        ended = threading.Event()
        open_now: list[socket.socket] = []

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        def accept() -> None:
            while not ended.is_set():
                connection, _ = listener.accept()
                open_now.append(connection)
                pool.submit(one, connection)

        accepting = threading.Thread(target=accept)
        accepting.start()
        port = listener.getsockname()[1]
        try:
            yield port
        finally:
            ended.set()
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            accepting.join()
            for connection in open_now:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def tls(
    installation: Installation,
    *,
    greeting: bytes = SETTINGS,
    leaf: tuple[Path, Path] | None = None,
    versions: tuple[str, str] = ("TLSv1_2", "TLSv1_3"),
    demands: bool = True,
    send: Callable[[socket.socket, bytes], None] = lambda stream, whole: stream.sendall(whole),
) -> Serve:
    """A TLS server that says `greeting`; with `demands` only to clients of the bundle's CA."""
    files = paths(installation)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.load_cert_chain(*(leaf or (files["server"], files["server-key"])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = (ssl.TLSVersion[name] for name in versions)
    context.set_alpn_protocols(["h2"])
    if demands:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files["ca"])

    def serve(connection: socket.socket) -> None:
        connection.settimeout(20)
        with context.wrap_socket(connection, server_side=True) as secured:
            if greeting:
                send(secured, greeting)
            while secured.recv(4096):
                pass

    return serve


def plain(greeting: bytes) -> Serve:
    """A server without TLS that says `greeting` to the first bytes it gets."""

    def serve(connection: socket.socket) -> None:
        connection.settimeout(20)
        connection.recv(4096)
        connection.sendall(greeting)

    return serve


def hanging(connection: socket.socket) -> None:
    """Takes the connection and never says anything."""
    connection.settimeout(20)
    while connection.recv(4096):
        pass


@contextmanager
def grpc_service(
    installation: Installation, *, demands: bool, token: str | None = None, encrypted: bool = True
) -> Iterator[int]:
    """A gRPC service of GetStatus; with `token` it asks for that one, without it takes every call."""

    def status(_request: Any, context: Any) -> Any:
        shown = dict(context.invocation_metadata()).get("authorization")
        if token is not None and shown != f"Bearer {token}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        return pb.StatusReply(installation_id="probed")

    handler = grpc.unary_unary_rpc_method_handler(status, pb.StatusRequest.FromString, pb.StatusReply.SerializeToString)
    server = grpc.server(
        ThreadPoolExecutor(4), handlers=(grpc.method_handlers_generic_handler(SERVICE, {"GetStatus": handler}),)
    )
    files = paths(installation)
    material = ServerIdentity(files["server"], files["server-key"], files["ca"]).material
    credentials = grpc.ssl_server_credentials(
        [(material.private_key, material.chain)], root_certificates=material.trusted, require_client_auth=demands
    )
    address = "127.0.0.1:0"
    port = server.add_secure_port(address, credentials) if encrypted else server.add_insecure_port(address)
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()


@contextmanager
def openssl_server(installation: Installation, *flags: str) -> Iterator[int]:
    """`openssl s_server` with these flags, fed with SETTINGS frames, which it passes on to whom it lets in."""
    files = paths(installation)
    process = subprocess.Popen(
        [
            *(tool("openssl"), "s_server", "-accept", "127.0.0.1:0", "-alpn", "h2", "-CAfile", str(files["ca"])),
            *("-cert", str(files["server"]), "-key", str(files["server-key"]), *flags),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    ended = threading.Event()
    stdin = process.stdin

    def feed() -> None:
        # It reads only while somebody is connected; whole frames at a time, so that none is cut.
        with suppress(OSError):
            while not ended.wait(0.005):
                stdin.write(SETTINGS)
                stdin.flush()

    feeding = threading.Thread(target=feed)
    try:
        port = None
        while port is None:
            line = process.stdout.readline().decode()
            assert line, "openssl s_server ended before it listened"
            port = re.search(r"ACCEPT .*:(\d+)", line)
        draining = threading.Thread(target=process.stdout.read)
        draining.start()
        feeding.start()
        yield int(port[1])
    finally:
        ended.set()
        process.kill()
        process.wait()
        if feeding.ident:
            feeding.join()
            draining.join()
        with suppress(OSError):
            stdin.close()
        process.stdout.close()
