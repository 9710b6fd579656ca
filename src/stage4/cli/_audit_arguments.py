"""The flags of the two audit commands, and the command that asks the same once more."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stage4 import words
from stage4.cli import _audit_probe, _audit_scopes
from stage4.cli._arguments import Parser, amount, choice
from stage4.clock import parse_instant
from stage4.errors import UsageError

if TYPE_CHECKING:
    from stage4.cli._audit import Command

_MOST_DAYS = 36_500


def parse(command: Command, argv: Sequence[str]) -> argparse.Namespace:
    """The flags as they were given; raises UsageError for a value that cannot be one of its flag."""
    from stage4.audit.policy import DEFAULT_BUNDLE

    parser = Parser(prog=command.program, description=command.description)
    parser.add_argument("--mtls-bundle-name", default=DEFAULT_BUNDLE, metavar="NAME", help="the bundle (core-oem)")
    parser.add_argument("--allow-missing-env", action="store_true", help="an unset variable is a warning, not a fail")
    parser.add_argument(
        *("--rotation-warn-days", "--warn-expiring-days"),
        type=amount("--rotation-warn-days", "arguments.bad_days", _MOST_DAYS),
        metavar="N",
        help="warn this long before a rotation is due or a certificate expires",
    )
    parser.add_argument(
        "--rotation-interval-days",
        type=amount("--rotation-interval-days", "arguments.bad_days", _MOST_DAYS),
        metavar="N",
        help="how often keys are to be replaced",
    )
    parser.add_argument("--check-paths", action="store_true", help="every path in the settings has to exist")
    _audit_scopes.add_options(parser)
    parser.add_argument("--at", type=parse_instant, metavar="TIME", help="judge as of this instant (RFC 3339)")
    parser.add_argument(
        "--fail-on",
        type=choice("--fail-on", ("fail", "warn")),
        default="fail",
        metavar="fail|warn",
        help="what makes the exit code 1",
    )
    parser.add_argument("--output-json", "--json-output", type=Path, metavar="FILE", help="write the document here too")
    parser.add_argument(
        "--format",
        action="append",
        default=[],
        metavar="NAME[=FILE]",
        help="write the report as sarif, junit or markdown too, to FILE or beside the kept document; may be repeated",
    )
    if command.compares:
        parser.add_argument(
            "--compare", metavar="latest|FILE", help="say what changed since this report (default: the newest kept)"
        )
    parser.add_argument("--evidence", type=Path, metavar="FILE", help="judge this evidence.json instead of collecting")
    parser.add_argument("--explain", metavar="CONTROL", help="say what a control asks and why, and audit nothing")
    parser.add_argument(
        "--verify-report", type=Path, metavar="FILE", help="say whether this report is as it was signed: exit 0, 1 or 3"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="the settings (default: config/core.yaml)")
    parser.add_argument("--root", type=Path, help="the installation (default: STAGE4_ROOT, or the nearest parent)")
    parser.add_argument(
        "--lang", type=choice("--lang", words.languages), metavar="pl|en", help="language of what is said on stderr"
    )
    parser.add_argument("--print", action="store_true", help="print the document on stdout, which is always done")
    if command.probes:
        _audit_probe.add_options(parser)
    else:
        parser.set_defaults(probe=None)
    arguments, foreign = parser.parse_known_args(argv)
    if foreign:
        raise UsageError("arguments.unknown", program=command.program, arguments=" ".join(foreign))
    return arguments


def again(command: Command, arguments: argparse.Namespace, root: Path, document: Mapping[str, object]) -> list[str]:
    """
    The command, given in `root`, that asks the same of the installation as it is by then.

    Every demand that was made is made once more; what made it a question about another time or other evidence is not.
    """
    asked = ["python", f"scripts/{command.program}", "--mtls-bundle-name", arguments.mtls_bundle_name]
    switches = {"--allow-missing-env": arguments.allow_missing_env, "--check-paths": arguments.check_paths}
    asked += [option for option, given in switches.items() if given]
    spans = {
        "--rotation-warn-days": arguments.rotation_warn_days,
        "--rotation-interval-days": arguments.rotation_interval_days,
    }
    for option, days in spans.items():
        if days is not None:
            asked += [option, str(days).removesuffix(".0")]
    asked += _audit_scopes.again(arguments)
    if arguments.fail_on != "fail":
        asked += ["--fail-on", arguments.fail_on]
    if arguments.config is not None:
        settings = Path(os.path.realpath(arguments.config))
        asked += ["--config", str(settings.relative_to(root) if settings.is_relative_to(root) else settings)]
    return asked + (_audit_probe.again(arguments, document) if command.probes else [])
