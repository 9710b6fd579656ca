"""
Watch the metrics stream over mTLS for a while, and say whether headers, access and `avg_abs_zscore` are right.

Prints one document `stage4.watch/1`; exit 0 when all is right, 1 on an anomaly or wrong headers or access, 3 when
nothing came or nothing could be judged. Ctrl-C finishes the record (`not_evaluated`, exit 130).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from stage4 import words
from stage4.cli import _answers, _run
from stage4.clock import Clock, SystemClock, format_duration, format_instant, parse_duration
from stage4.errors import UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.config import Installation
    from stage4.telemetry.grpc_client import Headers
    from stage4.telemetry.watch import Tally
    from stage4.telemetry.watch_report import Watched

SCHEMA = "stage4.watch/1"
PLAIN_LINE_EVERY = 30.0
BAR_EVERY = 0.2


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
            left=words.duration(left),
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


class _Watch:
    def __init__(self, arguments: argparse.Namespace, clock: Clock, environ: Mapping[str, str]) -> None:
        from stage4.config import find_root, load

        self._arguments = arguments
        self._clock = clock
        self._environ = environ
        self._duration = parse_duration(arguments.duration)
        _answers.require_free(arguments.output, SCHEMA)
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
        span = words.duration(self._duration)
        _run.say(words.text("watch.begins", self._lang, host=self._host, port=self._port, duration=span))

        from stage4 import ids
        from stage4.telemetry.admission import NONCE_HEADER
        from stage4.telemetry.grpc_client import endpoint_of
        from stage4.telemetry.probes import tls_facts, try_access
        from stage4.telemetry.watch import Tally
        from stage4.telemetry.watch_report import Watched, watch_headers

        started_at = self._clock.now()
        nonce = ids.random_token()
        arguments = self._arguments
        merged = watch_headers(self._installation, self._environ, arguments.headers_file, arguments.header)
        metadata = (*merged.metadata, (NONCE_HEADER, nonce))
        endpoint = endpoint_of(self._installation, self._host, self._port)
        access = try_access(endpoint, metadata, ids.random_token())
        tls: dict[str, object] = {"enabled": False, "right": False}
        if endpoint.material is not None:
            from stage4.telemetry.identities import client_paths

            tls = tls_facts(endpoint, client_paths(self._installation), self._service.tls.pinned_fingerprints)
        tally = Tally(self._installation.settings.operations.thresholds)
        interrupted = access.status is not None and self._follow(metadata, tally)
        key = nonce.encode()
        return self._tell(
            started_at, Watched(merged, key, access, tls, tally, interrupted, headers_asked=arguments.headers_report)
        )

    def _follow(self, metadata: Headers, tally: Tally) -> bool:
        """Read the stream until the time is over or the limit reached; True when interrupted."""
        from stage4.telemetry.following import Following
        from stage4.telemetry.grpc_client import endpoint_of

        progress = _Progress(self._lang, self._duration, sys.stderr.isatty())

        def broken(reason: str) -> None:
            progress.end()
            _run.say(words.text("watch.reconnecting", self._lang, reason=reason))

        try:
            return Following(
                endpoint=lambda: endpoint_of(self._installation, self._host, self._port),
                headers=metadata,
                tally=tally,
                clock=self._clock,
                duration=self._duration,
                limit=self._arguments.limit,
                show=lambda elapsed: progress.show(elapsed, tally),
                broken=broken,
            ).run()
        finally:
            progress.end()

    def _tell(self, started_at: datetime, watched: Watched) -> int:
        from stage4.telemetry.watch import EXIT_CODES

        verdict, reasons = watched.concluded()
        status, problem = watched.access.status, watched.access.problem
        document: dict[str, object] = {
            "schema": SCHEMA,
            "root": str(self._installation.root),
            "verdict": str(verdict),
            "exit_code": int(EXIT_CODES[verdict]),
            "reasons": [{"code": code, "message": words.text(code, "en")} for code in reasons],
            "endpoint": {"host": self._host, "port": self._port},
            "installation_id": status.installation_id if status else None,
            "started_at": format_instant(started_at),
            "ended_at": format_instant(self._clock.now()),
            "duration": format_duration(self._duration),
            "interrupted": watched.interrupted,
        }
        if problem is not None:
            document |= {"error": _run.error_document(SCHEMA, problem)["error"]}
            _run.say_error(problem, self._lang)
        document |= watched.headers_document() | watched.findings_document()
        for code in reasons:
            _run.say(words.text(code, self._lang))
        if self._arguments.output is not None:
            _run.save(document, self._arguments.output)
        _run.emit(document)
        return EXIT_CODES[verdict]
