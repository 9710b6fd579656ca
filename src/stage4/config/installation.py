"""Finds an installation and loads its settings."""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from stage4.config.document import Document, KeyPath, read_yaml
from stage4.config.settings import Section, Settings
from stage4.errors import UsageError

CORE = Path("config/core.yaml")
# What stands at the top level in files of the field, and in our own below `runtime`.
_OF_RUNTIME = ("metrics_service", "risk_service", "multi_strategy_schedulers")


@dataclass(frozen=True, slots=True)
class Notice:
    """Something in the settings that works but deserves a look; `code` is a catalogue code."""

    code: str
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Installation:
    """One installation: where it stands, what it is set to, what is odd about its settings."""

    root: Path
    settings: Settings
    notices: tuple[Notice, ...] = ()

    def path(self, relative: str | Path) -> Path:
        """A path of the settings, resolved against the root."""
        return self.root / relative

    @property
    def decision_log_path(self) -> Path:
        """The configured decision log: `operations.decision_log.path`, else the live router's."""
        own = self.settings.operations.decision_log.path
        return self.path(own or self.settings.execution.live_router.decision_log.path)

    @property
    def keyring_path(self) -> Path:
        """The key ring of the decision log: `operations.decision_log.keyring`."""
        return self.path(self.settings.operations.decision_log.keyring)

    @property
    def is_rehearsal(self) -> bool:
        """Whether this is a demo or drill installation, where faults may be injected and time may be shortened."""
        return self.settings.operations.installation != "production"


def find_root(explicit: Path | None, environ: Mapping[str, str], cwd: Path) -> Path:
    """The installation: `--root`, else `STAGE4_ROOT`, else the nearest parent of `cwd` with config/core.yaml."""
    named = explicit or (Path(environ["STAGE4_ROOT"]) if environ.get("STAGE4_ROOT") else None)
    if named is not None:
        if not (named / CORE).is_file():
            raise UsageError("config.not_an_installation", path=named)
        return Path(os.path.realpath(named))
    for candidate in (cwd, *cwd.parents):
        if (candidate / CORE).is_file():
            return Path(os.path.realpath(candidate))
    raise UsageError("config.no_root", path=cwd)


def load(root: Path, config: Path | None = None, *, lenient: bool = False) -> Installation:
    """The installation at `root` with its settings from `config` (default config/core.yaml).

    Raises UsageError or Unavailable that name the file, the line and the key. With `lenient` a name that nothing has
    (a schedule's strategy of another program) is a notice: who judges settings must be able to read them.
    """
    document = _with_aliases(read_yaml(config or root / CORE))
    values = document.values
    if not isinstance(values, dict):
        raise UsageError("config.wrong_value", path=document.path, line=1, key="(document)", reason="expected sections")
    notices = tuple(_unknown_sections(document, values)) + tuple(_unknown_keys(document, values, Settings, ()))
    try:
        settings = msgspec.convert(values, Settings)
    except msgspec.ValidationError as error:
        raise _located(document, error) from error
    for mistake in _mistaken_names(document, settings):
        if not lenient:
            raise UsageError(mistake.code, **mistake.params)
        notices += (mistake,)
    return Installation(root, settings, notices)


def _with_aliases(document: Document) -> Document:
    """Parts of `runtime` are accepted at the top level too, as the field's own files have them."""
    values = document.values
    runtime = (values.get("runtime") or {}) if isinstance(values, dict) else None
    if not isinstance(runtime, dict):
        return document
    moved = [name for name in _OF_RUNTIME if name in values and name not in runtime]
    if not moved:
        return document
    others = {name: value for name, value in values.items() if name not in moved}
    lines = {("runtime", *key) if key and key[0] in moved else key: line for key, line in document.lines.items()}
    lines.setdefault(("runtime",), min(document.line((name,)) for name in moved))
    together = {**others, "runtime": {**runtime, **{name: values[name] for name in moved}}}
    return Document(document.path, together, lines)


_PATH = re.compile(r"\.([A-Za-z0-9_]+)|\[(\d+|\.\.\.)\]")


def _located(document: Document, error: msgspec.ValidationError) -> UsageError:
    text, _, where = str(error).partition(" - at `")
    found = _PATH.findall(where.removesuffix("`"))
    key = tuple(name or index for name, index in found)
    # msgspec writes "[...]" for the key of a mapping, so the exact key is searched among those in the file.
    concrete = _concrete(document, key, text)
    return UsageError(
        "config.wrong_value",
        path=document.path,
        line=document.line(concrete),
        key=".".join(concrete) or "(document)",
        reason=text,
    )


