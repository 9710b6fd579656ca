"""Vectors that others wrote: RFC 6962 proofs with their expected errors, RFC 8785 bytes inside our subset."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from stage4.decisionlog.canonical import Malformed, canonical, parse_strict
from stage4.decisionlog.checkpoints.proof import ProofError, check_consistency, check_inclusion

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"
MERKLE = VECTORS / "merkle" / "testdata"
JCS = VECTORS / "jcs" / "testdata"
# What stands outside our subset of JSON, and by which name it is refused.
REFUSED = {"french": "member", "structures": "fraction", "values": "fraction", "weird": "member"}

pytestmark = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the vectors lie outside the repository: ../shared/vectors"
)


def cases(kind: str) -> list[Any]:
    files = sorted((MERKLE / kind).rglob("*.json"))
    return [pytest.param(json.loads(file.read_bytes()), id=str(file.relative_to(MERKLE))) for file in files]


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


@pytest.mark.parametrize("case", cases("inclusion"))
def test_an_inclusion_proof_is_judged_as_its_vector_says(case: dict[str, Any]) -> None:
    proof = [raw(each) for each in case["proof"] or ()]
    arguments = (case["leafIdx"], case["treeSize"], raw(case["leafHash"]), proof, raw(case["root"]))
    if case["wantErr"]:
        with pytest.raises(ProofError):
            check_inclusion(*arguments)
    else:
        check_inclusion(*arguments)


@pytest.mark.parametrize("case", cases("consistency"))
def test_a_consistency_proof_is_judged_as_its_vector_says(case: dict[str, Any]) -> None:
    proof = [raw(each) for each in case["proof"] or ()]
    arguments = (case["size1"], case["size2"], proof, raw(case["root1"]), raw(case["root2"]))
    if case["wantErr"]:
        with pytest.raises(ProofError):
            check_consistency(*arguments)
    else:
        check_consistency(*arguments)


def test_every_vector_is_there() -> None:
    assert (len(cases("inclusion")), len(cases("consistency"))) == (98, 98)
    assert {file.stem for file in (JCS / "input").iterdir()} == {"arrays", "unicode", *REFUSED}


@pytest.mark.parametrize("name", ["arrays", "unicode"])
def test_inside_the_subset_the_bytes_are_those_of_rfc_8785(name: str) -> None:
    expected = bytes.fromhex("".join((JCS / "outhex" / f"{name}.txt").read_text().split()))
    assert canonical(parse_strict((JCS / "input" / f"{name}.json").read_bytes())) == expected


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_outside_the_subset_a_document_is_refused_by_name(name: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_strict((JCS / "input" / f"{name}.json").read_bytes())
    assert refused.value.reason == REFUSED[name]
