"""The clean production installation, made once, and one copy of it for each case to spoil and to audit."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from stage4 import config
from stage4.app.installing import create, read_environment
from stage4.audit import auditing, collect_files, schemas
from stage4.audit.evidence_live import Live
from stage4.audit.policy import Policy
from stage4.cli import _audit
from stage4.clock import format_instant
from stage4.decisionlog.checkpoints import places
from stage4.decisionlog.checkpoints.delivery import deliver
from stage4.decisionlog.writer import DecisionLog
from stage4.security.keyring import KeyRing
from stage4.testing.clock import ManualClock
from support.certificates import NOW, Made, key_pem, pem
from support.decision_logs import draft
from support.hostile.pki import DAY, ISSUED, Pki

CORE = "config/core.yaml"
CRL = "secrets/mtls/core-oem.crl"
LOG = "audit/decision_logs/runtime.jsonl"
RING = "secrets/decision_log/keyring.json"
# Of lengths that nothing else in a report is likely to count.
LENGTHS = {"METRICS_SERVICE_AUTH_TOKEN": 997, "CORE_SCHEDULER_TOKEN": 1009, "LIVE_DECISION_LOG_HMAC": 1013}
_COMMAND = _audit.Command(
    "audit_stage4_compliance.py",
    "",
    schemas.COMPLIANCE,
    lambda: auditing.COMPLIANCE,
    compares=True,
    probes=True,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the audit said, everywhere it says anything."""

    code: int
    document: Mapping[str, Any]
    stderr: str
    kept: str = ""  # every file of the run

    @property
    def everything(self) -> str:
        return json.dumps(self.document, ensure_ascii=False) + self.stderr + self.kept

    def findings(self, *outcomes: str) -> set[tuple[str, str, str]]:
        """Control, outcome and code of the findings of these outcomes."""
        results = self.document.get("results", ())
        return {(r["control"], r["outcome"], r["code"]) for r in results if r["outcome"] in outcomes}


