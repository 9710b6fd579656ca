"""
Verify the decision log, or append the signed summary of an incident to it.

    verify_decision_log.py [PATH]                  every line judged; document stage4.verify/1
    verify_decision_log.py summary --incident [ID] the entry of PLAYBOOK L1.4; document stage4.summary/1

Exit codes: 0 every entry verifies and no checkpoint speaks against the log (or the entry is on the disk), 1 the log is
broken, torn, cut short or not as required, 2 the call or the settings are malformed, 3 cannot tell, 130 interrupted.
Verifying needs no installation when PATH and --keyring are given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from stage4.cli import _run

SCHEMA = "stage4.verify/1"


def main(argv: Sequence[str] | None = None) -> int:
    """The command; `argv` without the program's name, None for the process's own."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["summary"]:
        from stage4.cli import log_summary

        return _run.guarded(log_summary.SCHEMA, lambda: log_summary.run(arguments[1:]))
    if arguments[:1] == ["verify"]:
        arguments = arguments[1:]
    return _run.guarded(SCHEMA, lambda: _verify(arguments))


def _verify(argv: Sequence[str]) -> int:
    from stage4.cli import _verify as command

    answer = command.run(command.parser("verify_decision_log.py", __doc__).parse_args(argv), None)
    for sentence in answer.sentences:
        _run.say(sentence)
    _run.emit(answer.document)
    return answer.exit_code
