"""Signatures of people, interchangeable with OpenSSH's own command in both directions."""

from __future__ import annotations

import base64
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from stage4.errors import Conflict, Refused, Unavailable, UsageError
from stage4.security import sshsig
from stage4.security.sshsig import ENABLE, SIGN_OFF
from support.programs import tool

VECTORS = Path(__file__).parents[1] / "vectors" / "sshsig"
MESSAGE = (VECTORS / "message").read_bytes()
PUBLIC = (VECTORS / "anna.pub").read_text()
SIGNATURE = (VECTORS / "sha512.sig").read_text()


def refusal(armored: str, message: bytes = MESSAGE, namespace: str = SIGN_OFF, key: str = PUBLIC) -> str:
    with pytest.raises(Refused) as caught:
        sshsig.verify(armored, message, namespace, key)
    return caught.value.code


def ssh_keygen(*arguments: str | Path, message: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([tool("ssh-keygen"), "-Y", *arguments], input=message, capture_output=True, check=False)


def test_ours_is_byte_for_byte_what_openssh_made() -> None:
    assert sshsig.sign(VECTORS / "anna", MESSAGE, SIGN_OFF) == SIGNATURE


@pytest.mark.parametrize("name", ["sha512.sig", "sha256.sig"])
def test_a_signature_made_by_openssh_verifies(name: str) -> None:
    sshsig.verify((VECTORS / name).read_text(), MESSAGE, SIGN_OFF, PUBLIC)


def test_a_fresh_key_of_ours_signs_for_openssh_and_the_other_way_round(tmp_path: Path) -> None:
    public = sshsig.generate_person_key(tmp_path / "key", "l1-anna")
    signers, signature = tmp_path / "signers", tmp_path / "sig"
    signers.write_text(sshsig.allowed_signers_line("l1-anna", public))
    signature.write_text(sshsig.sign(tmp_path / "key", MESSAGE, SIGN_OFF))
    verify = ("verify", "-f", signers, "-I", "l1-anna", "-s", signature)
    assert ssh_keygen(*verify, "-n", SIGN_OFF, message=MESSAGE).returncode == 0
    assert ssh_keygen(*verify, "-n", SIGN_OFF, message=MESSAGE + b".").returncode != 0
    assert ssh_keygen(*verify, "-n", "file", message=MESSAGE).returncode != 0

    theirs = ssh_keygen("sign", "-n", ENABLE, "-f", tmp_path / "key", message=MESSAGE)
    sshsig.verify(theirs.stdout.decode("ascii"), MESSAGE, ENABLE, public)


def test_openssh_keeps_to_the_validity_in_the_allowed_signers(tmp_path: Path) -> None:
    signers = tmp_path / "signers"
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    signers.write_text(sshsig.allowed_signers_line("anna", PUBLIC, start, end))
    verify = ("verify", "-f", signers, "-I", "anna", "-n", SIGN_OFF, "-s", VECTORS / "sha512.sig")
    for at, good in (("20251231Z", False), ("20260301Z", True), ("20260702Z", False)):
        assert (ssh_keygen(*verify, "-O", f"verify-time={at}", message=MESSAGE).returncode == 0) is good


def test_the_fingerprint_is_openssh_s(tmp_path: Path) -> None:
    printed = subprocess.run(
        [tool("ssh-keygen"), "-l", "-f", VECTORS / "anna.pub"], capture_output=True, check=True
    ).stdout
    assert sshsig.fingerprint(PUBLIC) in printed.decode("utf-8")


def test_a_changed_message_namespace_or_key_is_refused_by_name(tmp_path: Path) -> None:
    other = sshsig.generate_person_key(tmp_path / "other")
    assert refusal(SIGNATURE, message=MESSAGE + b" ") == "security.signature_wrong"
    assert refusal(SIGNATURE, namespace=ENABLE) == "security.signature_namespace"
    assert refusal(SIGNATURE, key=other) == "security.signature_key"


def rearmored(change: bytes, to: bytes) -> str:
    """The vector with one piece of its blob replaced."""
    blob = base64.b64decode("".join(SIGNATURE.splitlines()[1:-1]))
    assert change in blob
    body = base64.b64encode(blob.replace(change, to, 1)).decode("ascii")
    return f"-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n"


@pytest.mark.parametrize(
    "armored",
    [
        "",
        "garbage",
        SIGNATURE.replace("BEGIN SSH", "BEGIN PGP"),
        SIGNATURE.replace("U1NI", "!!!!"),
        "\n".join(SIGNATURE.splitlines()[:2] + SIGNATURE.splitlines()[-1:]),
        SIGNATURE * 2,
        SIGNATURE.replace("\n", "\n" * 9000, 1),
        rearmored(b"SSHSIG", b"SSHSIH"),
        rearmored(b"SSHSIG\0\0\0\1", b"SSHSIG\0\0\0\2"),
        rearmored(b"sha512", b"md5512"),
        rearmored(b"\0\0\0\x0bssh-ed25519", b"\0\0\0\x0bssh-ed25518"),
        rearmored(b"\0\0\0\x0bssh-ed25519", b"\xff\xff\xff\xffssh-ed25519"),
        rearmored(b"\0\0\0\0\0\0\0\x06sha512", b"\0\0\0\1x\0\0\0\x06sha512"),
        rearmored(b"stage4-signoff", b"stage4-\xff\xfe\xfd\xfc\xfb\xfa\xf9"),
    ],
)
def test_what_is_no_signature_is_refused_as_malformed(armored: str) -> None:
    assert refusal(armored) == "security.signature_malformed"


def test_bytes_behind_the_signature_are_refused() -> None:
    blob = base64.b64decode("".join(SIGNATURE.splitlines()[1:-1]))
    body = base64.b64encode(blob + b"\0").decode("ascii")
    assert refusal(f"-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n") == (
        "security.signature_malformed"
    )


@pytest.mark.parametrize("key", ["", "ssh-ed25519", "ssh-rsa AAAA", "ssh-ed25519 AAAA", "ssh-ed25519 ****", "x" * 9999])
def test_what_is_no_public_key_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match=r"security\.public_key_malformed"):
        sshsig.normalized(key)


def test_a_generated_key_is_private_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "people" / "l1-anna"
    line = sshsig.generate_person_key(path, "l1-anna")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.with_name("l1-anna.pub").read_text() == f"{line}\n"
    assert line.endswith(" l1-anna")
    assert sshsig.public_key_of(path) == sshsig.normalized(line)
    content = path.read_bytes()
    with pytest.raises(Conflict, match=r"security\.person_key_exists"):
        sshsig.generate_person_key(path)
    assert path.read_bytes() == content


def openssh_bytes(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey, passphrase: bytes | None) -> bytes:
    locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        locked = serialization.PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(1).build(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, locked)


def test_a_key_that_cannot_sign_is_named() -> None:
    with pytest.raises(UsageError, match=r"security\.person_key_malformed"):
        sshsig.sign(b"not a key", MESSAGE, SIGN_OFF)
    with pytest.raises(UsageError, match=r"security\.person_key_malformed"):
        sshsig.sign(openssh_bytes(ec.generate_private_key(ec.SECP256R1()), None), MESSAGE, SIGN_OFF)


def test_an_absent_private_key_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"files\.missing"):
        sshsig.sign(tmp_path / "absent", MESSAGE, SIGN_OFF)
