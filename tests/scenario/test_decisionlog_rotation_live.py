"""Services append while an administrator rotates the key from the shell: nothing stops, nothing is lost, one chain."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from stage4.clock import SystemClock
from stage4.decisionlog.writer import DecisionLog
from stage4.errors import ExitCode
from stage4.security.keyring import KeyRing, create_keyring
from support.decision_logs import LogRoom, draft

TESTS = Path(__file__).parents[1]
CORE = TESTS.parent / "config" / "core.yaml"


def test_running_services_follow_a_rotation_from_the_shell(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "core.yaml").write_bytes(CORE.read_bytes())
    ring = create_keyring(tmp_path / "secrets" / "decision_log" / "keyring.json", SystemClock().now())
    folder = tmp_path / "audit" / "decision_logs"
    folder.mkdir(parents=True)
    # The appender looks for its ring beside its log.
    (folder / "secrets").symlink_to(ring.path.parent)
    environ = {**os.environ, "PYTHONPATH": str(TESTS), "STAGE4_LANG": "en"}
    services = [
        subprocess.Popen(
            [sys.executable, str(TESTS / "support" / "log_appender.py"), str(folder), "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        for _ in range(2)
    ]
    try:
        acknowledged = [_next(service) for service in services]
        for reason in ("ninety days", "once more"):
            rotated = _rotate(tmp_path, reason, environ)
            for service in services:
                while (seq := _next(service)) < rotated:
                    acknowledged.append(seq)
                acknowledged.append(seq)
    finally:
        for service in services:
            service.kill()
            service.wait()
            assert service.stdout is not None
            service.stdout.close()
    now = KeyRing.load(ring.path, {})
    room = LogRoom(folder / "runtime.jsonl", now, SystemClock())
    # What the kill left unfinished is repaired by the next one who appends.
    DecisionLog(room.path, now, room.clock, origin="tests").append(draft())
    assert room.verify().exit_code is ExitCode.DONE
    entries = {entry["seq"]: entry["key_id"] for entry in map(json.loads, room.lines())}
    assert set(acknowledged) <= entries.keys()
    order = list(now.keys)
    assert list(dict.fromkeys(entries.values())) == order
    assert len(order) == 3


def _next(service: subprocess.Popen[str]) -> int:
    """The number of the next entry that the service says is on the disk."""
    assert service.stdout is not None
    said = service.stdout.readline()
    assert " " in said, said
    return int(said.split()[0])


def _rotate(root: Path, reason: str, environ: dict[str, str]) -> int:
    """Rotate as an administrator does; the number of the rotation's entry."""
    done = subprocess.run(
        [sys.executable, "-m", "stage4", "--json", "--root", str(root), "log", "key", "rotate", "--reason", reason],
        capture_output=True,
        timeout=60,
        check=False,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["rotation"]["seq"])
