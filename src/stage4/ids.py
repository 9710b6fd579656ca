"""The only source of chance, and the shapes of the ids that people read."""

from __future__ import annotations

import base64
import os
import re
from datetime import date

from stage4.errors import UsageError

_INCIDENT = re.compile(r"INC-(\d{4})(\d{2})(\d{2})-(\d{4,})")


def random_bytes(count: int) -> bytes:
    """`count` bytes from the operating system's generator."""
    return os.urandom(count)


def random_token(count: int = 32) -> str:
    """A URL-safe secret with `count` bytes of chance."""
    return _spelled(random_bytes(count))


def random_seed() -> int:
    """A seed for a `random.Random`; print it and store it, so that a run can be repeated."""
    return int.from_bytes(random_bytes(6), "big")


def short_id() -> str:
    """128 random bits in 22 URL-safe characters, without padding."""
    return _spelled(random_bytes(16))


def _spelled(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode("ascii")


def incident_id(day: date, number: int) -> str:
    """`INC-YYYYMMDD-NNNN`: the day it was opened (UTC) and its number that day, from 1."""
    return f"INC-{day:%Y%m%d}-{number:04d}"


def parse_incident_id(text: str) -> tuple[date, int]:
    """The day and number of an incident id; raises UsageError `ids.bad_incident_id`."""
    match = _INCIDENT.fullmatch(text.strip())
    if match is None:
        raise UsageError("ids.bad_incident_id", text=text)
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        raise UsageError("ids.bad_incident_id", text=text) from None
    return day, int(match[4])


def is_incident_id(text: str) -> bool:
    """Whether `text` is written as an incident id."""
    try:
        parse_incident_id(text)
    except UsageError:
        return False
    return True
