"""
Probes the running service: about sixteen short connections to one address, and to no other.

The positive control comes first and once more after the refusals: only beside a door that opens does a closed one say
anything. Tokens are shown only to a service whose certificate verifies, and stand nowhere in what is kept.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from cryptography import x509

from stage4 import files, ids
from stage4.audit import probe_connection
from stage4.audit.collect_bundle import configured_paths
from stage4.audit.evidence import Problem
from stage4.audit.evidence_live import (
    CERTIFICATE,
    CERTIFICATE_AGAIN,
    CURRENT,
    FOREIGN_CERTIFICATE,
    LESSER_TOKEN,
    NO_CERTIFICATE,
    NO_TOKEN,
    NOT_TRIED,
    NOTHING,
    OUTDATED,
    PLAINTEXT,
    SERVER_CERTIFICATE,
    SETTINGS,
    TOKEN,
    UNTRUSTED,
    WRONG_TOKEN,
    Attempt,
    Call,
    Live,
)
from stage4.audit.probe_connection import Address, Deadline, Offer
from stage4.audit.probe_identity import foreign_pair
from stage4.audit.reading import Place, problem_of
from stage4.clock import Clock
from stage4.config import Installation
from stage4.errors import Stage4Error
from stage4.security import certificates
from stage4.security.mtls import ClientIdentity
from stage4.security.tokens import METRICS_READ, resolve_secret, service_token
from stage4.telemetry.grpc_client import Endpoint, Headers, MetricsClient

# One connection may take this part of the whole probe, so that one that hangs leaves time for others.
_SHARE: Final = 0.2
_Shown = tuple[Path, Path] | Problem  # certificate and key, or why there are none to show


@dataclass(frozen=True, slots=True)
class Target:
    """The address that is probed; `configured` where the settings name it as the metrics service."""

    host: str
    port: int
    configured: bool

    @property
    def shown(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def collect(
    installation: Installation,
    target: Target,
    bundle: str,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    seconds: float,
) -> Live:
    """Probe `target` with the certificates of `bundle` for at most `seconds`; what goes wrong is evidence too."""
    if target.configured and not installation.settings.runtime.metrics_service.enabled:
        return Live(target.shown, configured=True)
    probing = _Probing(target, clock, Deadline(clock, seconds), seconds * _SHARE)
    paths = configured_paths(installation, bundle)
    attempts: list[Attempt] = []
    calls = tuple(Call(shown, NOT_TRIED) for shown in (TOKEN, NO_TOKEN, WRONG_TOKEN))
    with ExitStack() as stack:
        copies = _Copies(Place(installation.root), stack)
        good = copies.pair(paths["client"], paths["client_key"])
        served = copies.pair(*_served_pair(installation, paths))
        for offer in _offers(good, served, _foreign(paths["client"], clock, stack)):
            attempts.append(probing.attempt(offer))
        opened = next((a.protocol for a in attempts if a.shown == CERTIFICATE and a.outcome == SETTINGS), None)
        if opened is not None:
            # Once more where it did not get in: one broken connection must not look like a version that is not spoken.
            closed = [a for a in attempts if a.shown == CERTIFICATE and a.protocol in CURRENT and a.outcome != SETTINGS]
            attempts += [probing.attempt(_offer(CERTIFICATE, attempt.protocol, good)) for attempt in closed]
            trusted = copies.of(paths["ca"])
            if isinstance(trusted, Problem):
                again = probing.attempt(Offer(CERTIFICATE_AGAIN, opened, problem=trusted))
            else:
                again = probing.attempt(replace(_offer(CERTIFICATE_AGAIN, opened, good), trusted=trusted))
            attempts.append(again)
            if again.outcome == UNTRUSTED:
                distrust = Problem("probe.untrusted", {"reason": again.detail}, undecided=True)
                calls = tuple(replace(call, problem=distrust) for call in calls)
            else:
                calls = tuple(_calls(installation, probing, paths, environ))
    return Live(target.shown, target.configured, tuple(attempts), calls)


@dataclass(slots=True)
class _Copies:
    """
    Copies of what a probe shows, mode 0600, in a temporary directory that is gone afterwards.

    OpenSSL opens files by their names: it would wait for ever at a pipe, and read what has been put there meanwhile.
    """

    place: Place
    stack: ExitStack

    def pair(self, certificate: Path, key: Path) -> _Shown:
        """Certificate and key, or why they cannot be shown."""
        chain, private = self.of(certificate), self.of(key)
        if isinstance(chain, Problem):
            return chain
        return private if isinstance(private, Problem) else (chain, private)

    def of(self, path: Path) -> Path | Problem:
        try:
            content = files.read_limited(path, certificates.PEM_LIMIT)
            directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="stage4-probe-"))
            copy = Path(directory) / path.name
            copy.touch(mode=0o600, exist_ok=False)
            copy.write_bytes(content)
        except Stage4Error as error:
            return _unusable(self.place.shown(path), str(error.params.get("reason", error.code)))
        except OSError as error:
            return _unusable(self.place.shown(path), files.reason(error))
        return copy


def _unusable(path: str, reason: str) -> Problem:
    return Problem("probe.pair_unusable", {"path": path, "reason": reason}, undecided=True)


@dataclass(slots=True)
class _Probing:
    """One probe under way."""

    target: Target
    clock: Clock
    stop: Deadline
    share: float
    addresses: list[Address] = field(init=False)

    def __post_init__(self) -> None:
        self.addresses = probe_connection.resolve(self.target.host, self.target.port, self.share)

    @property
    def seconds(self) -> float:
        """What one more connection may take; raises TimeoutError where no time is left."""
        return min(self.share, self.stop.left)

    def attempt(self, offer: Offer) -> Attempt:
        try:
            seconds = self.seconds
        except TimeoutError:
            return Attempt(offer.shown, offer.protocol, NOT_TRIED)
        return probe_connection.attempt(offer, self.target.host, self.addresses, self.clock, seconds)

    def call(self, shown: str, endpoint: Endpoint, headers: Headers) -> Call:
        began = self.clock.monotonic_ns()
        try:
            with MetricsClient(endpoint, headers, answer_seconds=self.seconds) as client:
                client.status()
        except TimeoutError:
            return Call(shown, NOT_TRIED)
        except Stage4Error as error:
            status = str(error.params.get("status", error.code))
        else:
            status = "OK"
        return Call(shown, status, round((self.clock.monotonic_ns() - began) / 1e6, 1))


def _offer(shown: str, protocol: str, pair: _Shown) -> Offer:
    if isinstance(pair, Problem):
        return Offer(shown, protocol, problem=pair)
    return Offer(shown, protocol, pair)


def _offers(good: _Shown, served: _Shown, foreign: _Shown) -> Iterator[Offer]:
    for version in CURRENT:
        yield _offer(CERTIFICATE, version, good)
    for version in CURRENT:
        yield Offer(NO_CERTIFICATE, version)
    yield Offer(NOTHING, PLAINTEXT)
    for version in CURRENT:
        yield _offer(FOREIGN_CERTIFICATE, version, foreign)
        yield _offer(SERVER_CERTIFICATE, version, served)
    for version in OUTDATED:
        yield _offer(CERTIFICATE, version, good)


def _served_pair(installation: Installation, paths: Mapping[str, Path]) -> tuple[Path, Path]:
    """The server's certificate and key as the service has them."""
    tls = installation.settings.runtime.metrics_service.tls
    if tls.certificate_path and tls.private_key_path:
        return installation.path(tls.certificate_path), installation.path(tls.private_key_path)
    return paths["server"], paths["server_key"]


