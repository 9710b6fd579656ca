"""The published runbooks, generated from `playbooks/*.yaml`: Polish first, English second."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from stage4 import words
from stage4.incidents.checklist import Playbook, Step, parse_playbook
from stage4.words import Language

RUNBOOKS = {
    "STAGE4_SUPPORT_PLAYBOOK.md": "stage4_support.yaml",
    "STAGE4_ROLLBACK_PLAYBOOK.md": "stage4_rollback.yaml",
}


def runbooks(folder: Path | None = None) -> Mapping[str, bytes]:
    """File name -> Markdown of every runbook, from the playbooks in `folder` (default: this version's own)."""
    source = folder or Path(str(resources.files("stage4.app").joinpath("template", "playbooks")))
    return {
        name: render_runbook(parse_playbook((source / playbook).read_bytes(), source / playbook)).encode("utf-8")
        for name, playbook in RUNBOOKS.items()
    }


def render_runbook(playbook: Playbook) -> str:
    """One playbook as Markdown; its digest stands in it, so that a printed copy can be told from a newer one."""
    parts = [f"<!-- {words.text('runbook.generated', 'en', id=playbook.id, digest=playbook.digest)} -->", ""]
    for lang in words.languages:
        parts += _in_one_language(playbook, lang)
    return "\n".join(parts).rstrip() + "\n"


def _in_one_language(playbook: Playbook, lang: Language) -> list[str]:
    lines = [f"# {playbook.title[lang]}", "", words.text("runbook.digest", lang, digest=playbook.digest[:12]), ""]
    tiers = [tier for tier in ("l1", "l2") if any(step.tier == tier for step in playbook.steps)]
    for tier in tiers:
        lines += [f"## {words.text(f'runbook.tier_{tier}', lang)}", ""]
        for step in playbook.steps:
            if step.tier == tier:
                lines += _step(step, lang)
    return lines


def _step(step: Step, lang: Language) -> list[str]:
    lines = [f"### {step.id} {step.title[lang]}", ""]
    for command in step.commands:
        lines += ["```sh", " ".join(command), "```", ""]
    if step.question:
        lines.append(f"- {words.text('runbook.question', lang)}: {step.question[lang]}")
    if step.artefacts:
        lines.append(f"- {words.text('runbook.artefacts', lang)}: {step.artefacts[lang]}")
    lines += [f"- {words.text('runbook.acceptance', lang)}: {step.acceptance[lang]}", ""]
    return lines
