"""What `openssl verify` refuses is not accepted here: some hundred chains with faults that are drawn."""

from __future__ import annotations

import ipaddress
import random
import subprocess
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stage4.security.certificate_chain import Purpose
from stage4.security.certificate_judgement import judge
from support.certificates import NOW, key_usage, pem
from support.programs import tool

Key = ec.EllipticCurvePrivateKey
DAY = timedelta(days=1)
CHAINS_A_SEED = 60
PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
# Fixed, so that a seed always makes the same chains but for their signatures.
KEYS = [ec.derive_private_key(number, ec.SECP256R1()) for number in range(1001, 1007)]
STRANGER = KEYS[-1]
SUBTREES: tuple[x509.GeneralName, ...] = (
    x509.DNSName("example.com"),
    x509.DNSName("bad.example.com"),
    x509.DNSName("localhost"),
    x509.DNSName(""),
    x509.IPAddress(ipaddress.ip_network("127.0.0.0/8")),
    x509.RFC822Name("example.com"),
    x509.UniformResourceIdentifier(".example.com"),
    x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])),
)
NAMES: tuple[tuple[x509.GeneralName, ...], ...] = (
    (x509.DNSName("a.example.com"),),
    (x509.DNSName("*.example.com"),),
    (x509.DNSName("A.EXAMPLE.COM"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
    (x509.DNSName("a.example.com"), x509.DNSName("bad.example.com")),
    (x509.DNSName("a.example.com"), x509.RFC822Name("x@evil.example")),
    (x509.DNSName("a.example.com"), x509.UniformResourceIdentifier("spiffe://evil.example/x")),
    (x509.IPAddress(ipaddress.ip_address("127.0.0.1")),),
)


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])


@dataclass
class Maker:
    """Draws certificates, most parts of them right."""

    draw: random.Random
    purpose: Purpose
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str, chance: float) -> bool:
        if self.draw.random() >= chance:
            return False
        self.faults.append(what)
        return True

    def certificate(
        self,
        subject: str,
        issuer: str,
        key: ec.EllipticCurvePrivateKey,
        signer: ec.EllipticCurvePrivateKey,
        *,
        ca: bool,
    ) -> x509.Certificate:
        away = 2 * DAY if self.fault("not yet valid", 0.01) else -91 * DAY if self.fault("expired", 0.01) else 0 * DAY
        builder = (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(self.draw.getrandbits(100) + 1)
            .not_valid_before(NOW - DAY + away)
            .not_valid_after(NOW + 90 * DAY + away)
        )
        for extension, critical in (
            *(self.of_authority() if ca else self.of_leaf()),
            *self.of_policies(),
            *self.identifiers(key, signer),
        ):
            builder = builder.add_extension(extension, critical)
        return builder.sign(STRANGER if self.fault("signed by another", 0.02) else signer, hashes.SHA256())

    def of_authority(self) -> list[tuple[x509.ExtensionType, bool]]:
        found: list[tuple[x509.ExtensionType, bool]] = []
        if not self.fault("no constraints", 0.02):
            is_ca, length = not self.fault("no CA", 0.02), self.draw.choice((None, None, None, 0, 1))
            constraints = x509.BasicConstraints(is_ca, length if is_ca else None)
            found.append((constraints, not self.fault("constraints not critical", 0.03)))
        if not self.fault("no key usage", 0.05):
            signs = () if self.fault("signs no certificates", 0.02) else ("key_cert_sign",)
            found.append((key_usage("crl_sign", *signs), True))
        if self.fault("purposes of a CA", 0.08):
            others = (
                ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
                ExtendedKeyUsageOID.CODE_SIGNING,
                *PURPOSES.values(),
            )
            found.append((x509.ExtendedKeyUsage([self.draw.choice(others)]), False))
        if self.fault("name constraints", 0.15):
            trees = [self.draw.choice(SUBTREES)], [self.draw.choice(SUBTREES)]
            permitted, excluded = self.draw.choice(((trees[0], None), (None, trees[1]), trees))
            found.append((x509.NameConstraints(permitted, excluded), self.draw.random() < 0.7))
        return found

    def of_leaf(self) -> list[tuple[x509.ExtensionType, bool]]:
        found: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(self.fault("the leaf is a CA", 0.02), None), True),
            (key_usage("key_agreement" if self.fault("no handshakes", 0.02) else "digital_signature"), True),
        ]
        purpose = ExtendedKeyUsageOID.CODE_SIGNING if self.fault("another purpose", 0.03) else PURPOSES[self.purpose]
        found.append((x509.ExtendedKeyUsage([purpose]), False))
        if self.purpose == "server" or not self.fault("no SAN", 0.3):
            found.append((x509.SubjectAlternativeName(self.draw.choice(NAMES)), self.draw.random() < 0.2))
        return found

    def of_policies(self) -> list[tuple[x509.ExtensionType, bool]]:
        found: list[tuple[x509.ExtensionType, bool]] = []
        if self.fault("policy constraints", 0.02):
            found.append((x509.PolicyConstraints(0, None), self.draw.random() < 0.5))
        if self.fault("unknown extension", 0.03):
            unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5.6"), b"\x05\x00")
            found.append((unknown, self.draw.random() < 0.5))
        return found

    def identifiers(self, key: Key, signer: Key) -> list[tuple[x509.ExtensionType, bool]]:
        found: list[tuple[x509.ExtensionType, bool]] = []
        if not self.fault("no SKI", 0.1):
            own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
            other = x509.SubjectKeyIdentifier(b"\x01" * 20)
            found.append((other if self.fault("wrong SKI", 0.03) else own, self.fault("SKI critical", 0.02)))
        if not self.fault("no AKI", 0.15):
            right = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
            aki = x509.AuthorityKeyIdentifier(b"\x02" * 20, None, None) if self.fault("wrong AKI", 0.03) else right
            if self.fault("AKI with another's serial number", 0.03):
                aki = x509.AuthorityKeyIdentifier(aki.key_identifier, [x509.DirectoryName(name("nobody"))], 4711)
            found.append((aki, self.fault("AKI critical", 0.02)))
        return found

    def chain(self) -> list[x509.Certificate]:
        """The leaf first and the root last; two CAs may have one name."""
        depth = self.draw.choice((0, 1, 1, 2))
        names = ["root", *("root" if self.fault("a namesake", 0.1) else f"int{number}" for number in range(depth))]
        found = [self.certificate("root", "root", KEYS[0], KEYS[0], ca=True)]
        for above in range(depth):
            signer, key = KEYS[above], KEYS[above + 1]
            found.insert(0, self.certificate(names[above + 1], names[above], key, signer, ca=True))
        subject = self.draw.choice(("leaf", "leaf", "", "evil.example", "root"))
        leaf = self.certificate(subject, names[-1], KEYS[4], KEYS[depth], ca=False)
        return [leaf, *found]


