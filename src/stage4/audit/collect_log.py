"""Reads the decision log's keys, and lets the verifier say how the log stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from stage4 import files
from stage4.audit.collect_tokens import Marker
from stage4.audit.evidence import LogFacts, LogVerdict, OtherSecret, Problem, Secret, SigningKey
from stage4.audit.kept_reports import LOOKED_AT, KeptReports
from stage4.audit.reading import Place, is_there, printable, problem_of, shown_name
from stage4.clock import Clock
from stage4.config import Installation
from stage4.decisionlog import archives
from stage4.decisionlog.verification.anchors import Remark, anchors_of, left_of
from stage4.decisionlog.verification.verifier import verify
from stage4.errors import Stage4Error, Unavailable
from stage4.security.keyring import SECRET_BYTES, KeyRing

_SECRET_LIMIT = 4096
_DOUBTS = {"verify.other_logs": "audit.log_unknown", "verify.place_missing": "audit.log_place_missing"}


@dataclass(frozen=True, slots=True)
class _RouterKey:
    sources: int
    reference: str = ""
    secret: Secret | None = None
    short: bool = False
    problem: Problem | None = None
    missing_variable: bool = False


def collect(
    installation: Installation, environ: Mapping[str, str], marker: Marker, clock: Clock, kept: KeptReports
) -> LogFacts:
    """The log at the configured path, its ring, and the live router's own key; `clock` is for the log's lock."""
    place = Place(installation.root)
    path = installation.decision_log_path
    router = installation.settings.execution.live_router.decision_log
    ring, ring_problem = _ring(installation.keyring_path, environ, place)
    verdict = _Verified()
    if not is_there(path):
        verdict = _left(installation, environ, place)
    elif ring is not None:
        verdict = _verified(installation, environ, ring, place, clock)
    remembered = _remembered(kept, place.shown(path), verdict.log_id)
    key = _router_key(installation, environ, marker)
    return LogFacts(
        path=place.shown(path),
        present=is_there(path),
        entries_before=max(remembered.entries, _archived(path)),
        log_id=remembered.log_id,
        other_log=remembered.other,
        ring_problem=ring_problem,
        active=None if ring is None else _signing_key(ring, place),
        ring_secrets=() if ring is None else tuple(_ring_secrets(ring, marker)),
        verdict=verdict.verdict,
        problem=verdict.problem,
        trace=verdict.trace,
        doubts=verdict.doubts,
        router_sources=key.sources,
        router_key_id=router.key_id and printable(router.key_id),
        router_reference=key.reference,
        router_secret=key.secret,
        router_short=key.short,
        router_problem=key.problem,
        router_missing_variable=key.missing_variable,
    )


def ring_fingerprints(installation: Installation, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The ids of the ring's keys by their fingerprints; none where there is no ring to read."""
    path = installation.path(installation.settings.operations.decision_log.keyring)
    ring, _ = _ring(path, environ, Place(installation.root))
    return {} if ring is None else {key.fingerprint: key.id for key in ring.keys.values()}


def _ring(path: Path, environ: Mapping[str, str], place: Place) -> tuple[KeyRing | None, Problem | None]:
    try:
        return KeyRing.load(path, environ), None
    except Stage4Error as error:
        return None, problem_of(error, place)


def _signing_key(ring: KeyRing, place: Place) -> SigningKey:
    active = ring.active_key()
    problem, missing = None, False
    if not active.available:
        try:
            active.secret_for("audit", "audit")
        except Stage4Error as error:
            problem = problem_of(error, place)
            source = error.params.get("source")
            missing = isinstance(source, str) and source not in ring.environ
            if isinstance(source, str):
                problem = replace(problem, params={**problem.params, "source": shown_name(source)})
    return SigningKey(active.id, active.created, problem, missing)


def _ring_secrets(ring: KeyRing, marker: Marker) -> Iterator[OtherSecret]:
    """The secrets of the ring, as they are written, called by key id; one that cannot be read is left out."""
    for key in ring.keys.values():
        if isinstance(key.source, Path):
            try:
                text = files.read_limited(key.source, _SECRET_LIMIT).decode("utf-8", "surrogateescape")
            except Stage4Error:
                continue
        else:
            text = ring.environ.get(key.source, "")
        if text.strip():
            yield OtherSecret(key.id, marker.secret(text.strip()))


@dataclass(frozen=True, slots=True)
class _Verified:
    verdict: LogVerdict | None = None
    problem: Problem | None = None
    trace: str = ""
    doubts: tuple[Problem, ...] = ()
    log_id: str | None = None


def _left(installation: Installation, environ: Mapping[str, str], place: Place) -> _Verified:
    """What shows whether a log that is not there has begun already."""
    try:
        left = left_of(installation, environ)
    except Stage4Error as error:
        return _Verified(problem=problem_of(error, place))
    return _Verified(trace=place.shown(left.trace) if left.trace else "", doubts=_doubts(left.doubts, place))


