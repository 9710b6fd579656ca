"""
What must hold of every reader of the decision log, whatever bytes it is given: a verdict or an error of ours,
never another exception; and no log passes but the one that was written, or its beginning.

The same targets are driven by Hypothesis in every test run and by coverage in the soak (tests/fuzz).
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from stage4.clock import Clock
from stage4.decisionlog import archive, archives
from stage4.decisionlog.archives import read_manifest
from stage4.decisionlog.checkpoints import notary, proof
from stage4.decisionlog.checkpoints.keys import KeyStore
from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError, SignerKey, VerifierKey
from stage4.decisionlog.verification.v2 import V2Judge
from stage4.decisionlog.verification.verifier import verify
from stage4.errors import ExitCode, Stage4Error
from stage4.security.keyring import KeyRing
from support.decision_logs import LogRoom, draft


@dataclass(frozen=True, slots=True)
class Grounds:
    """A genuine log in a folder, and the files that the targets write beside it."""

    folder: Path
    ring: KeyRing = field(repr=False)
    clock: Clock
    genuine: bytes = field(repr=False)
    keys: bytes = field(repr=False)
    manifest: bytes

    @classmethod
    def create(cls, folder: Path) -> Grounds:
        """A log of eight entries, one of them the repair of a torn write."""
        room = LogRoom.create(folder, 5)
        with room.path.open("ab") as log:
            log.write(b'{"artefacts":{"none"')
        room.log().append_many([draft(6), draft(7)])
        genuine = room.path.read_bytes()
        notary.make(room.log(), room.ring, room.clock)
        keys = KeyStore.beside(room.ring.path, room.log_id()).path.read_bytes()
        archive.rotate(room.log())
        manifest = archives.manifest_path(room.path).read_bytes()
        for path in folder.glob("runtime*"):
            path.unlink()
        return cls(folder, room.ring, room.clock, genuine, keys, manifest)

    def judge_log(self, content: bytes) -> None:
        """Any bytes as the log: only whole lines from its beginning pass."""
        if self._passes("fuzzed.jsonl", content):
            assert self.genuine.startswith(content), "a log passed that nobody wrote"
            assert content.endswith(b"\n")

    def judge_gzip(self, content: bytes) -> None:
        """Any bytes as a compressed archive, and as the content of one."""
        self._passes("fuzzed.jsonl.gz", content)
        self._passes("fuzzed.jsonl.gz", gzip.compress(content, 1))

    def judge_zstd(self, content: bytes) -> None:
        """Any bytes as a compressed archive, and as the content of one."""
        self._passes("fuzzed.jsonl.zst", content)
        self._passes("fuzzed.jsonl.zst", zstandard.compress(content, 1))

    def judge_v2(self, content: bytes) -> None:
        """Any lines as those of version 2: nothing is sound that the key did not sign."""
        judge = V2Judge(b"a key of version 2")
        assert judge.judge(content.split(b"\n")).entries == 0

    def judge_ring(self, content: bytes) -> None:
        """Any bytes as a key ring."""
        path = self.folder / "fuzzed-ring.json"
        path.write_bytes(content)
        with contextlib.suppress(Stage4Error):
            KeyRing.load(path, {})

    def judge_keys(self, content: bytes) -> None:
        """Any bytes as the private keys of checkpoints."""
        path = self.folder / "fuzzed-keys.json"
        path.write_bytes(content)
        with contextlib.suppress(Stage4Error):
            KeyStore(path).load()

    def judge_manifest(self, content: bytes) -> None:
        """Any bytes as the list of archives: a line that cannot be read is told by its number."""
        path = self.folder / "fuzzed.manifest.jsonl"
        path.write_bytes(content)
        with contextlib.suppress(Stage4Error):
            manifest = read_manifest(path)
            assert len(manifest.listed) + len(manifest.unreadable) == sum(map(bool, content.split(b"\n")))

    def _passes(self, name: str, content: bytes) -> bool:
        path = self.folder / name
        path.write_bytes(content)
        try:
            return verify(path, self.ring, self.clock).exit_code is ExitCode.DONE
        except Stage4Error:
            return False
        finally:
            path.unlink()


def judge_note(content: bytes) -> None:
    """Any bytes as a note, a checkpoint, a key: what is read spells itself again."""
    with contextlib.suppress(NoteError):
        note = Note.parse(content)
        assert note.encode() == content
        assert Checkpoint.of(note).size >= 0
    with contextlib.suppress(NoteError):
        key = VerifierKey.parse(content.decode("utf-8", "replace"))
        assert VerifierKey.parse(str(key)) == key


def judge_proof(content: bytes) -> None:
    """Any bytes as a proof."""
    with contextlib.suppress(proof.ProofError, NoteError):
        assert proof.parse(content).encode() == content


def targets(grounds: Grounds) -> Mapping[str, Callable[[bytes], None]]:
    """Every target by name."""
    return {
        "log": grounds.judge_log,
        "gzip": grounds.judge_gzip,
        "zstd": grounds.judge_zstd,
        "v2": grounds.judge_v2,
        "ring": grounds.judge_ring,
        "keys": grounds.judge_keys,
        "manifest": grounds.judge_manifest,
        "note": judge_note,
        "proof": judge_proof,
    }


def corpus(grounds: Grounds) -> Mapping[str, tuple[bytes, ...]]:
    """Genuine material to start from, by target."""
    signer = SignerKey("stage4-log/fuzzed", bytes(32))
    text = Checkpoint(signer.name, 8, bytes(range(32))).text
    note = Note(text, (signer.sign(text),))
    hashes = (bytes(32), bytes(range(32)))
    return {
        "log": (grounds.genuine,),
        "gzip": (gzip.compress(grounds.genuine), grounds.genuine),
        "zstd": (zstandard.compress(grounds.genuine), grounds.genuine),
        "v2": (grounds.genuine, b'{"a":1.5,"signature":{"algorithm":"HMAC-SHA256","key_id":"k","value":"AA=="}}\n\n'),
        "ring": (grounds.ring.path.read_bytes(),),
        "keys": (grounds.keys,),
        "manifest": (grounds.manifest,),
        "note": (note.encode(), str(signer.verifier).encode()),
        "proof": (
            proof.Inclusion(3, hashes, note, b"{}").encode(),
            proof.Consistency(3, hashes, note).encode(),
        ),
    }
