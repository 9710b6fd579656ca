"""Files that are not what they should be, lie where they should not, or belong to whom they should not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support.certificates import key_pem, pem
from support.hostile.cases import Case, case
from support.hostile.ground import CORE, CRL, LOG, RING, Ground
from support.hostile.pki import leaf, rsa_key

STRANGER = 65_534  # nobody, and nobody's group
DER, NONE = serialization.Encoding.DER, serialization.NoEncryption()
Content = Callable[[Ground, str, bytes], bytes]  # from the ground, the role and the right content


def _der(ground: Ground, role: str, right: bytes) -> bytes:
    if role.endswith("-key"):
        key = ground.pki.of(role.removesuffix("-key")).key
        return key.private_bytes(DER, serialization.PrivateFormat.PKCS8, NONE)
    return ground.pki.of(role).certificate.public_bytes(DER)


CONTENTS: tuple[tuple[str, str, Content], ...] = (
    ("empty", "is empty", lambda g, role, right: b""),
    ("word", "holds the word cert", lambda g, role, right: b"cert"),
    ("der", "is DER in the place of PEM", _der),
    ("truncated", "is cut off", lambda g, role, right: right[: len(right) // 2]),
    ("trailing", "has a line of text after it", lambda g, role, right: right + b"desk bundle, 2026\n"),
    ("leading", "has a line of text before it", lambda g, role, right: b"desk bundle, 2026\n" + right),
    ("bom", "begins with a byte order mark", lambda g, role, right: b"\xef\xbb\xbf" + right),
    ("utf-16", "is UTF-16", lambda g, role, right: right.decode().encode("utf-16")),
    ("nul", "ends in octets of zero", lambda g, role, right: right + bytes(512)),
    ("base64", "has a letter of no alphabet in it", lambda g, role, right: right[:90] + b"!" + right[91:]),
    ("short", "lacks a line in the middle", lambda g, role, right: right.replace(right.splitlines(True)[2], b"")),
)
# What of it is no fault of the whole file but of its form only is not missing from the bundle.
STRAY = {"trailing", "leading", "bom", "nul"}


def _contents() -> Iterator[Case]:
    for role in ("ca", "server", "server-key"):
        for name, what, content in CONTENTS:

            def spoil(ground: Ground, role: str = role, content: Content = content) -> None:
                ground.put(role, content(ground, role, ground.file(role).read_bytes()))

            incomplete = () if name in STRAY else ("X509-02 fail audit.bundle_incomplete",)
            yield case(f"file-{role}-{name}", f"the {role} file {what}", spoil, "X509-01 fail", *incomplete)


Place = Callable[[Path], object]


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere.pem"))


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _looped(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path)


def _outside(path: Path) -> None:
    moved = path.parents[3] / f"moved-{path.name}"
    path.rename(moved)
    path.symlink_to(moved)


def _huge(path: Path) -> None:
    with path.open("ab") as out:
        out.truncate(1 << 30)


PLACES: tuple[tuple[str, str, Place, tuple[str, ...]], ...] = (
    ("missing", "is not there", Path.unlink, ("X509-01 fail files.missing", "X509-02 fail audit.bundle_incomplete")),
    ("directory", "is a directory", _directory, ("X509-01 unknown files.unreadable",)),
    ("fifo", "is a pipe that nobody writes to", _fifo, ("X509-01 unknown files.unreadable",)),
    ("dangling", "is a link to nothing", _dangling, ("X509-01 fail files.missing",)),
    ("loop", "is a link to itself", _loop, ("X509-01 unknown files.unreadable",)),
    ("outside", "is a link out of the installation", _outside, ("FS-02 fail audit.link_outside",)),
    ("huge", "is a gigabyte of nothing", _huge, ("X509-01 unknown files.too_large",)),
)


def _places() -> Iterator[Case]:
    for role in ("ca", "server", "client-key"):
        for name, what, place, expected in PLACES:
            yield case(
                f"file-{role}-{name}", f"the {role} file {what}", lambda g, r=role, p=place: p(g.file(r)), *expected
            )


def _key_as(
    ground: Ground, encryption: serialization.KeySerializationEncryption, form: serialization.PrivateFormat
) -> bytes:
    return ground.pki.server.key.private_bytes(serialization.Encoding.PEM, form, encryption)


def _encrypted(form: serialization.PrivateFormat) -> Callable[[Ground], None]:
    word = serialization.BestAvailableEncryption(b"a word of the desk")
    return lambda ground: ground.put("server-key", _key_as(ground, word, form))


def _public(ground: Ground) -> None:
    public = ground.pki.server.key.public_key()
    ground.put(
        "server-key", public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


KEYS: tuple[Case, ...] = (
    case(
        "file-key-encrypted",
        "the server's key is encrypted",
        _encrypted(serialization.PrivateFormat.PKCS8),
        "X509-01 fail security.key_encrypted",
    ),
    case(
        "file-key-encrypted-old",
        "the server's key is encrypted in OpenSSL's old form",
        _encrypted(serialization.PrivateFormat.TraditionalOpenSSL),
        "X509-01 fail security.key_encrypted",
    ),
    case("file-key-public", "a public key stands in the key's place", _public, "X509-01 fail"),
    case(
        "file-key-is-certificate",
        "a certificate stands in the key's place",
        lambda g: g.put("server-key", g.pki.server),
        "X509-01 fail",
        "X509-02 fail audit.bundle_incomplete",
    ),
    case(
        "file-key-and-certificate",
        "the certificate stands in the key's file too",
        lambda g: g.put("server-key", key_pem(g.pki.server.key), g.pki.server),
        "X509-01 fail cert.stray_text",
    ),
    case(
        "file-key-twice",
        "two keys stand in the client's key file",
        lambda g: g.put("client-key", key_pem(g.pki.client.key), key_pem(g.pki.server.key)),
        "X509-01 fail cert.stray_text",
    ),
    case(
        "file-key-and-ca-key",
        "the CA's key stands behind the server's key",
        lambda g: g.put("server-key", key_pem(g.pki.server.key), key_pem(g.pki.ca.key)),
        "X509-01 fail cert.stray_text",
        "FS-03 warn audit.ca_key_here",
    ),
    case(
        "file-certificate-and-key",
        "the key stands in the server's certificate file",
        lambda g: g.put("server", g.pki.server, key_pem(g.pki.server.key)),
        "X509-01 fail security.key_in_certificate_file",
    ),
    case(
        "file-certificate-is-key",
        "the key stands in the certificate's place",
        lambda g: g.put("client", key_pem(g.pki.client.key)),
        "X509-01 fail security.key_in_certificate_file",
    ),
    case(
        "file-ca-and-key",
        "the CA's key stands in the CA's file",
        lambda g: g.put("ca", g.pki.ca, key_pem(g.pki.ca.key)),
        "X509-01 fail security.key_in_certificate_file",
    ),
    case(
        "file-certificate-is-crl",
        "the revocation list stands in the server's certificate file",
        lambda g: g.put("server", g.pki.crl),
        "X509-01 fail security.certificate_missing",
    ),
    case(
        "file-certificate-and-crl",
        "the revocation list stands behind the server's certificate",
        lambda g: g.put("server", g.pki.server, g.pki.crl),
        "X509-01 fail cert.stray_text",
    ),
    case(
        "file-trusted-certificate",
        "the CA has OpenSSL's label of trusted certificates",
        lambda g: g.put("ca", pem(g.pki.ca.certificate).replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE")),
        "X509-01 fail security.certificate_missing",
    ),
    case(
        "file-rsa-key-altered",
        "one number of the server's RSA key is another",
        lambda g: _altered_rsa(g),
        "X509-03 fail audit.key_differs",
    ),
)


def _altered_rsa(ground: Ground) -> None:
    """A number that signing uses is another, which a reader that proves nothing does not notice."""
    right = rsa_key().private_numbers()
    wrong = rsa.RSAPrivateNumbers(
        right.p, right.q, right.d, right.dmp1 + 2, right.dmq1, right.iqmp, right.public_numbers
    ).private_key(unsafe_skip_rsa_key_validation=True)
    ground.put("server", leaf("server", ground.pki.ca, key=rsa_key()))
    ground.put("server-key", key_pem(wrong))


def _mode(path: str, mode: int) -> Callable[[Ground], None]:
    def spoil(ground: Ground) -> None:
        place = ground.root / path
        if mode & 0o020 and not mode & 0o002:
            # The group that most accounts have to themselves is nobody's danger.
            os.chown(place, -1, STRANGER)
        place.chmod(mode)

    return spoil


def _owner(path: str) -> Callable[[Ground], None]:
    return lambda ground: os.chown(ground.root / path, STRANGER, -1)


SERVER_KEY, CLIENT_KEY, CA = (f"secrets/mtls/core-oem-{role}.pem" for role in ("server-key", "client-key", "ca"))
OPEN, WRITABLE, OPEN_DIRECTORY = (
    "FS-01 fail audit.mode_open",
    "FS-02 fail audit.writable",
    "FS-02 fail audit.directory_open",
)
MODES: tuple[tuple[str, int, str], ...] = (
    (SERVER_KEY, 0o666, OPEN),
    (SERVER_KEY, 0o640, OPEN),
    (SERVER_KEY, 0o604, OPEN),
    (CLIENT_KEY, 0o644, OPEN),
    (CLIENT_KEY, 0o610, OPEN),
    (RING, 0o644, OPEN),
    ("secrets/decision_log/ops-2026-10.key", 0o640, OPEN),
    ("secrets/stage4.env", 0o644, OPEN),
    ("secrets/alertmanager.token", 0o644, OPEN),
    ("secrets/detector.token", 0o660, OPEN),
    ("secrets/people/l1-anna", 0o644, OPEN),
    (CA, 0o666, WRITABLE),
    (CA, 0o664, WRITABLE),
    ("secrets/mtls/core-oem-server.pem", 0o666, WRITABLE),
    (CRL, 0o646, WRITABLE),
    ("var/security/tls_rotation.json", 0o666, WRITABLE),
    ("var/security/key_rotation.json", 0o662, WRITABLE),
    (CORE, 0o666, WRITABLE),
    (CORE, 0o664, WRITABLE),
    ("ops/operators.yaml", 0o666, WRITABLE),
    ("ops/oncall_rotation.yaml", 0o666, WRITABLE),
    ("playbooks/stage4_support.yaml", 0o666, WRITABLE),
    ("env.sh", 0o666, WRITABLE),
    ("scripts/audit_stage4_compliance.py", 0o666, WRITABLE),
    ("scripts", 0o777, OPEN_DIRECTORY),
    (LOG, 0o666, WRITABLE),
    ("secrets", 0o777, OPEN_DIRECTORY),
    ("secrets/mtls", 0o777, OPEN_DIRECTORY),
    ("secrets/mtls", 0o770, "FS-02 fail audit.directory_group"),
    ("secrets/decision_log", 0o777, OPEN_DIRECTORY),
    ("var/security", 0o777, OPEN_DIRECTORY),
    ("config", 0o777, OPEN_DIRECTORY),
    ("ops", 0o777, OPEN_DIRECTORY),
    ("audit/decision_logs", 0o777, OPEN_DIRECTORY),
    (".", 0o777, OPEN_DIRECTORY),
    ("..", 0o777, OPEN_DIRECTORY),
)
OWNERS = (
    (SERVER_KEY, "FS-01 fail audit.owner_foreign"),
    (RING, "FS-01 fail audit.owner_foreign"),
    ("secrets/alertmanager.token", "FS-01 fail audit.owner_foreign"),
    (CA, "FS-02 fail exposure.owned_by_another"),
    (CORE, "FS-02 fail exposure.owned_by_another"),
    ("ops/operators.yaml", "FS-02 fail exposure.owned_by_another"),
    ("var/security/tls_rotation.json", "FS-02 fail exposure.owned_by_another"),
    ("secrets/mtls", "FS-02 fail audit.directory_foreign"),
    ("config", "FS-02 fail audit.directory_foreign"),
)


def _git(ground: Ground, *words: str) -> None:
    subprocess.run(["git", "-C", str(ground.root), *words], check=True, capture_output=True)


def _tracked(*paths: str) -> Callable[[Ground], None]:
    def spoil(ground: Ground) -> None:
        _git(ground, "init", "-q")
        _git(ground, "add", "-f", *paths)

    return spoil


def _broken_repository(ground: Ground) -> None:
    (ground.root / ".git").write_text("gitdir: nowhere\n", encoding="utf-8")


def _temporary(ground: Ground) -> None:
    ground.temporary = True


def _no_bundle(ground: Ground) -> None:
    shutil.rmtree(ground.root / "secrets/mtls")


def _place_token(ground: Ground) -> None:
    path = ground.root / "secrets/outside.token"
    path.write_text("kQ7vTz2mWp9xLr4NcY8uHd3S\n", encoding="ascii")
    path.chmod(0o644)
    place = {"url": "https://outside.example/checkpoints", "token_file": "secrets/outside.token"}
    ground.settings(lambda v: v["operations"]["decision_log"]["checkpoints"].update(places=[place]))


def _backup(ground: Ground) -> None:
    backup = ground.root / "var/security/backups/20261113T094200Z-core-oem"
    backup.mkdir(parents=True)
    shutil.copy(ground.file("server-key"), backup / "server-key.pem")
    (backup / "server-key.pem").chmod(0o644)


CASES = (
    *_contents(),
    *_places(),
    *KEYS,
    *(
        case(
            f"mode-{path.replace('/', '-')}-{mode:04o}",
            f"{path} has the mode {mode:04o}",
            _mode(path, mode),
            expected,
            as_root=bool(mode & 0o020 and not mode & 0o002),
        )
        for path, mode, expected in MODES
    ),
    *(
        case(
            f"owner-{path.replace('/', '-')}",
            f"{path} belongs to another account",
            _owner(path),
            expected,
            as_root=True,
        )
        for path, expected in OWNERS
    ),
    case("git-key", "the server's key is under version control", _tracked(SERVER_KEY), "FS-04 fail audit.tracked"),
    case(
        "git-ring",
        "the keys of the decision log are under version control",
        _tracked("secrets/decision_log"),
        "FS-04 fail audit.tracked",
    ),
    case(
        "git-environment",
        "the secrets of the environment are under version control",
        _tracked("secrets/stage4.env"),
        "FS-04 fail audit.tracked",
    ),
    case("git-broken", "git does not say what it tracks", _broken_repository, "FS-04 unknown audit.git_unknown"),
    case(
        "mode-checkpoint-key",
        "the keys of the checkpoints may be read by all",
        lambda ground: next((ground.root / RING).parent.glob("checkpoint-*.json")).chmod(0o644),
        OPEN,
    ),
    case(
        "operators-fifo",
        "a pipe stands in the place of the people's file",
        lambda ground: _fifo(ground.root / "ops/operators.yaml"),
        "FS-02 fail files.unreadable",
    ),
    case(
        "oncall-directory",
        "a directory stands in the place of the on-call plan",
        lambda ground: _directory(ground.root / "ops/oncall_rotation.yaml"),
        "FS-02 fail files.unreadable",
    ),
    case(
        "stop-loop",
        "the file of the emergency stop is a link to itself",
        lambda ground: _looped(ground.root / "var/runtime/overrides/multi_strategy_disable.json"),
        "FS-02 unknown files.unreadable",
    ),
    case("mode-place-token", "the token of a place for checkpoints may be read by all", _place_token, OPEN),
    case(
        "temporary-home",
        "production lies in a directory for temporary files",
        _temporary,
        "FS-04 fail audit.temporary_home",
    ),
    case(
        "bundle-gone",
        "the whole bundle is gone",
        _no_bundle,
        "X509-02 fail audit.bundle_incomplete",
        "X509-04 unknown",
        "X509-05 unknown",
    ),
    case("backup-key-open", "a key in a backup may be read by all", _backup, OPEN),
    case(
        "path-missing",
        "the settings name an on-call plan that is not there",
        lambda ground: (ground.root / "ops/oncall_rotation.yaml").unlink(),
        "FS-05 fail files.missing",
        flags=("--check-paths",),
    ),
    case(
        "path-playbook-missing",
        "the settings name a playbook that is not there",
        lambda ground: ground.settings(lambda v: v["operations"].update(support_playbook="playbooks/other.yaml")),
        "FS-05 fail files.missing",
        flags=("--check-paths",),
    ),
)
