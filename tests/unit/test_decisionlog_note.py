"""Signed notes: one spelling, unknown keys passed over, a known key whose signature fails condemns."""

from __future__ import annotations

import base64

import pytest

from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError, Signature, SignerKey, VerifierKey

LOG = "stage4-log/AAAAAAAAAAAAAAAAAAAAAA"
STABLE = SignerKey(LOG, bytes(range(32)))
FORWARD = SignerKey(f"{LOG}/forward", bytes(range(1, 33)))
TEXT = Checkpoint(LOG, 41, bytes(32)).text


def signed(text: str = TEXT, *keys: SignerKey) -> Note:
    return Note(text, tuple(key.sign(text) for key in keys or (FORWARD, STABLE)))


def test_the_published_example_of_a_key_and_its_note_holds() -> None:
    # From the documentation of golang.org/x/mod/sumdb/note.
    key = VerifierKey.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = (
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    note = Note.parse(f"{text}\n{line}".encode())
    assert note.text == text
    assert note.signed_by([key]) == (key,)


def test_a_note_reads_back_as_it_was_written() -> None:
    note = signed()
    assert Note.parse(note.encode()) == note
    assert Checkpoint.of(note) == Checkpoint(LOG, 41, bytes(32))
    assert note.signed_by([STABLE.verifier]) == (STABLE.verifier,)
    assert set(note.signed_by([STABLE.verifier, FORWARD.verifier])) == {STABLE.verifier, FORWARD.verifier}


def test_signatures_of_unknown_keys_are_passed_over() -> None:
    assert signed().signed_by([SignerKey("elsewhere", bytes(32)).verifier]) == ()
    assert signed().signed_by([VerifierKey("elsewhere", STABLE.verifier.public)]) == ()


def test_a_known_key_whose_signature_does_not_hold_condemns_the_note() -> None:
    note = Note(TEXT.replace("41", "42"), signed().signatures)
    with pytest.raises(NoteError, match="signature"):
        note.signed_by([STABLE.verifier])
    assert note.signed_by([]) == ()


def test_a_key_that_signed_twice_is_told_once() -> None:
    assert signed(TEXT, STABLE, STABLE).signed_by([STABLE.verifier]) == (STABLE.verifier,)


def test_a_signers_secret_is_never_shown() -> None:
    assert STABLE.seed.hex() not in repr(STABLE)
    assert "secret" in repr(STABLE)


def test_a_key_reads_back_and_no_other_spelling_of_it_does() -> None:
    text = str(STABLE.verifier)
    assert VerifierKey.parse(text) == STABLE.verifier
    name, _, key = text.partition("+")
    for wrong in (
        "",
        "x",
        text.replace("stage4", "stage5"),
        text.replace("+", "+0", 1),
        text[:-1],
        f"a b+{key}",
        f"+{key}",
        f"{name}+{key[:8]}+" + base64.b64encode(b"\2" + STABLE.verifier.public).decode(),
        text + "!",
    ):
        with pytest.raises(NoteError, match="key"):
            VerifierKey.parse(wrong)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "shape"),
        (b"text\n", "shape"),
        (b"text\n\n", "shape"),
        (b"\n\n" + signed().encode().partition(b"\n\n")[2], "shape"),
        (signed().encode()[:-1], "shape"),
        (signed().encode() + b"\n", "shape"),
        (signed().encode().replace(b"\xe2\x80\x94 ", b"- "), "shape"),
        (signed().encode().replace(b"\n", b"\r\n"), "encoding"),
        (b"\xff" + signed().encode(), "encoding"),
        (b"x" * 20_000 + signed().encode(), "long"),
        (signed(TEXT, *[STABLE] * 17).encode(), "long"),
        (Note(TEXT, (Signature(LOG, b"1234", b""),)).encode(), "shape"),
    ],
)
def test_bytes_that_are_no_note_are_refused_by_name(content: bytes, reason: str) -> None:
    with pytest.raises(NoteError, match=reason):
        Note.parse(content)


def test_leftover_bits_of_base64_are_no_second_spelling() -> None:
    content = signed().encode()
    other = bytearray(content)
    position = content.rindex(b"=\n") - 1
    other[position] += 1
    with pytest.raises(NoteError, match="shape"):
        Note.parse(bytes(other))


@pytest.mark.parametrize(
    "text",
    [
        "origin\n",
        "origin\n1\n",
        "\n1\nAAAA\n",
        f"origin\n01\n{base64.b64encode(bytes(32)).decode()}\n",
        f"origin\n-1\n{base64.b64encode(bytes(32)).decode()}\n",
        f"origin\n١\n{base64.b64encode(bytes(32)).decode()}\n",
        f"origin\n{'9' * 17}\n{base64.b64encode(bytes(32)).decode()}\n",
        f"origin\n1\n{base64.b64encode(bytes(31)).decode()}\n",
        "origin\n1\nnot base64\n",
    ],
)
def test_a_note_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteError, match="checkpoint"):
        Checkpoint.of(signed(text))


def test_extension_lines_of_a_checkpoint_are_passed_over() -> None:
    assert Checkpoint.of(signed(TEXT + "extension\n")).size == 41
