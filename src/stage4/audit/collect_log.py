"""Reads the decision log's keys, and lets the verifier say how the log stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stage4 import files
from stage4.audit import store
from stage4.audit.collect_tokens import Marker
from stage4.audit.evidence import LogFacts, LogVerdict, Problem, Secret, SigningKey
from stage4.audit.reading import Place, problem_of
from stage4.clock import Clock
from stage4.config import Installation
from stage4.decisionlog import archives
from stage4.decisionlog.verification.anchors import anchors_of
from stage4.decisionlog.verification.verifier import verify
from stage4.errors import Stage4Error, Unavailable
from stage4.security.keyring import KeyRing

_SECRET_LIMIT = 4096
_OTHER_LOGS = "verify.other_logs"


@dataclass(frozen=True, slots=True)
class _RouterKey:
    sources: int
    reference: str = ""
    secret: Secret | None = None
    problem: Problem | None = None
    missing_variable: bool = False


def collect(installation: Installation, environ: Mapping[str, str], marker: Marker, clock: Clock) -> LogFacts:
    """The log at the configured path, its ring, and the live router's own key; `clock` is for the log's lock."""
    place = Place(installation.root)
    path = installation.decision_log_path
    router = installation.settings.execution.live_router.decision_log
    ring, ring_problem = _ring(installation.path(installation.settings.operations.decision_log.keyring), environ, place)
    verdict, problem, replaced = _verdict(installation, environ, ring, place, clock)
    key = _router_key(installation, environ, marker)
    return LogFacts(
        path=place.shown(path),
        present=path.exists(),
        entries_before=max(_entries_before(installation.root, place.shown(path)), _archived(path)),
        ring_problem=ring_problem,
        active=None if ring is None else _signing_key(ring, place),
        verdict=verdict,
        problem=problem,
        replaced=replaced,
        router_sources=key.sources,
        router_key_id=router.key_id,
        router_reference=key.reference,
        router_secret=key.secret,
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
    problem = None
    if not active.available:
        try:
            active.secret_for("audit", "audit")
        except Stage4Error as error:
            problem = problem_of(error, place)
    return SigningKey(active.id, active.created, problem)


def _verdict(
    installation: Installation, environ: Mapping[str, str], ring: KeyRing | None, place: Place, clock: Clock
) -> tuple[LogVerdict | None, Problem | None, Problem | None]:
    """The verdict, or why there is none; and whether a place outside has checkpoints of other logs only."""
    path = installation.decision_log_path
    if ring is None or not path.exists():
        return None, None, None
    try:
        # Read before the end of the log is fixed: what is appended meanwhile is newer than the notes.
        anchors = anchors_of(path, installation, environ)
        if anchors.unread:
            return None, problem_of(anchors.unread[0], place), None
        verdict = verify(path, ring, clock, trail=anchors.trail())
    except Stage4Error as error:
        return None, problem_of(error, place), None
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
    strange = [remark for remark in anchors.remarks if remark.code == _OTHER_LOGS]
    replaced = None
    if strange:
        params = {"path": place.shown(Path(str(strange[0].params["path"]))), "logs": str(strange[0].params["logs"])}
        replaced = Problem(_OTHER_LOGS, params)
    return LogVerdict(count, int(verdict.exit_code), first, verdict.findings_total), None, replaced


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
        reference = f"file:{router.hmac_key_path}"
        try:
            content = files.read_limited(installation.path(router.hmac_key_path), _SECRET_LIMIT)
        except Stage4Error as error:
            return _RouterKey(sources, reference, problem=problem_of(error, Place(installation.root)))
        text = content.decode("utf-8", "surrogateescape").strip()
    elif router.hmac_key_env is not None:
        reference = f"env:{router.hmac_key_env}"
        found = environ.get(router.hmac_key_env)
        if found is None:
            problem = Problem("audit.variable_missing", {"variable": router.hmac_key_env})
            return _RouterKey(sources, reference, problem=problem, missing_variable=True)
        text = found.strip()
    else:
        return _RouterKey(sources)
    if not text:
        return _RouterKey(sources, reference, problem=Problem("audit.secret_blank", {"reference": reference}))
    return _RouterKey(sources, reference, marker.secret(text))
