"""Rooms for audits: an installation in a folder, the environment of its secrets, and what the audit says of it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from stage4.audit.collect import collect
from stage4.audit.controls import CONTROLS
from stage4.audit.evidence import Evidence
from stage4.audit.finding import Finding, Outcome
from stage4.audit.policy import Policy
from stage4.audit.report import judge
from stage4.cli import audit_stage4_compliance
from stage4.clock import format_instant
from stage4.config import load
from stage4.testing.clock import ManualClock
from support.audits import NOW

PEPPER = b"p" * 32
Main = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    document: dict[str, Any]
    out: str
    err: str

    def results(self, *outcomes: str) -> set[tuple[str, str, str]]:
        """Control, subject and code of the results with one of `outcomes`."""
        listed = self.document.get("results", [])
        return {(r["control"], r["subject"], r["code"]) for r in listed if r["outcome"] in outcomes}

    def controls(self, *outcomes: str) -> set[str]:
        return {control for control, _, _ in self.results(*outcomes)}


@dataclass
class Room:
    """An installation at `root`; `environ` has what its processes would have."""

    root: Path
    environ: dict[str, str] = field(default_factory=dict)

    def edit(self, old: str, new: str, relative: str = "config/core.yaml") -> None:
        path = self.root / relative
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def evidence(self) -> Evidence:
        installation = load(self.root, lenient=True)
        environ = {"PATH": os.environ["PATH"], **self.environ}
        return collect(installation, "core-oem", environ=environ, now=NOW, clock=ManualClock(NOW), pepper=PEPPER)

    def findings(self, **demands: Any) -> list[Finding]:
        """All that the controls say."""
        policy = Policy.of(load(self.root, lenient=True).settings, **demands)
        return list(judge(CONTROLS, self.evidence(), policy, NOW).findings)

    def wrong(self, *groups: str, **demands: Any) -> set[tuple[str, str, str]]:
        """Control, subject and code of what is not accepted, of the control groups that are named."""
        fine = (Outcome.PASS, Outcome.SKIPPED)
        found = (f for f in self.findings(**demands) if f.outcome not in fine)
        return {(f.control, f.subject, f.code) for f in found if not groups or f.control.partition("-")[0] in groups}

    def audit(self, *flags: str, main: Main = audit_stage4_compliance.main) -> Answer:
        """One run of the command as of the tests' instant, with nothing but this environment."""
        said, document = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        environ = {"PATH": os.environ["PATH"], **self.environ}
        argv = ["--root", str(self.root), "--lang", "en", "--at", format_instant(NOW), *flags]
        with mock.patch.dict(os.environ, environ, clear=True):
            with contextlib.redirect_stdout(document), contextlib.redirect_stderr(said):
                code = main(argv)
        out = document.buffer.getvalue().decode("utf-8")  # type: ignore[attr-defined]
        return Answer(code, json.loads(out), out, said.getvalue())


def copied(made: Path, to: Path, environ: Mapping[str, str]) -> Room:
    """A room over a copy of the installation at `made`."""
    shutil.copytree(made, to, symlinks=True)
    return Room(to, dict(environ))


def bare(root: Path, settings: str) -> Room:
    """A room of which there are only its settings."""
    (root / "config").mkdir(parents=True)
    (root / "config/core.yaml").write_text(settings, encoding="utf-8")
    return Room(root)
