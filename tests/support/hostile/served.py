"""What a probe sees of a service that is not what its files say; the connections themselves are tested elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cryptography.hazmat.primitives import hashes

from stage4.audit.evidence_live import Live, ServedLeaf
from support import live
from support.hostile.cases import Case, case
from support.hostile.ground import Ground
from support.hostile.pki import leaf

Key = tuple[str, str]


def _seen(seen: Live, *, stale: bool = False) -> Callable[[Ground], None]:
    """A probe of the running service saw this; with `stale` it was served a certificate that is not on disk."""

    def spoil(ground: Ground) -> None:
        served = leaf("server", ground.pki.ca) if stale else ground.pki.server
        certificate = served.certificate
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        shown = ServedLeaf(fingerprint, certificate.not_valid_before_utc, certificate.not_valid_after_utc)
        attempts = (replace(each, served=shown) if each.served else each for each in seen.attempts)
        ground.live = replace(seen, attempts=tuple(attempts))

    return spoil


def _door(name: str, what: str, key: Key, outcome: str, expected: str) -> Case:
    return case(f"served-{name}", what, _seen(live.seen({key: outcome})), expected)


def _call(name: str, what: str, shown: str, status: str, expected: str) -> Case:
    return case(f"served-{name}", what, _seen(live.seen(calls={shown: status})), expected)


CASES: tuple[Case, ...] = (
    case(
        "served-nothing",
        "nobody listens",
        _seen(live.without_control("refused")),
        "LIVE-01 unknown probe.nobody_listens",
        "LIVE-02 unknown",
    ),
    case("served-hangs", "the service hangs", _seen(live.without_control("timeout")), "LIVE-01 unknown probe.hangs"),
    case(
        "served-another",
        "something else answers",
        _seen(live.without_control("other bytes")),
        "LIVE-01 unknown probe.another_service",
    ),
    case(
        "served-shut",
        "the good certificate is turned away",
        _seen(live.without_control()),
        "LIVE-01 unknown probe.shut",
    ),
    _call(
        "token-refused", "the good token is refused", "token", "UNAUTHENTICATED", "LIVE-01 unknown probe.call_failed"
    ),
    _door(
        "no-certificate-12",
        "no certificate is needed over TLS 1.2",
        ("no_certificate", "TLSv1.2"),
        "settings",
        "LIVE-02 fail probe.uncertified_in",
    ),
    _door(
        "no-certificate-13",
        "no certificate is needed over TLS 1.3",
        ("no_certificate", "TLSv1.3"),
        "settings",
        "LIVE-02 fail probe.uncertified_in",
    ),
    _door(
        "no-certificate-hangs",
        "who shows no certificate is kept waiting",
        ("no_certificate", "TLSv1.3"),
        "timeout",
        "LIVE-02 unknown probe.unclear",
    ),
    _door(
        "foreign", "a certificate of another CA gets in", ("foreign_certificate", "TLSv1.3"), "settings", "LIVE-03 fail"
    ),
    _door(
        "server-as-client",
        "the server's certificate gets in as a client's",
        ("server_certificate", "TLSv1.2"),
        "settings",
        "LIVE-03 fail",
    ),
    _call("no-token", "a call without a token is answered", "no_token", "OK", "LIVE-04 fail probe.no_token_admitted"),
    _call("wrong-token", "a made-up token is taken", "wrong_token", "OK", "LIVE-04 fail probe.wrong_token_admitted"),
    _call(
        "lesser-token",
        "a token without the scope is taken",
        "token_without_scope",
        "OK",
        "LIVE-04 fail probe.lesser_token_admitted",
    ),
    _door(
        "plaintext",
        "plain text is answered",
        ("nothing", "plaintext"),
        "settings",
        "LIVE-05 fail probe.plaintext_spoken",
    ),
    case(
        "served-tls-10",
        "TLS 1.0 is spoken",
        _seen(live.seen({("certificate", "TLSv1"): "eof"}, negotiated="TLSv1")),
        "LIVE-05 fail probe.old_spoken",
    ),
    case(
        "served-tls-11",
        "TLS 1.1 is spoken",
        _seen(live.seen({("certificate", "TLSv1.1"): "settings"})),
        "LIVE-05 fail probe.old_spoken",
    ),
    case(
        "served-stale",
        "the certificate that was replaced is still served",
        _seen(live.LIVE, stale=True),
        "LIVE-06 fail probe.leaf_stale",
    ),
    case(
        "served-none",
        "no certificate was seen",
        _seen(live.seen({(a.shown, a.protocol): a.outcome for a in live.LIVE.attempts}, served=None)),
        "LIVE-06 unknown probe.no_leaf",
    ),
)
