"""
Makes an installation: settings, people, demo certificates and keys, scripts, playbooks, `env.sh`.

Idempotent: what exists is kept, whatever it holds, and the report says so. Every file is written whole, and
secrets with mode 0600 below a directory of mode 0700.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from stage4 import __version__, files, ids
from stage4.clock import Clock, format_instant
from stage4.config import CORE, load
from stage4.errors import Unavailable, UsageError

BUNDLE = "core-oem"
DEFAULT_PORT_BASE = 8740
ENVIRONMENT_SECRETS = ("METRICS_SERVICE_AUTH_TOKEN", "CORE_SCHEDULER_TOKEN", "LIVE_DECISION_LOG_HMAC")
_DIRECTORIES = (
    "audit/decision_logs",
    "logs/load_tests",
    "logs/metrics",
    "var/audit/acceptance",
    "var/evidence/sha256",
    "var/notices",
    "var/run",
)
_PRIVATE_DIRECTORIES = ("secrets", "var/runtime", "var/runtime/overrides", "var/security")


class Made(StrEnum):
    """What became of one path."""

    CREATED = "created"
    KEPT = "kept"
    KEPT_DIFFERS = "kept_differs"
    LEFT_MISSING = "left_missing"


@dataclass(frozen=True, slots=True)
class Line:
    """One path of the report, relative to the root."""

    path: str
    made: Made


@dataclass(slots=True)
class _Builder:
    root: Path
    clock: Clock
    dry_run: bool
    lines: list[Line]

    def directory(self, relative: str, mode: int = 0o755) -> None:
        path = self.root / relative
        if path.is_dir():
            return
        self.lines.append(Line(relative + "/", Made.CREATED))
        if not self.dry_run:
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)

    def file(self, relative: str, content: bytes | Callable[[], bytes], mode: int = 0o644) -> None:
        """Creates one file; content that is made by chance or costs time comes as a function."""
        path = self.root / relative
        if os.path.lexists(path):
            differs = isinstance(content, bytes) and _differs(path, content)
            self.lines.append(Line(relative, Made.KEPT_DIFFERS if differs else Made.KEPT))
            return
        self.lines.append(Line(relative, Made.CREATED))
        if not self.dry_run:
            files.atomic_write(path, content() if callable(content) else content, mode)

    def group(self, relatives: list[str], create: Callable[[], None]) -> bool:
        """Creates several files that belong together, all or none; True when they are new."""
        present = [relative for relative in relatives if os.path.lexists(self.root / relative)]
        if present and len(present) < len(relatives):
            missing = ", ".join(sorted(set(relatives) - set(present)))
            raise UsageError("installing.incomplete_group", present=", ".join(present), missing=missing)
        made = Made.KEPT if present else Made.CREATED
        self.lines += [Line(relative, made) for relative in relatives]
        if not present and not self.dry_run:
            create()
        return not present


def _differs(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() != content
    except OSError:
        return True


def create(
    root: Path,
    clock: Clock,
    *,
    installation: str = "demo",
    installation_id: str | None = None,
    port_base: int = DEFAULT_PORT_BASE,
    language: str = "pl",
    dry_run: bool = False,
) -> list[Line]:
    """Make, or complete, the installation at `root`; the report has one line a path.

    Raises UsageError for a root that is a file or a group of secrets that is only half there, and Unavailable
    when the disk refuses; what was written until then is whole, and a second call completes it.
    """
    if root.exists() and not root.is_dir():
        raise UsageError("installing.not_a_directory", path=root)
    name = installation_id or root.resolve().name
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise UsageError("installing.bad_id", text=name)
    builder = _Builder(root, clock, dry_run, [])
    try:
        _directories(builder)
    except OSError as error:
        raise Unavailable("files.cannot_write", path=error.filename or root, reason=files.reason(error)) from error
    template = resources.files(__package__).joinpath("template")
    core = template.joinpath("config", "core.yaml").read_bytes()
    builder.file(str(CORE), _settings(core, installation, name, port_base, language))
    for folder in ("scripts", "playbooks"):
        for relative, content in _template_files(template.joinpath(folder), folder):
            builder.file(relative, content)
    _people(builder)
    _certificates(builder)
    _keys(builder)
    _runtime(builder, name)
    _documents(builder)
    builder.file("env.sh", _environment_script(root.resolve()))
    if not dry_run:
        _monitoring(builder)
    return builder.lines


def _directories(builder: _Builder) -> None:
    if not builder.dry_run:
        builder.root.mkdir(parents=True, exist_ok=True)
    for relative in _PRIVATE_DIRECTORIES:
        builder.directory(relative, 0o700)
    for relative in _DIRECTORIES:
        builder.directory(relative)


def _settings(core: bytes, installation: str, installation_id: str, port_base: int, language: str) -> bytes:
    text = core.decode("utf-8")
    text = text.replace("installation: demo", f"installation: {installation}")
    text = text.replace("installation_id: stage4-demo", f"installation_id: {installation_id}")
    text = text.replace("language: pl", f"language: {language}")
    for offset in range(3):
        text = re.sub(rf"\b{DEFAULT_PORT_BASE + offset}\b", str(port_base + offset), text)
    return text.encode("utf-8")


def _template_files(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_file() and entry.name.endswith((".py", ".yaml", ".md")):
            yield f"{prefix}/{entry.name}", entry.read_bytes()


def _people(builder: _Builder) -> None:
    from stage4.oncall.demo import demo_rotation_yaml
    from stage4.security import demo_people
    from stage4.security.people import operators_yaml

    directory = builder.root / "secrets/people"
    relatives = [f"secrets/people/{person_id}" for person_id in demo_people.IDS] + ["ops/operators.yaml"]

    def make() -> None:
        people = demo_people.create(directory)
        files.atomic_write(builder.root / "ops/operators.yaml", operators_yaml(people).encode("utf-8"))

    builder.group(relatives, make)
    builder.file("ops/oncall_rotation.yaml", lambda: demo_rotation_yaml(builder.clock.now()).encode("utf-8"))


def _certificates(builder: _Builder) -> None:
    from stage4.security.demo_pki import bundle_paths, create_bundle
    from stage4.security.rotation import RotationRegistry

    directory = builder.root / "secrets/mtls"
    relatives = [str(path.relative_to(builder.root)) for path in bundle_paths(directory, BUNDLE).values()]
    registry = "var/security/tls_rotation.json"

    def make() -> None:
        bundle = create_bundle(directory, BUNDLE, now=builder.clock.now())
        rotations = RotationRegistry()
        for (key, purpose), at in bundle.rotations.items():
            rotations = rotations.record(key, purpose, at)
        rotations.write(builder.root / registry)

    builder.group([*relatives, registry], make)


def _keys(builder: _Builder) -> None:
    from stage4.security.keyring import create_keyring

    keyring = builder.root / "secrets/decision_log/keyring.json"
    builder.group(
        [str(keyring.relative_to(builder.root))], lambda: _ignore(create_keyring(keyring, builder.clock.now()))
    )
    builder.file("secrets/stage4.env", _environment_secrets, 0o600)
    for name in ("alertmanager", "detector"):
        builder.file(f"secrets/{name}.token", lambda: f"{ids.random_token()}\n".encode("ascii"), 0o600)
    now = format_instant(builder.clock.now().replace(microsecond=0))
    rotated = {"live-router::decision-log": now, "core-oem::metrics-token": now}
    builder.file("var/security/key_rotation.json", lambda: files.json_bytes(rotated), 0o600)


def _ignore(_made: object) -> None:
    """The maker's result is read back from the disk by those who need it."""


