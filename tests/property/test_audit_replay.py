"""An audit can be judged again from its stored evidence: same evidence, instant and policy, same results."""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage4.audit import evidence_codec
from stage4.audit.controls import CONTROLS
from stage4.audit.evidence import Evidence, Problem, Secret, TokenFacts
from stage4.audit.evidence_codec import StoredEvidence
from stage4.audit.policy import Policy
from stage4.audit.report import judge
from stage4.errors import UsageError
from support import audits
from support.audit_examples import EXAMPLES
from support.audit_reports import SPOILT
from support.audits import EMPTY, GOOD, NOW, POLICY

EVIDENCE = [GOOD, EMPTY, SPOILT, *(example.evidence for example in EXAMPLES)]
TAGS = st.sampled_from(["tag-one", "tag-two", "tag-three"])
SECRETS = st.builds(
    Secret,
    bits=st.one_of(st.floats(0, 400), st.sampled_from([128.0, 127.99999999999999])),
    placeholder=st.booleans(),
    tag=TAGS,
    hashed_tags=st.frozensets(st.sampled_from(["digest-one", "digest-two"]), max_size=2),
)
PROBLEMS = st.builds(
    Problem,
    code=st.just("files.unreadable"),
    params=st.fixed_dictionaries({"path": st.text(max_size=20), "reason": st.text(max_size=20)}),
    undecided=st.booleans(),
)
TOKENS = st.builds(
    TokenFacts,
    service=st.sampled_from(["metrics_service", "operations", "scheduler:core"]),
    token_id=st.sampled_from(["a", "b", "ż"]),
    reference=st.sampled_from(["env:A", "file:secrets/a", "hash:sha256"]),
    sources=st.integers(0, 3),
    scopes=st.lists(st.sampled_from(["metrics.read", "alerts.write", "*"]), max_size=3).map(tuple),
    problem=st.none() | PROBLEMS,
    missing_variable=st.booleans(),
    secret=st.none() | SECRETS,
    hash_tag=st.none() | st.sampled_from(["digest-one", "digest-two"]),
)


def stored(evidence: Evidence) -> StoredEvidence:
    return StoredEvidence("desk-1", "/srv/stage4", "/srv/stage4/config/core.yaml", "core-oem", 128.0, evidence)


def again(evidence: Evidence, path: Path) -> Evidence:
    path.write_bytes(evidence_codec.encoded(stored(evidence)))
    return evidence_codec.load(path).evidence


def same(evidence: Evidence, path: Path, policy: Policy, at: datetime) -> bool:
    return judge(CONTROLS, again(evidence, path), policy, at) == judge(CONTROLS, evidence, policy, at)


@pytest.mark.parametrize("place", range(len(EVIDENCE)))
def test_a_replay_gives_the_findings_of_the_audit(place: int, tmp_path: Path) -> None:
    for policy in (POLICY, replace(POLICY, check_paths=True, allow_missing_env=True)):
        for at in (NOW, NOW + timedelta(days=200)):
            assert same(EVIDENCE[place], tmp_path / "evidence.json", policy, at)


@given(tokens=st.lists(TOKENS, max_size=6), router=st.none() | SECRETS, days=st.integers(-400, 400))
def test_a_replay_of_any_tokens_gives_the_findings_of_the_audit(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[TokenFacts], router: Secret | None, days: int
) -> None:
    evidence = replace(audits.log(router_secret=router), tokens=tuple(tokens))
    path = tmp_path_factory.getbasetemp() / "evidence.json"

    assert same(evidence, path, POLICY, NOW + timedelta(days=days))
    assert evidence_codec.encoded(stored(again(evidence, path))) == path.read_bytes()


def test_a_secret_that_two_tokens_have_as_a_hash_names_the_same_one_again(tmp_path: Path) -> None:
    tokens = tuple(
        audits.token("metrics_service", name, "metrics.read", secret=None, hash_tag=f"digest-{tag}")
        for name, tag in (("b", "two"), ("a", "one"))
    )
    router = Secret(200.0, False, "plain", frozenset({"digest-one", "digest-two"}))

    assert same(replace(audits.log(router_secret=router), tokens=tokens), tmp_path / "evidence.json", POLICY, NOW)


@given(tokens=st.lists(TOKENS, min_size=1, max_size=6))
def test_neither_tag_nor_strength_of_a_secret_is_stored(tokens: list[TokenFacts]) -> None:
    content = evidence_codec.encoded(stored(audits.tokens(*tokens))).decode()

    assert "tag-" not in content
    assert "digest-" not in content
    kept = [token["secret"] for token in json.loads(content)["evidence"]["tokens"] if token["secret"]]
    assert all(set(secret) == {"strong", "placeholder", "group", "hashed_groups"} for secret in kept)


