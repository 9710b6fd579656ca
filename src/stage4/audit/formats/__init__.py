"""
The report in the formats of other tools and for people. To add one: a file with a function that fits `Render`, and
its line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from stage4.audit.formats import junit, markdown, sarif
from stage4.audit.report import Report
from stage4.words import Language

# Of the report and the document that was made of it; what tools read is in English whatever the language.
Render = Callable[[Report, Mapping[str, object], Language], bytes]


@dataclass(frozen=True, slots=True)
class Format:
    """How a report is written, and what its file is called after the name of the document."""

    suffix: str
    render: Render


MARKDOWN: Final = Format(".md", markdown.render)
FORMATS: Final[Mapping[str, Format]] = {
    "sarif": Format(".sarif", sarif.render),
    "junit": Format(".junit.xml", junit.render),
    "markdown": MARKDOWN,
}
