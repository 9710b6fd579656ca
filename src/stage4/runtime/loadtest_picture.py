"""
The picture of a load test: how many slots took how long, as text for a terminal and as one SVG; pure.

Drawn from the document, so that a kept one can be drawn again. The length of a bar is the logarithm of its count,
because the one slot that was late among a thousand is what people look for; every bar carries its count, and a bar
beyond a limit its mark, so that nothing depends on colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from stage4 import words
from stage4.words import Language

FIGURES = ("lateness_ms", "service_ms", "latency_ms")
BAR = 40
WIDTH = 820
_ROW, _HEAD, _LEFT, _BARS = 20, 46, 120, 440
_INK, _QUIET = "#1f242a", "#4d545c"
_MARKS = {"": "#5b7fa6", "▲": "#8a4b00", "■": "#b00020"}


@dataclass(frozen=True, slots=True)
class Bar:
    """Slots up to `upper_ms` and beyond the bar before; `share` of the longest bar, `mark` of the limit passed."""

    upper_ms: float
    count: int
    share: float
    mark: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One figure of one phase."""

    title: str
    note: str
    bars: tuple[Bar, ...]


def charts(document: Mapping[str, Any], lang: Language) -> list[Chart]:
    """All charts of a document `stage4.load_test/1`."""
    found = []
    for phase in (document, *document["peak"]):
        cadence = phase.get("cadence_ms", document["settings"]["cadence_ms"])
        rows = phase["rows"] if "rows" in phase else document["sla"]["rows"]
        for figure in FIGURES:
            title = words.text(f"loadtest.chart_{figure.removesuffix('_ms')}", lang, cadence=_plain(cadence, lang))
            limits = _limits(rows) if figure == "latency_ms" else (math.inf, math.inf)
            found.append(Chart(title, _note(phase[figure], lang), tuple(_bars(phase["histogram"][figure], *limits))))
    return found


def text(document: Mapping[str, Any], lang: Language) -> list[str]:
    """The charts as lines for a terminal."""
    lines = []
    for chart in charts(document, lang):
        lines += [chart.title, f"  {chart.note}"]
        for bar in chart.bars:
            drawn = "█" * (max(1, round(bar.share * BAR)) if bar.count else 0)
            lines.append(f"  ≤ {_edge(bar.upper_ms, lang):>8} ms {bar.mark or ' '} {drawn:<{BAR}} {bar.count}")
    lines.append(words.text("loadtest.chart_scale", lang))
    return lines


def svg(document: Mapping[str, Any], lang: Language) -> str:
    """The charts in one picture, with a title and a text alternative."""
    drawn = charts(document, lang)
    scale = words.text("loadtest.chart_scale", lang)
    height = sum(_HEAD + _ROW * len(chart.bars) for chart in drawn) + _ROW * 3
    title = words.text("loadtest.chart_title", lang)
    told = " ".join(f"{chart.title}: {chart.note}." for chart in drawn)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-labelledby="load-title load-desc" font-family="DejaVu Sans, sans-serif" lang="{lang}">',
        f'<title id="load-title">{escape(title)}</title><desc id="load-desc">{escape(told)}</desc>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    y = _ROW
    for chart in drawn:
        parts += [_label(16, y + 8, chart.title, 15), _label(16, y + 25, chart.note, 12, fill=_QUIET)]
        y += _HEAD - 12
        for bar in chart.bars:
            parts.extend(_row(bar, y, lang))
            y += _ROW
        y += 12
    parts += [_label(16, height - 14, scale, 12, fill=_QUIET), "</svg>"]
    return "\n".join(parts)


def _bars(rows: Sequence[Sequence[float]], warning: float, critical: float) -> Iterator[Bar]:
    highest = max((count for _, count in rows), default=0)
    below = 0.0
    for upper, count in rows:
        mark = "■" if below >= critical else "▲" if below >= warning else ""
        share = math.log1p(count) / math.log1p(highest) if highest else 0.0
        yield Bar(upper, int(count), share, mark if count else "")
        below = upper


def _limits(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The strictest limits of latency among the schedules; milliseconds."""
    of_latency = [row for row in rows if row["metric"] == "latency_ms"]
    warning = min((row["warning"] for row in of_latency), default=math.inf)
    critical = min((row["critical"] for row in of_latency if row["critical"] is not None), default=math.inf)
    return warning, critical


def _note(distribution: Mapping[str, Any], lang: Language) -> str:
    if not distribution["samples"]:
        return words.text("loadtest.chart_empty", lang)
    told = [
        f"{name.replace('_', '.')} {words.number(distribution[name], lang, 3)}"
        for name in ("p50", "p90", "p99", "p99_9", "max")
        if distribution[name] is not None
    ]
    return words.text("loadtest.chart_note", lang, samples=distribution["samples"], figures=", ".join(told))


def _row(bar: Bar, y: float, lang: Language) -> Iterator[str]:
    length = max(2.0, round(bar.share * _BARS, 1)) if bar.count else 0.0
    yield _label(_LEFT - 10, y + 14, f"≤ {_edge(bar.upper_ms, lang)} ms", 12, anchor="end")
    yield f'<rect x="{_LEFT}" y="{y + 2}" width="{length}" height="{_ROW - 5}" fill="{_MARKS[bar.mark]}"/>'
    yield _label(_LEFT + length + 8, y + 14, f"{bar.count} {bar.mark}".strip(), 12)


def _edge(milliseconds: float, lang: Language) -> str:
    digits = 3 if milliseconds < 0.01 else 2 if milliseconds < 0.1 else 1 if milliseconds < 1 else 0
    return words.number(milliseconds, lang, digits)


def _plain(value: float, lang: Language) -> str:
    """With as many digits as it has, at most three."""
    return words.number(value, lang, 3).rstrip("0").rstrip(",.")


def _label(x: float, y: float, told: str, size: int, *, fill: str = _INK, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">{escape(told)}</text>'