@dataclass(slots=True)
class Ground:
    """One installation that a case may spoil; `environ` are its secrets, `secrets` what may stand in no output."""

    root: Path
    pki: Pki
    environ: dict[str, str]
    temporary: bool = False  # whether the place counts as a directory for temporary files
    live: Live | None = None
    secrets: list[str] = field(default_factory=list, repr=False)

    # the bundle

    def file(self, role: str) -> Path:
        """`ca`, `server`, `server-key`, `client`, `client-key`."""
        return self.root / f"secrets/mtls/core-oem-{role}.pem"

    def put(self, role: str, *content: Made | bytes) -> None:
        """Certificates, or whatever the bytes are, into the file of a role."""
        self.file(role).write_bytes(
            b"".join(each if isinstance(each, bytes) else pem(each.certificate) for each in content)
        )

    def install(self, side: str, made: Made, *above: Made) -> None:
        """A certificate with its key and, after it in the file, the CAs above it."""
        self.put(side, made, *above)
        self.put_key(side, made)

    def put_key(self, side: str, made: Made) -> None:
        self.put(f"{side}-key", key_pem(made.key))

    def trust(self, ca: Made) -> None:
        self.put("ca", ca)

    def list(self, *content: bytes) -> None:
        """What the file of the revocation list holds."""
        (self.root / CRL).write_bytes(b"".join(content))

    # settings, registries, log

    def settings(self, edit: Callable[[Any], object]) -> None:
        """Edit the settings, as text that a person could have written."""
        path = self.root / CORE
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        edit(values)
        path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")

    def text(self, old: str, new: str) -> None:
        """Edit the settings as text."""
        path = self.root / CORE
        text = path.read_text(encoding="utf-8")
        assert old in text, old
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def registry(self, name: str) -> Path:
        return self.root / f"var/security/{name}_rotation.json"

    def row(self, name: str, key: str, value: object) -> None:
        """One row of a registry: another value, or none at all for None."""
        path = self.registry(name)
        rows = json.loads(path.read_bytes())
        rows[key] = value
        if value is None:
            del rows[key]
        path.write_text(json.dumps(rows), encoding="utf-8")

    def rotated(self, side: str, at: datetime) -> None:
        """The registry says that the certificate of `side` was replaced at `at`."""
        self.row("tls", f"core-oem::tls_{side}", format_instant(at))

    def lines(self, edit: Callable[[list[bytes]], list[bytes]]) -> None:
        """Edit the lines of the decision log."""
        path = self.root / LOG
        path.write_bytes(b"".join(edit(path.read_bytes().splitlines(keepends=True))))

    # the audit

    def audit(self, *flags: str, now: datetime = NOW) -> Answer:
        """The command as it is called, in this process; with `live` what a probe saw is judged with the rest."""
        clock = ManualClock(now)
        with self._surroundings():
            if self.live is not None:
                return self._probed(self.live, clock)
            argv = ["--root", str(self.root), "--lang", "en", *flags]
            code, out, err = _called(lambda: _audit.run(_COMMAND, argv, clock))
        document = json.loads(out)
        stored = document.get("stored")
        kept = sorted(Path(stored).parent.iterdir()) if stored else []
        return Answer(code, document, err, "".join(path.read_text(encoding="utf-8") for path in kept))

    def _probed(self, live: Live, clock: ManualClock) -> Answer:
        installation = config.load(self.root)
        policy = Policy.of(installation.settings)
        run = auditing.audited(
            auditing.COMPLIANCE, installation, policy, config=None, environ=os.environ, clock=clock, live=live
        )
        return Answer(int(run.report.exit_code()), json.loads(json.dumps(run.document)), "")

    @contextmanager
    def _surroundings(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in LENGTHS:
                patch.delenv(name, raising=False)
            for name, value in self.environ.items():
                patch.setenv(name, value)
            patch.delenv("STAGE4_ROOT", raising=False)
            # Tests have their files below /tmp, where no production installation may be.
            patch.setattr(collect_files, "_TEMPORARY", (self.root.parent,) if self.temporary else ())
            # Whether reports survive a power cut is tested elsewhere, and costs half of the time here.
            patch.setattr(os, "fsync", lambda descriptor: None)
            yield

    def leaks(self, answer: Answer) -> list[str]:
        """What of the secrets stands in an answer; empty for a good one."""
        return [found for secret in self.secrets for found in _leaked(secret, answer.everything)]


def _leaked(secret: str, text: str) -> Iterator[str]:
    content = secret.encode("utf-8", "surrogateescape")
    forms = {"the secret": secret, "its base64": base64.b64encode(content).decode()}
    for algorithm in ("md5", "sha1", "sha256", "sha512"):
        digest = hashlib.new(algorithm, content).digest()
        forms |= {
            f"its {algorithm}": digest.hex()[:16],
            f"its {algorithm} in base64": base64.b64encode(digest).decode()[:20],
        }
    yield from (f"{form} of {secret[:3]}..." for form, spelled in forms.items() if spelled in text)
    word = r"(?:secret|token|key|length|long|characters|bytes|octets|sekret|klucz|długo|znak|bajt)"
    if len(secret) in LENGTHS.values() and re.search(
        rf"{word}\W{{1,4}}{len(secret)}\b|\b{len(secret)}\W{{1,3}}{word}", text
    ):
        yield f"the length of {secret[:3]}..."


def _called(body: Callable[[], int]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; the document goes to the binary stream below stdout."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    before, sys.stdout = sys.stdout, out
    try:
        with redirect_stderr(err):
            code = body()
    finally:
        sys.stdout = before
    out.flush()
    return code, out.buffer.getvalue().decode(), err.getvalue()  # type: ignore[attr-defined]


def clean(root: Path) -> Ground:
    """A production installation with a month of history: an audit, then a rotation, then an audit again."""
    then = ISSUED - 30 * DAY
    create(root, ManualClock(then), installation="production", installation_id="desk-1", language="en")
    environ = {name: _strong(name, size) for name, size in LENGTHS.items()}
    lines = "".join(f"{name}={value}\n" for name, value in environ.items())
    (root / "secrets/stage4.env").write_text(lines, encoding="ascii")
    assert read_environment(root) == environ
    ground = Ground(root, Pki.make(then), environ)
    ground.settings(lambda values: values["execution"]["mtls"].update(crls=[CRL]))
    ring = KeyRing.load(root / RING, {})
    log = DecisionLog(root / LOG, ring, ManualClock(then), origin="tests")
    log.append_many([draft(n) for n in range(3)])
    deliver(log, ring, ManualClock(then), places.configured(config.load(root), environ))
    _lay_out(ground, then)
    ground.audit(now=then + timedelta(hours=1))
    ground = replace(ground, pki=Pki.make())
    _lay_out(ground, ISSUED)
    assert ground.audit(now=NOW - DAY).document["status"] == "ok"
    ground.secrets = [*environ.values(), *_held(root)]
    return ground


def copied(made: Ground, root: Path) -> Ground:
    """The same installation in another place."""
    shutil.copytree(made.root, root, symlinks=True)
    return replace(made, root=root, environ=dict(made.environ), secrets=list(made.secrets))


def _lay_out(ground: Ground, at: datetime) -> None:
    ground.trust(ground.pki.ca)
    for side in ("server", "client"):
        ground.install(side, ground.pki.of(side))
    ground.list(ground.pki.crl)
    for purpose in ("ca", "server", "client"):
        ground.rotated(purpose, at)


def _strong(name: str, size: int) -> str:
    """A secret of a stated length, the same in every run."""
    return base64.urlsafe_b64encode(hashlib.shake_256(name.encode()).digest(size)).decode()[:size]


def _held(root: Path) -> Iterator[str]:
    for path in (*(root / "secrets").rglob("*.token"), *(root / "secrets").rglob("*.key")):
        yield path.read_text(encoding="ascii").strip()
    for path in (root / "secrets/mtls").glob("*-key.pem"):
        yield path.read_text(encoding="ascii").splitlines()[1]
