"""`stage4 log explain SEQ`: what signs one entry, what chains it, where it stands, and which checkpoint covers it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stage4 import words
from stage4.cli import _run
from stage4.cli._log_reading import Printer, Reading, facts_of, reads
from stage4.clock import SystemClock
from stage4.errors import ExitCode, Unavailable

if TYPE_CHECKING:
    from stage4.decisionlog.verification.explaining import Covering, Explanation
    from stage4.security.keyring import Key, KeyRing

SCHEMA = "stage4.explain/1"
_LABEL = 18


@click.command()
@click.argument("seq", type=click.IntRange(0))
@reads(filters=False)
@click.option("--raw", is_flag=True, help="The line too, byte for byte.")
@click.option(
    "--keyring", "ring_path", type=click.Path(path_type=Path), help="The key ring (default: the installation's)."
)
def explain(reading: Reading, seq: int, raw: bool, ring_path: Path | None) -> int:
    """Tell what vouches for entry SEQ at its place: signature, chain, checkpoint.

    Exit 1 where something there does not hold, 3 where it cannot be told. The rest of the log is not judged.
    """
    from stage4.decisionlog.verification.explaining import explain as explained

    found = explained(reading.path, seq, _keyring(reading, ring_path), SystemClock())
    if found is None:
        reading.session.emit({"schema": SCHEMA, "log": str(reading.path), "seq": seq, "entry": None})
        _run.say(reading.session.text("logview.no_entry", seq=seq, path=reading.path))
        return ExitCode.NO
    if not reading.session.as_json:
        if found.entry is not None:
            Printer(reading, print_line=_run.out).show(found.entry)
        for line in _lines(reading, found):
            _run.out(line)
        if raw:
            _run.out_bytes(found.located.line + b"\n")
    reading.session.emit(_document(reading, found))
    for code in _hints(found):
        _run.say(f"hint: {words.hint(code, reading.session.language)}")
    return found.exit_code


def _keyring(reading: Reading, named: Path | None) -> KeyRing | None:
    """The ring that was named, or the installation's; None where that cannot be read, which the answer says."""
    from stage4.decisionlog.open import load_keyring
    from stage4.security.keyring import KeyRing

    if named is not None:
        return KeyRing.load(named, os.environ)
    if reading.root is None:
        return None
    try:
        return load_keyring(reading.session.installation, os.environ)
    except Unavailable as error:
        _run.say_error(error, reading.session.language)
        return None


def _lines(reading: Reading, found: Explanation) -> Iterator[str]:
    text = reading.session.text
    for judged in found.judged:
        answer = text(f"logview.explain_answer_{judged.answer.value}")
        yield f"{_label(reading, judged.question)}{answer}: {text(judged.code, **judged.params)}"
        if judged.question == "signature" and found.key is not None:
            state = text(f"keyring.state_{found.key.state.value}")
            yield " " * _LABEL + text("logview.explain_key", **_key(found.key) | {"state": state})
    place = {"path": found.located.part, "line": found.line_number, "offset": found.located.offset}
    yield _label(reading, "place") + text("logview.explain_place", **place)
    yield _label(reading, "leaf") + found.leaf
    code, params = _cover(found.covering)
    covered = "none" if found.covering is None else found.covering.answer.value
    yield f"{_label(reading, 'checkpoint')}{text(f'logview.explain_answer_{covered}')}: {text(code, **params)}"


def _label(reading: Reading, question: str) -> str:
    return f"{reading.session.text(f'logview.explain_question_{question}')}: ".ljust(_LABEL)


def _cover(covering: Covering | None) -> tuple[str, dict[str, object]]:
    if covering is None:
        return "logview.explain_uncovered", {}
    return covering.code, {
        "number": covering.number,
        "seq": covering.seq,
        "size": covering.size,
        "at": covering.timestamp,
        "signers": ", ".join(f"{key.name} {key.id.hex()}" for key in covering.signers),
    }


def _hints(found: Explanation) -> Iterator[str]:
    code, _ = _cover(found.covering)
    if words.hint(code, "en") is not None:
        yield code


def _key(key: Key) -> dict[str, object]:
    return {"id": key.id, "algorithm": key.algorithm, "fingerprint": key.fingerprint, "state": key.state.value}


def _document(reading: Reading, found: Explanation) -> dict[str, object]:
    covering = found.covering
    return {
        "schema": SCHEMA,
        "log": str(reading.path),
        "seq": found.located.seq,
        "entry": None if found.entry is None else facts_of(found.entry),
        "judged": [
            {
                "question": judged.question,
                "answer": judged.answer.value,
                "code": judged.code,
                "message": words.text(judged.code, "en", **judged.params),
                "params": dict(judged.params),
            }
            for judged in found.judged
        ],
        "key": None if found.key is None else _key(found.key),
        "place": {"file": str(found.located.part), "line": found.line_number, "offset": found.located.offset},
        "leaf": found.leaf,
        "raw": found.located.line.decode("utf-8", "backslashreplace"),
        "checkpoint": None
        if covering is None
        else {
            "answer": covering.answer.value,
            "code": covering.code,
            "number": covering.number,
            "seq": covering.seq,
            "size": covering.size,
            "timestamp": covering.timestamp,
            "note": None if covering.note is None else covering.note.encode().decode(),
            "signers": [str(key) for key in covering.signers],
        },
    }