def _concrete(document: Document, key: KeyPath, text: str) -> KeyPath:
    if "..." not in key:
        return key
    for candidate in sorted(document.lines, key=lambda path: document.lines[path]):
        if len(candidate) == len(key) and all(b in ("...", a) for a, b in zip(candidate, key, strict=True)):
            value: Any = document.values
            for name in candidate:
                value = value[int(name)] if isinstance(value, list) else value[name]
            expected = _expected(key)
            try:
                msgspec.convert(value, expected)
            except msgspec.ValidationError as error:
                if str(error).partition(" - at `")[0] == text:
                    return candidate
    return tuple(name for name in key[: key.index("...")])


def _expected(key: KeyPath) -> Any:
    kind: Any = Settings
    for name in key:
        if isinstance(kind, type) and issubclass(kind, Section):
            kind = _hints(kind)[name]
        else:
            kind = typing.get_args(kind)[-1 if typing.get_origin(kind) is dict else 0]
    return kind


def _unknown_sections(document: Document, values: Mapping[str, Any]) -> Iterator[Notice]:
    known = set(Settings.__struct_fields__)
    unknown = sorted(name for name in values if name not in known)
    if unknown:
        yield Notice("config.unknown_sections", {"path": document.path, "names": ", ".join(unknown)})
    for name in unknown:
        # A section of another program is its own business; one of ours that is misspelt makes no demand.
        nearest = [name] if name in _OF_RUNTIME else _nearest(name, known, cutoff=0.8)
        if nearest:
            where = {"path": document.path, "line": document.line((name,)), "key": name}
            yield Notice("config.unknown_key_near", {**where, "nearest": nearest[0]})


def _nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, known, n=1, cutoff=cutoff)


def _sections_in(kind: Any) -> type[Section] | None:
    origin = typing.get_origin(kind)
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return next((s for s in map(_sections_in, typing.get_args(kind)) if s), None)
    return None


@cache
def _hints(section: type[Section]) -> Mapping[str, Any]:
    return typing.get_type_hints(section, include_extras=True)


def _unknown_keys(document: Document, values: Any, kind: Any, key: KeyPath) -> Iterator[Notice]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict and isinstance(values, dict):
        for name, value in values.items():
            yield from _unknown_keys(document, value, arguments[1], (*key, name))
        return
    if origin is tuple and isinstance(values, list):
        for index, value in enumerate(values):
            yield from _unknown_keys(document, value, arguments[0], (*key, str(index)))
        return
    section = _sections_in(kind)
    if section is None or not isinstance(values, dict):
        return
    hints = _hints(section)
    for name, value in values.items():
        if name in hints:
            yield from _unknown_keys(document, value, hints[name], (*key, name))
        elif key:
            nearest = _nearest(name, hints)
            where = {"path": document.path, "line": document.line((*key, name)), "key": ".".join((*key, name))}
            where["text"] = isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
            if nearest:
                yield Notice("config.unknown_key_near", {**where, "nearest": nearest[0]})
            else:
                yield Notice("config.unknown_key", where)


def _mistaken_names(document: Document, settings: Settings) -> Iterator[Notice]:
    """What types cannot say: a schedule names a strategy and a risk profile that exist."""
    strategies = {
        *settings.mean_reversion_strategies,
        *settings.volatility_target_strategies,
        *settings.cross_exchange_arbitrage_strategies,
    }
    for scheduler_name, scheduler in settings.runtime.multi_strategy_schedulers.items():
        base = ("runtime", "multi_strategy_schedulers", scheduler_name, "schedules")
        for name, schedule in scheduler.schedules.items():
            for field, value, known in (
                ("strategy", schedule.strategy, strategies),
                ("risk_profile", schedule.risk_profile, set(settings.risk_profiles)),
            ):
                if value not in known:
                    yield Notice(
                        "config.unknown_name",
                        {
                            "path": document.path,
                            "line": document.line((*base, name, field)),
                            "key": ".".join((*base, name, field)),
                            "value": value,
                            "known": ", ".join(sorted(known)) or "-",
                        },
                    )
