"""
Words for people: a code and its parameters in, Polish or English text out.

`texts/<area>.yaml` holds both languages of a text side by side; `<area>` is the first part of the code. An
area is read the first time one of its texts is asked for, so that a light command pays for what it says.

    bad_duration:
      pl: "„{text}” to nie jest czas trwania"
      en: "'{text}' is not a duration"
      hint: {pl: "Napisz na przykład 10m albo 5s", en: "write for example 10m or 5s"}

A text with plural forms has a mapping instead (`one few many` in Polish, `one other` in English) and is
chosen by the parameter `n`.
"""

from __future__ import annotations

from stage4.words.catalogue import Language, areas, codes, has, hint, languages, plural, text
from stage4.words.formats import duration, instant, number
from stage4.words.visible import visible

__all__ = [
    "Language",
    "areas",
    "codes",
    "duration",
    "has",
    "hint",
    "instant",
    "languages",
    "number",
    "plural",
    "text",
    "visible",
]
