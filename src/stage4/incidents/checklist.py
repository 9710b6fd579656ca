"""The playbook as data: its steps in order, in Polish and English. A run is pinned to the digest it started with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stage4 import files
from stage4.config.document import Document, parse_yaml
from stage4.errors import UsageError
from stage4.words import Language

PLAYBOOK_LIMIT = 1 << 20
SCHEMA = "stage4.playbook/1"


@dataclass(frozen=True, slots=True)
class Step:
    """One row of a checklist. A machine step runs commands or reads something; a person's step asks a question."""

    id: str
    tier: Literal["l1", "l2"]
    kind: Literal["machine", "person"]
    title: Mapping[Language, str]
    acceptance: Mapping[Language, str]
    question: Mapping[Language, str]
    choices: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...]
    artefacts: Mapping[Language, str]
    follow_up: bool


@dataclass(frozen=True, slots=True)
class Playbook:
    """A checklist document with the SHA-256 of its bytes."""

    id: str
    digest: str
    title: Mapping[Language, str]
    steps: tuple[Step, ...]
    content: bytes

    def step(self, step_id: str) -> Step:
        """Raises UsageError for a step the playbook has not."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise UsageError("incident.unknown_step", step=step_id, known=", ".join(each.id for each in self.steps))

    def tier(self, tier: Literal["l1", "l2"]) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.tier == tier)


def load_playbook(path: Path) -> Playbook:
    """Reads a playbook; raises Unavailable, or UsageError with file, line and key."""
    return parse_playbook(files.read_limited(path, PLAYBOOK_LIMIT), path)


def parse_playbook(content: bytes, path: Path) -> Playbook:
    """The playbook in `content`; an empty checklist is refused, because looking at nothing accepts nothing."""
    document = parse_yaml(content, path)
    values = document.values
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        raise _wrong(document, ("schema",), SCHEMA)
    rows = values.get("steps")
    if not isinstance(rows, list) or not rows:
        raise _wrong(document, ("steps",), "list")
    steps = tuple(_step(document, ("steps", str(place)), row) for place, row in enumerate(rows))
    if len({step.id for step in steps}) != len(steps):
        raise _wrong(document, ("steps",), "unique ids")
    return Playbook(
        _text(document, ("id",), values.get("id")),
        hashlib.sha256(content).hexdigest(),
        _texts(document, ("title",), values.get("title")),
        steps,
        content,
    )


def _step(document: Document, key: tuple[str, ...], row: object) -> Step:
    if not isinstance(row, dict):
        raise _wrong(document, key, "mapping")
    tier, kind = row.get("tier"), row.get("kind")
    if tier not in ("l1", "l2"):
        raise _wrong(document, (*key, "tier"), "l1 | l2")
    if kind not in ("machine", "person"):
        raise _wrong(document, (*key, "kind"), "machine | person")
    commands = row.get("commands", [])
    if not isinstance(commands, list) or not all(isinstance(each, list) and each for each in commands):
        raise _wrong(document, (*key, "commands"), "list of argv lists")
    return Step(
        id=_text(document, (*key, "id"), row.get("id")),
        tier=tier,
        kind=kind,
        title=_texts(document, (*key, "title"), row.get("title")),
        acceptance=_texts(document, (*key, "acceptance"), row.get("acceptance")),
        question=_texts(document, (*key, "question"), row["question"]) if "question" in row else {},
        choices=tuple(str(each) for each in row.get("choices", ())),
        commands=tuple(tuple(str(word) for word in each) for each in commands),
        artefacts=_texts(document, (*key, "artefacts"), row["artefacts"]) if "artefacts" in row else {},
        follow_up=row.get("follow_up") is True,
    )


def _text(document: Document, key: tuple[str, ...], value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(document, key, "text")
    return value


def _texts(document: Document, key: tuple[str, ...], value: object) -> dict[Language, str]:
    if not isinstance(value, dict):
        raise _wrong(document, key, "pl, en")
    return {"pl": _text(document, (*key, "pl"), value.get("pl")), "en": _text(document, (*key, "en"), value.get("en"))}


def _wrong(document: Document, key: tuple[str, ...], expected: str) -> UsageError:
    return UsageError(
        "incident.bad_playbook", path=document.path, line=document.line(key), key=".".join(key), expected=expected
    )
