"""The picture of a load test: every bar carries its count, what lies beyond a limit its mark, in both languages."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from stage4.monitoring.panel_picture import drawn
from stage4.runtime.loadtest_figures import buckets, distribution
from stage4.runtime.loadtest_picture import FIGURES, svg, text
from stage4.words import Language

MS = 1_000_000
SPANS = [MS] * 996 + [130 * MS, 170 * MS, 230 * MS, 600 * MS]


def document(spans: list[int]) -> dict[str, object]:
    figures = {name: distribution(spans) for name in FIGURES}
    rows = [{"metric": "latency_ms", "warning": 100.0, "critical": 200.0}]
    histogram = {name: buckets(spans) for name in FIGURES}
    return {"settings": {"cadence_ms": 100.0}, "sla": {"rows": rows}, "histogram": histogram, "peak": [], **figures}


def test_every_bar_is_told_with_its_count_and_mark() -> None:
    lines = text(document(SPANS), "en")
    latency = lines[lines.index("Latency from the intended instant, every 100 ms") + 1 :]
    assert latency[0] == "  1000 samples: p50 1.000, p90 1.000, p99 1.000, max 600.000 ms"
    assert latency[1] == "  ≤        1 ms   " + "█" * 40 + " 996"
    told = [line.split() for line in latency if line.startswith("  ≤")]
    assert [(row[1], row[3], row[-1]) for row in told if row[-1] != "0"][1:] == [
        ("200", "▲", "2"),
        ("500", "■", "1"),
        ("1,000", "■", "1"),
    ]


@pytest.mark.parametrize("lang", ["pl", "en"])
def test_the_picture_is_one_svg_with_a_text_alternative(lang: Language) -> None:
    picture = svg(document(SPANS), lang)
    root = ElementTree.fromstring(picture)
    described = root.find("{http://www.w3.org/2000/svg}desc")
    assert described is not None
    assert "1000" in (described.text or "")
    assert drawn(picture).startswith(b"\x89PNG")


def test_nothing_measured_is_said_as_such() -> None:
    assert any("no samples" in line for line in text(document([]), "en"))
    assert "brak próbek" in svg(document([]), "pl")
