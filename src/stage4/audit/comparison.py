"""
What changed between two reports of one installation, subject by subject.

Results are compared by control and subject, which survive rewording. A control that was evaluated before and is not any
more is a change of its own: looking away makes nothing better. AUD-02 judges the comparison, so it is no part of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from stage4.errors import UsageError

KINDS: Final = ("new", "worsened", "fixed", "improved", "unchanged", "no_longer_evaluated")
CONTINUITY: Final = "AUD-02"
# How bad an outcome is; unknown counts as fail, and what is waived is not well but answered for.
_BADNESS: Final = {"pass": 0, "waived": 1, "warn": 2, "unknown": 3, "fail": 3}
_FAIL: Final = _BADNESS["fail"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a report said of one subject, in English."""

    control: str
    subject: str
    outcome: str
    message: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What of a report another one is compared with; None for what an older report does not say."""

    checked_at: str
    results: tuple[Result, ...]
    catalogue: str | None = None
    config: str | None = None
    policy: Mapping[str, object] = field(default_factory=dict)
    path: str | None = None  # where it was kept
    forged: bool = False  # it is signed, and is not what was signed
    started_at: str | None = None

    @property
    def since(self) -> str:
        """When it was made, whatever instant it judges."""
        return self.started_at or self.checked_at

    @classmethod
    def of(cls, report: Mapping[str, object], path: str | None = None) -> Summary:
        """
        The summary of a `stage4.audit/1` document.

        Raises UsageError `audit.not_a_report` for anything else, an error document included.
        """
        results, tool, policy = report.get("results"), report.get("tool"), report.get("policy")
        named = isinstance(results, list) and all(
            isinstance(each, dict)
            and all(isinstance(each.get(name), str) for name in ("control", "subject", "outcome"))
            for each in results
        )
        if not isinstance(results, list) or not named:
            raise UsageError("audit.not_a_report", schema=report.get("schema"))
        return cls(
            checked_at=str(report.get("checked_at")),
            results=tuple(
                Result(each["control"], each["subject"], each["outcome"], str(each.get("message")))
                for each in results
                if each["control"] != CONTINUITY
            ),
            catalogue=_text(tool.get("catalogue_sha256")) if isinstance(tool, dict) else None,
            config=_text(report.get("config_sha256")),
            policy=policy if isinstance(policy, dict) else {},
            path=path,
            started_at=_text(report.get("started_at")),
        )


@dataclass(frozen=True, slots=True)
class Change:
    """One subject of one control in both reports; `before` or `after` is None where the report has it not."""

    control: str
    subject: str
    before: str | None
    after: str | None
    message: str

    @property
    def fails(self) -> bool:
        """Whether it is a fail now, or cannot be told."""
        return _BADNESS.get(self.after or "") == _FAIL


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    When the earlier report was made, and the changes by kind; `unchanged` holds what was and is not well.

    `policy_changed` names the demands that differ. What the earlier report does not say has not changed.
    """

    since: str
    new: tuple[Change, ...] = ()
    worsened: tuple[Change, ...] = ()
    fixed: tuple[Change, ...] = ()
    improved: tuple[Change, ...] = ()
    unchanged: tuple[Change, ...] = ()
    no_longer_evaluated: tuple[Change, ...] = ()
    catalogue_changed: bool = False
    config_changed: bool = False
    policy_changed: tuple[str, ...] = ()
    before: frozenset[tuple[str, str]] = frozenset()  # control and subject of all that the earlier report has

    @property
    def counts(self) -> Mapping[str, int]:
        """`fails`, `warns` and `waived` that are new or worse, `fixed` and improved ones, what is `lost` from sight."""
        worse = (*self.new, *self.worsened)
        return {
            "fails": sum(change.fails for change in worse),
            "warns": sum(change.after == "warn" for change in worse),
            "waived": sum(change.after == "waived" for change in worse),
            "fixed": len(self.fixed) + len(self.improved),
            "lost": len(self.no_longer_evaluated),
        }

    def kinds(self) -> Mapping[tuple[str, str], str]:
        """The kind of the change by control and subject; what was and is well has none."""
        return {(change.control, change.subject): kind for kind in KINDS for change in getattr(self, kind)}

    def document(self) -> dict[str, object]:
        """As JSON values."""
        changes = {
            kind: [
                {"control": c.control, "subject": c.subject, "before": c.before, "after": c.after, "message": c.message}
                for c in getattr(self, kind)
            ]
            for kind in KINDS
        }
        return {
            "since": self.since,
            "counts": dict(self.counts),
            "catalogue_changed": self.catalogue_changed,
            "config_changed": self.config_changed,
            "policy_changed": list(self.policy_changed),
            **changes,
        }


def compare(earlier: Mapping[str, object], fresh: Mapping[str, object]) -> Comparison:
    """
    The changes from `earlier` to `fresh`, both `stage4.audit/1` documents.

    Raises UsageError `audit.not_a_report` for anything else, an error document included.
    """
    return changes(Summary.of(earlier), Summary.of(fresh))


def changes(earlier: Summary, fresh: Summary) -> Comparison:
    """The changes from `earlier` to `fresh`."""
    before, after = _worst(earlier), _worst(fresh)
    kinds: dict[str, list[Change]] = {kind: [] for kind in KINDS}
    judged_now = {result.control for result in after.values() if result.outcome in _BADNESS}
    for name in before | after:
        kind, change = _change(before.get(name), after.get(name), judged_now)
        if kind is not None:
            kinds[kind].append(change)
    demands = [name for name in earlier.policy if name in fresh.policy and earlier.policy[name] != fresh.policy[name]]
    return Comparison(
        since=earlier.since,
        catalogue_changed=_differ(earlier.catalogue, fresh.catalogue),
        config_changed=_differ(earlier.config, fresh.config),
        policy_changed=tuple(sorted(demands)),
        before=frozenset(before),
        **{kind: tuple(found) for kind, found in kinds.items()},
    )


def _worst(report: Summary) -> dict[tuple[str, str], Result]:
    """The results by control and subject; where a control said two things of one, the worse one counts."""
    results: dict[tuple[str, str], Result] = {}
    for result in report.results:
        name = (result.control, result.subject)
        if name not in results or _BADNESS.get(result.outcome, -1) > _BADNESS.get(results[name].outcome, -1):
            results[name] = result
    return results


def _differ(before: str | None, after: str | None) -> bool:
    return before is not None and after is not None and before != after


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _change(before: Result | None, after: Result | None, judged_now: Collection[str]) -> tuple[str | None, Change]:
    known = after or before
    assert known is not None
    was, is_now = (None if result is None else result.outcome for result in (before, after))
    change = Change(known.control, known.subject, was, is_now, known.message)
    evaluated_before, evaluated_now = was in _BADNESS, is_now in _BADNESS
    if after is None and _BADNESS.get(was or "") and known.control in judged_now:
        # The control still looks, and what was wrong is not there any more: a link removed, a token taken out.
        return "fixed", change
    if not evaluated_now:
        return ("no_longer_evaluated" if evaluated_before else None), change
    bad = _BADNESS[is_now or ""]
    if not evaluated_before:
        return ("new" if bad else None), change
    past = _BADNESS[was or ""]
    if bad == past:
        return ("unchanged" if bad else None), change
    if bad > past:
        return ("worsened" if past else "new"), change
    return ("improved" if bad else "fixed"), change