def _foreign(client: Path, clock: Clock, stack: ExitStack) -> _Shown:
    twin: x509.Certificate | None
    try:
        twin = certificates.load_certificates(client)[0]
    except Stage4Error:
        twin = None
    try:
        return stack.enter_context(foreign_pair(twin, clock.now()))
    except OSError as error:
        return _unusable("-", files.reason(error))


def _calls(
    installation: Installation, probing: _Probing, paths: Mapping[str, Path], environ: Mapping[str, str]
) -> Iterator[Call]:
    place = Place(installation.root)
    try:
        material = ClientIdentity(paths["client"], paths["client_key"], paths["ca"]).material
    except Stage4Error as error:
        problem = problem_of(error, place)
        yield from (Call(shown, NOT_TRIED, problem=problem) for shown in (TOKEN, NO_TOKEN, WRONG_TOKEN))
        return
    endpoint = Endpoint(probing.target.host, probing.target.port, material)
    known = _Known.of(installation, environ, place)
    if known.reader is None:
        yield Call(TOKEN, NOT_TRIED, problem=known.problem)
    else:
        good = probing.call(TOKEN, endpoint, _bearer(known.reader))
        yield good
        if good.status == "DEADLINE_EXCEEDED":
            # A service that leaves the right call unanswered answers no wrong one either, and time is short.
            yield from (Call(shown, NOT_TRIED) for shown in (NO_TOKEN, WRONG_TOKEN))
            return
    yield probing.call(NO_TOKEN, endpoint, ())
    yield probing.call(WRONG_TOKEN, endpoint, _bearer(ids.random_token()))
    if known.lesser is not None:
        yield probing.call(LESSER_TOKEN, endpoint, _bearer(known.lesser))


@dataclass(frozen=True, slots=True)
class _Known:
    """The secrets that the service's settings lead to: one that may read metrics, one that is known and may not."""

    reader: str | None = field(repr=False)
    lesser: str | None = field(repr=False)
    problem: Problem  # why there is no reader

    @classmethod
    def of(cls, installation: Installation, environ: Mapping[str, str], place: Place) -> _Known:
        service = installation.settings.runtime.metrics_service
        own = service_token(service)
        readers: list[str] = []
        others: list[str] = []
        problem = Problem("probe.no_reader", undecided=True)
        for entry in (*((own,) if own else ()), *service.rbac_tokens):
            reads = METRICS_READ in entry.scopes
            try:
                secret = resolve_secret(entry, environ, installation.root)
            except Stage4Error as error:
                problem = problem_of(error, place) if reads else problem
                continue
            # A header takes visible ASCII only; gRPC would name the secret in its complaint.
            if not (secret.isascii() and secret.isprintable()):
                problem = Problem("probe.token_unfit", {"token_id": entry.token_id}) if reads else problem
                continue
            (readers if reads else others).append(secret)
        lesser = next((secret for secret in others if secret not in readers), None)
        return cls(readers[0] if readers else None, lesser, problem)


def _bearer(secret: str) -> Headers:
    return (("authorization", f"Bearer {secret}"),)
