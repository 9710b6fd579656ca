"""The header report: one order of precedence, nothing secret shown, what the server received."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from stage4.errors import Unavailable, UsageError
from stage4.telemetry import headers
from stage4.telemetry.admission import echo
from stage4.telemetry.headers import Header, Merged, merge, parse

KEY = b"the nonce of one watch"
NOWHERE = Path("/nonexistent")


def layer(source: str, *entries: str) -> list[Header]:
    return parse(entries, source, {}, NOWHERE)


def shown(*entries: str) -> dict[str, object]:
    (only,) = layer("cli:--header", *entries)
    return headers.shown(only, KEY)


def test_the_command_line_wins_over_files_environment_and_settings() -> None:
    merged = merge(
        [layer("config", "x-a=1", "x-b=1"), layer("env", "x-a=2"), layer("file", "x-a=3"), layer("cli", "x-a=4")]
    )
    assert merged.metadata == (("x-b", "1"), ("x-a", "4"))
    assert [(loser.source, winner.source) for loser, winner in merged.overridden] == [
        ("config", "env"),
        ("env", "file"),
        ("file", "cli"),
    ]


def test_a_removal_takes_out_lower_layers_only() -> None:
    merged = merge([layer("config", "x-a=1", "x-b=1"), layer("env", "x-a=none", "x-b=none"), layer("cli", "x-b=2")])
    assert merged.metadata == (("x-b", "2"),)
    assert [(one.key, one.source) for one in merged.removed] == [("x-a", "config by env"), ("x-b", "config by env")]


def test_a_removal_of_what_is_not_there_removes_nothing() -> None:
    assert merge([layer("config", "x-a=none")]) == Merged(())


def test_inside_one_layer_the_later_entry_wins_and_the_earlier_is_reported() -> None:
    merged = merge([layer("cli", "x-a=1", "X-A=2")])
    assert merged.metadata == (("x-a", "2"),)
    assert len(merged.overridden) == 1


def test_values_may_stand_in_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "value").write_text("from-file\n", encoding="utf-8")
    got = parse(["x-a=@env:NAME", "x-b=@file:value", "x-c=@@env:NAME"], "cli", {"NAME": "from-env"}, tmp_path)
    assert [(one.value, one.source) for one in got] == [
        ("from-env", "cli@env:NAME"),
        ("from-file", "cli@file:value"),
        ("@env:NAME", "cli"),
    ]


def test_binary_values_are_base64() -> None:
    (only,) = layer("cli", "x-blob-bin=" + base64.b64encode(b"\x00\xff").decode())
    assert only.value == b"\x00\xff"


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ("no equals sign", "watch.header_malformed"),
        ("x a=1", "watch.header_key"),
        ("=1", "watch.header_key"),
        ("grpc-timeout=1S", "watch.header_key"),
        ("x-stage4-echo-nonce=1", "watch.header_key"),
        ("x-a=zażółć", "watch.header_value"),
        ("x-a=two\nlines", "watch.header_value"),
        ("x-a-bin=not base64!", "watch.header_value"),
    ],
)
def test_a_malformed_header_is_a_usage_error(entry: str, code: str) -> None:
    with pytest.raises(UsageError) as error:
        layer("cli", entry)
    assert error.value.code == code
    assert "zażółć" not in str(error.value), "an error never shows the value"


def test_a_value_that_cannot_be_read_is_unavailable() -> None:
    with pytest.raises(Unavailable) as error:
        layer("cli", "x-a=@env:MISSING")
    assert error.value.code == "watch.header_env_missing"


def test_entries_of_a_variable_are_split_where_a_key_begins() -> None:
    assert headers.split_entries("x-a=1; with; semicolons;x-b=2\n\nx-c=3\n") == [
        "x-a=1; with; semicolons",
        "x-b=2",
        "x-c=3",
    ]


def test_a_header_file_may_hold_remarks(tmp_path: Path) -> None:
    path = tmp_path / "headers"
    path.write_text("# remark\n\nx-a=1\n  x-b = 2 \n", encoding="utf-8")
    assert [one.metadata for one in [merge([layer("file", *headers.read_file(path))])]] == [
        (("x-a", "1"), ("x-b", "2"))
    ]


@pytest.mark.parametrize(
    "entry",
    [
        "authorization=Bearer metrics-reader",
        "cookie=sess123",
        "x-password=hunter2",
        "x-anything=short",
        "x-trace=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP",
        "x-environment=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dBjftJeZ4CVP",
        "x-team=Bearer abc",
        "x-team=9f86d081884c7d659a2feaa0c55ad015",
        "x-blob-bin=AAEC",
    ],
)
def test_whatever_is_not_known_to_be_harmless_is_masked(entry: str) -> None:
    facts = shown(entry)
    value = entry.partition("=")[2]
    assert facts["masked"] is True
    assert facts["length"] is None
    assert value not in json.dumps(facts)


def test_a_harmless_header_is_shown_and_cut_when_it_is_long() -> None:
    assert shown("x-environment=demo")["value_preview"] == "demo"
    long = shown("x-region=" + "ab " * 50)
    assert long["truncated"] is True
    assert len(str(long["value_preview"])) == headers.SHOWN_LENGTH


def test_fingerprints_tell_equal_from_different_and_change_with_every_watch() -> None:
    one, same, other = shown("x-a=secret"), shown("x-b=secret"), shown("x-a=secret2")
    assert one["fingerprint"] == same["fingerprint"] != other["fingerprint"]
    assert headers.shown(layer("cli", "x-a=secret")[0], b"another")["fingerprint"] != one["fingerprint"]


def server_saw(*received: tuple[str, str]) -> list[tuple[str, str]]:
    return list(echo([*received, ("x-stage4-echo-nonce", KEY.decode())]))


def test_headers_that_arrive_as_sent_are_right() -> None:
    merged = merge([layer("cli", "x-a=1", "x-b=a=b")])
    entries = headers.received(merged, server_saw(("x-a", "1"), ("x-b", "a=b"), ("user-agent", "grpc")), KEY)
    assert [entry["as_sent"] for entry in entries] == [True, True, None]
    assert headers.arrived_right(entries)


@pytest.mark.parametrize(
    "received",
    [
        pytest.param([], id="nothing came"),
        pytest.param([("x-a", "2")], id="changed on the way"),
        pytest.param([("x-a", "1"), ("x-a", "2")], id="one more value"),
        pytest.param([("x-a", "1"), ("x-forwarded-for", "10.0.0.1")], id="added on the way"),
    ],
)
def test_headers_that_were_lost_changed_or_added_are_wrong(received: list[tuple[str, str]]) -> None:
    merged = merge([layer("cli", "x-a=1")])
    assert not headers.arrived_right(headers.received(merged, server_saw(*received), KEY))


def test_a_server_echoes_only_to_those_who_bring_a_nonce() -> None:
    assert echo([("x-a", "1")]) == ()
