"""Every rotation that is required or on record as one table, the worst first; what is to be done, and by when."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from stage4.audit.policy import Policy
from stage4.clock import format_instant
from stage4.security.rotation import Rotation, RotationRegistry, RotationState, always_due, judge

# UNKNOWN has no state of its own: its registry could not be read.
_RANK: Final = (
    RotationState.MISSING,
    RotationState.FUTURE,
    RotationState.OVERDUE,
    None,
    RotationState.DUE,
    RotationState.FRESH,
)
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)
_WRONG: Final = frozenset({RotationState.MISSING, RotationState.FUTURE, RotationState.OVERDUE})


@dataclass(frozen=True, slots=True)
class Row:
    """One key: when it was last replaced and how that stands; `rotation` is None where its registry cannot be read."""

    registry: str  # "tls" or "keys"
    key: str
    purpose: str
    interval_days: float
    warn_days: float
    last: datetime | None
    rotation: Rotation | None
    required: bool

    @property
    def state(self) -> str:
        return "unknown" if self.rotation is None else self.rotation.state.value

    @property
    def due_at(self) -> datetime | None:
        return None if self.rotation is None else self.rotation.due_at

    @property
    def days_left(self) -> float | None:
        """Negative when overdue; one decimal."""
        left = None if self.rotation is None else self.rotation.left
        return None if left is None else round(left / timedelta(days=1), 1)

    @property
    def wrong(self) -> bool:
        """Whether a key that is under rotation is overdue, was never recorded, or is dated in the future."""
        return self.required and self.rotation is not None and self.rotation.state in _WRONG

    @property
    def always_due(self) -> bool:
        """Whether its warning window is not shorter than its interval."""
        return always_due(self.interval_days, self.warn_days)

    def falls_due_within(self, now: datetime, span: timedelta) -> bool:
        """Whether something is to be done by `now + span`; what cannot be told counts."""
        return self.due_at is None or self.wrong or self.due_at - now <= span


@dataclass(frozen=True, slots=True)
class Remedy:
    """
    What a rotation takes.

    `way` is `own` where `command` renews the whole bundle, else `certificate` or `key`: what people replace before
    they record it by `command`.
    """

    way: str
    command: str

    @property
    def by_hand(self) -> bool:
        return self.way != "own"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do and the rows that it settles, by the instant at which each falls due."""

    remedy: Remedy
    rows: tuple[Row, ...]

    @property
    def due_at(self) -> datetime | None:
        """The earliest instant; None where a row was never recorded."""
        return self.rows[0].due_at

    @property
    def state(self) -> str:
        """The worst of its rows."""
        return min(self.rows, key=_worst_first).state


def remedy(registry: str, key: str, purpose: str, *, bundle: str, own: bool) -> Remedy:
    """What the rotation of one row takes; `own` says whether the project's own PKI can renew `bundle`."""
    if own and registry == "tls" and key.lower() == bundle.lower():
        return Remedy("own", shlex.join(["stage4", "rotation", "rotate", "--bundle", bundle]))
    return Remedy("certificate" if registry == "tls" else "key", mark_command(key, purpose))


def mark_command(key: str, purpose: str, at: datetime | None = None) -> str:
    """The command that records a rotation done by hand; its reason is left to people."""
    when = [] if at is None else ["--at", format_instant(at)]
    return shlex.join(["stage4", "rotation", "mark", key, purpose, *when, "--reason"]) + " …"


def steps(table: Iterable[Row], now: datetime, span: timedelta, *, bundle: str, own: bool) -> tuple[Step, ...]:
    """What is to be done by `now + span`, in order, each command once; what cannot be told is in `unread`."""
    due: dict[Remedy, list[Row]] = {}
    for row in in_order(table):
        if row.required and row.rotation is not None and row.falls_due_within(now, span):
            due.setdefault(remedy(row.registry, row.key, row.purpose, bundle=bundle, own=own), []).append(row)
    return tuple(Step(each, tuple(settled)) for each, settled in due.items())


def unread(table: Iterable[Row]) -> tuple[Row, ...]:
    """The rows under rotation whose registry could not be read."""
    return tuple(row for row in in_order(table) if row.required and row.rotation is None)


def rows(policy: Policy, registries: Mapping[str, RotationRegistry | None], now: datetime) -> tuple[Row, ...]:
    """The table at `now`; a registry that is None could not be read. What nobody requires stands under the defaults."""
    return tuple(sorted(_rows(policy, registries, now), key=_worst_first))


def in_order(table: Iterable[Row]) -> tuple[Row, ...]:
    """By the instant at which each falls due, what was never done before everything."""
    return tuple(sorted(table, key=lambda row: (row.due_at or _BEFORE_ALL, row.key, row.purpose)))


def _rows(policy: Policy, registries: Mapping[str, RotationRegistry | None], now: datetime) -> Iterator[Row]:
    seen = set()
    for required in policy.rotations:
        registry = registries.get(required.registry)
        seen.add((required.key.lower(), required.purpose.lower()))
        last = None if registry is None else registry.get(required.key, required.purpose)
        rotation = None if registry is None else judge(last, required.interval_days, required.warn_days, now)
        yield Row(
            registry=required.registry,
            key=required.key,
            purpose=required.purpose,
            interval_days=required.interval_days,
            warn_days=required.warn_days,
            last=last,
            rotation=rotation,
            required=True,
        )
    for name, registry in registries.items():
        for (key, purpose), last in () if registry is None else registry.rotated_at.items():
            if (key, purpose) not in seen:
                seen.add((key, purpose))
                interval, warn = policy.rotation_interval_days, policy.rotation_warn_days
                yield Row(name, key, purpose, interval, warn, last, judge(last, interval, warn, now), required=False)


def _worst_first(row: Row) -> tuple[bool, int, float, str, str]:
    state = None if row.rotation is None else row.rotation.state
    return not row.required, _RANK.index(state), row.days_left or 0.0, row.key, row.purpose
