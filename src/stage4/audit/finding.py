"""What a control says of one subject, and the shape of a control."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from stage4.audit.evidence import Evidence, Problem
from stage4.audit.policy import Policy
from stage4.audit.waivers import Waiver

# How the codes end by which a control says that it has nothing to answer, where this is no change to ask after.
NOT_ASKED: Final = "not_asked"  # the caller left it out, and sees it in the policy of the report
ENDED: Final = "audit.ended"  # another control fails the same certificate


class Outcome(StrEnum):
    """
    `UNKNOWN`: could not be evaluated, counts as fail. `SKIPPED`: does not apply here, with the reason. `WAIVED`: a
    warn or fail that somebody answers for until a day.
    """

    PASS = "pass"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"
    WAIVED = "waived"


@dataclass(frozen=True, slots=True)
class Opinion:
    """An outcome for one subject; `code` and `params` are a text of the catalogues, never with a secret in it."""

    subject: str
    outcome: Outcome
    code: str
    params: Mapping[str, object] = field(default_factory=dict)


def passed(subject: str, code: str, /, **params: object) -> Opinion:
    return Opinion(subject, Outcome.PASS, code, params)


def warned(subject: str, code: str, /, **params: object) -> Opinion:
    return Opinion(subject, Outcome.WARN, code, params)


def failed(subject: str, code: str, /, **params: object) -> Opinion:
    return Opinion(subject, Outcome.FAIL, code, params)


def unknown(subject: str, code: str, /, **params: object) -> Opinion:
    return Opinion(subject, Outcome.UNKNOWN, code, params)


def skipped(subject: str, code: str, /, **params: object) -> Opinion:
    return Opinion(subject, Outcome.SKIPPED, code, params)


def of_problem(subject: str, problem: Problem) -> Opinion:
    """A thing that could not be read is unknown; a thing that is absent or malformed fails."""
    outcome = Outcome.UNKNOWN if problem.undecided else Outcome.FAIL
    return Opinion(subject, outcome, problem.code, problem.params)


@dataclass(frozen=True, slots=True)
class Finding:
    """An opinion with the control that gave it; `waiver` is why a `WAIVED` one, which was `before`, is none."""

    control: str
    subject: str
    outcome: Outcome
    code: str
    params: Mapping[str, object]
    waiver: Waiver | None = None
    before: Outcome | None = None

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.control, self.subject)


def fingerprint(control: str, subject: str) -> str:
    """Names control and subject, so that reports compare across wording, order and time."""
    # A subject may be a file name that is no UTF-8.
    return hashlib.sha256(f"{control}\0{subject}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


Rule = Callable[[Evidence, Policy, datetime], Iterable[Opinion]]


class Severity(StrEnum):
    """How much a control that is not met puts at risk, the gravest first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Control:
    """
    One requirement: a stable id, a pure rule, and what a reader has to know of it.

    Of the catalogue are title and remedy (`audit.control_<id>`), rationale (`audit.why_<id>`) and what the group
    applies to (`audit.group_<group>`). `references` name the standards a rule comes from. Findings of a control that
    is not `waivable` cannot be accepted by a waiver.
    """

    id: str
    rule: Rule
    severity: Severity
    references: tuple[str, ...] = ()
    waivable: bool = True

    @property
    def group(self) -> str:
        """`X509`, `FS`, ...: the part of the id before its number."""
        return self.id.partition("-")[0]

    @property
    def code(self) -> str:
        return f"audit.control_{self._key}"

    @property
    def group_code(self) -> str:
        return f"audit.group_{self.group.lower()}"

    @property
    def rationale_code(self) -> str:
        return f"audit.why_{self._key}"

    @property
    def _key(self) -> str:
        return self.id.lower().replace("-", "_")

    def judge(self, evidence: Evidence, policy: Policy, now: datetime) -> tuple[Finding, ...]:
        """The findings, at least one: a rule that found nothing to look at is unknown, never a pass."""
        opinions = tuple(self.rule(evidence, policy, now)) or (unknown("-", "audit.no_evidence"),)
        return tuple(Finding(self.id, o.subject, o.outcome, o.code, o.params) for o in opinions)
