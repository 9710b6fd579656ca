"""`stage4 log verify`: every line judged, for people or as a document; the options are those of the script."""

from __future__ import annotations

import click

from stage4.cli import _run
from stage4.cli.root import Session


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def verify(session: Session, arguments: tuple[str, ...]) -> int:
    """Judge every line of the log, and what its checkpoints vouch for."""
    from stage4.cli import _verify

    description = f"{verify.help}\n--json prints one document on stdout instead; --lang pl|en chooses the language."
    options = _verify.parser("stage4 log verify", description).parse_args(list(arguments))
    options.root = options.root or session.root
    answer = _verify.run(options, session.lang)
    for sentence in answer.sentences:
        (_run.say if session.as_json else _run.out)(sentence)
    session.emit(answer.document)
    return answer.exit_code
