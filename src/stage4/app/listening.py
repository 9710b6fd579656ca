"""Sockets that are ours alone: a TCP port that says who holds it, a Unix socket that only this account may open."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from stage4 import files
from stage4.errors import Refused, Unavailable

_BACKLOG = 128
# sun_path of Linux holds 108 bytes, the last of them zero.
_LONGEST_PATH = 107


def listen_tcp(host: str, port: int) -> socket.socket:
    """A listening TCP socket; raises Unavailable `service.port_in_use` or `service.cannot_listen`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        code = "service.port_in_use" if error.errno == errno.EADDRINUSE else "service.cannot_listen"
        raise Unavailable(code, host=host, port=port, reason=files.reason(error)) from error
    return listener


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock file `path` while the service runs; raises Refused `service.already_running`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("service.already_running", path=path) from None
        yield
    finally:
        os.close(descriptor)


def listen_private(path: Path) -> socket.socket:
    """
    A listening Unix socket with mode 0600, in place of a dead one; hold `only_one` while calling.

    A root whose path is too long for a socket address is reached through its directory's descriptor.
    """
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with short_address(path) as address:
            listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Unavailable("service.cannot_listen", host="unix", port=path, reason=files.reason(error)) from error
    finally:
        os.umask(before)
    return listener


@contextlib.contextmanager
def short_address(path: Path) -> Iterator[str]:
    """An address of `path` that fits into a socket address, valid inside the context."""
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
