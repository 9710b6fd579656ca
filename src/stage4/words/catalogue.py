"""Reads the catalogues and picks a text by code, language and number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Literal, cast

from stage4.words.visible import parameter

Language = Literal["pl", "en"]
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
    return str(form).format_map({name: parameter(value) for name, value in params.items()})


def text(code: str, lang: Language, /, **params: object) -> str:
    """The text of `code`, its parameters made harmless for a terminal.

    Raises KeyError for an unknown code or a missing parameter.
    """
    return _fill(_entry(code)[lang], lang, params)


def hint(code: str, lang: Language, /, **params: object) -> str | None:
    """The next step that belongs to `code`, or None where it has none."""
    hints = _entry(code).get("hint")
    return None if hints is None else _fill(cast("Mapping[str, object]", hints)[lang], lang, params)
