"""`stage4 log explain SEQ`: what signs one entry, what chains it, where it stands, and which checkpoint covers it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
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
def explain(reading: Reading, seq: int, raw: bool) -> int:
    """Tell what vouches for entry SEQ at its place: signature, chain, checkpoint.

    Exit 1 where something there does not hold, 3 where it cannot be told. The rest of the log is not judged.
    """
    from stage4.decisionlog.verification.explaining import explain as explained
    from stage4.words import visible

    found = explained(reading.path, seq, _keyring(reading), SystemClock())
    if found is None:
        reading.session.emit(_missing(reading, seq))
        _run.say(reading.session.text("logview.no_entry", seq=seq, path=reading.path))
        return ExitCode.NO
    if not reading.session.as_json:
        if found.entry is not None:
            Printer(reading).show(found.entry)
        for line in _lines(reading, found):
            print(visible(line))
        sys.stdout.flush()
        if raw:
            _print_raw(found.located.line)
    reading.session.emit(_document(reading, found))
    for code in _hints(found):
        _run.say(f"hint: {words.hint(code, reading.session.language)}")
    return found.exit_code


def _print_raw(line: bytes) -> None:
    """The bytes themselves, except on a terminal, which would act on some of them."""
    from stage4.words import visible

    if sys.stdout.isatty():
        print(visible(line.decode("utf-8", "backslashreplace")))
    else:
        sys.stdout.buffer.write(line + b"\n")
    sys.stdout.flush()


def _keyring(reading: Reading) -> KeyRing | None:
    """The installation's ring; None where there is none that can be read, which the answer says."""
    from stage4.decisionlog.open import load_keyring

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
            yield " " * _LABEL + text("logview.explain_key", **_key(found.key))
    place = {"path": found.located.part, "line": found.line_number, "offset": found.located.offset}
    yield _label(reading, "place") + text("logview.explain_place", **place)
    yield _label(reading, "leaf") + found.leaf
    code, params = _cover(found.covering)
    yield _label(reading, "checkpoint") + text(code, **params)
    for change in found.changes:
        code = "logview.explain_rotated" if change.kind == "key_rotation" else "logview.explain_revoked"
        params = {"seq": change.seq, "at": change.timestamp, "key_id": change.key_id}
        yield _label(reading, "change") + text(code, **params)


def _label(reading: Reading, question: str) -> str:
    return f"{reading.session.text(f'logview.explain_question_{question}')}: ".ljust(_LABEL)


def _cover(covering: Covering | None) -> tuple[str, dict[str, object]]:
    if covering is None:
        return "logview.explain_uncovered", {}
    params: dict[str, object] = {"number": covering.number, "size": covering.size, "at": covering.timestamp}
    if covering.note is None:
        return "logview.explain_cover_no_note", params
    if not covering.signers:
        return "logview.explain_cover_unsigned", params | {"seq": covering.seq}
    return "logview.explain_covered", params | {"signers": ", ".join(map(str, covering.signers))}


def _hints(found: Explanation) -> Iterator[str]:
    code, _ = _cover(found.covering)
    if code in ("logview.explain_uncovered", "logview.explain_cover_no_note"):
        yield code


def _key(key: Key) -> dict[str, object]:
    return {"id": key.id, "algorithm": key.algorithm, "fingerprint": key.fingerprint, "state": key.state.value}


def _missing(reading: Reading, seq: int) -> dict[str, object]:
    return {"schema": SCHEMA, "exit_code": int(ExitCode.NO), "log": str(reading.path), "seq": seq, "entry": None}


def _document(reading: Reading, found: Explanation) -> dict[str, object]:
    covering = found.covering
    return {
        "schema": SCHEMA,
        "exit_code": int(found.exit_code),
        "root": None if reading.root is None else str(reading.root),
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
            "number": covering.number,
            "seq": covering.seq,
            "size": covering.size,
            "timestamp": covering.timestamp,
            "note": None if covering.note is None else covering.note.encode().decode(),
            "signers": [str(key) for key in covering.signers],
        },
        "key_changes": [
            {"seq": each.seq, "kind": each.kind, "key_id": each.key_id, "timestamp": each.timestamp}
            for each in found.changes
        ],
    }
