"""
What changed between two reports of one installation, subject by subject.

Reports are compared by the fingerprints of their results, which survive rewording. A control that was evaluated
before and is not any more is a change of its own: looking away makes nothing better.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from stage4.errors import UsageError

KINDS: Final = ("new", "worsened", "fixed", "improved", "unchanged", "no_longer_evaluated")
# How bad an outcome is; unknown counts as fail.
_BADNESS: Final = {"pass": 0, "warn": 1, "unknown": 2, "fail": 2}


@dataclass(frozen=True, slots=True)
class Change:
    """One subject of one control in both reports; `before` or `after` is None where the report has it not."""

    control: str
    subject: str
    before: str | None
    after: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The earlier report's instant and the changes by kind; `unchanged` holds what was and is not well."""

    since: str
    new: tuple[Change, ...] = ()
    worsened: tuple[Change, ...] = ()
    fixed: tuple[Change, ...] = ()
    improved: tuple[Change, ...] = ()
    unchanged: tuple[Change, ...] = ()
    no_longer_evaluated: tuple[Change, ...] = ()
    catalogue_changed: bool = False

    def document(self) -> dict[str, object]:
        """As JSON values."""
        changes = {
            kind: [
                {"control": c.control, "subject": c.subject, "before": c.before, "after": c.after, "message": c.message}
                for c in getattr(self, kind)
            ]
            for kind in KINDS
        }
        return {"since": self.since, "catalogue_changed": self.catalogue_changed, **changes}


def compare(earlier: Mapping[str, object], fresh: Mapping[str, object]) -> Comparison:
    """
    The changes from `earlier` to `fresh`, both `stage4.audit/1` documents.

    Raises UsageError `audit.not_a_report` for anything else, an error document included.
    """
    before, after = dict(_results(earlier)), dict(_results(fresh))
    kinds: dict[str, list[Change]] = {kind: [] for kind in KINDS}
    judged_now = {result.get("control") for result in after.values() if result.get("outcome") in _BADNESS}
    for name in before | after:
        kind, change = _change(before.get(name), after.get(name), judged_now)
        if kind is not None:
            kinds[kind].append(change)
    return Comparison(
        since=str(earlier.get("checked_at")),
        catalogue_changed=_catalogue(earlier) != _catalogue(fresh),
        **{kind: tuple(changes) for kind, changes in kinds.items()},
    )


def _results(report: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    results = report.get("results")
    if not isinstance(results, list) or not all(isinstance(r, dict) and "fingerprint" in r for r in results):
        raise UsageError("audit.not_a_report", schema=report.get("schema"))
    for result in results:
        yield str(result["fingerprint"]), result


def _catalogue(report: Mapping[str, object]) -> object:
    tool = report.get("tool")
    return tool.get("catalogue_sha256") if isinstance(tool, dict) else None


def _change(
    before: Mapping[str, object] | None, after: Mapping[str, object] | None, judged_now: Collection[object]
) -> tuple[str | None, Change]:
    known = after or before or {}
    was, is_now = (None if result is None else str(result.get("outcome")) for result in (before, after))
    change = Change(str(known.get("control")), str(known.get("subject")), was, is_now, str(known.get("message")))
    evaluated_before, evaluated_now = was in _BADNESS, is_now in _BADNESS
    if after is None and _BADNESS.get(was or "") and known.get("control") in judged_now:
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
