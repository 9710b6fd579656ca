"""
The report in the formats of other tools and for people. To add one: a file with a function `render` that fits
`Render`, and its line in `FORMATS`. A format is loaded when it is written, because an audit in an incident waits for
none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Final, cast

from stage4.audit.report import Report
from stage4.words import Language

# Of the report and the document that was made of it; what tools read is in English whatever the language.
Render = Callable[[Report, Mapping[str, object], Language], bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """What the file of a report is called after the name of its document, and the module that writes it."""

    suffix: str
    module: str

    def render(self, report: Report, document: Mapping[str, object], lang: Language) -> bytes:
        render = cast("Render", import_module(f"{__name__}.{self.module}").render)
        return render(report, document, lang)


MARKDOWN: Final = Format(".md", "markdown")
FORMATS: Final[Mapping[str, Format]] = {
    "sarif": Format(".sarif", "sarif"),
    "junit": Format(".junit.xml", "junit"),
    "markdown": MARKDOWN,
}
