"""
What reaches a terminal from elsewhere: from a log, a file's name, a message of somebody else's program.

Control characters, invisible ones and those that turn the direction of writing around become escapes such as `\\x1b`
and `\\u202e`, so that nobody can paint a verdict over ours.
"""

from __future__ import annotations

_LONGEST = 4096
# Fillers, joiners and variation selectors: `str.isprintable` takes them for letters, and no terminal shows them.
_UNSEEN = frozenset(
    map(
        chr,
        (
            0x34F,
            0x115F,
            0x1160,
            0x17B4,
            0x17B5,
            0x2800,
            0x3164,
            0xFFA0,
            *range(0xFE00, 0xFE10),
            *range(0xE0100, 0xE01F0),
        ),
    )
)


def visible(text: str) -> str:
    """`text` with everything that a terminal would act on, or show as nothing, as an escape; always one line."""
    if _is_plain(text):
        return text
    return "".join(each if _is_plain(each) or each == "\u00a0" else _escape(each) for each in text)


def _is_plain(text: str) -> bool:
    return text.isprintable() and (text.isascii() or _UNSEEN.isdisjoint(text))


def _escape(character: str) -> str:
    code = ord(character)
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(
        character, f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def parameter(value: object) -> object:
    """`value` as it stands in a text: numbers as they are; every further line of anything else is indented.

    A line that begins at the margin is therefore always ours.
    """
    if isinstance(value, (int, float)):
        return value
    written = str(value)
    if _is_plain(written) and len(written) <= _LONGEST:
        return written
    if len(written) > _LONGEST:
        written = written[:_LONGEST] + "…"
    return "\n    ".join(visible(line) for line in written.split("\n"))
