"""
Files that are whole or absent.

Every write goes to a temporary file beside its target, is flushed to the disk, and only then gets its name;
a failed write leaves the target as it was and nothing behind.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from stage4 import ids
from stage4.errors import Unavailable, UsageError

JSON_LIMIT = 1 << 20


def reason(error: OSError) -> str:
    """The operating system's words for `error`."""
    return error.strerror or type(error).__name__


def fsync_dir(path: Path) -> None:
    """Make the names in directory `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write every byte of `content`; a short write goes on, an error is an OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def _prepared(path: Path, content: bytes, mode: int) -> Iterator[Path]:
    """A durable temporary file beside `path`, removed on the way out if it still has its own name."""
    beside = path.with_name(f".{path.name}.{ids.short_id()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        try:
            os.fchmod(descriptor, mode)
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield beside
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


def atomic_write(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `content` in one step and durably; raises Unavailable `files.cannot_write`.

    Only a regular file is replaced: a rename over a device, for example /dev/null, would take it from everybody.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            _require_regular(path.stat().st_mode)
        with _prepared(path, content, mode) as beside:
            beside.rename(path)
            fsync_dir(path.parent)
    except OSError as error:
        raise Unavailable("files.cannot_write", path=path, reason=reason(error)) from error


def _require_regular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        reason = os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "not a regular file"
        raise OSError(errno.EINVAL, reason)


def exclusive_write(path: Path, content: bytes, mode: int = 0o600) -> bool:
    """Create `path` with `content`, atomically and durably; False when it exists already.

    Raises the OSError itself, because the callers that need exclusiveness (the kill switch) have their own
    answer to a full disk.
    """
    with _prepared(path, content, mode) as beside:
        try:
            path.hardlink_to(beside)
        except FileExistsError:
            return False
        fsync_dir(path.parent)
        return True


def _open_regular(path: Path) -> io.BufferedReader:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return open(descriptor, "rb")


def read_limited(path: Path, limit: int = JSON_LIMIT) -> bytes:
    """The whole of `path`; raises Unavailable `files.missing`, `files.unreadable` or `files.too_large`.

    Only regular files are read: a pipe in the place of a file would keep the reader waiting for ever.
    """
    try:
        with _open_regular(path) as source:
            content = source.read(limit + 1)
    except OSError as error:
        raise _unreadable(path, error) from error
    if len(content) > limit:
        raise Unavailable("files.too_large", path=path, limit=limit)
    return content


def beginning(path: Path, size: int) -> bytes:
    """The first `size` bytes of the regular file `path`, or all it has; raises Unavailable as `read_limited` does."""
    try:
        with _open_regular(path) as source:
            return source.read(size)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> Unavailable:
    code = "files.missing" if error.errno == errno.ENOENT else "files.unreadable"
    return Unavailable(code, path=path, reason=reason(error))


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member name stands twice in one object")
    return members


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def parse_json(content: bytes, subject: object) -> object:
    """
    Strict JSON: UTF-8, no member twice, no NaN, no number that is infinite here (`1e999`).

    Raises UsageError `files.bad_json` naming `subject`.
    """
    try:
        parsed: object = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise UsageError("files.bad_json", path=subject, reason=str(error)) from error
    return parsed


def read_json(path: Path, limit: int = JSON_LIMIT) -> object:
    """The JSON document in `path`, read strictly."""
    return parse_json(read_limited(path, limit), path)


def json_text(document: object, indent: int | None = None) -> str:
    """`document` as JSON in which every character that is not printable is an escape, with `indent` on many lines.

    A terminal would act on some of them, or turn the direction of writing around; for a program the value is the same.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    strange = {ord(each): json.dumps(each)[1:-1] for each in set(text) if not each.isprintable() and each != "\n"}
    # JSON need not escape the last control character of ASCII, so that `json` does not.
    return text.translate(strange | {0x7F: "\\u007f"}) if strange else text


def json_bytes(document: object) -> bytes:
    """A document as people like to read it: two spaces, UTF-8, a last newline; escapes as of `json_text`."""
    return (json_text(document, 2) + "\n").encode("utf-8")


def write_json(path: Path, document: object, mode: int = 0o644) -> None:
    """Replace `path` by `document` in one step."""
    atomic_write(path, json_bytes(document), mode)


def sha256_file(path: Path) -> str:
    """The SHA-256 of `path` in hexadecimal; raises Unavailable as `read_limited` does."""
    try:
        with _open_regular(path) as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
