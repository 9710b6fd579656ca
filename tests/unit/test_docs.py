"""The documentation is true: generated pages in step with the code; links, paths and commands that exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import click
import pytest

from stage4 import words
from stage4.audit.controls import CONTROLS
from stage4.cli import _verify
from stage4.cli.log_verify import verify
from stage4.cli.root import root as stage4_command
from stage4.errors import ExitCode, UsageError
from stage4.telemetry.catalogue import METRICS

REPOSITORY = Path(__file__).resolve().parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
NAMED_PATH = re.compile(r"`([A-Za-z0-9_.-]+/[A-Za-z0-9_./-]*|[a-z]+\.toml)`")
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
OF_REPOSITORY = ("src", "tests", "docs", "deploy", "playbooks", "scripts", "tools", "config", "requirements", "bench")
OF_INSTALLATION = ("audit", "ops", "secrets", "var", "logs")
GUIDES = ("l1", "l2", "incident-manager", "auditor")


@cache
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_docs", REPOSITORY / "tools/generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pages() -> list[Path]:
    top = [path.relative_to(REPOSITORY) for path in REPOSITORY.glob("*.md")]
    return sorted([*top, *(path.relative_to(REPOSITORY) for path in (REPOSITORY / "docs").rglob("*.md"))])


def read(page: Path | str) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[str]:
    return [body for language, body in CODE_BLOCK.findall(text) if language in languages]


def commands(text: str) -> Iterator[list[str]]:
    """The command lines of the shell blocks, continued lines joined, split as a shell splits them."""
    for block in blocks(text, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                if words_of_line := shlex.split(part.split("<")[0], comments=True):
                    yield words_of_line


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


every_page = pytest.mark.parametrize("page", pages(), ids=str)


def test_generated_files_are_what_the_code_says() -> None:
    assert not generator().stale(), "run: make docs"


def test_every_setting_has_its_meaning_and_no_meaning_is_left_over() -> None:
    assert generator().setting_codes() == {code for code, _ in words.codes("setting")}


@pytest.mark.parametrize("suffix", ["", ".pl"])
def test_reference_pages_name_everything(suffix: str) -> None:
    assert all(f"`{control.id}`" in read(f"docs/controls{suffix}.md") for control in CONTROLS)
    assert all(f"`{metric.name}`" in read(f"docs/metrics{suffix}.md") for metric in METRICS)
    assert all(f"`{code.value}`" in read(f"docs/exit-codes{suffix}.md") for code in ExitCode)


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(read(page)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        anchors = {slug(heading) for _, heading in HEADING.findall(read(found))} if found.exists() and anchor else {""}
        if not found.exists() or anchor not in anchors:
            broken.append(target)
    assert not broken


@every_page
def test_paths_that_are_named_exist(page: Path) -> None:
    named = NAMED_PATH.findall(read(page))
    absent = [path for path in named if path.split("/")[0] in OF_REPOSITORY and not (REPOSITORY / path).exists()]
    assert not [path for path in absent if "<" not in path and not path.startswith("docs/runbooks/Stage4")]
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("src/stage4", "config", "playbooks")
        for path in (REPOSITORY / folder).rglob("*")
        if path.suffix in (".py", ".yaml")
    )
    unknown = [path for path in named if path.split("/")[0] in OF_INSTALLATION and path.rstrip("/") not in source]
    assert not unknown


@every_page
def test_stage4_command_lines_parse(page: Path) -> None:
    for line in commands(read(page)):
        if Path(line[0]).name == "stage4":
            parse(line)


def parse(line: list[str]) -> None:
    """Walks down the command tree by click's own parser; raises click.UsageError for what it does not know."""
    command: click.Command = stage4_command
    arguments = line[1:]
    while True:
        context = click.Context(command, **command.context_settings)
        options, rest, _ = command.make_parser(context).parse_args(args=list(arguments))
        for parameter in command.params:
            given = options.get(str(parameter.name))
            assert given is not None or not parameter.required, f"{shlex.join(line)}: {parameter.name} is missing"
            for value in given if isinstance(given, (list, tuple)) else [given]:
                if isinstance(value, str) and isinstance(parameter.type, click.Choice):
                    parameter.type.convert(value, parameter, context)
        if command is verify:
            given = options["arguments"]
            _verify.parser("stage4 log verify", None).parse_args(list(given) if isinstance(given, tuple) else [])
            return
        if not isinstance(command, click.Group):
            assert not rest, f"{shlex.join(line)}: left over {rest}"
            return
        below = command.get_command(context, rest[0])
        assert below is not None, f"{shlex.join(line)}: no command {rest[0]}"
        command, arguments = below, rest[1:]


@pytest.mark.parametrize(
    "wrong", ["stage4 incident ack INC", "stage4 oncall whom", "stage4 run --fast", "stage4 log verify --fast"]
)
def test_a_command_line_that_does_not_exist_is_noticed(wrong: str) -> None:
    with pytest.raises((click.UsageError, UsageError, AssertionError)):
        parse(wrong.split())


def test_options_of_the_scripts_exist() -> None:
    used: dict[tuple[str, ...], set[str]] = {}
    for page in pages():
        for line in commands(read(page)):
            if line[0] == "python" and line[1].startswith("scripts/"):
                key = (line[1], "summary") if "summary" in line else (line[1],)
                used.setdefault(key, set()).update(word for word in line[2:] if word.startswith("--"))
    assert {key[0] for key in used} == {f"scripts/{path.name}" for path in (REPOSITORY / "scripts").glob("*.py")}
    for command, options in used.items():
        said = subprocess.run([sys.executable, *command, "--help"], cwd=REPOSITORY, capture_output=True, text=True)
        missing = {option for option in options if not re.search(rf"{option}\b", said.stdout + said.stderr)}
        assert not missing, command


def test_both_readmes_have_the_same_sections_and_commands() -> None:
    english, polish = read("README.md"), read("README.pl.md")
    assert [level for level, _ in HEADING.findall(english)] == [level for level, _ in HEADING.findall(polish)]
    assert blocks(english, "yaml") == blocks(polish, "yaml")
    assert list(commands(english.replace("--lang en", "--lang pl"))) == list(commands(polish))
    assert english.count("\n- ") == polish.count("\n- ")


@pytest.mark.parametrize("name", GUIDES)
def test_guides_say_the_same_in_both_languages(name: str) -> None:
    polish, english = read(f"docs/guides/{name}.md").split("\n---\n")
    assert shapes(polish) == shapes(english)


def shapes(text: str) -> list[list[str]]:
    """The commands without what people would write in their own words."""
    spoken = (line for line in commands(text) if line[0] != "cd")
    return [[word for word in line[:3] if "/" not in word] + options_of(line) for line in spoken]


def options_of(line: list[str]) -> list[str]:
    return [word for word in line if word.startswith("--")]
