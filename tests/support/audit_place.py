"""A demonstration installation of its own for each test, and the two audit commands over it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stage4.cli import audit_stage4_compliance
from stage4.clock import format_instant
from stage4.config import load
from stage4.decisionlog.archive import rotate
from stage4.decisionlog.writer import DecisionLog
from stage4.security.keyring import KeyRing
from stage4.testing.clock import ManualClock
from support.audits import NOW, demo_installation
from support.decision_logs import draft

AT = ("--at", format_instant(NOW))
Main = Callable[[list[str]], int]


@dataclass
class Answer:
    """What a command answered."""

    code: int
    document: dict[str, Any]
    err: str


@dataclass
class Place:
    """An installation of its own, with its secrets in the environment."""

    root: Path
    secrets: Mapping[str, str]
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]

    def run(self, *flags: str, main: Main = audit_stage4_compliance.main, at: bool = True) -> Answer:
        code = main(["--root", str(self.root), "--lang", "en", *(AT if at else ()), *flags])
        said = self.capture.readouterr()
        return Answer(code, json.loads(said.out), said.err)

    def edit(self, relative: str, old: str, new: str) -> None:
        path = self.root / relative
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def settings(self, old: str, new: str) -> None:
        self.edit("config/core.yaml", old, new)

    def registry(self, name: str, rows: object) -> None:
        (self.root / f"var/security/{name}_rotation.json").write_text(json.dumps(rows), encoding="utf-8")

    def log(self, entries: int, *, rotated: bool = False) -> Path:
        path = load(self.root).decision_log_path
        ring = KeyRing.load(self.root / "secrets/decision_log/keyring.json", {})
        log = DecisionLog(path, ring, ManualClock(NOW), origin="tests")
        log.append_many([draft(n) for n in range(entries)])
        if rotated:
            rotate(log)
        return path

    def open_keys(self) -> None:
        """Everybody may read and write the keys of the bundle."""
        for path in (self.root / "secrets/mtls").glob("*-key.pem"):
            path.chmod(0o666)

    def lose_log_key(self) -> None:
        """The secret of the decision log's key is gone."""
        next((self.root / "secrets/decision_log").glob("*.key")).unlink()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    root = tmp_path_factory.mktemp("audit") / "demo"
    return root, demo_installation(root)


@pytest.fixture
def place(
    made: tuple[Path, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Place:
    root = tmp_path / "demo"
    shutil.copytree(made[0], root)
    for name, value in made[1].items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("STAGE4_ROOT", raising=False)
    return Place(root, made[1], monkeypatch, capsys)


def findings(document: Mapping[str, Any], *outcomes: str) -> set[str]:
    return {result["control"] for result in document["results"] if result["outcome"] in outcomes}
