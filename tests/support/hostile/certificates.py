"""The certificate of a server or a client: its time, role, issuer, name and key; each row is tried on both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.certificates import CLIENT, NOW, SERVER, Made
from support.hostile import der
from support.hostile.cases import Case, case
from support.hostile.ground import Ground
from support.hostile.pki import (
    ANY_PURPOSE,
    AUTHORITY_ENDS,
    DAY,
    DEMO,
    ISSUED,
    LEAVES_END,
    NAMES,
    OTHER,
    ROOT,
    SECOND,
    alternative,
    authority,
    leaf,
    name,
    rsa_key,
)
from support.hostile.sides import Row, lasting, rewritten, right_but, sided

TIMES: tuple[Row, ...] = (
    (
        "expired",
        "ended yesterday",
        lasting(ISSUED, NOW - DAY),
        ("X509-07 fail cert.expired", "CHAIN fail security.chain_expired"),
    ),
    (
        "expired-a-second-ago",
        "ended a second ago",
        lasting(ISSUED, NOW - SECOND),
        ("X509-07 fail cert.expired", "CHAIN fail security.chain_expired"),
    ),
    ("ends-now", "this second is its last", lasting(ISSUED, NOW), ("X509-08 fail audit.expires_now",)),
    (
        "begins-in-a-second",
        "begins in a second",
        lasting(NOW + SECOND, LEAVES_END),
        ("X509-07 fail cert.not_yet_valid", "CHAIN fail security.chain_not_yet_valid"),
    ),
    (
        "begins-next-year",
        "begins in a year",
        lasting(NOW + 365 * DAY, NOW + 465 * DAY),
        ("X509-07 fail cert.not_yet_valid", "CHAIN fail security.chain_not_yet_valid"),
    ),
    (
        "reversed",
        "ends before it begins",
        rewritten(der.validity(NOW + DAY, NOW - DAY)),
        ("X509-07 fail cert.validity_reversed", "CHAIN fail"),
    ),
    ("ends-in-two-days", "ends in two days", lasting(ISSUED, NOW + 2 * DAY), ("X509-08 fail audit.expires_now",)),
    ("ends-in-ten-days", "ends in ten days", lasting(ISSUED, NOW + 10 * DAY), ("X509-08 warn audit.expires_soon",)),
    (
        "short-life",
        "lives too short",
        lasting(ISSUED, NOW + 50 * DAY),
        ("X509-13 warn audit.short_life",),
    ),
    (
        "outlives-ca",
        "outlives its CA by a second",
        lasting(ISSUED, AUTHORITY_ENDS + SECOND),
        ("X509-08 warn cert.outlives_issuer",),
    ),
)

ROLES: tuple[Row, ...] = (
    (
        "other-purpose",
        "made for the other side",
        lambda side, ground: leaf(side, ground.pki.ca, eku={"server": CLIENT, "client": SERVER}[side]),
        ("CHAIN fail security.chain_wrong_purpose",),
    ),
    ("both-purposes", "made for both sides", right_but(eku=(*SERVER, *CLIENT)), ("X509-06 fail cert.both_purposes",)),
    ("any-purpose", "made for anything", right_but(eku=(ANY_PURPOSE,)), ("X509-06 fail cert.any_purpose",)),
    (
        "own-and-any-purpose",
        "made for its side and for anything",
        lambda side, ground: leaf(
            side, ground.pki.ca, eku=({"server": SERVER, "client": CLIENT}[side] + (ANY_PURPOSE,))
        ),
        ("X509-06 fail cert.any_purpose",),
    ),
    ("no-purpose", "no extended key usage", right_but(eku=()), ("X509-06 fail cert.any_purpose",)),
    (
        "code-signing",
        "made for signing code",
        right_but(eku=(ExtendedKeyUsageOID.CODE_SIGNING,)),
        ("CHAIN fail security.chain_wrong_purpose",),
    ),
    (
        "leaf-is-ca",
        "is a CA itself",
        right_but(ca=True, usages=("digital_signature", "key_cert_sign")),
        ("X509-06 fail cert.leaf_is_ca", "CHAIN fail security.chain_leaf_is_ca"),
    ),
    (
        "signs-certificates",
        "may sign certificates",
        right_but(usages=("digital_signature", "key_cert_sign")),
        ("X509-06 fail cert.leaf_signs_certificates", "CHAIN fail security.chain_key_usage"),
    ),
    (
        "signs-lists",
        "may sign revocation lists",
        right_but(usages=("digital_signature", "crl_sign")),
        ("X509-06 warn cert.leaf_signs_lists",),
    ),
    (
        "encipherment-only",
        "may not sign a handshake",
        right_but(usages=("key_encipherment",)),
        ("X509-06 fail cert.no_digital_signature", "CHAIN fail security.chain_key_usage"),
    ),
    ("no-key-usage", "no key usage", right_but(usages=()), ("X509-06 warn cert.no_key_usage",)),
    (
        "self-signed",
        "signed by its own key",
        lambda side, ground: leaf(side, None),
        ("X509-06 fail cert.self_signed", "CHAIN fail security.chain_unknown_issuer"),
    ),
    ("named-as-ca", "bears the name of its CA", right_but(subject=ROOT), ("X509-06 warn cert.self_issued",)),
    (
        "demo",
        "comes from the demonstration's CA",
        lambda side, ground: leaf(side, authority(DEMO)),
        ("X509-11 fail audit.demo_certificate", "CHAIN fail security.chain_unknown_issuer"),
    ),
)


def _foreign(side: str, ground: Ground) -> Made:
    return leaf(side, authority(name("Other CA")))


def _namesake(side: str, ground: Ground) -> Made:
    return leaf(side, authority())


def _same_identifier(side: str, ground: Ground) -> Made:
    """Issued under the name and the key identifier of the CA, by another key."""
    forger = authority()
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(ground.pki.ca.key.public_key())
    extensions = (alternative(*NAMES[side]), (identifier, False))
    return leaf(side, forger, extensions=extensions, identifiers=False)


ISSUERS: tuple[Row, ...] = (
    ("foreign", "issued by another CA", _foreign, ("CHAIN fail security.chain_unknown_issuer",)),
    ("namesake", "issued by another CA of the same name", _namesake, ("CHAIN fail security.chain_unknown_issuer",)),
    (
        "same-identifier",
        "issued by another key under the CA's name and key identifier",
        _same_identifier,
        ("CHAIN fail security.chain_bad_signature",),
    ),
    (
        "altered",
        "a bit of its signature is another",
        lambda side, ground: der.broken_signature(ground.pki.of(side)),
        ("CHAIN fail security.chain_bad_signature",),
    ),
    (
        "issued-by-the-other",
        "issued by the certificate of the other side",
        lambda side, ground: leaf(side, ground.pki.of(OTHER[side])),
        ("CHAIN fail security.chain_unknown_issuer",),
    ),
)


def _most_of_life(side: str) -> Case:
    def spoil(ground: Ground) -> None:
        ground.install(side, leaf(side, ground.pki.ca, begins=NOW - 74 * DAY, ends=NOW + 20 * DAY))
        ground.rotated(side, NOW - 74 * DAY)

    return case(f"time-{side}-life-used", f"{side}: 79 % of its life is over", spoil, "X509-08 warn audit.life_used")


HOST = "X509-04 fail security.chain_wrong_host"
# What a server's certificate names although it is reached as 127.0.0.1.
HOSTS: tuple[tuple[str, str, Callable[[Ground], Made], tuple[str, ...]], ...] = (
    ("elsewhere", "names another host", lambda g: leaf("server", g.pki.ca, "desk.example"), (HOST,)),
    ("other-address", "names another address", lambda g: leaf("server", g.pki.ca, "127.0.0.2"), (HOST,)),
    (
        "single-label",
        "names localhost, and is reached by its address",
        lambda g: leaf("server", g.pki.ca, "localhost"),
        (HOST,),
    ),
    ("wildcard", "names every host of a domain", lambda g: leaf("server", g.pki.ca, "*.desk.example"), (HOST,)),
    ("star", "names everything", lambda g: leaf("server", g.pki.ca, "*"), ("X509-04 fail",)),
    (
        "address-as-name",
        "spells its address as a DNS name",
        lambda g: leaf(
            "server", g.pki.ca, extensions=((x509.SubjectAlternativeName([x509.DNSName("127.0.0.1")]), False),)
        ),
        ("X509-04 fail",),
    ),
    (
        "address-as-uri",
        "spells its address as a URI",
        lambda g: leaf(
            "server",
            g.pki.ca,
            extensions=((x509.SubjectAlternativeName([x509.UniformResourceIdentifier("https://127.0.0.1")]), False),),
        ),
        (HOST,),
    ),
    (
        "common-name-only",
        "has its name in the subject only",
        lambda g: leaf("server", g.pki.ca, subject=name("127.0.0.1"), extensions=()),
        ("X509-04 fail", "X509-13 warn cert.no_san"),
    ),
    (
        "no-name",
        "names nothing",
        lambda g: leaf("server", g.pki.ca, extensions=()),
        ("X509-04 fail", "X509-13 warn cert.no_san"),
    ),
)


def _swapped(ground: Ground) -> None:
    ground.install("server", ground.pki.client)
    ground.install("client", ground.pki.server)


def _swapped_keys(ground: Ground) -> None:
    ground.put_key("server", ground.pki.client)
    ground.put_key("client", ground.pki.server)


def _shared_key(ground: Ground) -> None:
    ground.install("client", leaf("client", ground.pki.ca, key=ground.pki.server.key))


def _of_ca(side: str) -> Callable[[Ground], None]:
    return lambda ground: ground.install(side, leaf(side, ground.pki.ca, key=ground.pki.ca.key))


def _other_key(side: str) -> Callable[[Ground], None]:
    return lambda ground: ground.put_key(side, leaf(side, ground.pki.ca))


def _wrong_keys() -> Iterator[Case]:
    differs = "X509-03 fail audit.key_differs"
    for side in ("server", "client"):
        yield case(f"key-{side}-other", f"{side}: a key that is not its own", _other_key(side), differs)
        yield case(
            f"key-{side}-other-kind",
            f"{side}: an RSA key beside an EC certificate",
            lambda ground, side=side: ground.put_key(side, leaf(side, ground.pki.ca, key=rsa_key())),
            differs,
        )
        yield case(
            f"key-{side}-of-ca", f"{side}: runs on the key of the CA", _of_ca(side), "X509-06 fail audit.key_shared"
        )
    yield case("key-swapped", "server and client have each other's key", _swapped_keys, differs)
    yield case("key-shared", "server and client share a key", _shared_key, "X509-06 fail audit.key_shared")
    yield case(
        "roles-swapped",
        "server and client have each other's certificate and key",
        _swapped,
        "X509-04 fail security.chain_wrong_purpose",
        "X509-05 fail security.chain_wrong_purpose",
    )
    yield case(
        "client-is-server",
        "the client shows the server's certificate",
        lambda ground: ground.install("client", ground.pki.server),
        "X509-05 fail security.chain_wrong_purpose",
        "X509-06 fail audit.key_shared",
    )


CASES = (
    *sided("time", TIMES),
    *(_most_of_life(side) for side in ("server", "client")),
    *sided("role", ROLES),
    *sided("issuer", ISSUERS),
    *(
        case(f"name-server-{row}", f"server: {what}", lambda g, make=make: g.install("server", make(g)), *expected)
        for row, what, make, expected in HOSTS
    ),
    case(
        "name-client-none",
        "client: names nothing",
        lambda ground: ground.install("client", leaf("client", ground.pki.ca, extensions=())),
        "X509-13 warn cert.no_san",
    ),
    *_wrong_keys(),
)
