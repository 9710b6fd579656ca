"""The ear at the override directory: what it hears, and when it says that it may have missed something."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stage4.runtime import inotify
from stage4.runtime.inotify import DirectoryWatch, Heard, events
from support.desks import until


def during(directory: Path, story: Callable[[DirectoryWatch, list[str]], Awaitable[None]]) -> None:
    """Listen at `directory` while `story` happens; `told` gets "changed" and "lost"."""
    told: list[str] = []

    async def around() -> None:
        ear = DirectoryWatch(
            directory,
            asyncio.get_running_loop(),
            changed=lambda: told.append("changed"),
            lost=lambda: told.append("lost"),
        )
        try:
            assert ear.follow()
            await story(ear, told)
        finally:
            ear.close()

    asyncio.run(around())


def test_the_events_of_one_read_are_taken_apart() -> None:
    content = (
        inotify._EVENT.pack(1, inotify.IN_CREATE, 0, 16)
        + b"name.json".ljust(16, b"\0")
        + inotify._EVENT.pack(-1, inotify.IN_Q_OVERFLOW, 0, 0)
    )
    assert list(events(content)) == [Heard(1, inotify.IN_CREATE, "name.json"), Heard(-1, inotify.IN_Q_OVERFLOW, "")]


@pytest.mark.parametrize(
    "deed",
    [
        lambda place: (place / "stop.json").touch(),
        lambda place: os.link(place / "there", place / "stop.json"),
        lambda place: (place.parent / "outside").rename(place / "stop.json"),
        lambda place: (place / "there").unlink(),
        lambda place: (place / "there").rename(place.parent / "gone"),
        lambda place: (place / "there").write_text("other"),
        lambda place: (place / "stop.json").mkdir(),
    ],
)
def test_every_change_of_a_name_is_heard(tmp_path: Path, deed: Callable[[Path], object]) -> None:
    place = tmp_path / "overrides"
    place.mkdir()
    (place / "there").touch()
    (tmp_path / "outside").touch()

    async def story(_: DirectoryWatch, told: list[str]) -> None:
        deed(place)
        await until(lambda: "changed" in told)
        assert "lost" not in told

    during(place, story)


def test_temporary_files_are_not_told(tmp_path: Path) -> None:
    async def story(_: DirectoryWatch, told: list[str]) -> None:
        (tmp_path / ".half").touch()
        await asyncio.sleep(0.05)
        assert told == []
        (tmp_path / ".half").rename(tmp_path / "whole")
        await until(lambda: told == ["changed"])

    during(tmp_path, story)


@pytest.mark.parametrize(
    "deed", [lambda place: place.rename(place.with_name("away")), lambda place: place.rmdir()], ids=["moved", "removed"]
)
def test_a_directory_that_goes_is_a_loss_and_its_successor_is_heard(
    tmp_path: Path, deed: Callable[[Path], object]
) -> None:
    place = tmp_path / "overrides"
    place.mkdir()

    async def story(ear: DirectoryWatch, told: list[str]) -> None:
        deed(place)
        await until(lambda: "lost" in told)
        assert not ear.follow(), "there is nothing to listen at"
        place.mkdir()
        assert ear.follow()
        told.clear()
        (place / "stop.json").touch()
        await until(lambda: "changed" in told)

    during(place, story)


def test_a_directory_put_in_the_place_of_another_is_followed(tmp_path: Path) -> None:
    place, other = tmp_path / "overrides", tmp_path / "other"
    place.mkdir()
    other.mkdir()

    async def story(ear: DirectoryWatch, told: list[str]) -> None:
        place.rename(tmp_path / "away")
        other.rename(place)
        assert ear.follow()
        await until(lambda: True)
        told.clear()
        (tmp_path / "away" / "stop.json").touch()
        (place / "stop.json").touch()
        await until(lambda: "changed" in told)

    during(place, story)


def test_events_that_did_not_fit_into_the_queue_are_a_loss(tmp_path: Path) -> None:
    longest = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())

    async def story(ear: DirectoryWatch, told: list[str]) -> None:
        for number in range(longest // 2 + 10):  # each makes at least two events, none of them like the one before
            os.close(os.open(tmp_path / f"f{number % 7}", os.O_CREAT | os.O_WRONLY))
            os.unlink(tmp_path / f"f{number % 7}")
        await until(lambda: "lost" in told)

    during(tmp_path, story)


def test_where_no_ear_is_to_be_had_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        """A C library without inotify."""

    monkeypatch.setattr(inotify, "_libc", Deaf)

    async def around() -> None:
        ear = DirectoryWatch(tmp_path, asyncio.get_running_loop(), changed=lambda: None, lost=lambda: None)
        assert not ear.follow()
        ear.close()

    asyncio.run(around())
