"""Settings: wrong ones name file, line and key; unknown ones are passed over with a word."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from stage4 import config
from stage4.config.settings import Section, Settings
from stage4.errors import Stage4Error, Unavailable, UsageError

REPOSITORY = Path(__file__).parents[2]


def installation(tmp_path: Path, text: str) -> config.Installation:
    (tmp_path / "config").mkdir(exist_ok=True)
    (tmp_path / "config/core.yaml").write_text(text, encoding="utf-8")
    return config.load(tmp_path)


def refused(tmp_path: Path, text: str) -> Stage4Error:
    with pytest.raises(UsageError) as caught:
        installation(tmp_path, text)
    return caught.value


def test_the_settings_of_the_demonstration_are_sound_and_without_notices() -> None:
    loaded = config.load(REPOSITORY)
    assert loaded.notices == ()
    assert loaded.is_rehearsal


def test_an_empty_file_is_refused_and_not_taken_for_defaults(tmp_path: Path) -> None:
    assert refused(tmp_path, "").code == "config.wrong_value"


def test_a_wrong_type_names_file_line_and_key(tmp_path: Path) -> None:
    error = refused(tmp_path, "runtime:\n  metrics_service:\n    host: h\n    port: many\n")
    assert error.params["line"] == 4
    assert error.params["key"] == "runtime.metrics_service.port"


def test_a_wrong_value_below_a_named_entry_names_that_entry(tmp_path: Path) -> None:
    text = "risk_profiles:\n  good: {max_position_pct: 5}\n  bad:\n    max_position_pct: 500\n"
    error = refused(tmp_path, text)
    assert (error.params["key"], error.params["line"]) == ("risk_profiles.bad.max_position_pct", 4)


DAYS = ("default_interval_days", "default_warn_within_days", "entries.0.interval_days", "entries.0.warn_within_days")


@pytest.mark.parametrize("value", [".inf", ".nan", "-.inf", "1.0e+308", "36501", "0"])
@pytest.mark.parametrize("key", DAYS)
def test_days_are_more_than_none_and_end_within_a_century(tmp_path: Path, key: str, value: str) -> None:
    own = f"      {key.rpartition('.')[2]}: {value}\n"
    entry = "    entries:\n    - key: a\n      purpose: b\n"
    text = "observability:\n  key_rotation:\n" + (entry + own if "." in key else own.replace("      ", "    "))
    error = refused(tmp_path, text)
    assert (error.code, error.params["line"]) == ("config.wrong_value", text.count("\n"))
    assert error.params["key"] == f"observability.key_rotation.{key}"


def every_number(kind: Any, at: str) -> Iterator[tuple[str, Any]]:
    """The places in the settings where a fraction stands, with their types."""
    for part in typing.get_args(kind):
        yield from every_number(part, at) if typing.get_origin(kind) is not Annotated else ()
    if kind is float or (typing.get_origin(kind) is Annotated and typing.get_args(kind)[0] is float):
        yield at, kind
    if isinstance(kind, type) and issubclass(kind, Section):
        for name, of in typing.get_type_hints(kind, include_extras=True).items():
            yield from every_number(of, f"{at}.{name}")


NUMBERS = dict(every_number(Settings, "settings"))


@pytest.mark.parametrize("at", NUMBERS)
def test_no_number_of_the_settings_is_without_end(at: str) -> None:
    assert len(NUMBERS) > 20
    for value in (float("inf"), float("-inf"), float("nan")):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(value, NUMBERS[at])


def test_a_schedule_must_name_a_strategy_that_exists(tmp_path: Path) -> None:
    text = (
        "risk_profiles: {balanced: {}}\nruntime:\n  multi_strategy_schedulers:\n    core:\n      schedules:\n"
        "        one: {strategy: nowhere, cadence_seconds: 1}\n"
    )
    error = refused(tmp_path, text)
    assert error.code == "config.unknown_name"
    assert error.params["line"] == 6


def test_unknown_sections_give_one_notice_and_unknown_keys_name_the_nearest(tmp_path: Path) -> None:
    text = "brokers: {}\nlicensing: {}\nruntime:\n  metrics_service: {hots: h, wildly_other: 1}\n"
    notices = installation(tmp_path, text).notices
    assert [notice.code for notice in notices] == [
        "config.unknown_sections",
        "config.unknown_key_near",
        "config.unknown_key",
    ]
    assert notices[1].params["nearest"] == "host"
    assert notices[1].params["line"] == 4


def test_a_section_that_is_all_but_ours_is_a_slip_and_names_its_line(tmp_path: Path) -> None:
    notices = installation(tmp_path, "brokers: {}\nobservabilty: {}\n").notices

    assert [(notice.code, notice.params.get("nearest")) for notice in notices] == [
        ("config.unknown_key_near", "observability"),
        ("config.unknown_sections", None),
    ]
    assert (notices[0].params["key"], notices[0].params["line"]) == ("observabilty", 2)


@pytest.mark.parametrize("days", ["0", "-1", ".inf", ".nan", "36501"])
def test_an_interval_of_rotations_has_an_end(tmp_path: Path, days: str) -> None:
    error = refused(tmp_path, f"observability:\n  key_rotation: {{default_interval_days: {days}}}\n")
    assert (error.code, error.params["line"]) == ("config.wrong_value", 2)


@pytest.mark.parametrize("text", ['operations: {oncall_file: "a\\0b"}', '"a\\eb": 1', 'a: ["\\x9b"]'])
def test_control_characters_that_only_escapes_can_spell_are_refused(tmp_path: Path, text: str) -> None:
    error = refused(tmp_path, text)
    assert (error.code, error.params["line"]) == ("config.bad_yaml", 1)


def test_metrics_service_is_accepted_at_the_top_level_too(tmp_path: Path) -> None:
    loaded = installation(tmp_path, "metrics_service: {port: 7000}\n")
    assert loaded.settings.runtime.metrics_service.port == 7000
    assert loaded.notices == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: 1\na: 2\n", 2), ("a: [1\n", 2), ("a: &x {b: 1}\nc: *x\n", 1), ("x: " + "[" * 40 + "]" * 40, 1)],
)
def test_bad_yaml_names_its_line(tmp_path: Path, text: str, line: int) -> None:
    error = refused(tmp_path, text)
    assert error.code == "config.bad_yaml"
    assert error.params["line"] == line


def test_the_root_is_the_flag_then_the_variable_then_the_nearest_parent(tmp_path: Path) -> None:
    installation(tmp_path, "operations: {}\n")
    deep = tmp_path / "logs/deep"
    deep.mkdir(parents=True)
    assert config.find_root(None, {}, deep) == tmp_path
    assert config.find_root(None, {"STAGE4_ROOT": str(tmp_path)}, Path("/")) == tmp_path
    with pytest.raises(UsageError, match="config.not_an_installation"):
        config.find_root(deep, {"STAGE4_ROOT": str(tmp_path)}, tmp_path)


def test_a_missing_or_unreadable_file_cannot_be_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="files.missing"):
        config.load(tmp_path)
    (tmp_path / "config/core.yaml").mkdir(parents=True)
    with pytest.raises(Unavailable, match="files.unreadable"):
        config.load(tmp_path)