def _doubts(remarks: Sequence[Remark], place: Place) -> tuple[Problem, ...]:
    """Places that leave open whether the log is the one that was always here."""
    doubts = []
    for remark in remarks:
        params = {name: printable(str(value)) for name, value in remark.params.items() if name != "path"}
        params["place"] = place.shown(Path(str(remark.params["path"])))
        doubts.append(Problem(_DOUBTS[remark.code], params))
    return tuple(doubts)


def _verified(
    installation: Installation, environ: Mapping[str, str], ring: KeyRing, place: Place, clock: Clock
) -> _Verified:
    path = installation.decision_log_path
    doubts: tuple[Problem, ...] = ()
    try:
        # Read before the end of the log is fixed: what is appended meanwhile is newer than the notes.
        anchors = anchors_of(path, installation, environ)
        doubts = _doubts(anchors.doubts, place)
        if anchors.unread:
            return _Verified(problem=problem_of(anchors.unread[0], place), doubts=doubts)
        verdict = verify(path, ring, clock, trail=anchors.trail())
    except Stage4Error as error:
        return _Verified(problem=problem_of(error, place), doubts=doubts)
    first = None
    if verdict.findings:
        worst = verdict.findings[0]
        first = Problem(
            "audit.log_finding",
            {
                "path": place.shown(path.with_name(worst.part or path.name)),
                "line": worst.line,
                "offset": worst.offset,
                "fault": worst.fault.value,
            },
        )
    # Counted over the archives too: the live file alone becomes shorter with every rotation.
    count = 0 if verdict.last_seq is None else verdict.last_seq + 1
    return _Verified(
        LogVerdict(count, int(verdict.exit_code), first, verdict.findings_total),
        doubts=doubts,
        log_id=None if verdict.log_id is None else printable(verdict.log_id),
    )


def _archived(path: Path) -> int:
    """How many entries the log must have had, by the name of its newest archive; 0 where it has none."""
    try:
        return max((segment.first_seq + 1 for segment in archives.segments(path)), default=0)
    except Unavailable:
        return 0


@dataclass(frozen=True, slots=True)
class _Remembered:
    entries: int
    log_id: str | None
    other: str | None


def _remembered(kept: KeptReports, shown: str, log_id: str | None) -> _Remembered:
    """
    The most entries that an audit which may be believed found in the log, or knew it to have had.

    A log begun anew has another id and begins from 0. A log that does not say its id is taken for the one that was
    last seen at its path. What an audit knew it repeats whatever it found, so that looking back a little is enough,
    and no audit in between makes a log that was cut well again. One that judged another instant read the same log.
    """
    words = [word for report in islice(kept.believed(), LOOKED_AT) if (word := _word(report.document)) is not None]
    here = log_id or next((known for known, path, _ in words if path == shown and known), None)
    of_it = [(known, path, count) for known, path, count in words if known == here or (not known and path == shown)]
    others = (known for known, path, _ in words if path == shown and known and known != here)
    return _Remembered(max((count for _, _, count in of_it), default=0), here, next(others, None))


def _word(report: Mapping[str, object]) -> tuple[str | None, str, int] | None:
    """Of which log, by id and path, a report says how many entries it has or had."""
    results = report.get("results")
    for result in results if isinstance(results, list) else []:
        if not isinstance(result, dict) or result.get("control") != "DLOG-03":
            continue
        params = result.get("params")
        if isinstance(params, dict) and ("count" in params or "before" in params):
            counts = [params.get(name) for name in ("count", "before")]
            known = params.get("log_id")
            return (
                known if isinstance(known, str) else None,
                str(result.get("subject")),
                max((count for count in counts if isinstance(count, int)), default=0),
            )
    return None


def _router_key(installation: Installation, environ: Mapping[str, str], marker: Marker) -> _RouterKey:
    """`hmac_key_env` or `hmac_key_path` of the live router; a file wins the reference where both are set."""
    router = installation.settings.execution.live_router.decision_log
    sources = sum(source is not None for source in (router.hmac_key_env, router.hmac_key_path))
    if router.hmac_key_path is not None:
        reference = f"file:{Place(installation.root).shown(installation.path(router.hmac_key_path))}"
        try:
            content = files.read_limited(installation.path(router.hmac_key_path), _SECRET_LIMIT)
        except Stage4Error as error:
            return _RouterKey(sources, reference, problem=problem_of(error, Place(installation.root)))
        text = content.decode("utf-8", "surrogateescape").strip()
    elif router.hmac_key_env is not None:
        variable = shown_name(router.hmac_key_env)
        reference = f"env:{variable}"
        found = environ.get(router.hmac_key_env)
        if found is None:
            problem = Problem("audit.variable_missing", {"variable": variable})
            return _RouterKey(sources, reference, problem=problem, missing_variable=True)
        text = found.strip()
    else:
        return _RouterKey(sources)
    if not text:
        return _RouterKey(sources, reference, problem=Problem("audit.secret_blank", {"reference": reference}))
    short = len(text.encode("utf-8", "surrogateescape")) < SECRET_BYTES
    return _RouterKey(sources, reference, marker.secret(text), short)