def _environment_secrets() -> bytes:
    lines = [f"{name}={ids.random_token()}" for name in ENVIRONMENT_SECRETS]
    return ("# Secrets of this installation; env.sh loads them.\n" + "\n".join(lines) + "\n").encode("ascii")


def _runtime(builder: _Builder, installation_id: str) -> None:
    from stage4.runtime.latch import create_latch
    from stage4.runtime.state import STATE_FILE

    latch = builder.root / "var/runtime/gate.json"
    if not latch.exists() and (builder.root / STATE_FILE).exists():
        # A gate that was in use and lost its memory is closed; a new, open one would lift a stop unsigned.
        builder.lines.append(Line(str(latch.relative_to(builder.root)), Made.LEFT_MISSING))
        return
    builder.group(
        [str(latch.relative_to(builder.root))],
        lambda: _ignore(create_latch(latch, installation_id, builder.clock.now())),
    )


def _documents(builder: _Builder) -> None:
    from stage4.reports.runbook import runbooks

    for name, content in runbooks().items():
        builder.file(f"docs/runbooks/{name}", content)


def _monitoring(builder: _Builder) -> None:
    """Prometheus, Alertmanager and Grafana files that fit these settings; from a loaded installation."""
    from stage4.monitoring.generate import generate

    for relative, content in generate(load(builder.root)).items():
        builder.file(str(relative), content)


def _environment_script(root: Path) -> bytes:
    """Puts this version's `python` and `stage4` first and loads the secrets, in any POSIX shell."""
    return f"""\
# Source this file:  . ./env.sh
# Written by stage4 {__version__}; delete it and run `stage4 init` again to renew it.
export STAGE4_ROOT={shlex.quote(str(root))}
export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"
set -a
. "$STAGE4_ROOT/secrets/stage4.env"
set +a
""".encode()


def read_environment(root: Path) -> dict[str, str]:
    """The variables of `secrets/stage4.env`: `NAME=value` lines; raises Unavailable when it cannot be read."""
    content = files.read_limited(root / "secrets/stage4.env", 65536).decode("utf-8", "replace")
    pairs = (line.partition("=") for line in content.splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
