"""Reads the decision log's keys, and lets the verifier say how the log stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stage4 import files
from stage4.audit import store
from stage4.audit.collect_tokens import Marker
from stage4.audit.evidence import LogFacts, LogVerdict, OtherSecret, Problem, Secret, SigningKey
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


def collect(installation: Installation, environ: Mapping[str, str], marker: Marker, clock: Clock) -> LogFacts:
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
    key = _router_key(installation, environ, marker)
    return LogFacts(
        path=place.shown(path),
        present=is_there(path),
        entries_before=max(_entries_before(installation.root, place.shown(path)), _archived(path)),
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
    return _Verified(LogVerdict(count, int(verdict.exit_code), first, verdict.findings_total), doubts=doubts)


def _archived(path: Path) -> int:
    """How many entries the log must have had, by the name of its newest archive; 0 where it has none."""
    try:
        return max((segment.first_seq + 1 for segment in archives.segments(path)), default=0)
    except Unavailable:
        return 0


def _entries_before(root: Path, shown: str) -> int:
    """How many entries the log had when it was last audited; 0 where no kept report says."""
    earlier = store.newest(root)
    results = earlier[1].get("results") if earlier else None
    for result in results if isinstance(results, list) else []:
        if isinstance(result, dict) and result.get("code") == "audit.log_verifies" and result.get("subject") == shown:
            params = result.get("params")
            count = params.get("count") if isinstance(params, dict) else None
            return count if isinstance(count, int) else 0
    return 0


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
