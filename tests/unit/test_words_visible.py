"""What comes from elsewhere reaches a terminal as letters, or as an escape that everybody sees."""

from __future__ import annotations

import pytest

from stage4.words import visible
from stage4.words.visible import parameter


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("zażółć gęślą jaźń – „tak”", "zażółć gęślą jaźń – „tak”"),
        ("1\u00a0000", "1\u00a0000"),
        ("a\x1b[2J\x9bb\x7f", "a\\x1b[2J\\x9bb\\x7f"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\u202eko\u200b", "\\u202eko\\u200b"),
        ("ok\u3164", "ok\\u3164"),
        ("\u2800\u115f\u1160\uffa0\u034f", "\\u2800\\u115f\\u1160\\uffa0\\u034f"),
        ("\ufe00\ufe0f\ufe10", "\\ufe00\\ufe0f\ufe10"),
        ("\U000e0100\U000e01ef", "\\U000e0100\\U000e01ef"),
        ("", ""),
    ],
)
def test_what_a_terminal_acts_on_or_shows_as_nothing_is_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_parameter_is_made_visible_line_by_line() -> None:
    assert parameter("ok\u3164\nINTACT") == "ok\\u3164\n    INTACT"
    assert parameter(3) == 3
