"""The report: the verdict in the first line, the next step after it, findings by weight, numbers in both languages."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from stage4 import words
from stage4.decisionlog.verification.report import document, sentences
from stage4.decisionlog.verification.verdict import (
    Completeness,
    Coverage,
    Fault,
    Finding,
    Island,
    Mode,
    Part,
    SealedPrefix,
    Unmet,
    Verdict,
)

INTACT = Verdict(
    log_id="log",
    lines=3,
    size=2048,
    entries=3,
    first_seq=0,
    last_seq=2,
    head="aGVhZA==",
    root="cm9vdA==",
    prefix=None,
    findings=(),
    findings_total=0,
    faults={},
    islands=(Island(1, 3, 0, 2),),
    islands_total=1,
    completeness=Completeness(Coverage.UNKNOWN, 0, 3),
    key_ids={"ops": 3},
)


def found(*findings: Finding, **changes: object) -> Verdict:
    faults = Counter(finding.fault for finding in findings)
    facts: dict[str, object] = {"findings": findings, "findings_total": len(findings), "faults": faults}
    return replace(INTACT, **(facts | changes))  # type: ignore[arg-type]


def said(verdict: Verdict, lang: words.Language = "en") -> list[str]:
    return list(sentences(verdict, "runtime.jsonl", lang))


EDIT = Finding(2, 700, 1, Fault.EDIT, "log.edit", {})
TORN = Finding(4, 2000, 3, Fault.TORN, "log.torn", {"size": 7})
BLIND = Finding(1, 0, 0, Fault.UNVERIFIABLE, "log.unverifiable", {"key_id": "ops"})
CUT = Finding(3, 1400, 2, Fault.TRUNCATION, "completeness.truncated", {"n": 5, "size": 8, "source": "outside"})
COVERED = Completeness(Coverage.COVERED, 2, 1, 1, pinned=True)

HEADS: dict[str, tuple[Verdict, int, str, str | None]] = {
    "intact": (INTACT, 0, "INTACT", "make a checkpoint"),
    "covered": (replace(INTACT, completeness=COVERED), 0, "INTACT", None),
    "not pinned": (replace(INTACT, completeness=replace(COVERED, pinned=False)), 0, "INTACT", "keep the keys"),
    "version 2": (replace(INTACT, entries=0, v2_entries=3, first_seq=None), 0, "INTACT", None),
    "broken": (found(EDIT), 1, "TAMPERED WITH", "as evidence"),
    "broken and cut": (
        found(EDIT, CUT, completeness=Completeness(Coverage.TRUNCATED, 0, 3)),
        1,
        "TAMPERED WITH",
        "as evidence",
    ),
    "torn": (found(TORN), 1, "UNFINISHED WRITE", "nothing by hand"),
    "cut": (found(CUT, completeness=Completeness(Coverage.TRUNCATED, 0, 3)), 1, "TRUNCATED", "in a backup"),
    "contradicted": (
        replace(INTACT, completeness=Completeness(Coverage.CONTRADICTED, 0, 3)),
        1,
        "CONTRADICTED BY A CHECKPOINT",
        "history was rewritten",
    ),
    "not as required": (
        replace(INTACT, unmet=(Unmet("verify.unmet_count", {"n": 3, "wanted": "5.."}),)),
        1,
        "NOT AS REQUIRED",
        "requirements below",
    ),
    "unverifiable": (found(BLIND), 3, "CANNOT TELL", "--keyring"),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_first_line_is_the_verdict_and_the_second_the_next_step(name: str) -> None:
    verdict, code, head, step = HEADS[name]
    first, second, *_ = said(verdict)
    assert first.startswith(f"{head} – runtime.jsonl")
    if step is None:
        assert not second.startswith("What next")
    else:
        assert second.startswith("What next: ")
        assert step in second
    assert verdict.exit_code == code
    assert document(verdict, "runtime.jsonl")["text"] == first


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("lang", words.languages)
def test_no_log_is_ever_called_complete(name: str, lang: words.Language) -> None:
    verdict = HEADS[name][0]
    text = " ".join(said(verdict, lang)) + json.dumps(list(document(verdict, "x").values()))
    for word in ("complete ", "complete.", "is complete", "kompletny", "komplet "):
        assert word not in text


def test_findings_come_by_weight_and_then_by_place() -> None:
    rollback = Finding(3, 1400, 2, Fault.ROLLBACK, "completeness.rollback", {"size": 2, "source": "outside"})
    format_ = Finding(1, 0, 0, Fault.FORMAT, "log.format_syntax", {})
    lines = said(found(format_, replace(EDIT, line=3, seq=2), EDIT, rollback, TORN))
    shown = [line.split(": ")[1] for line in lines if line.startswith("  line")]
    assert shown == ["rollback", "edit", "edit", "format", "torn"]
    places = [line.split(":")[0] for line in lines if ": edit: " in line]
    assert places == ["  line 3, entry 2, byte 700", "  line 2, entry 1, byte 700"]


def test_more_findings_than_fit_are_counted() -> None:
    verdict = found(*[replace(EDIT, line=n) for n in range(2, 30)], findings_total=1028)
    assert "  and 1008 more findings" in said(verdict)
    assert "  i jeszcze 1008 naruszeń" in said(verdict, "pl")
    assert said(verdict)[0].endswith("1028 findings")


def test_a_finding_of_a_log_in_parts_names_its_file() -> None:
    parts = (Part("runtime-0000000000.jsonl.zst", 2, 1400), Part("runtime.jsonl", 1, 600))
    verdict = found(replace(EDIT, part=parts[0].name), parts=parts)
    assert any(line.startswith("  runtime-0000000000.jsonl.zst, line 2, entry 1") for line in said(verdict))
    assert "the log is 2 files: runtime-0000000000.jsonl.zst, runtime.jsonl" in said(verdict)
    facts = json.loads(json.dumps(document(verdict, "audit")))
    assert [part["name"] for part in facts["parts"]] == [part.name for part in parts]
    assert facts["findings"][0] | {"message": ""} == {
        "class": "edit",
        "part": "runtime-0000000000.jsonl.zst",
        "line": 2,
        "offset": 700,
        "seq": 1,
        "code": "log.edit",
        "message": "",
        "params": {},
    }


@pytest.mark.parametrize(
    ("covered", "uncovered", "pinned", "english", "polish"),
    [
        (1, 0, True, "the first entry, and it is here; there are no newer", "za 1 wpis i on tu jest; nowszych wpisów"),
        (
            2,
            1,
            True,
            "first 2 entries, and all of them are here; 1 newer entry is",
            "pierwsze 2 wpisy i wszystkie tu są",
        ),
        (5, 2, False, "2 newer entries are vouched for by nobody", "przybyły 2 wpisy"),
        (5, 22, False, "22 newer entries", "przybyły 22 wpisy"),
        (5, 112, False, "was not pinned", "przybyło 112 wpisów"),
    ],
)
def test_what_a_checkpoint_vouches_for_is_said_in_words(
    covered: int, uncovered: int, pinned: bool, english: str, polish: str
) -> None:
    verdict = replace(INTACT, completeness=Completeness(Coverage.COVERED, covered, uncovered, 1, pinned))
    assert english in said(verdict)[-1]
    assert polish in said(verdict, "pl")[-1]
    facts = document(verdict, "x")["completeness"]
    assert isinstance(facts, dict)
    assert english in facts.pop("text")
    expected = {"verdict": "covered", "covered": covered, "uncovered": uncovered, "checkpoints": 1}
    assert facts == expected | {"pinned": pinned, "own": False}


@pytest.mark.parametrize(
    ("n", "english", "polish"),
    [
        (0, "INTACT – runtime.jsonl: 0 entries", "NIENARUSZONY – runtime.jsonl: 0 wpisów"),
        (1, "INTACT – runtime.jsonl: 1 entry, as", "NIENARUSZONY – runtime.jsonl: 1 wpis, taki"),
        (3, "INTACT – runtime.jsonl: 3 entries, each", "NIENARUSZONY – runtime.jsonl: 3 wpisy, takie"),
        (5, "INTACT – runtime.jsonl: 5 entries", "NIENARUSZONY – runtime.jsonl: 5 wpisów, takich"),
        (22, "INTACT – runtime.jsonl: 22 entries", "NIENARUSZONY – runtime.jsonl: 22 wpisy"),
    ],
)
def test_numbers_bend_their_nouns(n: int, english: str, polish: str) -> None:
    verdict = replace(INTACT, entries=n)
    assert said(verdict)[0].startswith(english)
    assert said(verdict, "pl")[0].startswith(polish)


def test_an_incremental_verdict_says_that_older_lines_were_not_read() -> None:
    verdict = replace(INTACT, mode=Mode.INCREMENTAL, first_read=1000)
    assert any("only the entries from number 1000 on were read" in line for line in said(verdict))
    assert any("their lines were not read this time" in line for line in said(verdict))
    assert any("ich wierszy tym razem nie czytano" in line for line in said(verdict, "pl"))
    assert not any("not read" in line for line in said(INTACT))
    assert document(verdict, "x")["mode"] == "incremental"


def test_version_2_says_what_cannot_be_seen_in_it() -> None:
    verdict = replace(INTACT, entries=0, v2_entries=2, first_seq=None, log_id=None)
    assert any("2 entries of version 2 hold; version 2 has no chain" in line for line in said(verdict))
    assert any("2 wpisy wersji 2 mają ważne podpisy; wersja 2 nie ma łańcucha" in line for line in said(verdict, "pl"))
    assert document(verdict, "x")["v2"] == {"entries": 2, "chained": False}
    sealed = replace(INTACT, prefix=SealedPrefix(4, 900, 0))
    assert any("4 lines of version 2 are sealed" in line for line in said(sealed))
    assert document(sealed, "x")["sealed_prefix"] == {"lines": 4, "bytes": 900, "judged": 0}


def test_filters_requirements_and_islands_are_told() -> None:
    unmet = (
        Unmet("verify.unmet_count", {"n": 1, "wanted": "5.."}),
        Unmet("verify.unmet_key", {"n": 3, "key_id": "ops"}),
    )
    verdict = replace(found(EDIT, unmet=unmet), matched=1, islands=(Island(1, 1, 0, 0), Island(3, 3, 2, 2)))
    verdict = replace(verdict, islands_total=2)
    assert "  required number of entries: 5..; there is 1" in said(verdict)
    assert "  3 wpisy podpisano kluczem „ops”, którego się nie spodziewano" in said(verdict, "pl")
    assert "the filters let 1 entry through; all of them were judged" in said(verdict)
    assert "  2 unbroken runs of entries still verify: 0–0, 2–2" in said(verdict)
    facts = document(verdict, "x")
    assert facts["matched"] == 1
    assert facts["unmet"] == [
        {
            "code": "verify.unmet_count",
            "message": "required number of entries: 5..; there is 1",
            "params": {"n": 1, "wanted": "5.."},
        },
        {
            "code": "verify.unmet_key",
            "message": "3 entries were signed with key 'ops', which was not expected",
            "params": {"n": 3, "key_id": "ops"},
        },
    ]
    assert facts["keys"] == {"ops": 3}
