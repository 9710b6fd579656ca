"""`stage4 replay`: which alerts it names, which it only counts, and what it says of itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stage4.cli import main
from support.desks import walk

BEGINS = datetime(2023, 3, 10, 18, tzinfo=UTC)


@pytest.fixture
def recordings(tmp_path: Path) -> list[str]:
    """Twelve hours around a midnight; the second venue is silent from 20:00 to 20:04 and from 03:00 to 03:04."""
    paths = []
    for venue, missing in (("alpha", ()), ("beta", (*range(120, 125), *range(540, 545)))):
        rows = ["timestamp,open,high,low,close,volume"]
        for minute, price in enumerate(walk(1, 720, start=24_000, volatility=0.0004)):
            if minute not in missing:
                at = BEGINS + timedelta(minutes=minute)
                rows.append(f"{at:%Y-%m-%dT%H:%M:%SZ},{price},{price},{price},{price},1.0")
        path = tmp_path / f"{venue}_BTCUSD_1m.csv"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        paths.append(str(path))
    return paths


def test_alerts_of_the_named_days_have_their_times_and_those_of_the_others_are_counted(
    recordings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", *recordings, "--name", "2023-03-11", "--lang", "en"]) == 0
    out = capsys.readouterr().out
    assert "2023-03-10: " in out
    assert "2023-03-11: " in out
    assert "  Stage4SecondaryDelayHigh critical: 1\n" in out
    assert "2023-03-11T03:01:00Z – 2023-03-11T03:06:00Z  critical  Stage4SecondaryDelayHigh" in out
    assert "2023-03-10T20:01:00Z" not in out


def test_the_document_holds_every_alert_and_the_digest_is_the_same_again(
    recordings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    documents = []
    for _ in range(3):
        assert main(["replay", *recordings, "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    first = documents[0]
    assert documents == [first] * 3
    assert first["schema"] == "stage4.replay/2"
    assert (first["since"], first["until"]) == ("2023-03-10T18:00:00Z", "2023-03-11T06:00:00Z")
    assert first["bars"] == 720 + 710
    assert [day["day"] for day in first["days"]] == ["2023-03-10", "2023-03-11"]
    assert sum(day["alerts"] for day in first["days"]) == len(first["alerts"]) > 0
    assert len(first["decisions_sha256"]) == 64


@pytest.mark.parametrize("named", ["2023-03-13..2023-03-10", "yesterday", "2023-03-10..soon"])
def test_days_that_are_none_are_refused(named: str, recordings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", *recordings, "--name", named]) == 2
    assert named.partition("..")[0] in capsys.readouterr().err or "soon" in named


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_the_first_and_the_last_day_of_all_are_refused(
    day: str, recordings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", *recordings, "--day", day, "--lang", "pl"]) == 2
    assert f"nagranie nie może obejmować tego czasu: {day}" in capsys.readouterr().err


def test_a_day_without_a_bar_of_one_venue_is_no_pass(recordings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    beta = Path(recordings[1])
    kept = [row for row in beta.read_text(encoding="utf-8").splitlines() if not row.startswith("2023-03-11")]
    # Its bar of 23:59 is complete at midnight, which is of the day before.
    beta.write_text("\n".join(kept) + "\n", encoding="utf-8")
    assert main(["replay", *recordings, "--day", "2023-03-11", "--lang", "en"]) == 3
    captured = capsys.readouterr()
    assert f"the recording {beta} has no bars between 2023-03-11T00:00:00Z" in captured.err
    assert not captured.out


def test_two_files_of_one_venue_or_of_two_symbols_are_refused(
    recordings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", *recordings, recordings[0], "--lang", "en"]) == 2
    assert "two recordings of one venue, alpha" in capsys.readouterr().err
    other = Path(recordings[1]).rename(Path(recordings[1]).with_name("beta_BTCUSDT_1m.csv"))
    assert main(["replay", recordings[0], str(other), "--lang", "pl"]) == 2
    assert "nagrania różnych instrumentów (BTCUSD, BTCUSDT)" in capsys.readouterr().err


def test_a_replay_that_evaluates_nothing_is_no_pass(recordings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for path in map(Path, recordings):
        path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:4]) + "\n", encoding="utf-8")
    assert main(["replay", *recordings, "--json", "--lang", "en"]) == 3
    captured = capsys.readouterr()
    assert "no strategy was evaluated between 2023-03-10T18:00:00Z and 2023-03-10T18:03:00Z" in captured.err
    assert "decisions_sha256" not in captured.out
