"""
Every way in which a bundle can be wrong, on both sides and in every place, through the whole audit of an installation:
each is found under its control and its words, none passes in silence, none crashes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stage4.audit.collect import collect
from stage4.audit.controls import CONTROLS
from stage4.audit.policy import Policy
from stage4.audit.report import judge
from stage4.config import load
from stage4.testing.clock import ManualClock
from support.audits import NOW, demo_installation
from support.certificates import (
    CLIENT,
    SERVER,
    Key,
    Made,
    crl_pem,
    ec_key,
    key_pem,
    make,
    pem,
    revocation_list,
    rsa_key,
)

DAY = timedelta(days=1)
X509 = [control for control in CONTROLS if control.group == "X509"]
SIDES = ("server", "client")
CHAIN = {"server": "X509-04", "client": "X509-05"}
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
CRITICAL_POLICY = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
LOCALHOST = x509.DNSName("localhost")
# What only warns, because the bundle still does its work, and what cannot be read; all else has to fail.
WARNED = frozenset(
    {
        "audit.expires_soon",
        "audit.life_used",
        "audit.short_life",
        "cert.bad_san",
        "cert.ca_constraints_loose",
        "cert.leaf_signs_lists",
        "cert.long_life",
        "cert.name_constraints_loose",
        "cert.name_constraints_unevaluated",
        "cert.no_key_identifiers",
        "cert.no_key_usage",
        "cert.no_san",
        "cert.outlives_issuer",
        "cert.self_issued",
    }
)
UNREAD = frozenset({"files.too_large", "files.unreadable"})
KEYS: Mapping[str, Key] = {
    "P-192": ec_key(ec.SECP192R1()),
    "P-521": ec_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
    "RSA-1024": rsa_key(1024),
    "exponent 3": rsa.generate_private_key(3, 2048),
}


@dataclass
class Bundle:
    """A bundle in the making; what is wrong with it is changed before it is written."""

    root: Path
    ca: Made
    server: Made
    client: Made
    middle: dict[str, Made]  # an intermediate in the file of a side

    @classmethod
    def right(cls, root: Path) -> Bundle:
        ca = make("ca", ca=True, ends=NOW + 365 * DAY)
        return cls(root, ca, leaf("server", ca), leaf("client", ca), {})

    def path(self, role: str) -> Path:
        return self.root / f"secrets/mtls/core-oem-{role}.pem"

    def write(self) -> None:
        for role in ("ca", *SIDES):
            made: Made = getattr(self, role)
            above = pem(self.middle[role].certificate) if role in self.middle else b""
            self.path(role).write_bytes(pem(made.certificate) + above)
            if role != "ca":
                self.path(f"{role}-key").write_bytes(key_pem(made.key))


def leaf(side: str, issuer: Made, **changes: object) -> Made:
    right: dict[str, object] = {"eku": SERVER if side == "server" else CLIENT, "sans": ("localhost",)}
    return make(side, issuer, **{**right, **changes})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """One thing that is wrong, with the control and the words that have to find it."""

    name: str
    control: str
    code: str
    change: Callable[[Bundle], object]  # before the files are written
    spoil: Callable[[Bundle], object] = lambda bundle: None  # after

    @property
    def outcome(self) -> str:
        return "unknown" if self.code in UNREAD else "warn" if self.code in WARNED else "fail"


LEAF_FAULTS: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("expired", {"ends": NOW - timedelta(seconds=1)}, "X509-07", "cert.expired"),
    ("not yet valid", {"begins": NOW + timedelta(seconds=1)}, "X509-07", "cert.not_yet_valid"),
    ("ends tomorrow", {"ends": NOW + DAY}, "X509-08", "audit.expires_now"),
    ("ends in ten days", {"ends": NOW + 10 * DAY}, "X509-08", "audit.expires_soon"),
    ("most of its life used", {"begins": NOW - 90 * DAY, "ends": NOW + 30 * DAY}, "X509-08", "audit.life_used"),
    ("outlives its CA", {"ends": NOW + 366 * DAY}, "X509-08", "cert.outlives_issuer"),
    ("a CA", {"ca": True}, "X509-06", "cert.leaf_is_ca"),
    ("no purpose", {"eku": ()}, "X509-06", "cert.any_purpose"),
    ("any purpose", {"eku": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)}, "X509-06", "cert.any_purpose"),
    ("both purposes", {"eku": (*SERVER, *CLIENT)}, "X509-06", "cert.both_purposes"),
    ("signs certificates", {"usages": ("digital_signature", "key_cert_sign")}, "X509-06",
     "cert.leaf_signs_certificates"),
    ("signs lists", {"usages": ("digital_signature", "crl_sign")}, "X509-06", "cert.leaf_signs_lists"),
    ("signs no handshake", {"usages": ("key_encipherment",)}, "X509-06", "cert.no_digital_signature"),
    ("no key usage", {"usages": ()}, "X509-06", "cert.no_key_usage"),
    ("the name of its CA", {"subject": x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])}, "X509-06",
     "cert.self_issued"),
    ("P-192", {"key": KEYS["P-192"]}, "X509-10", "cert.weak_key"),
    ("RSA-1024", {"key": KEYS["RSA-1024"]}, "X509-10", "cert.weak_key"),
    ("exponent 3", {"key": KEYS["exponent 3"]}, "X509-10", "cert.weak_exponent"),
    ("P-521", {"key": KEYS["P-521"]}, "X509-10", "cert.key_not_served"),
    ("Ed25519", {"key": KEYS["Ed25519"]}, "X509-10", "cert.key_not_served"),
    ("unknown critical", {"extensions": [(UNKNOWN, True)]}, "X509-13", "cert.unknown_critical"),
    ("critical policy", {"extensions": [(CRITICAL_POLICY, True)]}, "X509-13", "cert.unknown_critical"),
    ("name constraints", {"extensions": [(x509.NameConstraints([LOCALHOST], None), False)]}, "X509-13",
     "cert.name_constraints_on_leaf"),
    ("no key identifiers", {"identifiers": False}, "X509-13", "cert.no_key_identifiers"),
    ("a malformed name", {"sans": ("localhost", "Trading Daemon")}, "X509-13", "cert.bad_san"),
    ("lives for 400 days", {"begins": NOW - 200 * DAY, "ends": NOW + 200 * DAY}, "X509-13", "cert.long_life"),
    ("lives for 30 days", {"begins": NOW - DAY, "ends": NOW + 29 * DAY}, "X509-13", "audit.short_life"),
)  # fmt: skip
CA_FAULTS: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("no key usage", {"usages": ()}, "X509-12", "cert.no_key_usage"),
    ("constraints not critical", {"constraints_critical": False}, "X509-12", "cert.ca_constraints_loose"),
    ("may not sign", {"usages": ("crl_sign",)}, "X509-12", "cert.ca_may_not_sign"),
    ("no CA", {"ca": False}, "X509-12", "cert.ca_is_no_ca"),
    ("expired", {"ends": NOW - DAY}, "X509-07", "cert.expired"),
    ("not yet valid", {"begins": NOW + DAY}, "X509-07", "cert.not_yet_valid"),
    ("ends tomorrow", {"ends": NOW + DAY}, "X509-08", "audit.expires_now"),
    ("RSA-1024", {"key": KEYS["RSA-1024"]}, "X509-10", "cert.weak_key"),
    ("P-192", {"key": KEYS["P-192"]}, "X509-10", "cert.weak_key"),
    ("exponent 3", {"key": KEYS["exponent 3"]}, "X509-10", "cert.weak_exponent"),
    ("unknown critical", {"extensions": [(UNKNOWN, True)]}, "X509-13", "cert.unknown_critical"),
    ("names not critical", {"extensions": [(x509.NameConstraints([LOCALHOST], None), False)]}, "X509-12",
     "cert.name_constraints_loose"),
    ("names of another kind",
     {"extensions": [(x509.NameConstraints([x509.RFC822Name("desk.example")], None), False)]}, "X509-12",
     "cert.name_constraints_unevaluated"),
    ("no key identifiers", {"identifiers": False}, "X509-13", "cert.no_key_identifiers"),
)  # fmt: skip
CHAIN_FAULTS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("other names", {"extensions": [(x509.NameConstraints([x509.DNSName("desk.example")], None), True)]},
     "security.chain_name_constraints"),
    ("not this name", {"extensions": [(x509.NameConstraints(None, [LOCALHOST]), True)]},
     "security.chain_name_constraints"),
    ("another purpose", {"eku": (ExtendedKeyUsageOID.CODE_SIGNING,)}, "security.chain_wrong_purpose"),
    ("Ed25519", {"key": KEYS["Ed25519"]}, "security.chain_unsupported_key"),
)  # fmt: skip


def replaced(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


FILE_FAULTS: tuple[tuple[str, Callable[[Path], object], str], ...] = (
    ("absent", Path.unlink, "files.missing"),
    ("a directory", folder, "files.unreadable"),
    ("a pipe", pipe, "files.unreadable"),
    ("huge", replaced(b"x" * (1 << 19)), "files.too_large"),
    ("trailing garbage", lambda path: path.write_bytes(path.read_bytes() + b"garbage"), "cert.stray_text"),
    ("a byte order mark", lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()), "cert.stray_text"),
)
CERTIFICATE_FAULTS: tuple[tuple[str, Callable[[Path], object], str], ...] = (
    ("empty", replaced(b""), "security.certificate_missing"),
    ("a word", replaced(b"cert"), "security.certificate_missing"),
    ("cut off", lambda path: path.write_bytes(path.read_bytes()[:-40]), "security.certificate_missing"),
    ("a hole in it", lambda path: path.write_bytes(path.read_bytes().replace(b"MI", b"M!", 1)),
     "security.certificate_malformed"),
    ("a list in it", lambda path: path.write_bytes(path.read_bytes() + crl_pem(revocation_list(make("x", ca=True)))),
     "cert.stray_text"),
    ("binary", lambda path: path.write_bytes(serialized(path)), "security.certificate_der"),
    ("a key in it", lambda path: path.write_bytes(path.read_bytes() + key_pem(ec_key())),
     "security.key_in_certificate_file"),
)  # fmt: skip
KEY_FAULTS: tuple[tuple[str, Callable[[Path], object], str], ...] = (
    ("empty", replaced(b""), "security.key_malformed"),
    ("a word", replaced(b"key"), "security.key_malformed"),
    ("cut off", lambda path: path.write_bytes(path.read_bytes()[:-40]), "security.key_malformed"),
    ("a certificate", replaced(pem(make("x").certificate)), "security.key_malformed"),
    ("binary", lambda path: path.write_bytes(private(path, serialization.Encoding.DER, None)), "security.key_der"),
    ("locked", lambda path: path.write_bytes(private(path, serialization.Encoding.PEM, b"word")),
     "security.key_encrypted"),
    ("two keys", lambda path: path.write_bytes(path.read_bytes() * 2), "cert.stray_text"),
)  # fmt: skip


def serialized(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)


def private(path: Path, encoding: serialization.Encoding, word: bytes | None) -> bytes:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    lock = serialization.BestAvailableEncryption(word) if word else serialization.NoEncryption()
    return key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, lock)


def nothing(bundle: Bundle) -> None:
    return None


def with_leaf(side: str, changes: Mapping[str, object]) -> Callable[[Bundle], object]:
    return lambda bundle: setattr(bundle, side, leaf(side, bundle.ca, **changes))


def with_ca(changes: Mapping[str, Any]) -> Callable[[Bundle], object]:
    def change(bundle: Bundle) -> None:
        bundle.ca = make("ca", **{"ca": True, "ends": NOW + 365 * DAY, **changes})
        bundle.server, bundle.client = leaf("server", bundle.ca), leaf("client", bundle.ca)

    return change


def with_middle(side: str, changes: Mapping[str, Any]) -> Callable[[Bundle], object]:
    def change(bundle: Bundle) -> None:
        bundle.middle[side] = make("middle", bundle.ca, **{"ca": True, "ends": NOW + 300 * DAY, **changes})
        setattr(bundle, side, leaf(side, bundle.middle[side]))

    return change


def other_key(side: str) -> Callable[[Bundle], object]:
    return lambda bundle: bundle.path(f"{side}-key").write_bytes(key_pem(ec_key()))


def same_key(one: str, other: str) -> Callable[[Bundle], object]:
    return lambda bundle: setattr(bundle, one, leaf(one, bundle.ca, key=getattr(bundle, other).key))


def same_serial(bundle: Bundle) -> None:
    bundle.server, bundle.client = (leaf(side, bundle.ca, serial=7) for side in SIDES)


def listed(side: str, **wrong: Any) -> Callable[[Bundle], object]:
    def spoil(bundle: Bundle) -> None:
        named = (getattr(bundle, side),) if wrong.pop("names", False) else ()
        issuer = wrong.pop("issuer", bundle.ca)
        core = bundle.root / "config/core.yaml"
        text = core.read_text(encoding="utf-8")
        core.write_text(text.replace("bundle_directory:", "crls: [x.crl]\n    bundle_directory:", 1), encoding="utf-8")
        (bundle.root / "x.crl").write_bytes(crl_pem(revocation_list(issuer, *named, **wrong)))

    return spoil


def cases() -> Iterator[Case]:
    for side in SIDES:
        for name, changes, control, code in LEAF_FAULTS:
            yield Case(f"{side}: {name}", control, code, with_leaf(side, changes))
        for name, changes, control, code in CA_FAULTS:
            yield Case(f"intermediate of the {side}: {name}", *filed(name, control, code), with_middle(side, changes))
        for name, changes, code in CHAIN_FAULTS:
            yield Case(f"CA of the {side}: {name}", CHAIN[side], code, with_ca(changes))
            yield Case(f"intermediate of the {side}: {name}", CHAIN[side], code, with_middle(side, changes))
        for name, spoil, code in (*FILE_FAULTS, *KEY_FAULTS):
            yield Case(f"key of the {side}: {name}", "X509-01", code, nothing, at(f"{side}-key", spoil))
        yield Case(f"{side}: another's key", "X509-03", "audit.key_differs", nothing, other_key(side))
        yield Case(
            f"{side}: the other's purpose", CHAIN[side], "security.chain_wrong_purpose", with_leaf(side, swap(side))
        )
        yield Case(f"{side}: the key of the CA", "X509-06", "audit.key_shared", same_key(side, "ca"))
        yield from of_strangers(side)
        yield from of_lists(side)
    for name, changes, control, code in CA_FAULTS:
        yield Case(f"CA: {name}", control, code, with_ca(changes))
    for role in ("ca", *SIDES):
        for name, spoil, code in (*FILE_FAULTS, *CERTIFICATE_FAULTS):
            yield Case(f"file of the {role}: {name}", "X509-01", code, nothing, at(role, spoil))
    elsewhere = {"sans": ("elsewhere.example",)}
    yield Case("server: another name", "X509-04", "security.chain_wrong_host", with_leaf("server", elsewhere))
    yield Case("server: no name", "X509-04", "security.chain_wrong_host", with_leaf("server", {"sans": ()}))
    yield Case("client: no name", "X509-13", "cert.no_san", with_leaf("client", {"sans": ()}))
    yield Case("one key for both", "X509-06", "audit.key_shared", same_key("client", "server"))
    yield Case("one serial number for both", "X509-13", "cert.serial_shared", same_serial)


def filed(name: str, control: str, code: str) -> tuple[str, str]:
    """A certificate beside a leaf that is no CA is a second leaf first of all."""
    return ("X509-01", "cert.second_leaf") if name == "no CA" else (control, code)


def swap(side: str) -> dict[str, object]:
    return {"eku": CLIENT if side == "server" else SERVER}


def at(role: str, spoil: Callable[[Path], object]) -> Callable[[Bundle], object]:
    return lambda bundle: spoil(bundle.path(role))


def of_strangers(side: str) -> Iterator[Case]:
    def by(issuer: Made, **changes: object) -> Callable[[Bundle], object]:
        return lambda bundle: setattr(bundle, side, leaf(side, issuer, **changes))

    stranger, namesake = make("stranger", ca=True), make("ca", ca=True)
    yield Case(f"{side}: a stranger's", CHAIN[side], "security.chain_unknown_issuer", by(stranger))
    yield Case(f"{side}: a namesake's", CHAIN[side], "security.chain_unknown_issuer", by(namesake))
    yield Case(
        f"{side}: a namesake's without identifiers",
        CHAIN[side],
        "security.chain_bad_signature",
        by(namesake, identifiers=False),
    )
    yield Case(
        f"{side}: its own",
        "X509-06",
        "cert.self_signed",
        lambda bundle: setattr(
            bundle, side, make(side, eku=SERVER if side == "server" else CLIENT, sans=("localhost",))
        ),
    )


def of_lists(side: str) -> Iterator[Case]:
    delta = [(x509.DeltaCRLIndicator(1), True)]
    wrong: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("revoked", {"names": True}, "revoked"),
        ("revoked by an old list", {"names": True, "ends": NOW - DAY, "begins": NOW - 2 * DAY}, "revoked"),
        ("a stale list", {"ends": NOW - timedelta(seconds=1)}, "stale"),
        ("a list of tomorrow", {"begins": NOW + DAY}, "not_yet"),
        ("a delta list", {"extensions": delta}, "unsupported"),
        ("a namesake's list", {"issuer": make("ca", ca=True)}, "untrusted"),
        ("a stranger's list", {"issuer": make("stranger", ca=True)}, "no_list"),
    )
    for name, changes, state in wrong:
        yield Case(f"{side}: {name}", "X509-14", f"security.revocation_{state}", nothing, listed(side, **changes))


CASES = tuple(cases())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("matrix") / "demo"
    environ = demo_installation(root)
    core = root / "config/core.yaml"
    text = core.read_text(encoding="utf-8").replace("127.0.0.1\n    port: 8741", "localhost\n    port: 8741")
    core.write_text(text, encoding="utf-8")
    return root, environ


def audited(root: Path, environ: dict[str, str]) -> set[tuple[str, str, str]]:
    installation, clock = load(root), ManualClock(NOW)
    evidence = collect(installation, "core-oem", environ=environ, now=NOW, clock=clock, pepper=b"p" * 32)
    report = judge(X509, evidence, Policy.of(installation.settings), NOW)
    return {(f.control, str(f.outcome), f.code) for f in report.findings if str(f.outcome) not in ("pass", "skipped")}


def test_the_right_bundle_has_nothing_wrong(made: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    root = tmp_path / "demo"
    shutil.copytree(made[0], root)
    Bundle.right(root).write()

    assert audited(root, made[1]) == set()


def test_every_outcome_that_is_expected_is_that_of_a_case() -> None:
    assert {case.code for case in CASES} >= WARNED | UNREAD


def test_there_are_many_cases_and_each_has_its_own_name() -> None:
    assert len(CASES) > 200
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_found(made: tuple[Path, dict[str, str]], tmp_path: Path, case: Case) -> None:
    root = tmp_path / "demo"
    shutil.copytree(made[0], root)
    bundle = Bundle.right(root)
    case.change(bundle)
    bundle.write()
    case.spoil(bundle)

    found = audited(root, made[1])

    assert (case.control, case.outcome, case.code) in found, found
