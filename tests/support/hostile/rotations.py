"""Registries of rotations that are wrong, and rotations that are late, claimed or half done."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from stage4.clock import format_instant
from support.certificates import NOW
from support.hostile.cases import Case, case
from support.hostile.ground import Ground
from support.hostile.pki import DAY, ISSUED, SECOND, leaf

LOG_KEY, METRICS, SERVER = "live-router::decision-log", "core-oem::metrics-token", "core-oem::tls_server"
FUTURE, ROW, MISSING = (
    "ROT-01 fail audit.rotation_future",
    "ROT-01 fail",
    "ROT-02 fail audit.rotation_missing",
)
DUE, OVERDUE, CLAIMED = (
    "ROT-03 warn",
    "ROT-03 fail",
    "ROT-04 fail audit.rotation_claimed",
)


def _holds(name: str, content: bytes) -> Callable[[Ground], object]:
    return lambda ground: ground.registry(name).write_bytes(content)


def _row(name: str, key: str, value: object) -> Callable[[Ground], None]:
    return lambda ground: ground.row(name, key, value)


def _at(name: str, key: str, ago: timedelta) -> Callable[[Ground], None]:
    return _row(name, key, format_instant(NOW - ago))


def _is(name: str, make: Callable[[Path], object]) -> Callable[[Ground], None]:
    def spoil(ground: Ground) -> None:
        ground.registry(name).unlink()
        make(ground.registry(name))

    return spoil


def _kept_key(side: str) -> Callable[[Ground], None]:
    """The certificate is renewed over the key that it had, as the report of yesterday shows."""

    def spoil(ground: Ground) -> None:
        begins = NOW - timedelta(hours=2)
        made = leaf(side, ground.pki.ca, key=ground.pki.of(side).key, begins=begins)
        ground.install(side, made)
        ground.rotated(side, begins + SECOND)

    return spoil


def _renewed(ground: Ground, side: str = "server", *, ago: timedelta = DAY * 3) -> None:
    """A new certificate that no registry knows of."""
    ground.install(side, leaf(side, ground.pki.ca, begins=NOW - ago))


def _unfinished(ground: Ground) -> None:
    (ground.root / "var/security/rotation.core-oem.json").write_text("{}", encoding="utf-8")


def _put_back(ground: Ground) -> None:
    """The certificates are again those that a backup keeps as replaced."""
    backup = ground.root / f"var/security/backups/{ISSUED:%Y%m%dT%H%M%SZ}-core-oem"
    backup.mkdir(parents=True)
    for role in ("ca", "server", "client"):
        shutil.copy(ground.file(role), backup / f"{role}.pem")


def _entries(*entries: dict[str, object]) -> Callable[[Ground], None]:
    return lambda ground: ground.settings(lambda v: v["observability"]["key_rotation"]["entries"].extend(entries))


def _policy(**changes: Any) -> Callable[[Ground], None]:
    return lambda ground: ground.settings(lambda v: v["observability"]["key_rotation"].update(changes))


CASES: tuple[Case, ...] = (
    # the files
    *(
        case(f"registry-{name}-{row}", f"the registry of {name} {what}", spoil(name), *expected)
        for name in ("tls", "key")
        for row, what, spoil, expected in (
            (
                "missing",
                "is not there",
                lambda n: lambda g: g.registry(n).unlink(),
                ("ROT-01 fail files.missing", "ROT-02 unknown audit.registry_unread"),
            ),
            (
                "list",
                "is a list",
                lambda n: _holds(n, b'["core-oem::tls_ca"]'),
                ("ROT-01 fail security.registry_not_an_object", "ROT-02 unknown"),
            ),
            ("empty", "is an empty file", lambda n: _holds(n, b""), ("ROT-01 fail files.bad_json", "ROT-03 unknown")),
            ("no-rows", "has no rows", lambda n: _holds(n, b"{}"), (MISSING, "ROT-03 unknown audit.rotation_undated")),
            ("cut-off", "is cut off", lambda n: _holds(n, b'{"core-oem::tls_ca": '), ("ROT-01 fail files.bad_json",)),
            ("binary", "is garbage", lambda n: _holds(n, bytes(range(256))), ("ROT-01 fail files.bad_json",)),
            ("fifo", "is a pipe", lambda n: _is(n, os.mkfifo), ("ROT-01 unknown files.unreadable",)),
            (
                "loop",
                "is a link to itself",
                lambda n: _is(n, lambda path: path.symlink_to(path)),
                ("ROT-01 unknown files.unreadable",),
            ),
        )
    ),
    case(
        "registry-null",
        "the registry of keys is null",
        _holds("key", b"null"),
        "ROT-01 fail security.registry_not_an_object",
    ),
    case(
        "registry-nested",
        "the registry of keys is nested without end",
        _holds("key", b'{"a::b": ' * 50_000),
        "ROT-01 fail files.bad_json",
    ),
    case(
        "registry-huge",
        "the registry of keys is larger than any",
        _holds("key", b"{" + b" " * (1 << 20) + b"}"),
        "ROT-01 unknown files.too_large",
    ),
    case(
        "registry-twice",
        "a row stands twice",
        _holds("key", f'{{"{LOG_KEY}": "{format_instant(ISSUED)}", "{LOG_KEY}": "{format_instant(NOW)}"}}'.encode()),
        "ROT-01 fail files.bad_json",
    ),
    case(
        "registry-two-spellings",
        "a row stands in two spellings",
        _row("key", "Live-Router::Decision-Log", format_instant(ISSUED)),
        ROW,
    ),
    # single rows
    *(
        case(f"row-{row}", f"a row {what}", _row("key", LOG_KEY, value), ROW, MISSING)
        for row, what, value in (
            ("no-zone", "without a time zone", "2026-11-13T09:42:00"),
            ("day", "with a day only", "2026-11-13"),
            ("no-calendar", "of no calendar day", "2026-02-30T00:00:00Z"),
            ("number", "with seconds since 1970", 1_794_000_000),
            ("word", "that says yesterday", "yesterday"),
            ("false", "that says false", False),
            ("list", "that is a list", ["2026-11-13T09:42:00Z"]),
            ("beyond", "beyond the last year", "9999-12-31T23:59:59-01:00"),
        )
    ),
    case("row-no-separator", "a row without its purpose", _row("key", "live-router", format_instant(ISSUED)), ROW),
    case("row-escape", "a row with an escape in its name", _row("key", "\x1b[2J::b", format_instant(ISSUED)), ROW),
    case(
        "row-many-bad",
        "a thousand rows of nonsense",
        lambda g: g.registry("key").write_text(json.dumps({str(n): n for n in range(1000)})),
        ROW,
        "ROT-01 fail rotation.more_rows",
    ),
    # in the future
    case(
        "future-second",
        "the log's key was rotated a second from now",
        _at("key", LOG_KEY, -SECOND),
        FUTURE,
        "ROT-03 unknown audit.rotation_undated",
    ),
    case("future-4000-days", "the log's key was rotated in 4000 days", _at("key", LOG_KEY, -4000 * DAY), FUTURE),
    case(
        "future-zone",
        "the log's key was rotated an hour from now, by its zone",
        _row("key", LOG_KEY, "2026-11-23T09:42:00-01:00"),
        FUTURE,
    ),
    case("future-server", "the server was rotated in 4000 days", _at("tls", SERVER, -4000 * DAY), FUTURE),
    case(
        "future-stranger",
        "a key that nobody asks for was rotated tomorrow",
        _at("key", "exchange::trading", -DAY),
        FUTURE,
    ),
    # missing and late
    *(
        case(
            f"row-missing-{purpose}",
            f"the rotation of {purpose} was never recorded",
            _row("tls", f"core-oem::{purpose}", None),
            MISSING,
            "ROT-04 unknown audit.rotation_unproven",
        )
        for purpose in ("tls_ca", "tls_server", "tls_client")
    ),
    case("row-missing-log", "the rotation of the log's key was never recorded", _row("key", LOG_KEY, None), MISSING),
    case(
        "row-missing-entry",
        "a key that the settings ask for was never recorded",
        _entries({"key": "exchange", "purpose": "trading"}),
        MISSING,
    ),
    case("late-second", "the log's key is overdue by a second", _at("key", LOG_KEY, 90 * DAY + SECOND), OVERDUE),
    case(
        "late-second-own",
        "the metrics token is overdue by a second, by its own interval",
        _at("key", METRICS, 60 * DAY + SECOND),
        OVERDUE,
    ),
    case("late-years", "the log's key is of 2020", _row("key", LOG_KEY, "2020-01-01T00:00:00Z"), OVERDUE),
    case("late-1970", "the log's key is of 1970", _row("key", LOG_KEY, "1970-01-01T00:00:00Z"), OVERDUE),
    case("late-year-one", "the log's key is of the year 1", _row("key", LOG_KEY, "0001-01-01T00:00:00Z"), OVERDUE),
    case(
        "late-by-flag",
        "everything is late, by the interval that was asked for",
        lambda g: None,
        OVERDUE,
        flags=("--rotation-interval-days", "9"),
    ),
    case("late-by-settings", "everything is late, by the settings", _policy(default_interval_days=9), OVERDUE),
    case(
        "late-last-second",
        "the audit is asked about the last second of the calendar",
        lambda g: None,
        OVERDUE,
        "X509-07 fail cert.expired",
        flags=("--at", "9999-12-31T23:59:59Z"),
    ),
    case(
        "future-first-second",
        "the audit is asked about the first second of the calendar",
        lambda g: None,
        FUTURE,
        "X509-07 fail cert.not_yet_valid",
        flags=("--at", "0001-01-01T00:00:00Z"),
    ),
    case("due-end", "the log's key is due this second", _at("key", LOG_KEY, 90 * DAY), DUE),
    case("due-window", "the log's key is due in two weeks", _at("key", LOG_KEY, 76 * DAY), DUE),
    case("due-own-window", "the metrics token is due in ten days", _at("key", METRICS, 50 * DAY), DUE),
    case(
        "due-by-flag",
        "everything is due, by the window that was asked for",
        lambda g: None,
        DUE,
        flags=("--rotation-warn-days", "85"),
    ),
    case(
        "due-always",
        "the window is as long as the interval",
        _policy(default_warn_within_days=90),
        "ROT-03 warn rotation.always_due",
    ),
    # against the certificates
    case("claimed-server", "a rotation of the server is on record that never was", _at("tls", SERVER, DAY), CLAIMED),
    case(
        "claimed-ca", "a rotation of the CA is on record that never was", _at("tls", "core-oem::tls_ca", DAY), CLAIMED
    ),
    case(
        "claimed-client",
        "a rotation of the client is on record that never was",
        _at("tls", "core-oem::tls_client", DAY),
        CLAIMED,
    ),
    case(
        "unrecorded-server",
        "the server was replaced, and nobody recorded it",
        _renewed,
        "ROT-04 warn audit.rotation_unrecorded",
    ),
    case("unfinished", "a rotation was interrupted", _unfinished, "ROT-04 fail rotation.unfinished"),
    case(
        "key-kept-server",
        "the server's certificate was renewed over its old key",
        _kept_key("server"),
        "ROT-05 fail rotation.key_kept",
    ),
    case(
        "key-kept-client",
        "the client's certificate was renewed over its old key",
        _kept_key("client"),
        "ROT-05 fail rotation.key_kept",
    ),
    case("key-put-back", "the keys are those that the rotation replaced", _put_back, "ROT-05 fail rotation.key_kept"),
)