def accepted_here(chain: list[x509.Certificate], purpose: Purpose, host: str | None) -> bool:
    leaf, *between = chain[:-1]
    return not judge(leaf, between, chain[-1:], [], purpose=purpose, host=host, now=NOW).failed


def is_warned_of(chain: list[x509.Certificate], purpose: Purpose, host: str | None) -> bool:
    judgement = judge(chain[0], [], chain[1:2], [], purpose=purpose, host=host, now=NOW)
    return "cert.anchor_not_root" in {lint.code for _, lint in judgement.lints}


def said_by_openssl(folder: Path, chain: list[x509.Certificate], purpose: Purpose, host: str | None) -> str:
    """Nothing where it accepts the chain; its rules are those without -x509_strict, as TLS peers have them."""
    for file, certificates in (("leaf", chain[:1]), ("between", chain[1:-1]), ("root", chain[-1:])):
        (folder / file).write_bytes(b"".join(map(pem, certificates)))
    options = ["-purpose", f"ssl{purpose}", "-attime", str(int(NOW.timestamp())), "-trusted", str(folder / "root")]
    options += ["-untrusted", str(folder / "between")] if len(chain) > 2 else []
    options += ["-verify_hostname", host] if host else []
    done = subprocess.run(
        [tool("openssl"), "verify", *options, str(folder / "leaf")],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return "" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("purpose", ["server", "client"])
def test_a_chain_that_openssl_refuses_is_not_accepted(tmp_path: Path, purpose: Purpose, seed: int) -> None:
    draw, accepted = random.Random(seed), 0
    host = "a.example.com" if purpose == "server" else None
    for number in range(CHAINS_A_SEED):
        maker = Maker(draw, purpose)
        chain = maker.chain()
        if accepted_here(chain, purpose, host):
            accepted += 1
            assert said_by_openssl(tmp_path, chain, purpose, host) == "", (number, maker.faults)

    # Who refuses everything accepts nothing wrong either.
    assert accepted >= 5


def test_an_anchor_that_is_no_root_is_the_one_thing_that_is_only_warned_of(tmp_path: Path) -> None:
    leaf, middle, root = next(
        chain
        for seed in range(1000)
        if len(chain := (maker := Maker(random.Random(seed), "client")).chain()) == 3 and not maker.faults
    )

    assert said_by_openssl(tmp_path, [leaf, middle, root], "client", None) == ""
    # gRPC takes it (-partial_chain), openssl verify wants to be told.
    assert "unable to get issuer certificate" in said_by_openssl(tmp_path, [leaf, middle], "client", None)
    assert is_warned_of([leaf, middle], "client", None)
    assert accepted_here([leaf, middle], "client", None)
