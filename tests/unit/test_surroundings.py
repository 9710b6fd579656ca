"""What a demo or drill, and what a production installation, refuses to run with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stage4.app.installing import BUNDLE, create
from stage4.app.surroundings import refuse_unfitting
from stage4.config import CORE, Installation, load
from stage4.errors import ExitCode, Refused
from stage4.security import demo_people
from stage4.testing.clock import ManualClock
from support.installation import Installed

CERTIFICATES = tuple(f"secrets/mtls/{BUNDLE}-{role}.pem" for role in ("ca", "server", "client"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create(tmp_path / "desk", ManualClock())
    return tmp_path / "desk"


def with_settings(root: Path, edit: Callable[[Any], object]) -> Installation:
    settings = yaml.safe_load((root / CORE).read_text())
    edit(settings)
    (root / CORE).write_text(yaml.safe_dump(settings))
    return load(root)


def in_production(settings: Any) -> None:
    settings["operations"]["installation"] = "production"


@pytest.mark.parametrize("kind", ["demo", "drill"])
def test_a_rehearsal_as_it_was_made_fits(root: Path, kind: str) -> None:
    refuse_unfitting(with_settings(root, lambda settings: settings["operations"].update(installation=kind)))


@pytest.mark.parametrize("kind", ["demo", "drill"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("runtime.metrics_service.host", "0.0.0.0"),
        ("operations.service.host", "192.0.2.1"),
        ("operations.service.host", "::"),
        ("operations.service.host", "localhost.example.com"),
        ("operations.monitoring.metrics_host", "desk.example.com"),
        ("operations.monitoring.prometheus_url", "http://prometheus.example.com:9090"),
        ("operations.monitoring.alertmanager_url", "http://127.0.0.1@alerts.example.com:9093"),
        ("operations.monitoring.alertmanager_url", "nonsense"),
    ],
)
def test_a_rehearsal_that_would_reach_beyond_this_machine_is_refused(
    root: Path, kind: str, key: str, value: str
) -> None:
    def edit(settings: Any) -> None:
        settings["operations"]["installation"] = kind
        *sections, name = key.split(".")
        for section in sections:
            settings = settings.setdefault(section, {})
        settings[name] = value

    with pytest.raises(Refused, match=r"surroundings\.not_local") as caught:
        refuse_unfitting(with_settings(root, edit))
    assert caught.value.params["key"] == key


@pytest.mark.parametrize("only", CERTIFICATES)
def test_production_refuses_each_certificate_of_the_demo_pki(root: Path, only: str) -> None:
    for path in CERTIFICATES:
        if path != only:
            (root / path).unlink()
    with pytest.raises(Refused, match=r"surroundings\.demo_certificate") as caught:
        refuse_unfitting(with_settings(root, in_production))
    assert caught.value.params["path"] == root / only


def test_production_refuses_the_demo_people_and_names_them(root: Path) -> None:
    for path in CERTIFICATES:
        (root / path).unlink()
    with pytest.raises(Refused, match=r"surroundings\.demo_people") as caught:
        refuse_unfitting(with_settings(root, in_production))
    assert caught.value.params["people"] == ", ".join(demo_people.IDS)


def test_production_with_its_own_people_may_listen_anywhere(root: Path) -> None:
    for path in CERTIFICATES:
        (root / path).unlink()
    operators = root / "ops/operators.yaml"
    operators.write_text("schema: stage4.operators/1\npeople: {ewa: {name: Ewa, roles: [l2]}}\n")

    def edit(settings: Any) -> None:
        in_production(settings)
        settings["operations"]["service"]["host"] = "192.0.2.1"

    refuse_unfitting(with_settings(root, edit))


@pytest.mark.parametrize("arguments", [("run",), ("serve",), ("config", "check")])
def test_every_way_in_refuses_with_exit_4_and_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Installed.make(tmp_path / "desk") as installed:
        installed.change(in_production)
        outcome = installed.stage4(*arguments)
        assert outcome.code == ExitCode.REFUSED
        assert "demo" in outcome.error
        assert "execution.mtls" in outcome.hint
