"""Entries of version 2: every form that another implementation writes verifies, and no changed one does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stage4.decisionlog.filter import Filter
from stage4.decisionlog.verification.blame import Blame
from stage4.decisionlog.verification.v2 import V2Judge, load_secret
from stage4.errors import Unavailable, UsageError
from support.v2_logs import KEY_ID, SECRET, WIRES, Wire, entry, key_file, lines, signed

Lines = list[bytes]
NESTED = b"[" * 100_000 + b"]" * 100_000


def blames(content: Lines, key_id: str | None = None) -> list[tuple[int, str, str]]:
    """Index, class and code of every blame."""
    return [(index, blame.fault.value, blame.code) for index, blame in V2Judge(SECRET, key_id).judge(content).blames]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("key_id", [KEY_ID, None])
@pytest.mark.parametrize("algorithm", ["HMAC-SHA256", "HMAC-SHA384"])
def test_every_wire_form_verifies(wire: Wire, key_id: str | None, algorithm: str) -> None:
    content = [signed(entry(n), key_id=key_id, algorithm=algorithm, wire=wire) for n in range(1, 30)]
    judged = V2Judge(SECRET, key_id).judge(content)
    assert (judged.entries, judged.matched, judged.blames) == (29, 29, ())


@pytest.mark.parametrize(
    "value",
    [
        5.0,
        -0.0,
        0,
        1e16,
        1e-05,
        1.5e300,
        5e-324,
        0.1 + 0.2,
        10**30,
        -(10**400),
        2**53 + 1,
        "",
        '"',
        '\\u0022 "x"',
        "\\",
        "\x00\x1f\x7f\x85",
        "\u2028\u2029\ufeff",
        "😀 \ud7ff",
        None,
        [],
        {},
        {"\U0001f600": 1, "\uffff": 2, "ą": 3, "z": 4, "": 5},
        {"signature": {"value": "inner"}},
        [[[{"a": [1.0, {"b": None}]}]]],
    ],
)
@pytest.mark.parametrize("wire", WIRES)
def test_every_value_of_json_verifies_as_the_standard_library_writes_it(value: object, wire: Wire) -> None:
    assert blames([signed(entry(metadata={"value": value}), wire=wire)]) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=150)
@given(value=JSON, wire=st.sampled_from(WIRES), position=st.integers(0), changed=st.integers(0, 255))
def test_a_line_verifies_and_with_another_byte_it_holds_the_same_value_or_a_blame(
    value: object, wire: Wire, position: int, changed: int
) -> None:
    line = signed({"value": value}, wire=wire)
    assert blames([line]) == []
    position %= len(line)
    other = line[:position] + bytes([changed]) + line[position + 1 :]
    if blames([other], KEY_ID) == [] and other.strip():
        assert strict(other) == strict(line)


def strict(line: bytes) -> str:
    """The value of a line: members sorted, those that stand twice kept, numbers with their type."""
    return repr(json.loads(line, object_pairs_hook=sorted))


ATTACKS: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "value changed": (lambda line: line.replace(b'"ok"', b'"OK"'), "edit", "log.edit"),
    "member added": (lambda line: b'{"a": 1, ' + line[1:], "edit", "log.edit"),
    "U+2028 for a space": (lambda line: line.replace("–".encode(), "\u2028".encode()), "edit", "log.edit"),
    "infinity by size": (lambda line: line.replace(b"59.94", b"1e400"), "format", "log.format_number"),
    "NaN": (lambda line: line.replace(b"59.94", b"NaN"), "format", "log.format_number"),
    "Infinity": (lambda line: line.replace(b"59.94", b"-Infinity"), "format", "log.format_number"),
    "integer of 5,000 digits": (lambda line: line.replace(b"59.94", b"9" * 5000), "format", "log.format_number"),
    "lone surrogate": (lambda line: line.replace(b"uwaga", b"\\ud800"), "format", "log.format_surrogate"),
    "surrogate in the signature": (
        lambda line: line.replace(b'"key_id": "', b'"key_id": "\\udfff'),
        "format",
        "log.format_surrogate",
    ),
    "surrogate in raw bytes": (lambda line: line.replace(b"uwaga", b"\xed\xa0\x80"), "format", "log.format_encoding"),
    "invalid UTF-8": (lambda line: line.replace(b"uwaga", b"\xff"), "format", "log.format_encoding"),
    "byte order mark": (lambda line: b"\xef\xbb\xbf" + line, "format", "log.format_bom"),
    "member twice": (lambda line: b'{"status": "bad", ' + line[1:], "format", "log.format_duplicate"),
    "member twice inside": (
        lambda line: line.replace(b'"count":', b'"count": 9, "count":'),
        "format",
        "log.format_duplicate",
    ),
    "member twice by an escaped name": (
        lambda line: b'{"\\u0073tatus": "bad", ' + line[1:],
        "format",
        "log.format_duplicate",
    ),
    "member twice with escaped quotes to balance": (
        lambda line: (b'{"status": "bad", ' + line[1:]).replace(b'\\"za', b"\\u0022za").replace(b'\\""', b'\\u0022"'),
        "format",
        "log.format_duplicate",
    ),
    "signature twice": (lambda line: b'{"signature": {}, ' + line[1:], "format", "log.format_duplicate"),
    "nesting of 100,000": (lambda _line: NESTED, "format", "log.format_long"),
    "nesting of 30,000": (lambda _line: NESTED[70_000:130_000], "format", "log.format_depth"),
    "signed line nested deeply": (
        lambda line: b'{"x": ' + NESTED[80_000:120_000] + b", " + line[1:],
        "format",
        "log.format_depth",
    ),
    "line of 300 kilobytes": (lambda line: line + b" " * 300_000, "format", "log.format_long"),
    "an array": (lambda _line: b"[]", "format", "log.format_object"),
    "a text": (lambda _line: b'"x"', "format", "log.format_object"),
    "two values": (lambda line: line + line, "format", "log.format_syntax"),
    "cut": (lambda line: line[:-1], "format", "log.format_syntax"),
    "signature removed": (lambda _line: b'{"stage": "x"}', "format", "log.format_signature"),
    "signature empty": (lambda _line: b'{"signature": {}}', "format", "log.format_signature"),
    "signature null": (lambda _line: b'{"signature": null}', "format", "log.format_signature"),
    "signature a text": (lambda _line: b'{"signature": "hmac"}', "format", "log.format_signature_members"),
    "value a number": (
        lambda _line: b'{"signature": {"algorithm": "HMAC-SHA256", "value": 1}}',
        "format",
        "log.format_signature_members",
    ),
    "value not base64": (
        lambda _line: '{"signature": {"algorithm": "HMAC-SHA256", "value": "ż"}}'.encode(),
        "edit",
        "log.edit",
    ),
    "unsigned member beside the value": (
        lambda line: line.replace(b'"key_id": "ops', b'"note": "x", "key_id": "ops'),
        "format",
        "log.format_signature_members",
    ),
    "key id a list": (
        lambda line: line.replace(b'"key_id": "ops-2025"', b'"key_id": ["ops"]'),
        "format",
        "log.format_signature_members",
    ),
    "algorithm none": (lambda line: line.replace(b"HMAC-SHA256", b"none"), "algorithm", "log.algorithm"),
    "algorithm a list": (
        lambda line: line.replace(b'"algorithm": "HMAC-SHA256"', b'"algorithm": []'),
        "algorithm",
        "log.algorithm",
    ),
    "algorithm exchanged": (lambda line: line.replace(b"SHA256", b"SHA384"), "algorithm", "log.algorithm"),
    "key id stripped": (
        lambda line: line.replace(b', "key_id": "ops-2025"', b""),
        "key_misuse",
        "verify.v2_key_id_missing",
    ),
    "key id changed": (lambda line: line.replace(b"ops-2025", b"dev-2025"), "key_misuse", "verify.v2_key_id_differs"),
    "last bits of the value": (lambda line: line.replace(b'="}', b'"}'), "edit", "log.edit"),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("key_id", [KEY_ID, None])
def test_every_attack_is_found_with_its_class_and_line(name: str, key_id: str | None) -> None:
    attack, fault, code = ATTACKS[name]
    content = lines(9)
    for target in (0, 4, 8):
        line = attack(content[target])
        assert line != content[target]
        assert blames([*content[:target], line, *content[target + 1 :]], key_id) == [(target, fault, code)]


def test_quotes_that_a_null_key_id_leaves_out_hide_no_second_member() -> None:
    line = signed(entry(), key_id=None).replace(b'{"algorithm"', b'{"key_id": null, "algorithm"')
    assert blames([line]) == []
    assert blames([line.replace(b'"count":', b'"count": 9, "count":')]) == [(0, "format", "log.format_duplicate")]
    assert blames([b'{"fps": 1, ' + line[1:]]) == [(0, "format", "log.format_duplicate")]


def test_blank_lines_are_passed_over() -> None:
    judged = V2Judge(SECRET).judge([b"", *lines(3), b"  \r", b"\t"])
    assert (judged.entries, judged.blames) == (3, ())


def test_a_log_without_key_ids_takes_no_entry_that_names_one() -> None:
    content = lines(5, key_id=None)
    assert blames(content) == []
    assert blames([*content[:2], signed(entry(3), key_id="x"), *content[3:]]) == [
        (2, "key_misuse", "verify.v2_key_id_added")
    ]
    assert [code for _, _, code in blames(content, KEY_ID)] == ["verify.v2_key_id_missing"] * 5


def test_the_id_of_the_first_batch_holds_for_the_next() -> None:
    judge = V2Judge(SECRET)
    assert judge.key_id is None
    assert judge.judge(lines(3)).blames == ()
    assert judge.key_id == KEY_ID
    ((index, blame),) = judge.judge([signed(entry(4), key_id="other")]).blames
    assert (index, blame.code) == (0, "verify.v2_key_id_differs")
    assert blame.params == {"key_id": "other", "expected": KEY_ID}


def test_another_secret_verifies_nothing_whatever_its_length() -> None:
    for secret in (b"x", SECRET[:-1], b"k" * 64, b"k" * 65, b"k" * 128, b"k" * 200):
        judged = V2Judge(secret).judge(lines(3))
        assert judged.entries == 0
        own = [signed(entry(n), secret, algorithm=name) for n in (1, 2) for name in ("HMAC-SHA256", "HMAC-SHA384")]
        assert V2Judge(secret).judge(own).blames == ()


def test_filters_count_and_every_line_is_judged_all_the_same() -> None:
    content = lines(20, mixed=True)
    content[6] = content[6].replace(b'"ok"', b'"OK"')
    judged = V2Judge(SECRET).judge(content, Filter({"kind": "metadata"}))
    assert (judged.entries, judged.matched, len(judged.blames)) == (19, 4, 1)
    assert V2Judge(SECRET).judge(content, Filter(incident="INC-20251001-0003")).matched == 3
    assert V2Judge(SECRET).judge(content, Filter({"category": "any"})).matched == 0


def test_the_secret_is_the_files_bytes_without_white_space_around_them(tmp_path: Path) -> None:
    assert load_secret(key_file(tmp_path, b"  two words\t\r")) == b"two words"
    with pytest.raises(UsageError, match=r"verify\.v2_key_empty"):
        load_secret(key_file(tmp_path, b" \n"))
    with pytest.raises(Unavailable, match=r"files\.missing"):
        load_secret(tmp_path / "absent")


def test_a_blame_keeps_texts_that_can_be_printed() -> None:
    line = signed(entry()).replace(b'"HMAC-SHA256"', b'"\\ud800"')
    ((_, blame),) = V2Judge(SECRET).judge([line]).blames
    assert isinstance(blame, Blame)
    json.dumps(dict(blame.params), ensure_ascii=False).encode()
