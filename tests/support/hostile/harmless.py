"""What looks odd and is right: the audit must not cry wolf, or nobody listens when it is one."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from support.certificates import crl_pem, revocation_list
from support.hostile.cases import Case, case
from support.hostile.ground import CRL, Ground
from support.hostile.pki import authority, leaf, listed, name, rsa_key

MIDDLE = name("Desk issuing CA")


def _windows(ground: Ground) -> None:
    for role in ("ca", "server", "client", "server-key", "client-key"):
        ground.put(role, ground.file(role).read_bytes().replace(b"\n", b"\r\n"))


def _issued_below(ground: Ground) -> None:
    middle = authority(MIDDLE, ground.pki.ca, path_length=0)
    ground.install("server", leaf("server", middle), middle)
    ground.list(ground.pki.crl, listed(middle))


def _rsa(ground: Ground) -> None:
    for side, bits in (("server", 2048), ("client", 3072)):
        ground.install(side, leaf(side, ground.pki.ca, key=rsa_key(bits)))


def _inside_constraints(ground: Ground) -> None:
    ca = authority(extensions=((x509.NameConstraints(None, [x509.DNSName("elsewhere.example")]), True),))
    ground.trust(ca)
    for side in ("server", "client"):
        ground.install(side, leaf(side, ca))
    ground.list(listed(ca))


def _binary_list(ground: Ground) -> None:
    (ground.root / CRL).write_bytes(revocation_list(ground.pki.ca).public_bytes(serialization.Encoding.DER))


def _revoked_stranger(ground: Ground) -> None:
    ground.list(crl_pem(revocation_list(ground.pki.ca, leaf("client", ground.pki.ca))))


def _next_pinned(ground: Ground) -> None:
    following = authority(name("Next CA"))
    ground.put("ca", ground.pki.ca, following)
    pin = f"sha256:{following.certificate.fingerprint(hashes.SHA256()).hex()}"
    served = f"sha256:{ground.pki.server.certificate.fingerprint(hashes.SHA256()).hex()}"
    ground.settings(lambda v: v["runtime"]["metrics_service"]["tls"].update(pinned_fingerprints=[served, pin]))


def _root_beside_issuer(ground: Ground) -> None:
    """Both are believed, and the way to the server ends at the first."""
    middle = authority(MIDDLE, ground.pki.ca, path_length=0)
    ground.put("ca", middle, ground.pki.ca)
    ground.install("server", leaf("server", middle))
    ground.list(ground.pki.crl, listed(middle))


def _modes(ground: Ground) -> None:
    for side in ("server", "client"):
        ground.file(f"{side}-key").chmod(0o400)
        ground.file(side).chmod(0o444)


HARMLESS: tuple[Case, ...] = (
    case("as-it-is", "nothing is done", lambda ground: None),
    case("windows", "the PEM files end their lines as on Windows", _windows),
    case("intermediate", "the server comes from an issuing CA, with its own list", _issued_below),
    case("rsa", "server and client have RSA keys", _rsa),
    case("constraints", "the CA must not name hosts of another domain", _inside_constraints),
    case("binary-list", "the revocation list is DER", _binary_list),
    case("revoked-stranger", "the list names another client", _revoked_stranger),
    case("ca-next-pinned", "the next CA stands beside the CA and is pinned in the settings", _next_pinned),
    case("ca-issuer-and-root", "an issuing CA is believed beside its root", _root_beside_issuer),
    case("read-only", "keys and certificates may be read only", _modes),
)
