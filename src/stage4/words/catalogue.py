"""Reads the catalogues and picks a text by code, language and number."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, cast

from stage4.words.visible import parameter

Language = Literal["pl", "en"]
_ROLE: Final = ":role}"
languages: tuple[Language, ...] = ("pl", "en")
# By the file system, because importlib.resources costs a short command more than reading the texts does.
_TEXTS = Path(__file__).with_name("texts")


@cache
def _area(area: str) -> Mapping[str, Mapping[str, object]]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = (_TEXTS / f"{area}.yaml").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    loaded = yaml.load(content, Loader=loader)
    return cast("Mapping[str, Mapping[str, object]]", loaded or {})


def areas() -> list[str]:
    """The areas that have a catalogue, sorted."""
    return sorted(path.stem for path in _TEXTS.glob("*.yaml"))


def codes(area: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Every code of `area` with its entry as written, for tests and translators."""
    for name, entry in _area(area).items():
        yield f"{area}.{name}", entry


def _entry(code: str) -> Mapping[str, object]:
    area, _, name = code.partition(".")
    try:
        return _area(area)[name]
    except KeyError:
        raise KeyError(f"no text for code {code}") from None


def has(code: str) -> bool:
    """Whether `code` is in a catalogue."""
    area, _, name = code.partition(".")
    return name in _area(area)


def plural(n: int, lang: Language) -> str:
    """The CLDR plural category of a whole number."""
    if n == 1:
        return "one"
    if lang == "en":
        return "other"
    return "few" if 2 <= n % 10 <= 4 and not 12 <= n % 100 <= 14 else "many"


def _fill(form: object, lang: Language, params: Mapping[str, object]) -> str:
    if isinstance(form, Mapping):
        form = form[plural(abs(int(cast("int", params["n"]))), lang)]
    if not params:
        return str(form).format()
    shown = {name: parameter(value) for name, value in params.items()}
    return _InWords(lang).vformat(str(form), (), shown) if _ROLE in str(form) else str(form).format_map(shown)


class _InWords(string.Formatter):
    """`{name:role}` is whose certificate it is, as the area `role` says; `server#1` comes after `server` in a file."""

    def __init__(self, lang: Language) -> None:
        self._lang = lang

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec != _ROLE.strip(":}"):
            return str(super().format_field(value, format_spec))
        name = str(value).partition("#")[0]
        return text(f"role.{name}" if has(f"role.{name}") else "role.other", self._lang, role=value)


def text(code: str, lang: Language, /, **params: object) -> str:
    """The text of `code`, its parameters made harmless for a terminal.

    Raises KeyError for an unknown code or a missing parameter.
    """
    return _fill(_entry(code)[lang], lang, params)


def hint(code: str, lang: Language, /, **params: object) -> str | None:
    """The next step that belongs to `code`, or None where it has none."""
    hints = _entry(code).get("hint")
    return None if hints is None else _fill(cast("Mapping[str, object]", hints)[lang], lang, params)
