"""
What changed between two reports of one installation, subject by subject.

Results are compared by control and subject, which survive rewording. A control that was evaluated before and is not any
more is a change of its own: looking away makes nothing better. Nor does looking elsewhere: what is better than in a
report of another bundle, another installation, another service that was probed, or one that is not signed, was only
not looked at again. AUD-02 judges the comparison, so it is no part of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from stage4.errors import UsageError
from stage4.words import visible

MOST_SHOWN: Final = 200  # changes of one kind that a document names; the counts are of all
KINDS: Final = ("new", "worsened", "fixed", "improved", "unchanged", "no_longer_evaluated")
CONTINUITY: Final = "AUD-02"
# What these look at may be taken away, and with it what was wrong: a file, a token, a key of the settings, a waiver.
_MAY_VANISH: Final = ("FS-", "RBAC-", "AUD-")
_OF_PROBE: Final = "LIVE-"
# How bad an outcome is; unknown counts as fail, and what is waived is not well but answered for.
_BADNESS: Final = {"pass": 0, "waived": 1, "warn": 2, "unknown": 3, "fail": 3}
_FAIL: Final = _BADNESS["fail"]
_OUTCOMES: Final = frozenset({*_BADNESS, "skipped"})
_CONTROL: Final = re.compile(r"[A-Z][A-Z0-9]{1,15}-\d{2}")


@dataclass(frozen=True, slots=True)
class Result:
    """What a report said of one subject, in English."""

    control: str
    subject: str
    outcome: str
    message: str

    @property
    def is_known(self) -> bool:
        """Whether it has the id of a control and an outcome."""
        return _CONTROL.fullmatch(self.control) is not None and self.outcome in _OUTCOMES


@dataclass(frozen=True, slots=True)
class Summary:
    """What of a report another one is compared with; None for what an older report does not say."""

    checked_at: str
    results: tuple[Result, ...]
    catalogue: str | None = None
    config: str | None = None
    policy: Mapping[str, object] = field(default_factory=dict)
    path: str | None = None  # where it was kept
    forged: bool = False  # it is not what the installation signed
    foreign: bool = False  # it is of another installation
    probed: str | None = None  # the service that was probed
    started_at: str | None = None
    authorities: frozenset[str] | None = None  # fingerprints of the CAs that were believed

    @property
    def since(self) -> str:
        """When it was made, whatever instant it judges."""
        return self.started_at or self.checked_at

    @classmethod
    def of(cls, report: Mapping[str, object], path: str | None = None) -> Summary:
        """
        The summary of a `stage4.audit/1` document; its texts on one line each, whatever stands in them.

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
        said = tuple(
            Result(each["control"], visible(each["subject"]), each["outcome"], visible(str(each.get("message"))))
            for each in results
        )
        if not all(result.is_known for result in said):
            raise UsageError("audit.not_a_report", schema=report.get("schema"))
        return cls(
            checked_at=visible(str(report.get("checked_at"))),
            results=tuple(result for result in said if result.control != CONTINUITY),
            catalogue=_text(tool.get("catalogue_sha256")) if isinstance(tool, dict) else None,
            config=_text(report.get("config_sha256")),
            policy=policy if isinstance(policy, dict) else {},
            path=path,
            authorities=_authorities(report.get("certificates")),
            started_at=_text(report.get("started_at")),
            probed=_probed(report.get("probe")),
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

    def shown(self, kind: str) -> tuple[Change, ...]:
        """The changes of one kind or, where they are too many to read, the gravest `MOST_SHOWN` of them."""
        found: tuple[Change, ...] = getattr(self, kind)
        return found if len(found) <= MOST_SHOWN else tuple(sorted(found, key=_grave, reverse=True)[:MOST_SHOWN])

    def document(self) -> dict[str, object]:
        """As JSON values; `not_shown` says how many changes of each kind are left out."""
        changes = {
            kind: [
                {"control": c.control, "subject": c.subject, "before": c.before, "after": c.after, "message": c.message}
                for c in self.shown(kind)
            ]
            for kind in KINDS
        }
        return {
            "since": self.since,
            "counts": dict(self.counts),
            "not_shown": {kind: more for kind in KINDS if (more := len(getattr(self, kind)) - MOST_SHOWN) > 0},
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
    elsewhere = _differ(_text(earlier.policy.get("bundle")), _text(fresh.policy.get("bundle")))
    elsewhere = elsewhere or earlier.foreign or earlier.forged
    other_service = _differ(earlier.probed, fresh.probed)
    for name in before | after:
        kind, change = _change(before.get(name), after.get(name), judged_now)
        if kind in ("fixed", "improved") and (elsewhere or (other_service and name[0].startswith(_OF_PROBE))):
            kind = "no_longer_evaluated"
        if kind is not None:
            kinds[kind].append(change)
    demands = [name for name in earlier.policy if name in fresh.policy and earlier.policy[name] != fresh.policy[name]]
    if other_service:
        demands.append("probe")
    return Comparison(
        since=earlier.since,
        catalogue_changed=_differ(earlier.catalogue, fresh.catalogue),
        config_changed=_differ(earlier.config, fresh.config),
        policy_changed=tuple(sorted(demands)),
        before=frozenset(before),
        **{kind: tuple(found) for kind, found in kinds.items()},
    )


def _grave(change: Change) -> int:
    return max(_BADNESS.get(outcome or "", 0) for outcome in (change.before, change.after))


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


def _authorities(listed: object) -> frozenset[str] | None:
    named = (
        [each["authorities"] for each in listed if isinstance(each, dict) and "authorities" in each]
        if isinstance(listed, list)
        else []
    )
    if not named or not all(isinstance(each, list) for each in named):
        return None
    return frozenset(str(fingerprint) for each in named for fingerprint in each)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _probed(probe: object) -> str | None:
    return _text(probe.get("target")) if isinstance(probe, Mapping) else None


def _change(before: Result | None, after: Result | None, judged_now: Collection[str]) -> tuple[str | None, Change]:
    known = after or before
    assert known is not None
    was, is_now = (None if result is None else result.outcome for result in (before, after))
    change = Change(known.control, known.subject, was, is_now, known.message)
    evaluated_before, evaluated_now = was in _BADNESS, is_now in _BADNESS
    may_vanish = known.control.startswith(_MAY_VANISH) and known.control in judged_now
    if after is None and _BADNESS.get(was or "") and may_vanish:
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
