"""
Bearer tokens of services and what each of them may do.

Fails closed: a token without scopes grants nothing, a scope we do not know grants nothing, there is no
wildcard, and a token whose secret cannot be resolved grants nothing and is named in `TokenBook.unusable`.
Secrets are kept as digests only, and every presented value is compared with all of them in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stage4 import files
from stage4.config.settings import MetricsService, RbacToken
from stage4.errors import Refused, Unavailable

SCHEDULE_READ: Final = "runtime.schedule.read"
SCHEDULE_WRITE: Final = "runtime.schedule.write"
METRICS_READ: Final = "metrics.read"
RISK_READ: Final = "risk.read"
ALERTS_WRITE: Final = "alerts.write"
INCIDENTS_READ: Final = "incidents.read"
INCIDENTS_WRITE: Final = "incidents.write"
OVERRIDES_WRITE: Final = "overrides.write"
SCOPES: Final = frozenset(
    {
        SCHEDULE_READ,
        SCHEDULE_WRITE,
        METRICS_READ,
        RISK_READ,
        ALERTS_WRITE,
        INCIDENTS_READ,
        INCIDENTS_WRITE,
        OVERRIDES_WRITE,
    }
)
HASHES: Final = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512"})
_SECRET_LIMIT: Final = 4096


@dataclass(frozen=True, slots=True)
class Token:
    """A token by the digest of its secret; with `san` it counts only from a peer whose certificate has that SAN."""

    token_id: str
    algorithm: str
    secret_digest: bytes = field(repr=False)
    scopes: frozenset[str]
    san: str | None = None


@dataclass(frozen=True, slots=True)
class UnusableToken:
    """A configured token that grants nothing, and why; `reason` is a catalogue code."""

    token_id: str
    reason: str
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Grant:
    """What a presented token was good for."""

    token_id: str
    scope: str


@dataclass(frozen=True, slots=True)
class TokenBook:
    """The tokens one service accepts."""

    tokens: tuple[Token, ...]
    unusable: tuple[UnusableToken, ...] = ()

    @classmethod
    def from_settings(cls, settings: Sequence[RbacToken], environ: Mapping[str, str], root: Path) -> TokenBook:
        """Resolve every token of `settings`; files are relative to `root`. Never raises: see `unusable`."""
        tokens: list[Token] = []
        unusable: list[UnusableToken] = []
        for entry in settings:
            try:
                algorithm, digest = _resolve(entry, environ, root)
            except Unavailable as error:
                unusable.append(UnusableToken(entry.token_id, error.code, error.params))
            else:
                scopes = frozenset(entry.scopes) & SCOPES
                tokens.append(Token(entry.token_id, algorithm, digest, scopes, entry.san))
        return cls(tuple(tokens), tuple(unusable))

    def authorize(self, presented: str | None, scope: str, peer_names: frozenset[str] = frozenset()) -> Grant:
        """
        The grant that `presented` (without `Bearer `) has for `scope`.

        `peer_names` are the SANs of the peer's verified certificate. Raises Refused `security.token_missing`,
        `security.token_unknown`, `security.token_wrong_peer` or `security.scope_missing`.
        """
        if not presented:
            raise Refused("security.token_missing", scope=scope)
        secret = presented.encode("utf-8", "surrogatepass")
        matching = [token for token in self.tokens if _same(token, secret)]
        if not matching:
            raise Refused("security.token_unknown", scope=scope)
        at_home = [token for token in matching if token.san is None or token.san in peer_names]
        if not at_home:
            raise Refused("security.token_wrong_peer", token_id=matching[0].token_id)
        for token in at_home:
            if scope in token.scopes:
                return Grant(token.token_id, scope)
        raise Refused("security.scope_missing", token_id=at_home[0].token_id, scope=scope)


def service_token(service: MetricsService) -> RbacToken | None:
    """The service's own shared token (`auth_token_env` or `auth_token_file`), which may read metrics only."""
    if service.auth_token_env is None and service.auth_token_file is None:
        return None
    return RbacToken(
        token_id="metrics-service",
        token_env=service.auth_token_env,
        token_file=service.auth_token_file,
        scopes=(METRICS_READ,),
    )


def bearer(header: str | None) -> str | None:
    """The token in an `authorization` header value `Bearer ...` (RFC 6750), else None."""
    scheme, _, value = (header or "").partition(" ")
    return value.strip() or None if scheme.lower() == "bearer" else None


def resolve_secret(entry: RbacToken, environ: Mapping[str, str], root: Path) -> str:
    """
    The secret itself, for a client that presents it.

    Raises Unavailable `security.token_sources`, `security.token_env_missing`, `security.token_blank`,
    `security.token_hash_only` or `files.*`.
    """
    sources = [name for name in (entry.token_env, entry.token_file, entry.token_hash) if name is not None]
    if len(sources) != 1:
        raise Unavailable("security.token_sources", token_id=entry.token_id, n=len(sources))
    if entry.token_hash is not None:
        raise Unavailable("security.token_hash_only", token_id=entry.token_id)
    if entry.token_env is not None:
        secret = environ.get(entry.token_env)
        if secret is None:
            raise Unavailable("security.token_env_missing", token_id=entry.token_id, variable=entry.token_env)
    else:
        content = files.read_limited(root / (entry.token_file or ""), _SECRET_LIMIT)
        secret = content.decode("utf-8", "surrogateescape")
    if not secret.strip():
        raise Unavailable("security.token_blank", token_id=entry.token_id)
    return secret.strip()


def _resolve(entry: RbacToken, environ: Mapping[str, str], root: Path) -> tuple[str, bytes]:
    if entry.token_hash is None or entry.token_env is not None or entry.token_file is not None:
        secret = resolve_secret(entry, environ, root)
        return "sha256", hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
    algorithm, _, digits = entry.token_hash.partition(":")
    try:
        digest = bytes.fromhex(digits)
    except ValueError:
        digest = b""
    if algorithm not in HASHES or len(digest) != hashlib.new(algorithm).digest_size:
        raise Unavailable("security.token_hash_bad", token_id=entry.token_id, accepted=", ".join(sorted(HASHES)))
    return algorithm, digest


def _same(token: Token, secret: bytes) -> bool:
    return hmac.compare_digest(hashlib.new(token.algorithm, secret).digest(), token.secret_digest)
