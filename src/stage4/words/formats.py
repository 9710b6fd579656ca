"""Instants, spans and numbers as Polish and English readers write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stage4.words.catalogue import Language

_NBSP = "\u00a0"


def instant(at: datetime, tz: str = "Europe/Warsaw") -> str:
    """Local time with its offset, then UTC, the same in both languages: `2026-11-23 10:14:07 +01:00 (09:14:07Z)`.

    The offset is always shown, because 02:30 happens twice on the last Sunday of October.
    """
    from zoneinfo import ZoneInfo

    try:
        local = at.astimezone(ZoneInfo(tz))
    except OverflowError:
        # The last hours of the year 9999 are in no calendar east of Greenwich.
        local = at.astimezone(UTC)
    offset = local.strftime("%z")
    return f"{local:%Y-%m-%d %H:%M:%S} {offset[:3]}:{offset[3:]} ({at.astimezone(UTC):%H:%M:%S}Z)"


def number(value: float, lang: Language, digits: int = 0) -> str:
    """`1 234 567,89` in Polish (non-breaking spaces), `1,234,567.89` in English."""
    written = f"{value:,.{digits}f}"
    return written if lang == "en" else written.replace(",", _NBSP).replace(".", ",")


def duration(span: timedelta) -> str:
    """The two largest units of a span: `4 min 30 s`, `2 h 5 min`, `3 d 4 h`; the same in both languages."""
    seconds = round(abs(span) / timedelta(seconds=1))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count}{_NBSP}{unit}")
    written = f"{_NBSP}".join(parts[:2]) or f"0{_NBSP}s"
    return f"−{written}" if span < timedelta(0) else written
