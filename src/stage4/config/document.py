"""Reads a YAML file into plain values and remembers the line of every key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage4 import files
from stage4.errors import UsageError

KeyPath = tuple[str, ...]
# Room for ten thousand tokens.
_LIMIT = 8 << 20
_DEPTH = 32
_UNUSABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Document:
    """The values of a YAML file and, for each key path, the line it stands on (from 1)."""

    path: Path
    values: Any
    lines: dict[KeyPath, int]

    def line(self, key: KeyPath) -> int:
        """The line of `key`, or of its nearest parent that is in the file."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)


def read_yaml(path: Path) -> Document:
    """The document in `path`; raises Unavailable `files.*`, or UsageError `config.bad_yaml` with file and line."""
    return parse_yaml(files.read_limited(path, _LIMIT), path)


def parse_yaml(content: bytes, path: Path) -> Document:
    """As `read_yaml`, of bytes; aliases are refused because a small file can hold a very large tree of them."""
    import yaml

    loader_class = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    lines: dict[KeyPath, int] = {}
    try:
        loader = loader_class(content.decode("utf-8"))
        try:
            node = loader.get_single_node()
            values = None if node is None else _value(loader, node, (), lines, path, set())
        finally:
            loader.dispose()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError("config.bad_yaml", path=path, line=line, reason="not UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if mark is None:
            position = getattr(error, "position", None)
            line = content.decode("utf-8")[: position or 0].count("\n") + 1
        else:
            line = mark.line + 1
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        if isinstance(error, yaml.constructor.ConstructorError):
            # Its own words repeat what stands in the file, which may be a secret that begins with "!".
            problem = "a tag that is not accepted here"
        raise UsageError("config.bad_yaml", path=path, line=line, reason=problem) from error
    return Document(path, values, lines)


def _value(loader: Any, node: Any, key: KeyPath, lines: dict[KeyPath, int], path: Path, seen: set[int]) -> Any:
    import yaml

    line = node.start_mark.line + 1
    lines.setdefault(key, line)
    if id(node) in seen or len(key) > _DEPTH:
        raise UsageError("config.bad_yaml", path=path, line=line, reason="aliases and deep nesting are not accepted")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        members: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                at = key_node.start_mark.line + 1
                raise UsageError("config.bad_yaml", path=path, line=at, reason="a key that is no plain text")
            name = str(key_node.value)
            at = key_node.start_mark.line + 1
            _refuse_controls(name, path, at)
            if name in members:
                raise UsageError("config.bad_yaml", path=path, line=at, reason=f"key {name} stands twice")
            lines[(*key, name)] = at
            members[name] = _value(loader, value_node, (*key, name), lines, path, seen)
        return members
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*key, str(i)), lines, path, seen) for i, item in enumerate(node.value)]
    try:
        value = loader.construct_object(node)
    except (ValueError, OverflowError) as error:
        reason = "a number or an instant that cannot be"
        raise UsageError("config.bad_yaml", path=path, line=line, reason=reason) from error
    if isinstance(value, str):
        _refuse_controls(value, path, line)
    return value


def _refuse_controls(text: str, path: Path, line: int) -> None:
    """
    YAML's escapes can spell what YAML itself does not let stand in a file (YAML 1.2 5.1).

    No path takes a character of value 0 or has half a surrogate pair, and a terminal obeys the others when a report
    names what holds them.
    """
    if _UNUSABLE.search(text):
        reason = "control characters and halves of surrogate pairs are not accepted"
        raise UsageError("config.bad_yaml", path=path, line=line, reason=reason)
