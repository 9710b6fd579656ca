"""`--root`, `--lang` and `--json` mean the same before the command's name and after it, for every command."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from stage4.cli import main
from stage4.cli.root import COMMANDS, LazyGroup, root
from support.log_rooms import installed_log


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    installed_log(tmp_path, monkeypatch)
    return tmp_path


@pytest.mark.parametrize(
    "argv",
    [
        ["--json", "log", "verify"],
        ["log", "verify"],
        ["log", "verify", "--json"],
        ["log", "--json", "verify"],
        ["log", "key", "--json", "list"],
        ["config", "--json", "show"],
    ],
)
def test_a_document_is_printed_where_it_is_asked_for(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert out.startswith("{") == ("--json" in argv)


def test_a_failure_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["log", "show", "--nonsense", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2
    assert main(["log", "explain", "999", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["entry"] is None


@pytest.mark.parametrize(
    "group", ["log", "log key", "oncall", "config", "cert", "incident", "fault", "monitoring", "notify", "rotation"]
)
def test_a_group_without_a_command_is_a_wrong_call(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--json", *group.split()], [*group.split(), "--json"]):
        assert main(argv) == 2
        document = json.loads(capsys.readouterr().out)
        assert (document["schema"], document["exit_code"]) == ("stage4.error/1", 2)
        assert document["error"]["message"]
    assert main(group.split()) == 2
    heard = capsys.readouterr()
    assert (heard.out, f"stage4 {group}" in heard.err) == ("", True)


def test_the_installation_and_the_language_may_be_named_between_a_group_and_its_command(
    room: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert main(["log", "--root", str(room), "--lang", "en", "verify"]) == 0
    assert capsys.readouterr().out.startswith("INTACT")


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["show"], 0),
        (["show", "99"], 1),
        (["grep", "nowhere"], 1),
        (["tail"], 0),
        (["explain", "1"], 0),
        (["explain", "99"], 1),
        (["append", "--kind", "manual", "--category", "desk", "--stage", "L1", "--status", "open"], 0),
        (["checkpoint"], 0),
        (["archive"], 0),
        (["key", "list"], 0),
        (["key", "new"], 0),
        (["key", "rotate", "--reason", "x"], 0),
        (["verify"], 0),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else str(value),
)
def test_a_document_says_how_the_command_ended_and_where(
    room: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int
) -> None:
    assert main(["log", *argv, "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert list(document)[:3] == ["schema", "exit_code", "root"]
    assert (document["exit_code"], document["root"]) == (code, str(room))


def test_what_stands_after_two_dashes_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lang", "en", "log", "grep", "--", "--json"]) == 1
    assert not capsys.readouterr().out.startswith("{")


def test_the_language_of_the_later_place_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lang", "pl", "log", "verify", "--lang", "en"]) == 0
    assert capsys.readouterr().out.startswith("INTACT")


def test_the_installation_may_be_named_after_the_command(
    room: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert main(["log", "show"]) == 2
    assert main(["log", "show", "--root", str(room)]) == 0


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(root)
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        yield from leaves(name, command)


def leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    names = command.places if isinstance(command, LazyGroup) else command.commands
    for each in names:
        found = command.get_command(context, each)
        assert found is not None
        yield from leaves(f"{name} {each}", found)


def test_no_command_gives_the_common_options_another_meaning() -> None:
    for module in {module for module, _ in COMMANDS.values()}:
        importlib.import_module(module)
    for name, command in commands():
        options = [option for param in command.params for option in param.opts]
        for option in ("--root", "--lang", "--json"):
            assert options.count(option) == 1, (name, option)


def test_settings_that_somebody_wrote_draw_nothing_on_the_terminal(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    core = room / "config/core.yaml"
    text = core.read_text()
    assert "telemetry_namespace: runtime.multi_strategy.core" in text
    for written, code in (("a\\u202eb", 0), ("a\\x1b[2J", 2), ("a\\x9b31m", 2)):
        core.write_text(text.replace("runtime.multi_strategy.core", f'"{written}"', 1))
        for form in ([], ["--json"]):
            assert main(["config", "show", *form]) == code
            shown = "".join(capsys.readouterr())
            assert shown
            assert all(each.isprintable() or each == "\n" for each in shown)
