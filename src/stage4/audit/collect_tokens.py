"""Reads the tokens of every service: where each comes from, what it grants, how strong and how unique it is."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stage4.audit import strength
from stage4.audit.evidence import Problem, Secret, ServiceFacts, TokenFacts
from stage4.audit.reading import Place, problem_of
from stage4.config import Installation
from stage4.config.settings import RbacToken
from stage4.errors import Stage4Error, Unavailable
from stage4.security import keyring
from stage4.security.tokens import HASHES, TokenBook, resolve_secret, service_token


@dataclass(frozen=True, slots=True)
class Marker:
    """Turns a secret into what may be kept of it; `pepper` is new for every collection and thrown away."""

    pepper: bytes = field(repr=False)
    ring: Mapping[str, str] = field(default_factory=dict)  # ids of the decision log's keys by their fingerprints

    def secret(self, text: str) -> Secret:
        content = text.encode("utf-8", "surrogateescape")
        hashed = frozenset(self.tag(hashlib.new(name, content).digest()) for name in HASHES)
        named = keyring.fingerprint_of(text)
        own = self.ring.get(named) if named else None
        return Secret(strength.bits(text), strength.is_placeholder(text), self.tag(content), hashed, own)

    def tag(self, content: bytes) -> str:
        return hmac.digest(self.pepper, content, "sha256").hex()


def services(installation: Installation) -> tuple[ServiceFacts, ...]:
    """The services that take tokens."""
    settings = installation.settings
    metrics = settings.runtime.metrics_service
    named = [
        ServiceFacts(
            "metrics_service",
            metrics.enabled,
            metrics.tls.enabled,
            metrics.tls.require_client_auth,
            metrics.tls.pinned_fingerprints,
            furnished=bool(metrics.tls.certificate_path and metrics.tls.private_key_path),
        ),
        ServiceFacts("operations", True),
    ]
    named += [ServiceFacts(f"scheduler:{name}", True) for name in settings.runtime.multi_strategy_schedulers]
    return tuple(named)


def collect(installation: Installation, environ: Mapping[str, str], marker: Marker) -> tuple[TokenFacts, ...]:
    """Every configured token, resolved as its service would resolve it."""
    settings = installation.settings
    metrics = settings.runtime.metrics_service
    shared = service_token(metrics)
    configured: list[tuple[str, Sequence[RbacToken]]] = [
        ("metrics_service", (*([shared] if shared else []), *metrics.rbac_tokens)),
        ("operations", settings.operations.service.rbac_tokens),
    ]
    configured += [
        (f"scheduler:{name}", scheduler.rbac_tokens)
        for name, scheduler in settings.runtime.multi_strategy_schedulers.items()
    ]
    return tuple(
        token for service, entries in configured for token in _tokens(installation, service, entries, environ, marker)
    )


def _tokens(
    installation: Installation, service: str, entries: Sequence[RbacToken], environ: Mapping[str, str], marker: Marker
) -> Iterator[TokenFacts]:
    place = Place(installation.root)
    for entry in entries:
        problem, secret, hash_tag, missing = None, None, None, False
        if entry.token_hash is not None and entry.token_env is None and entry.token_file is None:
            problem, hash_tag = _hashed(entry, environ, installation, marker)
        else:
            try:
                text = resolve_secret(entry, environ, installation.root)
            except Stage4Error as error:
                problem = problem_of(error, place)
                missing = error.code == "security.token_env_missing"
            else:
                secret = marker.secret(text)
        yield TokenFacts(
            service=service,
            token_id=entry.token_id,
            reference=_reference(entry),
            sources=sum(source is not None for source in (entry.token_env, entry.token_file, entry.token_hash)),
            scopes=entry.scopes,
            problem=problem,
            missing_variable=missing,
            secret=secret,
            hash_tag=hash_tag,
        )


def _hashed(
    entry: RbacToken, environ: Mapping[str, str], installation: Installation, marker: Marker
) -> tuple[Problem | None, str | None]:
    book = TokenBook.from_settings([entry], environ, installation.root)
    if book.unusable:
        bad = book.unusable[0]
        return problem_of(Unavailable(bad.reason, **bad.params), Place(installation.root)), None
    return None, marker.tag(book.tokens[0].secret_digest)


def _reference(entry: RbacToken) -> str:
    if entry.token_env is not None:
        return f"env:{entry.token_env}"
    if entry.token_file is not None:
        return f"file:{entry.token_file}"
    algorithm = (entry.token_hash or "").partition(":")[0]
    # Only a known name is shown, because somebody may have put the secret itself there.
    return f"hash:{algorithm}" if algorithm in HASHES else "hash"
