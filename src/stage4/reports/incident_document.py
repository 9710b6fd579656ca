"""The playbook filled in for one incident: what each step came to, with its evidence by digest, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stage4 import words
from stage4.clock import parse_instant
from stage4.incidents.checklist import Playbook, Step
from stage4.incidents.wording import outcome_text
from stage4.words import Language


def render_incident(record: Mapping[str, Any], playbook: Playbook, lang: Language) -> str:
    """
    The document that the people sign, from the record that their signatures cover.

    It is made from nothing else, so the same record always gives the same bytes.
    """
    incident = record["incident"]

    def say(name: str, /, **params: object) -> str:
        return words.text(f"document.{name}", lang, **params)

    lines = [f"# {playbook.title[lang]}", "", f"## {say('incident', id=incident['id'])}", ""]
    lines += _table(
        [
            (say("ticket"), f"`{incident['ticket']}`"),
            (say("kind"), words.text(f"document.kind_{incident['kind']}", lang)),
            (say("source"), incident["source"]),
            (say("onset"), _instant(incident["onset"])),
            (say("opened"), _instant(incident["opened_at"])),
            (say("resolved"), _instant(incident.get("resolved_at"))),
            (say("playbook"), f"`{record['playbook']['id']}` sha256 `{record['playbook']['sha256']}`"),
        ]
    )
    conditions = incident.get("conditions") or []
    if conditions:
        named = ", ".join(words.text(f"document.condition_{condition}", lang) for condition in conditions)
        lines += [f"{say('conditions')}: {named}", ""]
    excused = incident.get("l2_not_applicable")
    if excused:
        lines += [f"{say('l2_not_applicable', reason=_plain(excused['reason']), by=excused['by'])}", ""]
    stop = incident.get("stop")
    if stop:
        lines += [say("stop", digest=stop["digest"], by=stop["requested_by"]), ""]
    states = {step["id"]: step for step in record["steps"]}
    for tier in ("l1", "l2"):
        steps = [step for step in playbook.steps if step.tier == tier and step.id in states]
        if steps:
            lines += [f"## {words.text(f'runbook.tier_{tier}', lang)}", ""]
        for step in steps:
            lines += _step(step, states[step.id], record["artefacts"], lang)
    return "\n".join(lines).rstrip() + "\n"


def _step(step: Step, state: Mapping[str, Any], artefacts: Sequence[Mapping[str, Any]], lang: Language) -> list[str]:
    mark = "x" if state["state"] in ("accepted", "escalated", "skipped") else " "
    word = words.text(f"document.state_{state['state']}", lang)
    lines = [f"### [{mark}] {step.id} {step.title[lang]}", "", f"- {words.text('document.state', lang)}: **{word}**"]
    if state.get("ended_at"):
        lines.append(f"- {words.text('document.ended', lang)}: {_instant(state['ended_at'])}")
    if state.get("outcome"):
        outcome = outcome_text(state["outcome"], state["params"], lang)
        lines.append(f"- {words.text('document.outcome', lang)}: {_plain(outcome)}")
    answer = state.get("answer")
    if answer:
        said = " – ".join(part for part in (answer["choice"], _plain(answer["text"])) if part)
        when = _instant(answer["at"])
        lines.append(f"- {words.text('document.answer', lang)}: {said} ({answer['by']}, {when})")
    lines.append(f"- {words.text('runbook.acceptance', lang)}: {step.acceptance[lang]}")
    own = [artefact for artefact in artefacts if artefact["step"] == step.id]
    if own:
        lines += ["", f"| {words.text('document.artefact', lang)} | sha256 |", "|---|---|"]
        lines += [f"| {_cell(artefact['name'])} | `{artefact['sha256']}` |" for artefact in own]
    return [*lines, ""]


def _table(rows: Sequence[tuple[str, str]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows), ""]


def _instant(text: str | None) -> str:
    return words.instant(parse_instant(text)) if text else "–"


def _plain(text: str) -> str:
    """A person's words on one line, so that they cannot pass for structure of the document."""
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")
