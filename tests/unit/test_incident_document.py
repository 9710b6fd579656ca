"""The filled-in playbook as people read it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stage4.incidents.checklist import load_playbook
from stage4.reports.incident_document import render_incident
from stage4.words import Language, languages
from support.world import PLAYBOOK, World


@pytest.mark.parametrize("lang", languages)
def test_it_names_every_step_with_its_answer_and_its_local_time(tmp_path: Path, lang: Language) -> None:
    with World(tmp_path) as w:
        incident = w.escalated()
        w.complete(incident)
        record = json.loads(w.engine.statement(incident, "incident_manager", "im-jan"))["record"]
    document = render_incident(record, load_playbook(PLAYBOOK), lang)
    assert all(f"{step.id} " in document for step in load_playbook(PLAYBOOK).steps)
    assert "all panels green" in document
    assert "2026-11-23 10:00:00 +01:00 (09:00:00Z)" in document
