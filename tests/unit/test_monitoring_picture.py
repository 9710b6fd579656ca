"""Panel pictures: whole PNGs that say everything in words, and SVGs that may stand in a strict page."""

from __future__ import annotations

import struct
import zlib
from datetime import timedelta
from importlib import resources
from xml.etree import ElementTree

import pytest
import resvg_py

from stage4.monitoring.panel_picture import HEIGHT, WIDTH, png, svg
from stage4.monitoring.panels import Panel, PanelState, judge
from stage4.telemetry.catalogue import metric, panel_metrics
from stage4.telemetry.recorder import Point, Series
from support.monitoring_plans import PLAN, REVERSION, SCHEDULER, START

NOW = START + timedelta(minutes=15)
SVG = "{http://www.w3.org/2000/svg}"
ZSCORE = metric("stage4_avg_abs_zscore")


def drawn(value: float | None, *, age: int = 0, schedules: tuple[str, ...] = (REVERSION,)) -> Panel:
    found = [
        Series(
            {"scheduler": SCHEDULER, "schedule": name, "strategy": "core", "risk_profile": "balanced"},
            tuple(Point(NOW - timedelta(seconds=age + n), value) for n in reversed(range(120))),
        )
        for name in schedules
        if value is not None
    ]
    return judge(ZSCORE, found, PLAN, since=START, now=NOW, source="prometheus")


EVERY_STATE = {
    PanelState.GREEN: drawn(1.0),
    PanelState.YELLOW: drawn(3.0),
    PanelState.RED: drawn(3.5),
    PanelState.STALE: drawn(1.0, age=300),
    PanelState.NO_DATA: drawn(None),
}


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def pixels(picture: bytes) -> tuple[int, int, bytes]:
    """Width, height and the filtered pixel bytes of a PNG, read by its definition."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, size = 8, b"", (0, 0)
    while at < len(picture):
        (length,), kind = struct.unpack(">I", picture[at : at + 4]), picture[at + 4 : at + 8]
        body = picture[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", picture[at + 8 + length : at + 12 + length])[0]
        if kind == b"IHDR":
            size = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    return *size, zlib.decompress(packed)


@pytest.mark.parametrize("state", PanelState)
def test_every_state_is_drawn_with_its_word_in_polish(state: PanelState) -> None:
    assert EVERY_STATE[state].state is state
    word = {
        PanelState.GREEN: "✓ ZIELONY – w normie",
        PanelState.YELLOW: "▲ ŻÓŁTY – ostrzeżenie",
        PanelState.RED: "■ CZERWONY – stan krytyczny",
        PanelState.STALE: "◌ DANE NIEAKTUALNE",
        PanelState.NO_DATA: "? BRAK DANYCH",
    }[state]
    assert word in texts(svg(EVERY_STATE[state], "pl"))


@pytest.mark.parametrize("state", PanelState)
def test_the_png_is_whole_and_has_the_size_of_the_svg(state: PanelState) -> None:
    width, height, content = pixels(png(EVERY_STATE[state], "pl"))
    assert (width, height) == (WIDTH, HEIGHT)
    assert len(content) > WIDTH * HEIGHT


def glyph(character: str) -> bytes:
    """The pixels of one character in the bundled font and no other."""
    font = resources.files("stage4.monitoring").joinpath("fonts", "DejaVuSans.ttf")
    letter = f'<text y="30" font-size="30" font-family="DejaVu Sans">{character}</text>'
    picture = f'<svg xmlns="{SVG[1:-1]}" width="40" height="40">{letter}</svg>'
    drawn = resvg_py.svg_to_bytes(svg_string=picture, font_files=[str(font)], skip_system_fonts=True)
    return pixels(bytes(drawn))[2]


def test_the_bundled_font_has_the_polish_letters_and_the_shapes_of_the_states() -> None:
    missing = glyph("\ue999")
    glyphs = {character: glyph(character) for character in "ąćęłńóśźżĄĆĘŁŃÓŚŹŻ■▲✓◌?σ×·–acelnoszACELNOSZ"}
    assert missing not in glyphs.values()
    assert len(set(glyphs.values())) == len(glyphs)


def test_value_threshold_and_utc_time_stand_in_the_picture() -> None:
    said = "\n".join(texts(svg(EVERY_STATE[PanelState.RED], "pl")))
    assert "3,50 σ" in said
    assert "Progi (balanced): ostrzeżenie powyżej 2,80 σ, krytyczny powyżej 3,30 σ" in said
    assert "Dane z 2026-11-23 09:15:00Z" in said
    assert "krytyczny 3,30 σ" in said
    assert "ostrzeżenie 2,80 σ" in said


def test_bands_are_hatched_and_differ_without_colour() -> None:
    patterns = {
        element.get("id"): element.find(f"{SVG}path").get("d")  # type: ignore[union-attr]
        for element in ElementTree.fromstring(svg(EVERY_STATE[PanelState.RED], "pl")).iter(f"{SVG}pattern")
    }
    assert len(set(patterns.values())) == len(patterns) == 3


def test_several_series_differ_by_their_line_and_are_named() -> None:
    picture = svg(drawn(1.0, schedules=("pierwszy", "drugi")), "pl")
    assert {"pierwszy", "drugi"} <= set(texts(picture))
    assert 'stroke-dasharray="8 4"' in picture


def test_the_picture_has_a_text_alternative_and_no_style_or_script() -> None:
    picture = svg(EVERY_STATE[PanelState.YELLOW], "pl")
    root = ElementTree.fromstring(picture)
    assert root.get("role") == "img"
    assert "ŻÓŁTY" in (root.find(f"{SVG}desc").text or "")  # type: ignore[union-attr]
    assert " style=" not in picture
    assert "<script" not in picture


def test_names_from_outside_are_escaped() -> None:
    picture = svg(drawn(1.0, schedules=("<b>&", "other")), "en")
    assert "<b>&" in texts(picture)


@pytest.mark.parametrize("shown", panel_metrics(), ids=lambda shown: shown.short_name)
@pytest.mark.parametrize("value", [0.0, -3.0, 1e9])
def test_every_panel_of_the_catalogue_can_be_drawn(shown: object, value: float) -> None:
    from stage4.telemetry.catalogue import Metric

    assert isinstance(shown, Metric)
    found = Series({"scheduler": SCHEDULER, "risk_profile": "desk"}, (Point(NOW, value),))
    picture = svg(judge(shown, [found], PLAN, since=START, now=NOW, source="telemetry"), "pl")
    assert ElementTree.fromstring(picture).get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
