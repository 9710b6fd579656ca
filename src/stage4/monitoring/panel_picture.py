"""
The picture of a panel: one SVG, also as PNG.

Everything that matters is said three times, by shape, word and number, so that the picture can be read in grey, by
somebody who does not see colours, and on paper. The warning band is hatched one way, the critical band both ways.
Styles are presentation attributes, so that the SVG may stand in a page with a strict content security policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from xml.sax.saxutils import escape

from stage4 import words
from stage4.monitoring import panels
from stage4.monitoring.panels import Panel, PanelState, Reading
from stage4.telemetry.recorder import Point

WIDTH, HEIGHT = 800, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 118, 80
_INK, _QUIET, _GRID = "#1f242a", "#4d545c", "#d5d9de"
_SHAPES = {
    PanelState.RED: "■",
    PanelState.YELLOW: "▲",
    PanelState.GREEN: "✓",
    PanelState.NO_DATA: "?",
    PanelState.STALE: "◌",
}
_COLOURS = {
    PanelState.RED: "#b00020",
    PanelState.YELLOW: "#8a4b00",
    PanelState.GREEN: "#0b5d3b",
    PanelState.NO_DATA: _QUIET,
    PanelState.STALE: _QUIET,
}
_DASHES = ("", "8 4", "2 3", "10 3 2 3")
_TICKS = 4


@dataclass(frozen=True, slots=True)
class _Frame:
    """The plane of the chart: what part of time and value is shown, and where it stands."""

    since: datetime
    until: datetime
    low: float
    high: float

    def x(self, at: datetime) -> float:
        share = (at - self.since) / max(self.until - self.since, timedelta(seconds=1))
        return round(_LEFT + min(max(share, 0.0), 1.0) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - _BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - _TOP - _BOTTOM), 1)


def svg(panel: Panel, lang: words.Language) -> str:
    """The picture of `panel`; its `<title>` and `<desc>` are the text alternative."""
    title = words.text(panel.metric.title_code, lang)
    ids = f"{panel.metric.short_name}-title", f"{panel.metric.short_name}-desc"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-labelledby="{" ".join(ids)}" font-family="DejaVu Sans, sans-serif" lang="{lang}">',
        f'<title id="{ids[0]}">{escape(title)}</title>',
        f'<desc id="{ids[1]}">{escape(panels.description(panel, lang))}</desc>',
        _patterns(panel.metric.short_name),
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<rect x="1.5" y="1.5" width="{WIDTH - 3}" height="{HEIGHT - 3}" fill="none" '
        f'stroke="{_COLOURS[panel.state]}" stroke-width="3"{_frame_dash(panel.state)}/>',
        *_heading(panel, title, lang),
        *_chart(panel, lang),
        _label(16, HEIGHT - 14, panels.read_text(panel, lang), size=12, fill=_QUIET),
        "</svg>",
    ]
    return "\n".join(parts)


def png(panel: Panel, lang: words.Language) -> bytes:
    """The same picture as PNG."""
    return drawn(svg(panel, lang))


def drawn(picture: str) -> bytes:
    """An SVG as PNG, drawn with the bundled font whatever the machine has."""
    import resvg_py

    font = resources.files(__package__).joinpath("fonts", "DejaVuSans.ttf")
    with resources.as_file(font) as path:
        content = resvg_py.svg_to_bytes(
            svg_string=picture,
            font_files=[str(path)],
            font_family="DejaVu Sans",
            sans_serif_family="DejaVu Sans",
            skip_system_fonts=True,
        )
    return bytes(content)


def _heading(panel: Panel, title: str, lang: words.Language) -> Iterator[str]:
    colour = _COLOURS[panel.state]
    state = words.text(f"panels.{panel.state}", lang)
    yield _label(16, 32, title, size=20)
    yield _label(16, 52, panel.metric.short_name, size=12, fill=_QUIET)
    yield _label(16, 80, f"{_SHAPES[panel.state]} {state}", size=20, fill=colour)
    value_colour = _QUIET if panel.state is PanelState.STALE else _INK
    yield _label(WIDTH - 16, 36, panels.value_text(panel, lang), size=28, anchor="end", fill=value_colour)
    if panel.worst is not None:
        yield _label(WIDTH - 16, 56, panel.worst.name, size=12, fill=_QUIET, anchor="end")
        if panel.worst.since is not None:
            code = "panels.since_at_least" if panel.worst.since == panel.worst.points[0].at else "panels.since"
            since = words.text(code, lang, at=panels.utc(panel.worst.since))
            yield _label(WIDTH - 16, 80, since, size=12, fill=_QUIET, anchor="end")
    yield _label(16, 102, panels.limits_text(panel, lang), size=13)


def _chart(panel: Panel, lang: words.Language) -> Iterator[str]:
    shown = [reading for reading in panel.readings if reading.points]
    frame = _frame(panel, shown)
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    if not shown:
        yield _rect(_LEFT, _TOP, right, bottom, f"url(#{panel.metric.short_name}-unknown)")
        yield _rect(_LEFT + 40, 166, right - 40, 226, "#ffffff", _QUIET)
        middle = (_LEFT + right) / 2
        yield _label(middle, 193, words.text("panels.no_data", lang), size=20, anchor="middle", fill=_QUIET)
        yield _label(middle, 214, _shortened(panels.unread_text(panel, lang), 100), size=11, anchor="middle")
        return
    yield from _bands(panel, frame, lang)
    if panel.state is PanelState.STALE and (last := shown[0].last) is not None:
        yield _rect(frame.x(last.at), _TOP, right, bottom, f"url(#{panel.metric.short_name}-unknown)")
    yield from _axes(frame, lang)
    for number, reading in reversed(list(enumerate(shown))):
        fresh_for = max((reading.points[-1].at - reading.points[0].at) / 20, timedelta(seconds=60))
        for run in _runs(reading.points, fresh_for):
            yield _line(run, frame, _DASHES[number % len(_DASHES)])
    if len(shown) > 1:
        yield from _legend(shown)


def _frame(panel: Panel, shown: Sequence[Reading]) -> _Frame:
    """Values from zero (or below) to a little beyond the worst of points and thresholds."""
    values = [0.0, *(point.value for reading in shown for point in reading.points)]
    if panel.worst is not None and (limits := panel.worst.thresholds) is not None:
        values += [limits.warning, limits.critical if limits.critical is not None else limits.warning]
    low, high = min(values), max(values)
    room = (high - low or 1.0) * 0.12
    return _Frame(panel.since, panel.judged_at, low - room if low < 0 else low, high + room)


def _bands(panel: Panel, frame: _Frame, lang: words.Language) -> Iterator[str]:
    limits = panel.worst.thresholds if panel.worst else None
    if limits is None:
        return
    rising = panel.metric.direction == "higher_is_worse"
    worst = frame.high if rising else frame.low
    right = WIDTH - _RIGHT
    end = worst if limits.critical is None else limits.critical
    bands = [("warning", PanelState.YELLOW, limits.warning, end)]
    if limits.critical is not None:
        bands.append(("critical", PanelState.RED, limits.critical, worst))
    for name, state, begin, stop in bands:
        top, bottom = sorted((frame.y(begin), frame.y(stop)))
        yield _rect(_LEFT, top, right, bottom, f"url(#{panel.metric.short_name}-{name})")
        y = frame.y(begin)
        yield (
            f'<line x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="{_COLOURS[state]}" stroke-width="1.5" '
            f'stroke-dasharray="{"7 4" if name == "warning" else "none"}"/>'
        )
        text = words.text(f"panels.band_{name}", lang, value=panels.amount(panel.metric, begin, lang))
        baseline = y - 5 if rising else y + 14
        width = 7.1 * len(text) + 8
        yield _rect(_LEFT + 4, baseline - 11, _LEFT + 4 + width, baseline + 3, "#ffffff")
        yield _label(_LEFT + 8, baseline, text, size=11, fill=_COLOURS[state])


def _axes(frame: _Frame, lang: words.Language) -> Iterator[str]:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for value, written in _round_values(frame, lang):
        y = frame.y(value)
        yield f'<line x1="{_LEFT - 4}" y1="{y}" x2="{_LEFT}" y2="{y}" stroke="{_QUIET}"/>'
        yield _label(_LEFT - 8, y + 4, written, size=11, fill=_QUIET, anchor="end")
    for step in range(_TICKS + 1):
        at = frame.since + (frame.until - frame.since) * step / _TICKS
        x = frame.x(at)
        yield f'<line x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 4}" stroke="{_QUIET}"/>'
        anchor = "start" if step == 0 else "end" if step == _TICKS else "middle"
        yield _label(x, bottom + 17, f"{panels.utc(at)[11:]}", size=11, fill=_QUIET, anchor=anchor)
    yield (
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="{_QUIET}"/>'
        f'<path d="M{right} {_TOP}V{bottom}M{_LEFT} {_TOP}H{right}" fill="none" stroke="{_GRID}"/>'
    )


def _round_values(frame: _Frame, lang: words.Language) -> Iterator[tuple[float, str]]:
    """Three to six round values of the axis, with as many decimals as their step needs."""
    span = frame.high - frame.low
    power = math.floor(math.log10(span / _TICKS))
    step = next(step for unit in (1, 2, 5, 10) if span / (step := unit * 10.0**power) <= _TICKS + 1)
    for number in range(math.ceil(frame.low / step), math.floor(frame.high / step) + 1):
        yield number * step, words.number(number * step, lang, max(0, -math.floor(math.log10(step) + 1e-9)))


def _runs(points: Sequence[Point], longest: timedelta) -> Iterator[list[Point]]:
    """The points without gaps: nothing is drawn where nothing was told."""
    run: list[Point] = []
    for point in points:
        if run and point.at - run[-1].at > longest:
            yield run
            run = []
        run.append(point)
    yield run


def _line(run: Sequence[Point], frame: _Frame, dash: str) -> str:
    path = "".join(f"{'L' if n else 'M'}{frame.x(point.at)} {frame.y(point.value)}" for n, point in enumerate(run))
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    last = run[-1]
    return (
        f'<path d="{path}" fill="none" stroke="#ffffff" stroke-width="5" stroke-linejoin="round"/>'
        f'<path d="{path}" fill="none" stroke="{_INK}" stroke-width="2.2" stroke-linejoin="round"{dashes}/>'
        f'<circle cx="{frame.x(last.at)}" cy="{frame.y(last.value)}" r="3.5" fill="{_INK}" stroke="#ffffff"/>'
    )


def _legend(shown: Sequence[Reading]) -> Iterator[str]:
    y = HEIGHT - 44
    x: float = _LEFT
    for number, reading in enumerate(shown[: len(_DASHES)]):
        dash = _DASHES[number]
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        yield f'<path d="M{x} {y}h28" stroke="{_INK}" stroke-width="2.2"{dashes}/>'
        yield _label(x + 34, y + 4, reading.name, size=11)
        x += 34 + 7 * len(reading.name) + 18


def _patterns(name: str) -> str:
    def pattern(kind: str, size: int, path: str, background: str, ink: str) -> str:
        return (
            f'<pattern id="{name}-{kind}" width="{size}" height="{size}" patternUnits="userSpaceOnUse">'
            f'<rect width="{size}" height="{size}" fill="{background}"/>'
            f'<path d="{path}" stroke="{ink}" stroke-width="1"/></pattern>'
        )

    return (
        "<defs>"
        + pattern("warning", 12, "M0 12L12 0M-3 3L3 -3M9 15L15 9", "#fff6e6", "#e0b36b")
        + pattern("critical", 8, "M0 8L8 0M-2 2L2 -2M6 10L10 6M0 0L8 8M-2 6L2 10M6 -2L10 2", "#fdeef0", "#d98a96")
        + pattern("unknown", 8, "M0 4H8", "#f1f2f4", "#b9bec5")
        + "</defs>"
    )


def _frame_dash(state: PanelState) -> str:
    return ' stroke-dasharray="10 6"' if state in (PanelState.NO_DATA, PanelState.STALE) else ""


def _rect(left: float, top: float, right: float, bottom: float, fill: str, stroke: str = "none") -> str:
    size = f'width="{round(right - left, 1)}" height="{round(bottom - top, 1)}"'
    return f'<rect x="{round(left, 1)}" y="{round(top, 1)}" {size} fill="{fill}" stroke="{stroke}"/>'


def _label(x: float, y: float, text: str, *, size: int, fill: str = _INK, anchor: str = "start") -> str:
    return (
        f'<text x="{x}" y="{round(y, 1)}" font-size="{size}" fill="{fill}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
