"""Where audits are kept, and which earlier one counts."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from stage4.audit import store
from stage4.errors import Unavailable
from support.audits import NOW


def keep(root: Path, minutes: int, document: object) -> Path:
    at = NOW + timedelta(minutes=minutes)
    directory = store.open_run(root, at)
    command = store.Command(["audit"], 0, at, at, ())
    store.save(directory, store.COMPLIANCE, json.dumps(document).encode(), command)
    return directory


def test_two_audits_in_one_second_have_directories_of_their_own(tmp_path: Path) -> None:
    names = [keep(tmp_path, 0, {}).parent.name for _ in range(3)]

    assert names == ["20261123T094200Z", "20261123T094200Z-2", "20261123T094200Z-3"]


def test_the_store_does_not_follow_a_link_out_of_the_installation(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / "var").symlink_to(elsewhere)

    with pytest.raises(Unavailable, match=r"audit\.store_outside"):
        store.open_run(root, NOW)

    assert not list(elsewhere.iterdir())
