"""The smaller parts: playbook file, commands, evidence, texts, tables."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from stage4 import words
from stage4.clock import SystemClock
from stage4.errors import Unavailable, UsageError
from stage4.incidents import incident, schema
from stage4.incidents.checklist import load_playbook, parse_playbook
from stage4.incidents.commands import ChildRunner, command_log, fill, outputs_of
from stage4.incidents.effects import TimerKind
from stage4.incidents.escalation import Rules
from stage4.incidents.evidence import EvidenceStore
from stage4.incidents.ports import CommandResult
from stage4.incidents.steps import STEPS
from stage4.incidents.store_sql import Store
from support.world import PLAYBOOK

SOURCE = Path(incident.__file__).parent


def test_the_playbook_has_the_rows_of_the_contract_and_every_row_its_rule() -> None:
    playbook = load_playbook(PLAYBOOK)
    ids = [*(f"L1.{n}" for n in range(1, 6)), *(f"L2.{n}" for n in range(1, 7))]
    assert [step.id for step in playbook.steps] == ids
    assert list(STEPS) == ids
    assert len(playbook.digest) == 64
    assert [step.id for step in playbook.steps if step.follow_up] == ["L2.6"]
    rollback = load_playbook(PLAYBOOK.with_name("stage4_rollback.yaml"))
    assert [step.id for step in rollback.steps] == [f"R.{n}" for n in range(1, 6)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("schema: stage4.playbook/1", "schema: other"),
        ("kind: machine", "kind: robot"),
        ("tier: l2", "tier: l9"),
        ("id: L1.2", "id: L1.1"),
        ("      en: Run the compliance audit and read the warnings\n", ""),
    ],
)
def test_a_wrong_playbook_is_refused_with_its_line(old: str, new: str) -> None:
    text = PLAYBOOK.read_text().replace(old, new, 1)
    with pytest.raises(UsageError) as refused:
        parse_playbook(text.encode(), Path("p.yaml"))
    assert refused.value.code == "incident.bad_playbook"
    assert refused.value.params["line"]


def test_an_empty_checklist_is_refused() -> None:
    with pytest.raises(UsageError):
        parse_playbook(b"schema: stage4.playbook/1\nid: x\ntitle: {pl: a, en: b}\nsteps: []\n", Path("p.yaml"))


@pytest.fixture
def runner(tmp_path: Path) -> ChildRunner:
    return ChildRunner(tmp_path, SystemClock(), dict(os.environ))


def run(runner: ChildRunner, code: str, seconds: float = 20.0, outputs: tuple[str, ...] = ()) -> CommandResult:
    return runner.run(("python", "-c", code), timedelta(seconds=seconds), outputs)


def test_a_command_leaves_its_document_its_words_and_what_it_wrote(runner: ChildRunner, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("{}")
    os.utime(tmp_path / "old.json", (0, 0))
    code = 'import sys; open("new.json", "w").write("1"); print(\'{"schema": "x/1"}\'); print("hm", file=sys.stderr)'
    result = run(runner, code, outputs=("new.json", "old.json", "none.json"))
    assert (result.exit_code, result.document) == (0, {"schema": "x/1"})
    assert result.stderr == b"hm\n"
    assert [content.name for content in result.produced] == ["new.json"], "an earlier run's output is not this one's"
    assert b'"exit_code": 0' in command_log(result).body


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("raise SystemExit(3)", 3), ("print('no json')", 0), ("print('{\"schema\": 1}')", 0), ("1/0", 1)],
)
def test_a_command_without_a_document_has_none(runner: ChildRunner, code: str, exit_code: int) -> None:
    result = run(runner, code)
    assert (result.exit_code, result.document) == (exit_code, None)


def test_a_command_that_hangs_is_ended_at_its_time_limit(runner: ChildRunner) -> None:
    result = run(runner, "import time\nwhile True: time.sleep(60)", seconds=0.5)
    assert (result.exit_code, result.reason) == (None, "time limit")
    assert result.ended_at - result.started_at < timedelta(seconds=10)


def test_a_command_that_cannot_start_gives_a_result(runner: ChildRunner) -> None:
    result = runner.run(("./nothing-here",), timedelta(seconds=1))
    assert result.exit_code is None
    assert result.reason


def test_a_rehearsal_shortens_what_it_watches() -> None:
    argv = ("python", "w.py", "--duration", "10m", "--ticket", "{ticket}", "--output", "logs/x.json")
    assert fill(argv, {"ticket": "T-1"})[3:6] == ("10m", "--ticket", "T-1")
    assert fill(argv, {"ticket": "T-1"}, 0.01)[3] == "6s"
    assert fill(argv, {"ticket": "T-1"}, 0.0001)[3] == "2s"
    assert outputs_of(argv) == ("logs/x.json",)
    assert Rules().scaled(0.01).escalate_after == timedelta(seconds=3)


def test_evidence_is_kept_once_read_only_and_a_change_is_seen(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    digest = store.keep(b"proof")
    assert store.keep(b"proof") == digest
    path = store.path(digest)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert store.read(digest) == b"proof"
    assert store.intact(digest)
    path.chmod(0o600)
    path.write_bytes(b"prooF")
    assert not store.intact(digest)
    with pytest.raises(Unavailable, match="evidence_changed"):
        store.read(digest)
    assert not store.intact("0" * 64)


def test_the_migrations_make_the_tables_of_the_schema(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    store = Store("sqlite:///var/x.db", tmp_path)
    store.migrate()
    store.migrate()
    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert pragmas == ["wal", 2]
    store.dispose()


def test_a_database_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"this is no database" * 100)
    store = Store("sqlite:///x.db", tmp_path)
    with pytest.raises(Unavailable, match="storage_unavailable"):
        store.migrate()
    store.dispose()


def spoken() -> Iterator[str]:
    """Every code of this room that its source writes as a literal, and those it composes."""
    import re

    for path in SOURCE.rglob("*.py"):
        # The name of a member, as in `runtime_flags`, is no code.
        codes = r'"((?:notice|step|closing|incident|intake|escalation)\.[a-z0-9_]+)"(?!:)'
        yield from re.findall(codes, path.read_text(encoding="utf-8"))
    for reason in ("lasts", "audit_fail", "panels", "person", "nobody_on_duty", "lapsed"):
        yield from (f"notice.l2_called_{reason}", f"notice.l2_told_{reason}")
    for reason in ("audit_fail", "no_signals", "loss", "l2_unconfirmed", "nobody_on_duty", "person"):
        yield f"notice.manager_called_{reason}"
    yield from (f"escalation.reason_{reason}" for reason in incident.Reason)
    yield from (f"escalation.timer_{kind}" for kind in TimerKind)
    yield from (f"document.state_{state}" for state in incident.StepState)
    yield from ("step.scheduler_enabled", "step.scheduler_disabled")


def test_everything_the_room_says_is_in_the_catalogues() -> None:
    assert [code for code in sorted(set(spoken())) if not words.has(code)] == []
