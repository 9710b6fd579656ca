"""The catalogues: both languages, the same parameters, every code that the source speaks."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import stage4
from stage4 import words
from stage4.config import read_yaml

SOURCE = Path(stage4.__file__).parent
CODE = re.compile(
    r"""(?:UsageError|Unavailable|Refused|Conflict|words\.text|words\.hint|session\.say|session\.text)\(\s*"([a-z_]+\.[a-z0-9_]+)\""""
)
# Texts whose names are put together while the program runs, by the value that they put into words.
BUILT = (
    "alerts.",
    "audit.control_",
    "audit.group_",
    "audit.outcome_",
    "audit.summary_",
    "audit.why_",
    "audit_report.changed_",
    "audit_report.kind_",
    "audit_report.next_",
    "audit_report.severity_",
    "audit_report.waiver_state_",
    "cert.label_",
    "cert.role_",
    "cert.verdict_",
    "checkpoint.note_",
    "checkpoint.proof_",
    "console.alert_",
    "console.banner_",
    "console.state_",
    "document.condition_",
    "document.kind_",
    "document.state_",
    "escalation.reason_",
    "step.panel_",
    "escalation.timer_",
    "installing.",
    "keyring.column_",
    "keyring.state_",
    "kill.",
    "loadtest.chart_",
    "loadtest.compared_",
    "loadtest.kill_",
    "loadtest.part_",
    "loadtest.running_",
    "loadtest.verdict_",
    "log.format_",
    "logview.explain_answer_",
    "logview.explain_question_",
    "verify.completeness_",
    "verify.head_",
    "verify.integrity_",
    "verify.next_",
    "metrics.",
    "notice.l2_called_",
    "notice.l2_told_",
    "notice.manager_called_",
    "notify.",
    "oncall.rung_",
    "override.orders_",
    "override.scheduler_",
    "override.scope_",
    "panels.",
    "reference.",
    "rotation.column_",
    "rotation.due_",
    "rotation.outcome_",
    "rotation.overdue_",
    "rotation.plan_",
    "rotation.state_",
    "role.",
    "runbook.tier_",
    "security.chain_",
    "security.revocation_",
    "setting.",
    "step.scheduler_",
    "stop.word_",
    "watchdog.",
)
# Areas that one function speaks for, so that the source says the name without the area.
SHORT = ("audit_report", "console", "demo", "document", "event")
FORMS = {"pl": {"one", "few", "many"}, "en": {"one", "other"}}


def entries() -> Iterator[tuple[str, Mapping[str, object]]]:
    for area in words.areas():
        yield from words.codes(area)


def fields(form: object) -> set[str]:
    texts = form.values() if isinstance(form, Mapping) else [form]
    return {name for text in texts for _, name, _, _ in string.Formatter().parse(str(text)) if name}


@pytest.mark.parametrize(("code", "entry"), [pytest.param(code, entry, id=code) for code, entry in entries()])
def test_every_text_is_in_both_languages_with_the_same_parameters(code: str, entry: Mapping[str, object]) -> None:
    assert set(entry) <= {"pl", "en", "hint"}, code
    assert entry["pl"]
    assert entry["en"]
    assert fields(entry["pl"]) - {"n"} == fields(entry["en"]) - {"n"}
    for lang in words.languages:
        form = entry[lang]
        if isinstance(form, Mapping):
            assert set(form) == FORMS[lang], f"{code}: plural forms of {lang}"
    hints = entry.get("hint")
    if hints is not None:
        assert isinstance(hints, Mapping)
        assert set(hints) == {"pl", "en"}

        assert fields(hints["pl"]) == fields(hints["en"])


@pytest.mark.parametrize("area", words.areas())
def test_no_text_stands_twice_in_its_catalogue(area: str) -> None:
    path = SOURCE / "words/texts" / f"{area}.yaml"
    assert read_yaml(path).values


def test_every_code_that_the_source_names_has_a_text() -> None:
    missing = sorted(
        f"{path.relative_to(SOURCE)}: {code}"
        for path in SOURCE.rglob("*.py")
        for code in CODE.findall(path.read_text(encoding="utf-8"))
        if not words.has(code)
    )
    assert not missing


def test_every_text_is_used() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8") for kind in ("*.py", "*.html") for path in sorted(SOURCE.rglob(kind))
    )
    quoted = set(re.findall(r"""["']([a-z0-9_.]+)["']""", source))
    unused = [
        code
        for code, _ in entries()
        if code not in quoted
        and not code.startswith(BUILT)
        and not (code.startswith(tuple(f"{area}." for area in SHORT)) and code.partition(".")[2] in quoted)
    ]
    assert not unused


def test_polish_has_three_plural_forms() -> None:
    forms = [words.plural(n, "pl") for n in (1, 2, 4, 5, 11, 12, 14, 21, 22, 25, 112)]
    assert forms == ["one", "few", "few", "many", "many", "many", "many", "many", "few", "many", "many"]


def test_an_instant_at_the_end_of_the_calendar_is_shown_in_utc() -> None:
    assert words.instant(datetime.max.replace(tzinfo=UTC)) == "9999-12-31 23:59:59 +00:00 (23:59:59Z)"


def test_an_instant_always_shows_its_offset_and_utc() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert words.instant(first) == "2026-10-25 02:30:00 +02:00 (00:30:00Z)"
    assert words.instant(first + timedelta(hours=1)) == "2026-10-25 02:30:00 +01:00 (01:30:00Z)"
    last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert words.instant(last) == "9999-12-31 23:59:59 +00:00 (23:59:59Z)"


def test_numbers_and_spans_are_written_for_their_readers() -> None:
    assert words.number(1234567.891, "pl", 2) == "1\u00a0234\u00a0567,89"
    assert words.number(1234567.891, "en", 2) == "1,234,567.89"
    assert words.duration(timedelta(minutes=4, seconds=30)) == "4\u00a0min\u00a030\u00a0s"
    assert words.duration(timedelta(seconds=-5)) == "−5\u00a0s"


def test_an_unknown_code_is_a_bug_and_not_an_empty_text() -> None:
    with pytest.raises(KeyError):
        words.text("config.nowhere", "pl")


def test_what_a_text_is_told_cannot_act_on_a_terminal_or_begin_a_line() -> None:
    said = words.text("log.key_unlisted", "en", key_id="\x1b[2J\rINTACT\nINTACT – runtime.jsonl\u202e")
    assert said == "the key ring does not list key '\\x1b[2J\\rINTACT\n    INTACT – runtime.jsonl\\u202e'"
    assert len(words.text("log.key_unlisted", "en", key_id="k" * 70_000)) < 5000


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("server", "klucz nie pasuje do certyfikatu serwera (server)"),
        ("client#1", "klucz nie pasuje do certyfikatu klienta (client#1)"),
        ("desk", "klucz nie pasuje do certyfikatu usługi desk"),
        ("a{b}", "klucz nie pasuje do certyfikatu usługi a{b}"),
        ("server\x1b[2J", "klucz nie pasuje do certyfikatu usługi server\\x1b[2J"),
    ],
)
def test_the_role_of_a_certificate_is_a_word_in_a_sentence(role: str, said: str) -> None:
    assert words.text("audit.key_differs", "pl", role=role) == said
    assert words.text("audit.key_differs", "en", role="server") == "the key does not belong to certificate server"
