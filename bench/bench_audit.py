"""
How long the audit takes, beside what its work costs at least.

    python bench/bench_audit.py [--times 9]

The command is measured as a whole process, offline, over a demonstration installation: with its EC keys, and with three
RSA-4096 keys in their place. The floor is a bare interpreter that imports cryptography.x509 and parses the same three
certificates. There is no command for a thousand bundles: those are collected and judged in this process, by all
controls of the X509 and FS groups; twenty different bundles are copied to fifty places each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from stage4.app.installing import create, read_environment
from stage4.audit import collect_bundle, collect_files
from stage4.audit.collect import collect
from stage4.audit.controls import CONTROLS
from stage4.audit.policy import Policy
from stage4.audit.report import judge
from stage4.clock import SystemClock
from stage4.config import Installation, load
from stage4.security.demo_pki import create_bundle

HERE = Path(__file__).parents[1]
BUNDLE = "secrets/mtls/core-oem-{}.pem"
# A service on TLS whose certificates are those of the bundle.
ONE_BUNDLE = """\
runtime: {metrics_service: {tls: {enabled: true, require_client_auth: true}}}
execution: {mtls: {bundle_directory: mtls}}
operations: {installation: demo}
"""
BUNDLES = 1000
DIFFERENT = 20
PARSE = (
    "import sys\nfrom cryptography import x509\n"
    "for path in sys.argv[1:]:\n    x509.load_pem_x509_certificate(open(path, 'rb').read())"
)


def process(argv: list[str], environ: Mapping[str, str], cwd: Path) -> float:
    """Seconds until the process has ended; it may say no, but not fail."""
    began = time.perf_counter()
    ended = subprocess.run(argv, cwd=cwd, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    took = time.perf_counter() - began
    if ended.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(argv)}: exit {ended.returncode}\n{ended.stderr.decode()}")
    return took


def with_rsa_keys(root: Path, now: datetime) -> None:
    """Replace the bundle of the installation at `root` by one of three RSA-4096 keys."""
    ca_key = rsa.generate_private_key(65537, 4096)
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench ca")])
    own = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())

    def made(name: str, key: rsa.RSAPrivateKey, extensions: list[tuple[x509.ExtensionType, bool]]) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=120))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    basic = x509.BasicConstraints(ca=True, path_length=0)
    (root / BUNDLE.format("ca")).write_bytes(made("bench ca", ca_key, [(basic, True), (signs, True)]))
    for role, purpose in (("server", ExtendedKeyUsageOID.SERVER_AUTH), ("client", ExtendedKeyUsageOID.CLIENT_AUTH)):
        key = rsa.generate_private_key(65537, 4096)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        leaf = made(f"bench {role}", key, [(x509.ExtendedKeyUsage([purpose]), False), (names, False)])
        (root / BUNDLE.format(role)).write_bytes(leaf)
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (root / BUNDLE.format(f"{role}-key")).write_bytes(text)


def many_bundles(home: Path, clock: SystemClock) -> Callable[[], float]:
    """A thousand bundles, each below a root of its own, and what collects and judges all of them in seconds."""
    now = clock.now()
    (home / "config").mkdir()
    (home / "config/core.yaml").write_text(ONE_BUNDLE, encoding="utf-8")
    settings = load(home).settings
    rooms = [Installation(home / str(number), settings) for number in range(BUNDLES)]
    for room in rooms[:DIFFERENT]:
        create_bundle(room.root / "mtls", "core-oem", now=now)
    for number, room in enumerate(rooms[DIFFERENT:]):
        shutil.copytree(rooms[number % DIFFERENT].root, room.root)
    controls = [control for control in CONTROLS if control.group in ("X509", "FS")]
    policy = Policy.of(settings)
    whole = collect(rooms[0], "core-oem", environ=os.environ, now=now, clock=clock, pepper=os.urandom(32))

    def once() -> float:
        began = time.perf_counter()
        for room in rooms:
            paths = collect_bundle.configured_paths(room, "core-oem")
            keys = [path for role, path in paths.items() if role.endswith("_key")]
            public = [path for role, path in paths.items() if not role.endswith("_key")]
            found = collect_bundle.collect(room, "core-oem", now)
            looked_at = collect_files.collect(room, keys, public, os.environ)
            report = judge(controls, replace(whole, bundle=found, files=looked_at), policy, now)
            if report.status == "fail":
                wrong = next(finding for finding in report.findings if finding.outcome in ("fail", "unknown"))
                raise SystemExit(f"{room.root}: {wrong}")
        return time.perf_counter() - began

    return once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=9, help="how often each is measured")
    times = parser.parse_args().times
    clock = SystemClock()
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("STAGE4_", "PYTHON"))}
    environ |= {"PYTHONPATH": str(HERE / "src"), "STAGE4_LANG": "en"}
    print(f"{'audit':<46} {'best ms':>8} {'median':>8} {'at most':>8} {'x floor':>8}   ({times} times)")
    with tempfile.TemporaryDirectory() as folder:
        floor = 0.0
        for keys, limit in (("EC", 500), ("RSA-4096", 1500)):
            root = Path(folder) / keys
            create(root, clock)
            secrets = read_environment(root)
            if keys != "EC":
                with_rsa_keys(root, clock.now().replace(microsecond=0))
            certificates = [str(root / BUNDLE.format(role)) for role in ("ca", "server", "client")]
            measured: list[tuple[str, list[str], int | None]] = [
                (f"three {keys} certificates, bare interpreter", [sys.executable, "-c", PARSE, *certificates], None)
            ]
            for script in ("audit_stage4_compliance", "audit_security_baseline"):
                argv = [sys.executable, str(HERE / f"scripts/{script}.py"), "--root", str(root)]
                measured.append((f"{script}.py, {keys}", argv, limit))
            for name, argv, limit_here in measured:
                process(argv, environ | secrets, root)
                taken = sorted(process(argv, environ | secrets, root) * 1000 for _ in range(times))
                floor = floor or taken[0]
                show(name, taken, limit_here, floor)
        many = Path(folder) / "many"
        many.mkdir()
        once = many_bundles(many, clock)
        once()
        show(f"{BUNDLES} bundles, in this process", sorted(once() * 1000 for _ in range(min(times, 5))), 5000, floor)


def show(name: str, taken: list[float], limit: int | None, floor: float) -> None:
    """One line of the table; `taken` is sorted."""
    asked = "-" if limit is None else str(limit)
    print(f"{name:<46} {taken[0]:>8.1f} {statistics.median(taken):>8.1f} {asked:>8} {taken[0] / floor:>8.1f}")


if __name__ == "__main__":
    main()
