"""`stage4 market quality`: what it says, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stage4.cli import main
from support.log_rooms import installed_log

HEADER = "timestamp,open,high,low,close,volume"


def recording(folder: Path, venue: str, *rows: str) -> str:
    path = folder / f"{venue}_BTCUSD_1m.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    return str(path)


def row(minute: int, close: str = "101", volume: str = "1.5") -> str:
    return f"2023-03-11T{minute // 60:02d}:{minute % 60:02d}:00Z,100,102,99,{close},{volume}"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No installation around."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STAGE4_ROOT", raising=False)


def test_whole_recordings_can_be_trusted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [recording(tmp_path, venue, *(row(minute) for minute in range(9))) for venue in ("alpha", "beta")]
    assert main(["market", "quality", *paths, "--lang", "en"]) == 0
    out = capsys.readouterr().out
    assert "alpha BTCUSD: can be trusted; 9 bars, 2023-03-11T00:01:00Z to 2023-03-11T00:09:00Z" in out
    assert "2 feeds, 0 cannot be trusted, 0 cannot be told; limits: overdue 30 s, gap 300 s" in out


def test_the_worst_comes_first_with_what_is_wrong_and_exit_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = recording(tmp_path, "alpha", *(row(minute) for minute in range(20)))
    bad = recording(
        tmp_path, "beta", row(0), row(1), row(1), row(0), "2023-03-11T00:02:00Z,100,99,99,101,1", row(15, volume="0")
    )
    assert main(["market", "quality", good, bad, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    worst, best = document["feeds"]
    assert (worst["venue"], best["venue"]) == ("beta", "alpha")
    assert worst["faults"] == ["stale", "gap", "unreadable", "backwards", "twice"]
    assert (worst["bars"], worst["duplicates"], worst["out_of_order"], worst["unreadable_rows"]) == (3, 1, 1, 1)
    # The bar of minute 15 was complete at 00:16; at 00:20 the next one is three minutes overdue.
    assert worst["staleness_seconds"] == 180
    assert worst["missing_bars"] == 13
    assert worst["longest_gap"] == {"seconds": 780, "after": "2023-03-11T00:02:00Z", "before": "2023-03-11T00:16:00Z"}
    assert worst["zero_volume_bars"] == 1
    assert (best["trust"], best["faults"]) == ("good", [])


def test_an_instant_can_be_asked_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recording(tmp_path, "alpha", *(row(minute) for minute in range(9)))
    assert main(["market", "quality", path, "--at", "2023-03-11T00:10:30Z"]) == 0
    assert main(["market", "quality", path, "--at", "2023-03-11T00:10:31Z", "--lang", "pl"]) == 1
    assert "następna świeca spóźniona o 31 s, wolno 30 s" in capsys.readouterr().out


def test_bars_after_the_instant_are_not_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later = ["2023-03-11T00:09:00Z,many", row(10), row(10), "2023-03-11T00:12:00Z,many", row(40), row(8)]
    path = recording(tmp_path, "alpha", *(row(minute) for minute in range(9)), *later)
    assert main(["market", "quality", path, "--at", "2023-03-11T00:09:30Z", "--json"]) == 1
    (feed,) = json.loads(capsys.readouterr().out)["feeds"]
    # The bar of minute 8 comes again after the instant, but is itself of before: it counts.
    assert (feed["bars"], feed["faults"], feed["staleness_seconds"]) == (9, ["twice"], 0)
    assert main(["market", "quality", path, "--at", "2023-03-10T00:00:00Z", "--json"]) == 3
    (feed,) = json.loads(capsys.readouterr().out)["feeds"]
    assert (feed["bars"], feed["trust"], feed["faults"]) == (0, "unknown", [])


def test_inside_a_hole_the_newest_bar_before_it_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recording(tmp_path, "alpha", *(row(minute) for minute in range(30) if minute not in range(10, 14)))
    # The bar of minute 9 was complete at 00:10, the next one is due at 00:11.
    assert main(["market", "quality", path, "--at", "2023-03-11T00:13:00Z", "--json"]) == 1
    (feed,) = json.loads(capsys.readouterr().out)["feeds"]
    assert (feed["bars"], feed["staleness_seconds"], feed["faults"]) == (10, 120, ["stale"])
    assert main(["market", "quality", path, "--at", "2023-03-11T00:15:00Z"]) == 0


def test_a_file_that_is_not_there_is_no_answer(tmp_path: Path) -> None:
    assert main(["market", "quality", str(tmp_path / "nothing.csv")]) == 3


def test_an_installation_without_recordings_has_nothing_to_judge_and_its_limits_hold_for_named_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    installed_log(home, monkeypatch)
    assert main(["market", "quality"]) == 3
    assert "of the kind synthetic" in capsys.readouterr().err
    path = recording(tmp_path, "alpha", *(row(minute) for minute in range(9)))
    # The installation allows ten seconds, the built-in limit would be thirty.
    assert main(["market", "quality", path, "--at", "2023-03-11T00:10:11Z"]) == 1
    assert "overdue by 11 s, 10 s are allowed" in capsys.readouterr().out


def test_live_feeds_and_recordings_are_not_judged_in_one_call(tmp_path: Path) -> None:
    path = recording(tmp_path, "alpha", row(0), row(1))
    assert main(["market", "quality", path, "--live"]) == 2


def test_polish_numbers_have_a_decimal_comma(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closes = ["101" if minute % 2 else "100.9" for minute in range(50)]
    path = recording(tmp_path, "alpha", *(row(minute, close) for minute, close in enumerate([*closes, "99.5"])))
    assert main(["market", "quality", path, "--lang", "pl"]) == 0
    # From 101 to 99.5 the logarithm falls by 149.63 basis points.
    assert "największy 2023-03-11T00:51:00Z: -149,6 pb" in capsys.readouterr().out
