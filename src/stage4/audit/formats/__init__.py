"""
The report in the formats of other tools and for people. To add one: a file with functions `render` and `failure` that
fit `Render` and `Failure`, and its line in `FORMATS`. A format is loaded when it is written, because an audit in an
incident waits for none of them.
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
# Of the document of an audit that came to no report, and its error: nobody shall take an older file for the answer.
Failure = Callable[[Mapping[str, object], Mapping[str, object], Language], bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """What the file of a report is called after the name of its document, and the module that writes it."""

    suffix: str
    module: str

    def render(self, report: Report | None, document: Mapping[str, object], lang: Language) -> bytes:
        """The file's bytes; without a report they say why there is none."""
        module = import_module(f"{__name__}.{self.module}")
        if report is not None:
            return cast("Render", module.render)(report, document, lang)
        error = document.get("error")
        return cast("Failure", module.failure)(document, error if isinstance(error, Mapping) else {}, lang)


MARKDOWN: Final = Format(".md", "markdown")
FORMATS: Final[Mapping[str, Format]] = {
    "sarif": Format(".sarif", "sarif"),
    "junit": Format(".junit.xml", "junit"),
    "markdown": MARKDOWN,
}
