"""Reads the tokens of every service: where each comes from, what it grants, how strong and how unique it is."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

import msgspec

from stage4 import files
from stage4.audit import strength
from stage4.audit.evidence import OtherSecret, Problem, Secret, ServiceFacts, TokenFacts
from stage4.audit.inline_secrets import has_secret, is_secret_header
from stage4.audit.reading import HIDDEN, Place, printable, problem_of, seems_drawn, shown_name
from stage4.config import Installation
from stage4.config.settings import MetricsService, RbacToken
from stage4.errors import Stage4Error, Unavailable
from stage4.security.tokens import HASHES, RISK_READ, TokenBook, resolve_secret, service_token

# Shorter than that, bytes are alike by chance.
_DISTINCT_BYTES: Final = 8
_SECRET_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True)
class Marker:
    """
    Turns a secret into what may be kept of it; `pepper` is new for every collection and thrown away.

    It remembers the tags it gave, so that one secret has one tag in plain letters, in hexadecimal and in base64.
    """

    pepper: bytes = field(repr=False)
    _given: dict[str, str] = field(default_factory=dict, repr=False)

    def secret(self, text: str) -> Secret:
        content = text.encode("utf-8", "surrogateescape")
        spellings = [self.tag(content), *(self.tag(spelt) for spelt in _spelt(text))]
        tag = next((self._given[spelling] for spelling in spellings if spelling in self._given), spellings[0])
        for spelling in spellings:
            self._given.setdefault(spelling, tag)
        return Secret(
            bits=strength.bits(text),
            placeholder=strength.is_placeholder(text),
            tag=tag,
            hashed_tags=frozenset(self.tag(hashlib.new(name, content).digest()) for name in HASHES),
        )

    def tag(self, content: bytes) -> str:
        return hmac.digest(self.pepper, content, "sha256").hex()


def _spelt(text: str) -> Iterator[bytes]:
    """The bytes that `text` may stand for: as hexadecimal digits, as base64 of either alphabet."""
    if not text.isascii():
        return
    found = []
    with contextlib.suppress(ValueError):
        found.append(bytes.fromhex(text))
    plain = text.translate(str.maketrans("-_", "+/")).rstrip("=")
    with contextlib.suppress(ValueError):
        found.append(base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True))
    yield from (content for content in found if len(content) >= _DISTINCT_BYTES)


def services(installation: Installation) -> tuple[ServiceFacts, ...]:
    """The services that take tokens."""
    runtime, bundle = installation.settings.runtime, installation.settings.execution.mtls
    named = [
        ServiceFacts(
            name,
            service.enabled,
            service.tls.enabled,
            service.tls.require_client_auth,
            service.tls.pinned_fingerprints,
            # What a service has none of its own of, it takes from the bundle.
            furnished=bool(
                (service.tls.certificate_path or bundle.server_certificate)
                and (service.tls.private_key_path or bundle.server_key)
            ),
        )
        for name, service in _grpc_services(installation)
    ]
    named.append(ServiceFacts("operations", True))
    named += [ServiceFacts(f"scheduler:{printable(name)}", True) for name in runtime.multi_strategy_schedulers]
    return tuple(named)


def _grpc_services(installation: Installation) -> tuple[tuple[str, MetricsService], ...]:
    runtime = installation.settings.runtime
    return ("metrics_service", runtime.metrics_service), ("risk_service", runtime.risk_service)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One token of the settings, and where it stands there."""

    service: str
    place: str
    token: RbacToken


def _entries(installation: Installation) -> Iterator[_Entry]:
    settings = installation.settings
    for name, service in _grpc_services(installation):
        shared = service_token(service)
        if shared is not None and name == "risk_service":
            shared = msgspec.structs.replace(shared, token_id="risk-service", scopes=(RISK_READ,))
        if shared is not None:
            yield _Entry(name, f"runtime.{name}", shared)
        yield from _listed(name, f"runtime.{name}", service.rbac_tokens)
    yield from _listed("operations", "operations.service", settings.operations.service.rbac_tokens)
    for name, scheduler in settings.runtime.multi_strategy_schedulers.items():
        shown = printable(name)
        yield from _listed(f"scheduler:{shown}", f"runtime.multi_strategy_schedulers.{shown}", scheduler.rbac_tokens)


def _listed(service: str, place: str, tokens: Sequence[RbacToken]) -> Iterator[_Entry]:
    for number, token in enumerate(tokens):
        yield _Entry(service, f"{place}.rbac_tokens.{number}", token)


def collect(installation: Installation, environ: Mapping[str, str], marker: Marker) -> tuple[TokenFacts, ...]:
    """Every configured token, resolved as its service would resolve it."""
    known_hashes = _hashes_of_common_words(marker)
    seen: Counter[tuple[str, str]] = Counter()
    texts: set[str] = set()
    found = []
    for entry in _entries(installation):
        facts, text = _facts(installation, entry, environ, marker, known_hashes)
        if text is not None:
            texts.add(text)
        seen[facts.service, facts.token_id] += 1
        found.append(replace(facts, position=seen[facts.service, facts.token_id]))
    return tuple(_without_secrets(facts, texts, number) for number, facts in enumerate(found, 1))


