"""The certificates of a desk: a CA of its own, a server, a client, and what each would be with one thing wrong."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stage4.security.demo_pki import DEMO_ORGANISATION
from support.certificates import CLIENT, NOW, SERVER, Made, crl_pem, make, revocation_list

DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
ISSUED = NOW - 10 * DAY
LEAVES_END = NOW + 110 * DAY
AUTHORITY_ENDS = NOW + 300 * DAY
ANY_PURPOSE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
Side = Literal["server", "client"]
PURPOSE: Mapping[str, tuple[x509.ObjectIdentifier, ...]] = {"server": SERVER, "client": CLIENT}
NAMES: Mapping[str, tuple[str, ...]] = {"server": ("localhost", "127.0.0.1"), "client": ("stage4-client",)}
OTHER: Mapping[str, Side] = {"server": "client", "client": "server"}


def name(common_name: str, organisation: str = "Desk") -> x509.Name:
    of = x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)
    return x509.Name([of, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


ROOT = name("Desk CA")
DEMO = name("core-oem CA", DEMO_ORGANISATION)


def alternative(*names: str, critical: bool = False) -> tuple[x509.SubjectAlternativeName, bool]:
    """A subject alternative name of these hosts and addresses."""
    return x509.SubjectAlternativeName([_general(each) for each in names]), critical


def _general(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def authority(subject: x509.Name = ROOT, issuer: Made | None = None, **changes: Any) -> Made:
    """A CA as it should be, but for `changes` (arguments of `certificates.make`)."""
    right = {"ca": True, "begins": ISSUED, "ends": AUTHORITY_ENDS, "subject": subject}
    return make("", issuer, **(right | changes))


def leaf(side: str, issuer: Made | None, *names: str, **changes: Any) -> Made:
    """A server's or client's certificate as it should be, but for `changes`; `names` in place of the right ones."""
    right: dict[str, Any] = {
        "eku": PURPOSE[side],
        "extensions": (alternative(*(names or NAMES[side])),),
        "begins": ISSUED,
        "ends": LEAVES_END,
        "subject": name(f"desk {side}"),
    }
    return make("", issuer, **(right | changes))


@dataclass(frozen=True, slots=True)
class Pki:
    """What the clean installation runs on."""

    ca: Made
    server: Made
    client: Made
    crl: bytes

    @classmethod
    def make(cls, begins: datetime = ISSUED) -> Pki:
        ca = authority(begins=begins)
        server, client = (leaf(side, ca, begins=begins) for side in ("server", "client"))
        return cls(ca, server, client, listed(ca))

    def of(self, side: str) -> Made:
        return {"ca": self.ca, "server": self.server, "client": self.client}[side]


def listed(issuer: Made, *revoked: Made, **changes: Any) -> bytes:
    """A revocation list as PEM."""
    return crl_pem(revocation_list(issuer, *revoked, **changes))


@cache
def rsa_key(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    """Made once for all cases: it takes long."""
    return rsa.generate_private_key(exponent, bits)
