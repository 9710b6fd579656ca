"""
Hears of changes in one directory as they happen: Linux inotify on the event loop.

It is an ear and no judge. What it hears makes its owner look, and an owner looks by itself as well, because an ear can
be refused (no inotify on this system, no instance left for this user), and because a directory on a network is
changed in places that it does not hear. Standard: inotify(7).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
_IN_ONLYDIR = 0x01000000
_IN_DONT_FOLLOW = 0x02000000
_NAMES = IN_CLOSE_WRITE | IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
_SELF = IN_DELETE_SELF | IN_MOVE_SELF
LOST = _SELF | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED
"""Events after which nobody knows what stands in the directory until it is read again."""

_EVENT = struct.Struct("iIII")
_BUFFER = 64 * 1024


class Heard(NamedTuple):
    """One event: the watch it belongs to (-1 for the queue itself), its mask, and the name in the directory."""

    watch: int
    mask: int
    name: str


def events(content: bytes) -> Iterator[Heard]:
    """The events that one read of an inotify descriptor gave; pure."""
    place = 0
    while place + _EVENT.size <= len(content):
        watch, mask, _, length = _EVENT.unpack_from(content, place)
        place += _EVENT.size
        yield Heard(watch, mask, os.fsdecode(content[place : place + length].rstrip(b"\0")))
        place += length


class DirectoryWatch:
    """
    The ear at `directory`; its callbacks run on `loop` and must be quick.

    * `changed`: a name came, went or was written; hidden names are temporary files and are not told.
    * `lost`: events were lost or the directory itself went; what stands there MUST be read before it is relied on.

    Nothing is heard before `follow`.
    """

    def __init__(
        self,
        directory: Path,
        loop: asyncio.AbstractEventLoop,
        *,
        changed: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._directory = directory
        self._loop = loop
        self._changed = changed
        self._lost = lost
        self._descriptor = -1
        self._watch = -1

    def follow(self) -> bool:
        """Listen at whatever stands at the path now; False where nothing can be heard. Cheap, to be repeated."""
        if self._descriptor < 0 and not self._begin():
            return False
        path = os.fsencode(self._directory)
        watch = _libc().inotify_add_watch(self._descriptor, path, _NAMES | _SELF | _IN_ONLYDIR | _IN_DONT_FOLLOW)
        if watch != self._watch:
            # Another directory, or none: the old one is listened to no more.
            before, self._watch = self._watch, watch
            if before >= 0:
                _libc().inotify_rm_watch(self._descriptor, before)
        return bool(watch >= 0)

    def close(self) -> None:
        """Hear nothing more."""
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = self._watch = -1

    def _begin(self) -> bool:
        try:
            descriptor = int(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        except (OSError, AttributeError):
            return False
        if descriptor < 0:
            return False
        try:
            self._loop.add_reader(descriptor, self._hear)
        except RuntimeError:
            # Some event loops cannot wait for descriptors.
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    def _hear(self) -> None:
        heard: list[Heard] = []
        with contextlib.suppress(BlockingIOError):
            heard.extend(events(os.read(self._descriptor, _BUFFER)))
        # Of a watch that was given up only its end is told, and that is no news.
        heard = [event for event in heard if event.watch in (self._watch, -1)]
        if any(event.mask & LOST for event in heard):
            self._lost()
        elif any(not event.name.startswith(".") for event in heard):
            self._changed()


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
