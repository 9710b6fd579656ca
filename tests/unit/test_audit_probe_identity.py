"""The certificate that a probe makes up: right in everything but its authority."""

from __future__ import annotations

import stat

import pytest
from cryptography import x509

from stage4.audit.probe_identity import foreign_pair
from stage4.security.certificate_chain import ChainReason, verify_chain
from stage4.security.certificate_facts import facts_of
from stage4.security.certificates import key_matches, load_certificates, load_private_key
from support.certificates import CLIENT, NOW, Made, make

CA = make("ca", ca=True)


def reason(leaf: x509.Certificate, anchor: x509.Certificate) -> ChainReason:
    return verify_chain(leaf, [], [anchor], purpose="client", host=None, now=NOW).reason


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(make("client", CA, eku=CLIENT, sans=("desk-1", "desk-2")), id="with names"),
        pytest.param(make("client", CA, eku=CLIENT), id="without names"),
        pytest.param(None, id="unreadable"),
    ],
)
def test_only_its_authority_is_wrong(client: Made | None) -> None:
    own = client.certificate if client else None
    with foreign_pair(own, NOW) as (certificate, key):
        leaf, authority = load_certificates(certificate)
        private = load_private_key(key)
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700

    assert key_matches(leaf, private)
    assert reason(leaf, authority) is ChainReason.VALID
    assert reason(leaf, CA.certificate) is not ChainReason.VALID
    if own is not None:
        assert (leaf.subject, leaf.issuer) == (own.subject, own.issuer)
        assert facts_of(leaf).sans == (facts_of(own).sans or ("DNS:stage4-client",))
    assert not certificate.parent.exists()


def test_nothing_is_left_when_the_probe_is_interrupted() -> None:
    pair = foreign_pair(None, NOW)
    certificate, _ = pair.__enter__()

    passed_on = pair.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    assert not passed_on
    assert not certificate.parent.exists()
