"""The options with which an audit demands other scopes of a kind of service than it would by itself."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

from stage4.errors import UsageError

# The option's first word, and the kind of service as the policy calls it.
_KINDS: Final = {"metrics": "metrics_service", "risk": "risk_service", "scheduler": "scheduler"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """`--metrics-required-scope`, `--risk-required-scope` and `--scheduler-required-scope`, each as often as needed."""
    for word, kind in _KINDS.items():
        parser.add_argument(
            f"--{word}-required-scope",
            action="append",
            metavar="SCOPE",
            help=f"a token of {kind} must have this scope (again for more; in place of the default)",
        )


def required(arguments: argparse.Namespace) -> Mapping[str, tuple[str, ...]]:
    """The scopes by kind of service, of the kinds that were named; raises UsageError `audit.scope_unheard`."""
    from stage4.security.tokens import SCOPES

    chosen: dict[str, tuple[str, ...]] = {}
    for word, kind in _KINDS.items():
        scopes = getattr(arguments, f"{word}_required_scope")
        if scopes is None:
            continue
        for scope in scopes:
            if scope not in SCOPES:
                option, known = f"--{word}-required-scope", ", ".join(sorted(SCOPES))
                raise UsageError("audit.scope_unheard", option=option, scope=scope, known=known)
        chosen[kind] = tuple(dict.fromkeys(scopes))
    return chosen


def again(arguments: argparse.Namespace) -> list[str]:
    """The same options once more."""
    return [
        part
        for word in _KINDS
        for scope in getattr(arguments, f"{word}_required_scope") or ()
        for part in (f"--{word}-required-scope", scope)
    ]
