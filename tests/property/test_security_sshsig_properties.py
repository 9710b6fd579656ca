"""A signature holds for exactly what was signed."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.errors import Refused
from stage4.security import sshsig

VECTORS = Path(__file__).parents[1] / "vectors" / "sshsig"
KEY = (VECTORS / "anna").read_bytes()
PUBLIC = (VECTORS / "anna.pub").read_text()
MESSAGE = (VECTORS / "message").read_bytes()
BLOB = base64.b64decode("".join((VECTORS / "sha512.sig").read_text().splitlines()[1:-1]))


@settings(deadline=None)
@given(message=st.binary(max_size=300), namespace=st.sampled_from(sshsig.NAMESPACES))
def test_what_was_signed_verifies(message: bytes, namespace: str) -> None:
    sshsig.verify(sshsig.sign(KEY, message, namespace), message, namespace, PUBLIC)


@settings(deadline=None)
@given(position=st.integers(0, len(BLOB) - 1), flip=st.integers(1, 255))
def test_no_byte_of_a_signature_may_change(position: int, flip: int) -> None:
    changed = bytearray(BLOB)
    changed[position] ^= flip
    body = base64.b64encode(bytes(changed)).decode("ascii")
    with pytest.raises(Refused):
        sshsig.verify(
            f"-----BEGIN SSH SIGNATURE-----\n{body}\n-----END SSH SIGNATURE-----\n", MESSAGE, sshsig.SIGN_OFF, PUBLIC
        )


@settings(deadline=None)
@given(garbage=st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda b: base64.b64encode(b).decode())))
def test_garbage_is_refused_and_never_a_traceback(garbage: str) -> None:
    for armored in (garbage, f"-----BEGIN SSH SIGNATURE-----\n{garbage}\n-----END SSH SIGNATURE-----"):
        with pytest.raises(Refused, match=r"security\.signature_malformed"):
            sshsig.parse(armored)
