"""
Verify the decision log, or append the signed summary of an incident to it.

    verify_decision_log.py [PATH]                  every line judged; document stage4.verify/1
    verify_decision_log.py summary --incident [ID] the entry of PLAYBOOK L1.4; document stage4.summary/1

Exit codes: 0 the log verifies (or the entry is on the disk), 1 it is broken or torn, 2 the call or the settings are
malformed, 3 cannot tell. Verifying needs no installation when PATH and --keyring are given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stage4 import words
from stage4.cli import _run
from stage4.clock import SystemClock
from stage4.errors import Unavailable, UsageError
from stage4.words import Language

if TYPE_CHECKING:
    from argparse import Namespace

    from stage4.config import Installation
    from stage4.security.keyring import KeyRing

SCHEMA = "stage4.verify/1"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; `argv` without the program's name, None for the process's own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["summary"]:
        from stage4.cli import log_summary

        return _run.guarded(log_summary.SCHEMA, lambda: log_summary.run(arguments[1:]))
    if arguments[:1] == ["verify"]:
        arguments = arguments[1:]
    return _run.guarded(SCHEMA, lambda: _verify(_arguments(arguments)))


def _arguments(argv: Sequence[str]) -> Namespace:
    import argparse

    from stage4.cli._arguments import Parser

    parser = Parser(
        prog="verify_decision_log.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", nargs="?", type=Path, help="the log (default: the one in the settings)")
    parser.add_argument("--keyring", type=Path, help="the key ring (default: the installation's)")
    parser.add_argument("--root", type=Path, help="the installation (default: STAGE4_ROOT, or the nearest parent)")
    parser.add_argument("--output", type=Path, help="write the document to this file too")
    return parser.parse_args(argv)


def _verify(arguments: Namespace) -> int:
    from stage4.decisionlog.verification import report
    from stage4.decisionlog.verification.verifier import verify

    installation = _installation(arguments)
    path = arguments.path or _configured(installation)
    lang = _run.language(configured=None if installation is None else installation.settings.operations.language)
    ring, notes = _keyring(arguments.keyring, installation, lang)
    verdict = verify(path, ring, SystemClock())
    for sentence in report.sentences(verdict, path, lang):
        _run.say(sentence)
    root = None if installation is None else str(installation.root)
    document = report.document(verdict, path) | {"root": root, "notes": notes}
    if arguments.output is not None:
        _run.save(document, arguments.output)
    _run.emit(document)
    return verdict.exit_code


def _installation(arguments: Namespace) -> Installation | None:
    """The installation, where one is needed or found; a log with its own key ring needs none."""
    from stage4.config import find_root, load

    if arguments.path is not None and arguments.keyring is not None and arguments.root is None:
        return None
    try:
        root = find_root(arguments.root, os.environ, Path.cwd())
    except UsageError:
        if arguments.path is None or arguments.root is not None:
            raise
        return None
    return load(root)


def _configured(installation: Installation | None) -> Path:
    assert installation is not None, "without a path the installation is required"
    return installation.decision_log_path


def _keyring(
    named: Path | None, installation: Installation | None, lang: Language
) -> tuple[KeyRing | None, list[dict[str, object]]]:
    """The key ring, and a note where there is none: then the chain is judged and the signatures are not."""
    from stage4.security.keyring import KeyRing

    if named is not None:
        path = named
    elif installation is not None:
        path = installation.path(installation.settings.operations.decision_log.keyring)
    else:
        return None, [_note("verify.no_keyring", lang, reason="-")]
    try:
        return KeyRing.load(path, os.environ), []
    except Unavailable as error:
        return None, [_note("verify.no_keyring", lang, reason=words.text(error.code, "en", **error.params))]


def _note(code: str, lang: Language, **params: object) -> dict[str, object]:
    _run.say(f"warning: {words.text(code, lang, **params)}")
    return {"code": code, "message": words.text(code, "en", **params), "params": params}
