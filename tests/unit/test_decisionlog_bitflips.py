"""
Every single bit of a log of 1,000 lines matters: whichever is flipped, the verifier names its line.

Flips in lines that are not neighbours do not touch each other, so one verification judges five hundred of them at
once: first all odd lines, then all even ones. `make soak` flips every bit of every line; otherwise it is a sample.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

import pytest

from stage4.errors import ExitCode
from support.decision_logs import LogRoom
from support.soak import SOAK

LINES = 1000
# Seeded, so that a failure can be repeated.
CHANCE = random.Random(20261123)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> LogRoom:
    return LogRoom.create(tmp_path_factory.mktemp("log"), LINES - 1)


def flipped_at(room: LogRoom, content: bytes, bits: Iterable[int]) -> tuple[set[int], set[int]]:
    """The lines (from 1) in which bits of the file were flipped, and those at which the verifier finds something.

    A flip can make a LF and so move the numbers of later lines, but never their byte offsets.
    """
    begins = list(accumulate((len(line) + 1 for line in content.split(b"\n")[:-1]), initial=0))
    changed = bytearray(content)
    for bit in bits:
        changed[bit // 8] ^= 1 << bit % 8
    room.path.write_bytes(changed)
    verdict = room.verify()
    assert verdict.exit_code is ExitCode.NO
    assert verdict.findings_total == len(verdict.findings)
    found = {bisect_right(begins, finding.offset) for finding in verdict.findings}
    return {bisect_right(begins, bit // 8) for bit in bits}, found


@pytest.mark.timeout(3600 if SOAK else 120)
def test_every_flipped_bit_is_found_in_its_line(room: LogRoom) -> None:
    content = room.path.read_bytes()
    lines = content.split(b"\n")[:-1]
    begins = list(accumulate((len(line) + 1 for line in lines), initial=0))
    longest = 8 * max(map(len, lines))
    for bit in range(longest) if SOAK else CHANCE.sample(range(longest), 30):
        for first in (0, 1):
            bits = [8 * begins[n] + bit for n in range(first, LINES, 2) if bit < 8 * len(lines[n])]
            if bits:
                flipped, found = flipped_at(room, content, bits)
                assert found == flipped, f"bit {bit} of the lines from {first + 1} on"
    room.path.write_bytes(content)


@pytest.mark.timeout(3600 if SOAK else 120)
def test_every_flipped_bit_of_a_line_end_is_found_in_its_line(room: LogRoom) -> None:
    content = room.path.read_bytes()
    ends = [position for position, byte in enumerate(content) if byte == 0x0A]
    for position in ends if SOAK else [*CHANCE.sample(ends[:-1], 30), ends[-1]]:
        for bit in range(8):
            flipped, found = flipped_at(room, content, [8 * position + bit])
            assert flipped <= found, f"bit {bit} of the LF at byte {position}"
            # The joined line hides the entry after it too, which shows at the line behind.
            assert max(found) - min(flipped) <= 2
    room.path.write_bytes(content)


def test_every_flipped_bit_of_a_small_log_is_found_alone(tmp_path: Path) -> None:
    room = LogRoom.create(tmp_path, 1)
    content = room.path.read_bytes()
    line_ends = {position for position, byte in enumerate(content) if byte == 0x0A}
    for bit in range(8 * len(content)):
        if bit // 8 not in line_ends:
            flipped, found = flipped_at(room, content, [bit])
            assert found == flipped, f"bit {bit}"
