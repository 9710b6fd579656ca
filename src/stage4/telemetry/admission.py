"""Who may call the metrics service: deny by default, one decision for every call.

A caller needs a token with the scope, presented as `authorization: Bearer ...` or `x-bot-auth`. TLS has verified the
certificate before, its purpose included (RFC 5280, 4.2.1.12); here it is the identity that a token may be bound to
(the idea of RFC 8705).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence

from stage4.errors import Refused
from stage4.security import mtls, tokens
from stage4.security.tokens import Grant, TokenBook

Metadata = Sequence[tuple[str, str | bytes]]

NONCE_HEADER = "x-stage4-echo-nonce"
ECHO_HEADER = "x-stage4-received"
TOKEN_HEADER = "x-stage4-token-id"
_UNAUTHENTICATED = {"security.token_missing", "security.token_unknown"}


def admit(book: TokenBook, metadata: Metadata, peer: Mapping[str, Iterable[bytes]], scope: str) -> Grant:
    """The caller's grant; raises Refused `security.token_*` or `security.scope_missing`.

    `peer` is the `auth_context()` of the call.
    """
    return book.authorize(presented_token(metadata), scope, mtls.peer_names(peer))


def presented_token(metadata: Metadata) -> str | None:
    """The token among the headers; one that stands twice with different values is no token."""
    found = {tokens.bearer(_text(value)) for key, value in metadata if key == "authorization"}
    found |= {_text(value) or None for key, value in metadata if key == "x-bot-auth"}
    found.discard(None)
    return found.pop() if len(found) == 1 else None


def is_unauthenticated(refusal: Refused) -> bool:
    """True: who is it? (UNAUTHENTICATED); False: known, but may not (PERMISSION_DENIED)."""
    return refusal.code in _UNAUTHENTICATED


def fingerprint(key: bytes, value: str | bytes) -> str:
    """A short HMAC-SHA256 of a header's value, so that two values can be compared without being shown."""
    content = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
    return hmac.new(key, content, hashlib.sha256).hexdigest()[:16]


def echo(metadata: Metadata) -> tuple[tuple[str, str], ...]:
    """What this server received, for a caller that sent a nonce: header names and fingerprints under that nonce."""
    nonce = next((_text(value) for key, value in metadata if key == NONCE_HEADER), "")
    if not nonce:
        return ()
    key = nonce.encode("utf-8", "surrogateescape")
    received = [(name, value) for name, value in metadata if name != NONCE_HEADER]
    return tuple((ECHO_HEADER, f"{name}={fingerprint(key, value)}") for name, value in received)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
