"""
Watch the metrics stream over mTLS for a while, and say whether headers, access and `avg_abs_zscore` are right.

Prints one document `stage4.watch/1`; exit 0 when all is right, 1 on an anomaly or wrong headers or access, 3 when
nothing came or nothing could be judged. Ctrl-C finishes the record (`not_evaluated`, exit 130).
"""

from __future__ import annotations

import argparse
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from stage4 import words
from stage4.cli import _run
from stage4.clock import Clock, SystemClock, format_duration, format_instant, parse_duration
from stage4.errors import Stage4Error, UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.config import Installation
    from stage4.telemetry.grpc_client import Headers, MetricsStream, Snapshot
    from stage4.telemetry.headers import Merged
    from stage4.telemetry.probes import Access
    from stage4.telemetry.watch import Tally

SCHEMA = "stage4.watch/1"
HEADERS_VARIABLE = "STAGE4_WATCH_HEADERS"
CONFIGURED = "config:runtime.metrics_service.grpc_metadata"
PLAIN_LINE_EVERY = 30.0
BAR_EVERY = 0.2
UNREAD_LIMIT = 4096
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; `argv` without the program's name, None for the process's own."""
    _run.terminate_as_interrupt()
    # gRPC's core would write lines of its own about each refusal; the document says what was refused.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return _run.guarded(SCHEMA, lambda: _Watch(_arguments(argv), SystemClock(), os.environ).run())


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    from stage4.cli._arguments import Parser

    parser = Parser(prog="watch_metrics_stream.py", description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument("--duration", default="30s", metavar="DURATION", help="how long: 10m, 90s, 1h30m (30s)")
    parser.add_argument("--limit", type=int, metavar="N", help="stop after N new messages")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the document here too")
    parser.add_argument("--headers-report", action="store_true", help="report and judge the headers")
    parser.add_argument(
        "--header", action="append", default=[], metavar="KEY=VALUE", help="@env:NAME, @file:PATH, none"
    )
    parser.add_argument("--headers-file", action="append", default=[], type=Path, metavar="FILE")
    parser.add_argument("--host", help="default: the settings")
    parser.add_argument("--port", type=int, help="default: the settings")
    parser.add_argument("--root", type=Path, help="the installation (default: STAGE4_ROOT, or the nearest parent)")
    return parser.parse_args(argv)


@dataclass(slots=True)
class _Progress:
    """A bar on a terminal, a line every 30 s elsewhere."""

    lang: Language
    total: timedelta
    bar: bool
    _said_at: float = 0.0

    def show(self, elapsed: float, tally: Tally) -> None:
        if elapsed - self._said_at < (BAR_EVERY if self.bar else PLAIN_LINE_EVERY):
            return
        self._said_at = elapsed
        left = max(self.total - timedelta(seconds=elapsed), timedelta())
        line = words.text(
            "watch.progress",
            self.lang,
            left=words.duration(left, self.lang),
            messages=tally.messages,
            anomalies=tally.critical_anomalies,
        )
        if self.bar:
            filled = min(20, int(20 * elapsed / self.total.total_seconds()))
            print(f"\r\x1b[K[{'#' * filled}{'.' * (20 - filled)}] {line}", end="", file=sys.stderr, flush=True)
        else:
            _run.say(line)

    def end(self) -> None:
        if self.bar:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class _Reading(threading.Thread):
    """Reads one stream into a bounded queue; ends with None, or with the error that ended the stream."""

    def __init__(self, stream: MetricsStream) -> None:
        super().__init__(name="stage4-watch", daemon=True)
        self.unread: queue.Queue[Snapshot | Stage4Error | None] = queue.Queue(UNREAD_LIMIT)
        self._stream = stream

    def run(self) -> None:
        try:
            for message in self._stream:
                self.unread.put(message)
        except Stage4Error as error:
            self.unread.put(error)
        else:
            self.unread.put(None)

    def end(self) -> None:
        self._stream.cancel()
        while self.is_alive():  # a full queue would hold it back
            with suppress(queue.Empty):
                self.unread.get(timeout=0.05)


class _Watch:
    def __init__(self, arguments: argparse.Namespace, clock: Clock, environ: Mapping[str, str]) -> None:
        from stage4.config import find_root, load

        self._arguments = arguments
        self._clock = clock
        self._environ = environ
        self._duration = parse_duration(arguments.duration)
        if arguments.limit is not None and arguments.limit < 1:
            raise UsageError("watch.limit_not_positive", limit=arguments.limit)
        self._installation: Installation = load(find_root(arguments.root, environ, Path.cwd()))
        operations = self._installation.settings.operations
        self._lang = _run.language(environ, operations.language)
        self._service = self._installation.settings.runtime.metrics_service
        if not self._service.enabled:
            raise UsageError("watch.service_off")
        self._host = arguments.host or self._service.host
        self._port = arguments.port or self._service.port

    def run(self) -> int:
        span = words.duration(self._duration, self._lang)
        _run.say(words.text("watch.begins", self._lang, host=self._host, port=self._port, duration=span))

        from stage4 import ids
        from stage4.telemetry.admission import NONCE_HEADER
        from stage4.telemetry.grpc_client import endpoint_of
        from stage4.telemetry.probes import tls_facts, try_access
        from stage4.telemetry.watch import Tally

        started_at = self._clock.now()
        nonce = ids.random_token()
        merged = self._headers()
        metadata = (*merged.metadata, (NONCE_HEADER, nonce))
        endpoint = endpoint_of(self._installation, self._host, self._port)
        access = try_access(endpoint, metadata, ids.random_token())
        tls: dict[str, object] = {"enabled": False, "right": False}
        if endpoint.material is not None:
            from stage4.telemetry.identities import client_paths

            tls = tls_facts(endpoint, client_paths(self._installation), self._service.tls.pinned_fingerprints)
        tally = Tally(self._installation.settings.operations.thresholds)
        interrupted = False
        if access.status is not None:
            interrupted = self._follow(metadata, tally)
        return self._conclude(started_at, merged, nonce, access, tls, tally, interrupted)

    def _headers(self) -> Merged:
        from stage4.telemetry import headers
        from stage4.telemetry.grpc_client import token_header

        root, arguments = self._installation.root, self._arguments

        def parsed(entries: Sequence[str], source: str) -> list[headers.Header]:
            return headers.parse(entries, source, self._environ, root)

        token_source = f"config:{self._service.auth_token_env or self._service.auth_token_file}"
        own = [
            headers.Header(key, value, token_source) for key, value in token_header(self._installation, self._environ)
        ]
        configured = [f"{key}={value}" for key, value in self._service.grpc_metadata.items()]
        from_environ = headers.split_entries(self._environ.get(HEADERS_VARIABLE, ""))
        return headers.merge(
            [
                own,
                parsed(configured, CONFIGURED),
                parsed(from_environ, f"env:{HEADERS_VARIABLE}"),
                *(parsed(headers.read_file(path), f"file:{path}") for path in arguments.headers_file),
                parsed(arguments.header, "cli:--header"),
            ]
        )

    def _follow(self, metadata: Headers, tally: Tally) -> bool:
        """Read the stream until the time is over or the limit reached; True when interrupted."""
        progress = _Progress(self._lang, self._duration, sys.stderr.isatty())
        begun = self._clock.monotonic_ns()
        failures = 0

        def elapsed() -> float:
            return (self._clock.monotonic_ns() - begun) / 1e9

        def over() -> bool:
            limit = self._arguments.limit
            return elapsed() >= self._duration.total_seconds() or (limit is not None and tally.messages >= limit)

        try:
            while not over():
                before = tally.messages
                reason = self._read_one_stream(metadata, tally, over, lambda: progress.show(elapsed(), tally))
                if reason is None:
                    break
                progress.end()
                _run.say(words.text("watch.reconnecting", self._lang, reason=reason))
                failures = 0 if tally.messages > before else failures + 1
                left = self._duration.total_seconds() - elapsed()
                self._clock.sleep(max(0.0, min(PAUSES[min(failures, len(PAUSES) - 1)], left)))
                tally.reconnected()
        except KeyboardInterrupt:
            return True
        finally:
            progress.end()
        return False

    def _read_one_stream(
        self, metadata: Headers, tally: Tally, over: Callable[[], bool], show: Callable[[], None]
    ) -> str | None:
        """Read one stream; why it broke off, or None when the watch is over."""
        from stage4.telemetry.grpc_client import MetricsClient, endpoint_of

        endpoint = endpoint_of(self._installation, self._host, self._port)
        with MetricsClient(endpoint, metadata) as client:
            reading = _Reading(client.stream())
            reading.start()
            try:
                while not over():
                    show()
                    try:
                        item = reading.unread.get(timeout=0.1)
                    except queue.Empty:
                        continue
                    if item is None or isinstance(item, Stage4Error):
                        return "end of stream" if item is None else str(item.params.get("status", item.code))
                    tally.take(item, self._clock.now())
                return None
            finally:
                reading.end()

    def _conclude(
        self,
        started_at: datetime,
        merged: Merged,
        nonce: str,
        access: Access,
        tls: dict[str, object],
        tally: Tally,
        interrupted: bool,
    ) -> int:
        from stage4.telemetry import headers
        from stage4.telemetry.watch import EXIT_CODES, conclude

        key = nonce.encode()
        arrived = headers.received(merged, access.answer, key)
        asked = self._arguments.headers_report and access.status is not None
        headers_right = headers.arrived_right(arrived) if asked else None
        verdict, reasons = conclude(
            tally,
            probes=access.probes,
            tls_right=tls["right"] is not False,
            headers_right=headers_right,
            interrupted=interrupted,
        )
        exit_code = EXIT_CODES[verdict]
        document: dict[str, object] = {
            "schema": SCHEMA,
            "root": str(self._installation.root),
            "verdict": str(verdict),
            "exit_code": int(exit_code),
            "reasons": [{"code": code, "message": words.text(code, "en")} for code in reasons],
            "endpoint": {"host": self._host, "port": self._port},
            "installation_id": access.status.installation_id if access.status else None,
            "started_at": format_instant(started_at),
            "ended_at": format_instant(self._clock.now()),
            "duration": format_duration(self._duration),
            "interrupted": interrupted,
        }
        if access.problem is not None:
            document |= {"error": _run.error_document(SCHEMA, access.problem)["error"]}
            _run.say_error(access.problem, self._lang)
        if self._arguments.headers_report:
            document |= headers.report(merged, key)
            document |= {"received_by_server": arrived if access.status else [], "headers_right": headers_right}
        document |= {
            "tls": tls,
            "rbac": {
                "right": _all_right([probe.right for probe in access.probes]),
                "probes": [
                    {
                        "name": probe.name,
                        "expected": probe.expected,
                        "outcome": probe.outcome,
                        "status": probe.status,
                        "right": probe.right,
                    }
                    for probe in access.probes
                ],
            },
            "metrics": tally.metrics_document(),
            "anomalies": [anomaly.document() for anomaly in tally.anomalies],
            "anomalies_count": {"critical": tally.critical_anomalies, "warning": tally.warning_anomalies},
            "stream": tally.stream_document(),
        }
        for code in reasons:
            _run.say(words.text(code, self._lang))
        if self._arguments.output is not None:
            _run.save(document, self._arguments.output)
        _run.emit(document)
        return exit_code


def _all_right(verdicts: Sequence[bool | None]) -> bool | None:
    """False when one is wrong, None when one cannot be told."""
    if False in verdicts:
        return False
    return None if None in verdicts or not verdicts else True
