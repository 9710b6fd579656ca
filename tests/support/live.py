"""What a probe of a healthy service saw, made by hand, and ways to make it see something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from stage4.audit.evidence_live import Attempt, Call, Live, ServedLeaf

TARGET = "127.0.0.1:8741"
LEAF = ServedLeaf("b" * 64, datetime(2026, 11, 13, 9, 42, tzinfo=UTC), datetime(2027, 3, 13, 9, 42, tzinfo=UTC))
STRANGERS = ("no_certificate", "foreign_certificate", "server_certificate")
CURRENT = ("TLSv1.3", "TLSv1.2")
Key = tuple[str, str]  # what was shown, over which protocol


def _stranger(shown: str, protocol: str) -> Attempt:
    # grpcio closes without an alert; over TLS 1.3 our side of the handshake is finished by then.
    if protocol == "TLSv1.3":
        return Attempt(shown, protocol, "eof", 1.9, "TLSv1.3", LEAF)
    return Attempt(shown, protocol, "eof", 1.4)


LIVE = Live(
    TARGET,
    configured=True,
    attempts=(
        *(Attempt("certificate", version, "settings", 3.9, version, LEAF) for version in CURRENT),
        *(_stranger(shown, version) for shown in STRANGERS for version in CURRENT),
        Attempt("nothing", "plaintext", "reset", 1.0),
        *(Attempt("certificate", version, "alert:protocol_version", 1.2) for version in ("TLSv1.1", "TLSv1")),
        Attempt("certificate_again", "TLSv1.3", "settings", 3.8, "TLSv1.3", LEAF),
    ),
    calls=(
        Call("token", "OK", 12.0),
        Call("no_token", "UNAUTHENTICATED", 5.0),
        Call("wrong_token", "UNAUTHENTICATED", 5.0),
        Call("token_without_scope", "PERMISSION_DENIED", 5.0),
    ),
)
GOOD_KEYS = tuple(("certificate", version) for version in CURRENT)


def seen(outcomes: Mapping[Key, str] | None = None, calls: Mapping[str, str] | None = None, **changes: object) -> Live:
    """Healthy but for these outcomes and statuses; `changes` are fields of the attempts that `outcomes` names."""
    named, said = outcomes or {}, calls or {}
    unknown = named.keys() - {(a.shown, a.protocol) for a in LIVE.attempts}
    assert not unknown, unknown
    return replace(
        LIVE,
        attempts=tuple(
            replace(a, outcome=named[a.shown, a.protocol], **changes) if (a.shown, a.protocol) in named else a  # type: ignore[arg-type]
            for a in LIVE.attempts
        ),
        calls=tuple(replace(call, status=said.get(call.shown, call.status)) for call in LIVE.calls),
    )


def without_control(outcome: str = "eof", outcomes: Mapping[Key, str] | None = None) -> Live:
    """The good certificate does not get in either, and nothing was called."""
    shut = seen({**dict.fromkeys(GOOD_KEYS, outcome), **(outcomes or {})})
    return replace(
        shut,
        attempts=tuple(a for a in shut.attempts if a.shown != "certificate_again"),
        calls=tuple(Call(call.shown, "not tried") for call in shut.calls[:3]),
    )
