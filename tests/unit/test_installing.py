"""An installation: made once, completed, never overwritten, secrets for their owner only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stage4.app.checking import check_files
from stage4.app.installing import BUNDLE, ENVIRONMENT_SECRETS, Made, create, read_environment
from stage4.app.service import build_engine
from stage4.config import load
from stage4.errors import Stage4Error, Unavailable, UsageError
from stage4.security.rotation import RotationRegistry
from stage4.testing.clock import ManualClock


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("installation") / "desk"
    before = os.umask(0)
    try:
        create(root, ManualClock(), port_base=9100)
    finally:
        os.umask(before)
    return root


def test_what_is_made_loads_and_every_file_it_names_is_sound(made: Path) -> None:
    installation = load(made)
    check_files(installation)
    assert installation.notices == ()
    assert installation.settings.operations.installation_id == "desk"


def test_the_ports_are_three_from_the_base_on(made: Path) -> None:
    settings = load(made).settings
    assert settings.operations.service.port == 9100
    assert settings.runtime.metrics_service.port == 9101
    assert settings.operations.monitoring.metrics_port == 9102
    assert "874" not in (made / "config/core.yaml").read_text()


def test_secrets_are_for_their_owner_only_whatever_the_umask(made: Path) -> None:
    for path in (made / "secrets").rglob("*"):
        public = path.suffix == ".pub" or (path.suffix == ".pem" and not path.stem.endswith("-key"))
        if path.is_file() and not public:
            assert path.stat().st_mode & 0o077 == 0, path
    for directory in ("secrets", "var/runtime", "var/runtime/overrides"):
        assert (made / directory).stat().st_mode & 0o777 == 0o700


def test_a_second_call_keeps_everything(made: Path) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    lines = create(made, ManualClock(), port_base=9100)
    assert {line.made for line in lines} == {Made.KEPT}
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_a_changed_file_is_kept_and_said_to_differ(tmp_path: Path) -> None:
    create(tmp_path, ManualClock())
    script = tmp_path / "scripts/verify_decision_log.py"
    script.write_text("# mine\n")
    lines = {line.path: line.made for line in create(tmp_path, ManualClock())}
    assert lines["scripts/verify_decision_log.py"] is Made.KEPT_DIFFERS
    assert script.read_text() == "# mine\n"


def test_a_dry_run_names_the_paths_and_writes_nothing(tmp_path: Path) -> None:
    lines = create(tmp_path / "new", ManualClock(), dry_run=True)
    assert len(lines) > 30
    assert not (tmp_path / "new").exists()


def test_a_bundle_that_is_only_half_there_is_refused_and_named(tmp_path: Path) -> None:
    create(tmp_path, ManualClock())
    (tmp_path / f"secrets/mtls/{BUNDLE}-client.pem").unlink()
    with pytest.raises(UsageError, match="installing.incomplete_group") as caught:
        create(tmp_path, ManualClock())
    assert f"{BUNDLE}-client.pem" in str(caught.value.params["missing"])


def test_the_registry_agrees_with_the_certificates(made: Path) -> None:
    registry = RotationRegistry.load(made / "var/security/tls_rotation.json")
    for purpose in ("tls_ca", "tls_server", "tls_client"):
        assert registry.get(BUNDLE, purpose) == ManualClock().now()


def test_env_sh_loads_in_a_posix_shell_and_finds_this_version(made: Path) -> None:
    script = f'. "{made}/env.sh" && echo "$STAGE4_ROOT" && stage4 --version && test -n "$CORE_SCHEDULER_TOKEN"'
    ended = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, cwd="/")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[0] == str(made)


def test_every_secret_of_the_environment_is_another(made: Path) -> None:
    secrets = read_environment(made)
    assert set(secrets) == set(ENVIRONMENT_SECRETS)
    assert len(set(secrets.values())) == len(ENVIRONMENT_SECRETS)


@pytest.mark.parametrize("name", ["a b", "ż", "x" * 65])
def test_an_id_that_would_not_fit_into_logs_and_labels_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="installing.bad_id"):
        create(tmp_path, ManualClock(), installation_id=name)


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="installing.not_a_directory"):
        create(tmp_path / "file", ManualClock())


def test_a_gate_that_was_in_use_is_not_opened_by_making_its_memory_anew(tmp_path: Path) -> None:
    create(tmp_path, ManualClock())
    memory = tmp_path / "var/runtime/gate.json"
    memory.unlink()
    (tmp_path / "var/runtime/state.json").write_text("{}")
    lines = {line.path: line.made for line in create(tmp_path, ManualClock())}
    assert lines["var/runtime/gate.json"] is Made.LEFT_MISSING
    assert not memory.exists()


def test_an_id_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"installing\.bad_id"):
        create(tmp_path / "a b", ManualClock())
    assert not (tmp_path / "a b").exists()


def test_a_root_that_cannot_be_made_is_no_bug() -> None:
    with pytest.raises(Unavailable, match=r"files\.cannot_write"):
        create(Path("/proc/desk"), ManualClock())


def test_the_command_makes_nothing_that_others_can_write(tmp_path: Path) -> None:
    line = f"umask 000; {sys.executable} -m stage4 init {tmp_path / 'desk'}"
    subprocess.run(["sh", "-c", line], check=True, capture_output=True)
    assert [path for path in (tmp_path / "desk").rglob("*") if path.stat().st_mode & 0o022] == []


@pytest.mark.parametrize("content", [None, "people: [\n"])
def test_a_service_does_not_start_without_the_people_who_act(tmp_path: Path, content: str | None) -> None:
    create(tmp_path, ManualClock())
    operators = tmp_path / "ops/operators.yaml"
    operators.unlink() if content is None else operators.write_text(content)
    with pytest.raises(Stage4Error, match=r"files\.missing|config\.bad_yaml"):
        build_engine(load(tmp_path), ManualClock(), {})
