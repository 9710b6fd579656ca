"""
What reaches a terminal from elsewhere: from a log, a file's name, a message of somebody else's program.

Control characters, invisible ones and those that turn the direction of writing around become escapes such as `\\x1b`
and `\\u202e`, so that nobody can paint a verdict over ours.
"""

from __future__ import annotations

_LONGEST = 4096


def visible(text: str) -> str:
    """`text` with everything that a terminal would act on, or show as nothing, as an escape; always one line."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\u00a0" else _escape(each) for each in text)


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
    if written.isprintable() and len(written) <= _LONGEST:
        return written
    if len(written) > _LONGEST:
        written = written[:_LONGEST] + "…"
    return "\n    ".join(visible(line) for line in written.split("\n"))