def test_everything_else_comes_back_as_it_was(tmp_path: Path) -> None:
    back = again(SPOILT, tmp_path / "evidence.json")

    for field in dataclasses.fields(Evidence):
        if field.name not in ("tokens", "log"):
            assert getattr(back, field.name) == getattr(SPOILT, field.name)


def test_fractions_of_a_second_are_kept(tmp_path: Path) -> None:
    at = datetime(2026, 11, 23, 9, 42, 0, 123456, tzinfo=UTC)

    assert again(replace(GOOD, collected_at=at), tmp_path / "evidence.json").collected_at == at


def test_a_fact_of_a_later_version_is_passed_over_and_a_missing_one_has_its_default(tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    document = json.loads(evidence_codec.encoded(stored(GOOD)))
    document["evidence"]["later"] = {"unheard": "of"}
    del document["evidence"]["earlier_report"]
    path.write_text(json.dumps(document), encoding="utf-8")

    assert evidence_codec.load(path).evidence.earlier_report is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.update(schema="stage4.audit/1"),
        lambda document: document.update(evidence=[]),
        lambda document: document["evidence"].pop("bundle"),
        lambda document: document["evidence"].update(collected_at="yesterday"),
        lambda document: document["evidence"]["log"].update(present="yes"),
        lambda document: document["evidence"]["tokens"][0]["secret"].update(strong=256.0),
        lambda document: document["evidence"]["registries"][0].update(rows={"core-oem::tls_ca": 5}),
        lambda document: document["evidence"]["waivers"].append({"control": "X509-13"}),
    ],
)
def test_what_is_no_evidence_is_refused(spoil: object, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    document = json.loads(evidence_codec.encoded(stored(GOOD)))
    assert callable(spoil)
    spoil(document)
    path.write_text(json.dumps(document), encoding="utf-8")

    with pytest.raises(UsageError, match="not_evidence"):
        evidence_codec.load(path)


def facts(kind: Any, found: set[type]) -> set[type]:
    """Every dataclass that evidence may hold, by the types of the fields."""
    for argument in typing.get_args(kind):
        facts(argument, found)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind not in found:
        found.add(kind)
        for hint in evidence_codec.types_of(kind).values():
            facts(hint, found)
    return found


def test_every_fact_of_the_evidence_has_a_spelling() -> None:
    found = facts(Evidence, set())

    assert {"Evidence", "CertificateFacts", "Secret", "Waiver", "Summary"} <= {kind.__name__ for kind in found}
    hidden = {(kind.__name__, f.name) for kind in found for f in dataclasses.fields(kind) if not f.repr}
    assert hidden == set(evidence_codec.HIDDEN)


def test_a_secret_field_that_the_codec_does_not_know_is_never_written() -> None:
    @dataclasses.dataclass(frozen=True)
    class Unheard:
        value: str = dataclasses.field(repr=False)

    with pytest.raises(TypeError, match="Unheard.value is secret"):
        evidence_codec.encoded(stored(replace(GOOD, installation=Unheard("hidden"))))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("place", "member", "value"),
    [
        (("bundle", "chains", 0), "reason", "odd"),
        (("bundle", "chains", 0, "revocation"), "state", "odd"),
        (("log",), "problem", {"code": "no.such", "params": {}, "undecided": False}),
        (("log",), "problem", {"code": "files.bad_json", "params": {}, "undecided": False}),
        (("log",), "doubts", [{"code": "audit.log_unknown", "params": {"path": "p"}, "undecided": False}]),
        ((), "waivers_problem", {"code": "", "params": {}, "undecided": True}),
        (("earlier_report",), "results", [{"control": "FS-01", "subject": "s", "outcome": "odd", "message": "m"}]),
        (("earlier_report",), "results", [{"control": "FS", "subject": "s", "outcome": "fail", "message": "m"}]),
        (("log",), "router_secret", {"strong": 1e400, "placeholder": False, "group": 1}),
        ((), "collected_at", "10000-01-01T00:00:00Z"),
    ],
)
def test_evidence_with_words_that_no_audit_writes_is_refused(
    tmp_path: Path, place: tuple[str | int, ...], member: str, value: object
) -> None:
    document = json.loads(evidence_codec.encoded(stored(GOOD)))
    held = document["evidence"]
    for name in place:
        held = held[name]
    held[member] = value
    path = tmp_path / "evidence.json"
    path.write_text(json.dumps(document))

    with pytest.raises(UsageError):
        evidence_codec.load(path)
