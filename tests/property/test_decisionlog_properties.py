"""Canonical bytes against the published vectors, and the log against a plain list."""

from __future__ import annotations

import base64
import hmac
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stage4 import words
from stage4.decisionlog.canonical import MAX_INTEGER, Malformed, canonical, parse_strict
from stage4.decisionlog.chain import Sealer
from stage4.decisionlog.entry import Draft, Place, payload_of, read_payload
from stage4.decisionlog.verification.payload_codec import read
from stage4.errors import ExitCode
from support.decision_logs import LogRoom, draft

VECTORS = Path(__file__).parents[2].parent / "shared" / "vectors" / "jcs" / "testdata"
vectors = pytest.mark.skipif(not VECTORS.is_dir(), reason=f"the RFC 8785 vectors are not at {VECTORS}")

names = st.text(st.characters(max_codepoint=0x7E), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | st.text(st.characters(codec="utf-8"))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=20
)


@given(values)
def test_canonical_bytes_read_back_as_the_same_value(value: object) -> None:
    spelled = canonical(value)
    assert parse_strict(spelled) == value
    assert canonical(parse_strict(spelled)) == spelled


@given(values)
def test_other_encoders_agree_on_the_canonical_bytes(value: object) -> None:
    plain = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert plain.encode() == canonical(value)
    spaced = json.dumps(value, indent=1, ensure_ascii=True).encode()
    assert canonical(parse_strict(spaced)) == canonical(value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_parsed_or_refused_with_a_reason(content: bytes) -> None:
    try:
        value = parse_strict(content)
    except Malformed as refused:
        reason: str | None = refused.reason
    else:
        reason = None
        assert json.loads(content) == value
    assert reason is None or words.has(f"log.format_{reason}") or reason == "type"


@vectors
@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("arrays", None),
        ("structures", "fraction"),
        ("unicode", None),
        ("french", "member"),
        ("values", "fraction"),
        ("weird", "member"),
    ],
)
def test_the_vectors_of_rfc_8785_give_its_bytes_or_are_outside_the_subset(name: str, refused: str | None) -> None:
    source = (VECTORS / "input" / f"{name}.json").read_bytes()
    if refused is not None:
        with pytest.raises(Malformed, match=refused):
            parse_strict(source)
        return
    expected = bytes.fromhex((VECTORS / "outhex" / f"{name}.txt").read_text().replace("\n", " "))
    assert canonical(parse_strict(source)) == expected


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[LogRoom, bytes]:
    """A log of five entries, and its bytes."""
    room = LogRoom.create(tmp_path_factory.mktemp("log"), 4)
    return room, room.path.read_bytes()


@settings(max_examples=50)
@given(payload=st.binary(min_size=2, max_size=300))
def test_the_signature_is_hmac_sha256_over_the_payload(payload: bytes, whole: tuple[LogRoom, bytes]) -> None:
    key = whole[0].ring.active_key()
    sealer = Sealer(key, "log")
    line = sealer.seal(payload)
    expected = hmac.digest(key.secret_for("entry", "log"), payload, "sha256")
    assert base64.b64decode(line[-47:-3], validate=True) == expected
    assert (sealer.open(line) == payload) is payload.endswith(b"}")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_done_to_the_bytes_is_a_verdict_and_never_a_traceback(
    data: st.DataObject, whole: tuple[LogRoom, bytes]
) -> None:
    room, content = whole
    begin = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(begin, min(len(content), begin + 600)))
    attacked = content[:begin] + data.draw(st.binary(max_size=40) | st.just(content[100:1300])) + content[end:]
    assume(attacked != content)
    room.path.write_bytes(attacked)
    cut_between_lines = content.startswith(attacked) and attacked.endswith(b"\n")
    assert room.verify().exit_code is (ExitCode.DONE if cut_between_lines else ExitCode.NO)
    room.verify(None)


@given(st.dictionaries(names, values, max_size=3), st.text(st.characters(codec="utf-8")))
def test_the_fast_and_the_strict_reader_agree(metadata: dict[str, object], tag: str) -> None:
    place = Place("log", 1, "prev", "key")
    entry = Draft("k", "c", "s", "t", metadata=metadata, tags=(tag,))
    payload = payload_of(entry, place, datetime(2026, 1, 1, tzinfo=UTC))
    fast = read(payload)
    assert fast is not None
    strict = read_payload(parse_strict(payload), 1, 0)
    assert (fast.metadata, fast.tags, fast.seq) == (strict.metadata, strict.tags, strict.seq)


class LogMachine(RuleBasedStateMachine):
    """Appends, torn writes and attacks in any order; the model is the list of what was acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.acknowledged: list[bytes] = []
        self.torn = False

    @initialize(entries=st.integers(1, 4))
    def begin(self, entries: int) -> None:
        self.room = LogRoom.create(self.folder, entries)
        self.log = self.room.log()
        self.acknowledged = self.room.lines()

    @rule(count=st.integers(1, 3), fresh=st.booleans())
    def append(self, count: int, fresh: bool) -> None:
        log = self.room.log() if fresh else self.log
        receipts = log.append_many([draft(number) for number in range(count)])
        self.acknowledged += [receipt.raw for receipt in receipts]
        self.torn = False

    @rule(size=st.integers(1, 300))
    def tear(self, size: int) -> None:
        with self.room.path.open("ab") as target:
            target.write(self.room.lines()[-1][:size].replace(b"\n", b""))
        self.torn = True

    @precondition(lambda self: not self.torn)
    @rule(data=st.data())
    def attack_and_restore(self, data: st.DataObject) -> None:
        content = self.room.path.read_bytes()
        position = data.draw(st.integers(0, len(content) - 1))
        changed = bytes([content[position] ^ data.draw(st.integers(1, 255))])
        self.room.path.write_bytes(content[:position] + changed + content[position + 1 :])
        verdict = self.room.verify()
        assert verdict.exit_code is ExitCode.NO
        assert verdict.findings[0].line == content[:position].count(b"\n") + 1
        self.room.path.write_bytes(content)

    @invariant()
    def nothing_acknowledged_is_lost_and_the_verdict_is_right(self) -> None:
        if not self.acknowledged:
            return
        lines = iter(self.room.lines())
        assert all(line in lines for line in self.acknowledged)
        assert self.room.verify().exit_code is (ExitCode.NO if self.torn else ExitCode.DONE)

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


LogMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
test_the_log_behaves_like_a_list_that_remembers = LogMachine.TestCase
