"""Signing and opening lines: RFC 2104 for both algorithms, and a batch that answers exactly as line by line."""

from __future__ import annotations

import hmac
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stage4.decisionlog.chain import Sealer, split_signature, value_length
from stage4.security.keyring import ALGORITHMS, Key, create_keyring

NOW = datetime(2026, 11, 23, 9, 42, 1, tzinfo=UTC)
PAYLOAD = b'{"kind":"note","text":"za\xc5\xbc\xc3\xb3\xc5\x82\xc4\x87"}'


@pytest.fixture(params=list(ALGORITHMS))
def key(request: pytest.FixtureRequest, tmp_path: Path) -> Key:
    return create_keyring(tmp_path / "keyring.json", NOW, request.param).active_key()


@pytest.mark.parametrize("length", [2, 63, 64, 65, 127, 128, 129, 5000])
def test_the_value_is_an_hmac_in_base64_at_the_end_of_the_line(key: Key, length: int) -> None:
    payload = b"{" + b"x" * (length - 2) + b"}"
    line = Sealer(key, "log").seal(payload)
    algorithm = ALGORITHMS[key.algorithm]
    digest = hmac.digest(key.secret_for("entry", "log"), payload, algorithm.hash_name)
    value = b64encode(digest).decode()
    assert len(value) == value_length(key.algorithm) == {"HMAC-SHA256": 44, "HMAC-SHA384": 64}[key.algorithm]
    end = f',"signature":{{"algorithm":"{key.algorithm}","key_id":"{key.id}","value":"{value}"}}}}'
    assert line == payload[:-1] + end.encode()
    assert split_signature(line, key.algorithm, key.id) == payload


def test_every_changed_byte_of_a_line_closes_it_one_by_one_and_in_a_batch(key: Key) -> None:
    sealer = Sealer(key, "log")
    line = sealer.seal(PAYLOAD)
    changed = [line[:place] + bytes((line[place] ^ 1,)) + line[place + 1 :] for place in range(len(line))]
    assert sealer.open_all([line, *changed, line]) == [PAYLOAD, *[None] * len(changed), PAYLOAD]
    assert [sealer.open(each) for each in (line, *changed)] == [PAYLOAD, *[None] * len(changed)]


def test_lines_of_any_length_and_of_other_keys_stay_closed(key: Key, tmp_path: Path) -> None:
    sealer = Sealer(key, "log")
    line = sealer.seal(PAYLOAD)
    stranger = create_keyring(tmp_path / "other" / "keyring.json", NOW, key.algorithm).active_key()
    others = [line[start:] for start in range(1, len(line) + 1)]
    others += [line + b"}", line + b"\n", Sealer(key, "gol").seal(PAYLOAD), Sealer(stranger, "log").seal(PAYLOAD)]
    assert set(sealer.open_all(others)) == {None}
    assert {sealer.open(each) for each in others} == {None}
    assert sealer.open_all([]) == []


def test_the_shape_of_one_algorithm_is_not_the_shape_of_the_other(key: Key) -> None:
    line = Sealer(key, "log").seal(PAYLOAD)
    for algorithm in ALGORITHMS:
        assert (split_signature(line, algorithm, key.id) is not None) is (algorithm == key.algorithm)
