"""The `stage4` command: its options, its groups, and the way into them."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stage4 import __version__, words
from stage4.cli import _run
from stage4.errors import Stage4Error
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.config import Installation

# name -> (module, attribute); read only when the command is used, so that the others cost nothing.
COMMANDS = {
    "init": ("stage4.cli.init", "init"),
    "config": ("stage4.cli.config", "config"),
    "cert": ("stage4.cli.cert", "cert"),
    "run": ("stage4.cli.run", "run"),
    "serve": ("stage4.cli.serve", "serve"),
    "demo": ("stage4.cli.demo", "demo"),
    "incident": ("stage4.cli.incident", "incident"),
    "log": ("stage4.cli.log", "log"),
    "oncall": ("stage4.cli.oncall", "oncall"),
    "disable": ("stage4.cli.control", "disable"),
    "enable": ("stage4.cli.control", "enable"),
    "override": ("stage4.cli.override", "override"),
    "schedule": ("stage4.cli.schedule", "schedule"),
    "watchdog": ("stage4.cli.watchdog", "watchdog"),
    "fault": ("stage4.cli.control", "fault"),
    "audit": ("stage4.cli.control", "audit"),
    "loadtest": ("stage4.cli.control", "loadtest"),
    "watch": ("stage4.cli.control", "watch"),
    "rotation": ("stage4.cli.rotation", "rotation"),
    "replay": ("stage4.cli.replay", "replay"),
    "market": ("stage4.cli.market", "market"),
    "monitoring": ("stage4.cli.monitoring", "monitoring"),
    "notify": ("stage4.cli.notify", "notify"),
    "_telemetry": ("stage4.cli.run", "telemetry"),
}


_PRINTED_BY_CLICK = frozenset(("-h", "--help", "--version"))


@dataclass(slots=True)
class Session:
    """What the options before the command said; loads the installation on first use."""

    root: Path | None
    lang: Language | None
    as_json: bool
    _installation: Installation | None = None
    _configured: Language | None = None
    _documents: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def installation(self) -> Installation:
        if self._installation is None:
            from stage4.config import find_root, load

            self._installation = load(find_root(self.root, os.environ, Path.cwd()))
            for notice in self._installation.notices:
                _run.say("notice: " + words.text(notice.code, self.language, **notice.params))
        return self._installation

    @property
    def language(self) -> Language:
        if self.lang is not None:
            return self.lang
        configured = self._installation.settings.operations.language if self._installation else self._configured
        return _run.language(os.environ, configured)

    def speak_as_around(self) -> None:
        """Take the language of the installation around here, for a command that needs none and may have none."""
        if self.lang is None and self._installation is None:
            from stage4.config import find_root, load

            with contextlib.suppress(Stage4Error, OSError):
                around = load(find_root(self.root, os.environ, Path.cwd()), lenient=True)
                self._configured = around.settings.operations.language

    def text(self, code: str, /, **params: object) -> str:
        return words.text(code, self.language, **params)

    def say(self, code: str, /, **params: object) -> None:
        """One line to people, on stdout; under --json it goes to stderr, because stdout is the document's."""
        (_run.say if self.as_json else _run.out)(self.text(code, **params))

    def emit(self, document: Mapping[str, Any]) -> None:
        """The JSON document, printed under --json once the command has come to its end."""
        if self.as_json:
            self._documents.append(document)

    def ended(self, exit_code: int) -> None:
        """Print what was emitted; every document says how the command ended, and in which installation."""
        root = None if self._installation is None else str(self._installation.root)
        for document in self._documents:
            named = {"schema": document["schema"]} if "schema" in document else {}
            _run.emit({**named, "exit_code": exit_code, "root": root} | {**document, "exit_code": exit_code})


class LazyGroup(click.Group):
    """Imports a command's module when the command is used; `places` maps a name to module and attribute."""

    def __init__(self, *args: Any, places: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(name for name in self.places if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.places:
            return None
        module, attribute = self.places[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        _accept_common(command)
        return command


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Note in the session what an option says, wherever on the line it stands; what it does not say changes nothing."""
    if value not in (None, False):
        setattr(ctx.obj, str(param.name), value)


def _common() -> list[click.Parameter]:
    """The options that every command takes, before its name or after it."""
    return [
        click.Option(
            ["--root"],
            type=click.Path(path_type=Path),
            help="The installation; default: STAGE4_ROOT or upwards.",
            expose_value=False,
            callback=_keep,
        ),
        click.Option(
            ["--lang"],
            type=click.Choice(["pl", "en"]),
            help="Default: STAGE4_LANG, else the settings.",
            expose_value=False,
            callback=_keep,
        ),
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            help="One JSON document on stdout, also on failure.",
            expose_value=False,
            callback=_keep,
        ),
    ]


def _accept_common(command: click.Command) -> None:
    """Let `command`, and the commands of a group, take the common options; once, however often it is found."""
    if isinstance(command, click.Group):
        for each in command.commands.values():
            _accept_common(each)
    if not any(param.name == "as_json" for param in command.params):
        command.params += _common()


@click.group(
    cls=LazyGroup, places=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="stage4")
def root() -> None:
    """Stage4 Operations: watches a trading scheduler, leads the people on call, keeps the evidence.

    \b
    First steps:   stage4 init demo && cd demo && . ./env.sh && stage4 demo
    Exit codes:    0 done, 1 the answer is no, 2 usage or settings, 3 cannot tell, 4 refused, 70 a bug, 130 interrupted
    """


root.params = [*_common(), *root.params]


def run(arguments: list[str]) -> int:
    """Run one command line; click's own usage errors are exit 2, everything else goes through the outer guard."""
    _run.settle_process()
    # Asked before the options are read, because a call that cannot be read is answered by a document too.
    session = Session(None, None, "--json" in _options(arguments))
    as_json = session.as_json

    def failed(message: str) -> int:
        if as_json:
            _run.emit({"schema": "stage4.error/1", "exit_code": 2, "error": {"message": message}})
        return 2

    def body() -> int:
        if "_STAGE4_COMPLETE" in os.environ:
            root.main(arguments, prog_name="stage4")
        try:
            # Not `root.main`, which has an answer of its own to interrupts and to readers who went away.
            with root.make_context("stage4", list(arguments), obj=session) as context:
                result: Any = root.invoke(context)
        except click.Abort:
            raise KeyboardInterrupt from None
        except click.exceptions.Exit as exit_:
            return exit_.exit_code
        except BrokenPipeError as error:
            # What click prints by itself; everything else on stdout is ours, and heard or not.
            if _PRINTED_BY_CLICK.isdisjoint(_options(arguments)):
                raise
            _run.lose(error)
            return 0
        except click.exceptions.NoArgsIsHelpError as usage:
            _run.say(usage.format_message())
            command = usage.ctx.command_path if usage.ctx is not None else "stage4"
            return failed(words.text("cli.no_command", "en", command=command))
        except click.ClickException as usage:
            _run.say(f"error: {usage.format_message()}")
            usage_context = getattr(usage, "ctx", None)
            command = usage_context.command_path if usage_context is not None else "stage4"
            _run.say("hint: " + words.text("cli.see_help", session.language, command=command))
            return failed(usage.format_message())
        code = int(result or 0)
        session.ended(code)
        return code

    return _run.spoken(body, lang=lambda: session.language, as_json=as_json, schema="stage4.error/1")


def _options(arguments: list[str]) -> list[str]:
    """The part of the line in which options stand."""
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
