"""A bundle that is accepted here works in gRPC: its server starts, and its client gets through."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent import futures
from datetime import datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stage4.clock import SystemClock
from stage4.security.certificate_chain import Purpose
from stage4.security.certificate_judgement import judge
from support.certificates import CLIENT, SERVER, Made, ec_key, key_pem, make, pem, rsa_key

DAY = timedelta(days=1)
NOW = SystemClock().now().replace(microsecond=0)
WITHIN = {"begins": NOW - DAY, "ends": NOW + 30 * DAY}
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
ELSEWHERE = x509.NameConstraints([x509.DNSName("elsewhere.example")], None)
NOBODYS = x509.AuthorityKeyIdentifier(b"\x02" * 20, None, None)
NOBODY = [x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")]))]
POLICY = x509.PolicyConstraints(0, None)
# What is changed in the leaf, and whether the certificate is accepted here.
LEAVES: Mapping[str, tuple[dict[str, object], bool]] = {
    "right": ({}, True),
    "P-384": ({"key": ec_key(ec.SECP384R1())}, True),
    "P-521": ({"key": ec_key(ec.SECP521R1())}, False),
    "Ed25519": ({"key": ed25519.Ed25519PrivateKey.generate()}, False),
    "RSA": ({"key": rsa_key(2048)}, True),
    "RSA with exponent 3": ({"key": rsa.generate_private_key(3, 2048)}, False),
    "no key usage": ({"usages": ()}, True),
    "no handshakes": ({"usages": ("key_encipherment",)}, False),
    "no key identifiers": ({"identifiers": False}, True),
    "an unknown critical extension": ({"extensions": [(UNKNOWN, True)]}, False),
    "an unknown extension": ({"extensions": [(UNKNOWN, False)]}, True),
    "expired": ({"begins": NOW - 3 * DAY, "ends": NOW - DAY}, False),
    "not yet valid": ({"begins": NOW + DAY}, False),
    "another purpose": ({"eku": (ExtendedKeyUsageOID.CODE_SIGNING,)}, False),
    "no purpose": ({"eku": ()}, False),
    "the key identifier of nobody": ({"aki": NOBODYS}, False),
    "the serial number of nobody's issuer": ({"aki": x509.AuthorityKeyIdentifier(None, NOBODY, 4711)}, False),
    "a critical AKI": ({"aki_critical": True}, False),
    "a critical SKI": ({"ski_critical": True}, False),
    "policy constraints": ({"extensions": [(POLICY, False)]}, False),
    "serial of twenty octets": ({"serial": (1 << 159) - 1}, True),
}
AUTHORITIES: Mapping[str, tuple[dict[str, object], bool]] = {
    "right": ({}, True),
    "no key usage": ({"usages": ()}, True),
    "constraints not critical": ({"constraints_critical": False}, True),
    "no key identifiers": ({"identifiers": False}, True),
    "P-521": ({"key": ec_key(ec.SECP521R1())}, True),
    "Ed25519": ({"key": ed25519.Ed25519PrivateKey.generate()}, False),
    "signs nothing": ({"usages": ("crl_sign",)}, False),
    "for other names": ({"extensions": [(ELSEWHERE, True)]}, False),
    "for other names, not critical": ({"extensions": [(ELSEWHERE, False)]}, False),
    "expired": ({"begins": NOW - 3 * DAY, "ends": NOW - DAY}, False),
    "any purpose": ({"eku": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, False),
    "both purposes": ({"eku": (*SERVER, *CLIENT)}, True),
    "the key identifier of nobody": ({"aki": NOBODYS}, False),
    "a critical AKI": ({"aki_critical": True}, False),
    "a critical SKI": ({"ski_critical": True}, False),
}


def leaf(role: Purpose, ca: Made, **wrong: object) -> Made:
    right: dict[str, object] = {"eku": SERVER if role == "server" else CLIENT, "sans": ("localhost",), **WITHIN}
    return make(role, ca, **{**right, **wrong})  # type: ignore[arg-type]


def authority(issuer: Made | None = None, **wrong: object) -> Made:
    return make("ca" if issuer is None else "middle", issuer, ca=True, **{**WITHIN, **wrong})  # type: ignore[arg-type]


def accepted(made: Made, role: Purpose, anchor: Made, beside: tuple[Made, ...], now: datetime) -> bool:
    judgement = judge(
        made.certificate,
        [],
        [anchor.certificate],
        [],
        purpose=role,
        host="localhost",
        now=now,
        together=[each.certificate for each in beside],
    )
    return not judgement.failed


def connects(anchor: Made, server: Made, client: Made, beside: tuple[Made, ...] = ()) -> bool:
    """Whether a client gets as far as being told that there is no such method."""
    trusted, above = pem(anchor.certificate), b"".join(pem(each.certificate) for each in beside)
    identities = [(key_pem(server.key), pem(server.certificate) + above)]
    service = grpc.server(futures.ThreadPoolExecutor(1))
    try:
        port = service.add_secure_port("localhost:0", grpc.ssl_server_credentials(identities, trusted, True))
    except RuntimeError:
        return False
    service.start()
    credentials = grpc.ssl_channel_credentials(trusted, key_pem(client.key), pem(client.certificate) + above)
    try:
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            channel.unary_unary("/nothing/here")(b"", timeout=10)
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNIMPLEMENTED
    finally:
        service.stop(None)
    return True


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("wrong", LEAVES)
def test_a_leaf_that_is_accepted_connects(role: Purpose, wrong: str) -> None:
    changes, expected = LEAVES[wrong]
    ca = authority()
    made = {"server": leaf("server", ca), "client": leaf("client", ca), role: leaf(role, ca, **changes)}

    assert accepted(made[role], role, ca, (), NOW) is expected
    assert connects(ca, made["server"], made["client"]) or not expected


@pytest.mark.parametrize("between", [False, True], ids=["anchor", "intermediate"])
@pytest.mark.parametrize("wrong", AUTHORITIES)
def test_leaves_of_an_authority_that_is_accepted_connect(between: bool, wrong: str) -> None:
    changes, expected = AUTHORITIES[wrong]
    anchor = authority() if between else authority(**changes)
    beside = (authority(anchor, **changes),) if between else ()
    issuer = beside[0] if between else anchor
    server, client = leaf("server", issuer), leaf("client", issuer)

    assert accepted(server, "server", anchor, beside, NOW) is expected
    assert accepted(client, "client", anchor, beside, NOW) is expected
    assert connects(anchor, server, client, beside) or not expected


def test_an_anchor_that_is_no_root_is_accepted_and_connects() -> None:
    middle = authority(authority())
    server, client = leaf("server", middle), leaf("client", middle)

    assert accepted(server, "server", middle, (), NOW)
    assert accepted(client, "client", middle, (), NOW)
    assert connects(middle, server, client)
