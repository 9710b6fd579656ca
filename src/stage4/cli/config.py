"""`stage4 config check|show`: what the settings say and where they stand."""

from __future__ import annotations

from typing import Any

import click

from stage4.cli import _run
from stage4.cli.root import Session


@click.group()
def config() -> None:
    """Settings of the installation."""


@config.command()
@click.option("--strict", is_flag=True, help="Unknown keys are errors.")
@click.pass_obj
def check(session: Session, strict: bool) -> int:
    """Read every file that the settings name; a mistake is told with its file, line and key."""
    installation = session.installation
    from stage4.app.checking import check_files

    check_files(installation)
    failed = strict and bool(installation.notices)
    session.say("config.checked" if not failed else "config.checked_strict", root=installation.root)
    session.emit(
        {
            "schema": "stage4.config_check/1",
            "root": str(installation.root),
            "ok": not failed,
            "notices": [{"code": notice.code, "params": _texts(notice.params)} for notice in installation.notices],
        }
    )
    return 2 if failed else 0


@config.command()
@click.pass_obj
def show(session: Session) -> int:
    """Print every setting with its value and its source: the file with its line, or the default."""
    import msgspec

    from stage4.config import CORE, read_yaml

    installation = session.installation
    document = read_yaml(installation.root / CORE)
    values = msgspec.to_builtins(installation.settings)
    rows = []
    for key, value in _leaves(values, ()):
        line = document.lines.get(key)
        rows.append({"key": ".".join(key), "value": value, "source": f"{CORE}:{line}" if line else "default"})
    if not session.as_json:
        for row in rows:
            _run.out(f"{row['key']} = {row['value']}    # {row['source']}")
    session.emit({"schema": "stage4.config/1", "root": str(installation.root), "settings": rows})
    return 0


def _leaves(value: Any, key: tuple[str, ...]) -> Any:
    if isinstance(value, dict) and value:
        for name, member in value.items():
            yield from _leaves(member, (*key, str(name)))
    elif isinstance(value, (list, tuple)) and value and isinstance(value[0], dict):
        for index, member in enumerate(value):
            yield from _leaves(member, (*key, str(index)))
    else:
        yield key, value


def _texts(params: Any) -> dict[str, str]:
    return {name: str(value) for name, value in params.items()}
