"""`stage4 log prove` and `stage4 log check-proof`: one entry, or the growth of the log, proven to somebody else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stage4 import words
from stage4.cli import _answers, _run
from stage4.cli._log_reading import begun
from stage4.cli.root import Session
from stage4.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from stage4.decisionlog.checkpoints.judging import Proven
    from stage4.decisionlog.checkpoints.note import Note, VerifierKey

_FILE = click.Path(path_type=Path)
_LIMIT = 1 << 20


@click.command()
@click.option("--seq", type=click.IntRange(0), help="Prove that this entry is in the log of its newest checkpoint …")
@click.option("--from", "old", type=click.IntRange(1), help="Prove that the checkpoint of so many entries …")
@click.option(
    "--to", "new", type=click.IntRange(1), help="… or the one of so many entries: with --from, that it begins this one."
)
@click.option("--output", type=_FILE, help="Write the proof to a file.")
@click.pass_obj
def prove(session: Session, seq: int | None, old: int | None, new: int | None, output: Path | None) -> int:
    """Make a proof that anybody checks with `stage4 log check-proof` and the pinned keys alone."""
    from stage4 import files
    from stage4.decisionlog.checkpoints import proving
    from stage4.decisionlog.checkpoints.note import Checkpoint
    from stage4.decisionlog.checkpoints.proof import Consistency, Inclusion

    if (seq is None) == (old is None):
        raise UsageError("checkpoint.prove_what")
    path = begun(session.installation)
    _answers.require_free(output, _answers.PROOF, path)
    proof: Inclusion | Consistency
    facts: dict[str, object]
    if seq is not None:
        proof, facts = proving.prove_inclusion(path, seq, new), {"kind": "inclusion", "index": seq}
    else:
        proof, facts = proving.prove_consistency(path, old or 0, new), {"kind": "consistency", "old": old}
    content = proof.encode()
    if output is not None:
        files.atomic_write(output, content)
        session.say("checkpoint.proof_written", path=output, bytes=words.number(len(content), session.language))
    elif not session.as_json:
        _run.out_bytes(content)
    checkpoint = Checkpoint.of(proof.note)
    session.emit(
        {
            "schema": "stage4.proof/1",
            **facts,
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "output": None if output is None else str(output),
            "proof": content.decode(),
        }
    )
    return 0


@click.command()
@click.argument("file", type=_FILE)
@click.option("--pin", required=True, type=_FILE, help="The keys that you keep, one a line.")
@click.option("--checkpoint", "old", type=_FILE, help="Your own checkpoint: the proof's, or the one it begins with.")
@click.option("--entry", type=_FILE, help="The line of the log that you hold, to be compared with the proof.")
@click.pass_obj
def check_proof(session: Session, file: Path, pin: Path, old: Path | None, entry: Path | None) -> int:
    """Check a proof: needs no installation, no log and no secret.

    Exit 0 proven, 1 not proven, 2 no proof at all, 3 where only a key that is still in use vouches for it.
    """
    from stage4.decisionlog.checkpoints.proof import ProofError
    from stage4.decisionlog.verification.anchors import read_pins

    pins = read_pins(pin)
    try:
        proven = _proven(session, file, pins, old, entry)
    except ProofError as error:
        session.say("checkpoint.not_proven", reason=session.text(f"checkpoint.proof_{error.reason}"))
        session.emit({"schema": "stage4.proof_check/1", "proven": False, "reason": error.reason})
        return int(ExitCode.NO)
    code = ExitCode.DONE if proven.vouched else ExitCode.CANNOT_TELL
    _say_proven(session, proven)
    session.emit(_document(proven))
    return int(code)


def _proven(
    session: Session, file: Path, pins: tuple[VerifierKey, ...], old: Path | None, entry: Path | None
) -> Proven:
    from stage4 import files
    from stage4.decisionlog.checkpoints import judging, proof
    from stage4.decisionlog.checkpoints.note import NoteError

    content = files.read_limited(file, _LIMIT)
    try:
        given = proof.parse(content)
    except (NoteError, proof.ProofError) as error:
        raise _malformed(session, file, error) from None
    if isinstance(given, proof.Consistency):
        if old is None:
            raise UsageError("checkpoint.old_needed", path=file)
        return judging.judge_consistency(given, _note(session, old), pins)
    line = given.line if entry is None else files.read_limited(entry, _LIMIT).removesuffix(b"\n")
    if line is None:
        raise UsageError("checkpoint.entry_needed", path=file)
    return judging.judge_inclusion(given, line, pins, None if old is None else _note(session, old))


def _note(session: Session, path: Path) -> Note:
    from stage4 import files
    from stage4.decisionlog.checkpoints.note import Checkpoint, Note, NoteError

    try:
        note = Note.parse(files.read_limited(path, _LIMIT))
        Checkpoint.of(note)
    except NoteError as error:
        raise _malformed(session, path, error) from None
    return note


def _malformed(session: Session, path: Path, error: ValueError) -> UsageError:
    from stage4.decisionlog.checkpoints.note import NoteError

    kind, reason = ("note" if isinstance(error, NoteError) else "proof"), str(error)
    return UsageError("checkpoint.malformed", path=path, reason=session.text(f"checkpoint.{kind}_{reason}"))


def _say_proven(session: Session, proven: Proven) -> None:
    if proven.entry is None:
        session.say("checkpoint.proven_consistency", log_id=proven.log_id, old=proven.old, size=proven.size)
    else:
        entry = proven.entry
        code = "checkpoint.proven_inclusion" if proven.vouched else "checkpoint.unvouched_inclusion"
        session.say(code, seq=entry.seq, log_id=proven.log_id, n=proven.size)
        session.say(
            "checkpoint.proven_entry",
            timestamp=entry.timestamp,
            category=entry.category,
            kind=entry.kind,
            stage=entry.stage,
            status=entry.status,
        )
    if proven.own:
        session.say("checkpoint.vouched_own")
    else:
        session.say("checkpoint.vouched_forward" if proven.forward else "checkpoint.vouched_stable", key=proven.key)


def _document(proven: Proven) -> dict[str, object]:
    document: dict[str, object] = {
        "schema": "stage4.proof_check/1",
        "proven": True if proven.vouched else None,
        "log_id": proven.log_id,
        "size": proven.size,
        "key": str(proven.key),
        "forward": proven.forward,
        "own": proven.own,
    }
    if proven.entry is None:
        return document | {"kind": "consistency", "old": proven.old}
    entry = proven.entry
    facts = {name: getattr(entry, name) for name in ("seq", "timestamp", "category", "kind", "stage", "status")}
    return document | {"kind": "inclusion", "entry": facts | {"metadata": dict(entry.metadata)}}