def others(installation: Installation, environ: Mapping[str, str], marker: Marker) -> tuple[OtherSecret, ...]:
    """The secrets with which checkpoints are handed to places outside; one that cannot be read is left out."""
    found = []
    for number, place in enumerate(installation.settings.operations.decision_log.checkpoints.places):
        text = environ.get(place.token_env) if place.token_env else None
        if place.token_file:
            try:
                content = files.read_limited(installation.path(place.token_file), _SECRET_LIMIT)
            except Stage4Error:
                continue
            text = content.decode("utf-8", "surrogateescape")
        if text and text.strip():
            found.append(OtherSecret(f"checkpoints/{number}", marker.secret(text.strip())))
    return tuple(found)


def inline(installation: Installation) -> Iterator[str]:
    """The keys whose value has a secret in it, although stage4 knows another place for each: headers and addresses."""
    for name, service in _grpc_services(installation):
        for header, value in service.grpc_metadata.items():
            if is_secret_header(header, value):
                yield f"runtime.{name}.grpc_metadata.{header}"
    operations = installation.settings.operations
    addresses = {
        "operations.storage_url": operations.storage_url,
        "operations.monitoring.prometheus_url": operations.monitoring.prometheus_url,
        "operations.monitoring.alertmanager_url": operations.monitoring.alertmanager_url,
    }
    places = operations.decision_log.checkpoints.places
    addresses |= {f"operations.decision_log.checkpoints.places.{n}.url": place.url for n, place in enumerate(places)}
    yield from (key for key, address in addresses.items() if address and has_secret(address))


def _without_secrets(facts: TokenFacts, texts: set[str], number: int) -> TokenFacts:
    """`facts` with the names hidden that are or seem to be a secret: an id and a scope stand in every report."""

    def is_secret(name: str) -> bool:
        return name in texts or seems_drawn(name)

    if not is_secret(facts.token_id) and not any(is_secret(scope) for scope in facts.scopes):
        return facts
    scopes = tuple(HIDDEN if is_secret(scope) else scope for scope in facts.scopes)
    token_id = f"{HIDDEN}{number}" if is_secret(facts.token_id) else facts.token_id

    def renamed(problem: Problem | None) -> Problem | None:
        return problem and replace(problem, params={**problem.params, "token_id": token_id})

    return replace(
        facts,
        token_id=token_id,
        scopes=scopes,
        problem=renamed(facts.problem),
        hash_problem=renamed(facts.hash_problem),
    )


def _facts(
    installation: Installation,
    entry: _Entry,
    environ: Mapping[str, str],
    marker: Marker,
    common: frozenset[str],
) -> tuple[TokenFacts, str | None]:
    token, place = entry.token, Place(installation.root)
    problem, text, missing = None, None, False
    sources = sum(source is not None for source in (token.token_env, token.token_file, token.token_hash))
    if sources > 1 or token.token_hash is None:
        try:
            resolve_secret(token, environ, installation.root)
        except Stage4Error as error:
            problem = problem_of(error, place)
            missing = error.code == "security.token_env_missing"
        text = _first_secret(token, environ, installation)
    hash_problem, hash_tag, agrees = None, None, None
    if token.token_hash is not None:
        alone = msgspec.structs.replace(token, token_env=None, token_file=None)
        hash_problem, digest = _hashed(alone, installation)
        hash_tag = None if digest is None else marker.tag(digest)
        if sources == 1:
            problem = hash_problem
        elif digest is not None and text is not None:
            algorithm = token.token_hash.partition(":")[0]
            content = text.encode("utf-8", "surrogateescape")
            agrees = hmac.compare_digest(hashlib.new(algorithm, content).digest(), digest)
    if missing and problem is not None:
        problem = replace(problem, params={**problem.params, "variable": shown_name(token.token_env or "")})
    facts = TokenFacts(
        service=entry.service,
        token_id=printable(token.token_id),
        reference=_reference(token, place),
        sources=sources,
        scopes=token.scopes,
        problem=problem,
        missing_variable=missing,
        secret=None if text is None else marker.secret(text),
        hash_tag=hash_tag,
        hash_problem=hash_problem,
        hash_agrees=agrees,
        guessed=hash_tag in common,
        place=entry.place,
    )
    return facts, text


def _first_secret(token: RbacToken, environ: Mapping[str, str], installation: Installation) -> str | None:
    """The secret of the first source that has one, also where there are more sources than one token may have."""
    candidates = (
        msgspec.structs.replace(token, token_file=None, token_hash=None),
        msgspec.structs.replace(token, token_env=None, token_hash=None),
    )
    for candidate in candidates:
        try:
            return resolve_secret(candidate, environ, installation.root)
        except Stage4Error:
            continue
    return None


def _hashed(token: RbacToken, installation: Installation) -> tuple[Problem | None, bytes | None]:
    book = TokenBook.from_settings([token], {}, installation.root)
    if book.unusable:
        bad = book.unusable[0]
        return problem_of(Unavailable(bad.reason, **bad.params), Place(installation.root)), None
    return None, book.tokens[0].secret_digest


def _hashes_of_common_words(marker: Marker) -> frozenset[str]:
    return frozenset(marker.tag(digest) for digest in _common_digests())


@cache
def _common_digests() -> tuple[bytes, ...]:
    return tuple(hashlib.new(name, word.encode()).digest() for name in HASHES for word in strength.COMMON)


def _reference(token: RbacToken, place: Place) -> str:
    if token.token_env is not None:
        return f"env:{shown_name(token.token_env)}"
    if token.token_file is not None:
        return f"file:{place.shown(place.root / token.token_file)}"
    algorithm = (token.token_hash or "").partition(":")[0]
    # Only a known name is shown, because somebody may have put the secret itself there.
    return f"hash:{algorithm}" if algorithm in HASHES else "hash"
