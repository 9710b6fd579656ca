"""For each control of the decision log what it does not accept, with the outcome and the words it has to answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from stage4.audit.evidence import LogVerdict, Problem, Secret, SigningKey
from stage4.audit.finding import Outcome
from support import audits
from support.audit_example import Example
from support.audits import NOW, ROTATED

FAIL, WARN, UNKNOWN = Outcome.FAIL, Outcome.WARN, Outcome.UNKNOWN
GONE = Problem("files.missing", {"path": "x"})
LOCKED = Problem("files.unreadable", {"path": "x", "reason": "denied"}, undecided=True)
WEAK = Secret(bits=40.0, placeholder=False, tag="weak")
DAY = timedelta(days=1)

LOG_EXAMPLES = (
    Example("DLOG-01", "no ring", audits.log(ring_problem=GONE, active=None), FAIL, "files.missing"),
    Example("DLOG-01", "two sources of the router's key", audits.log(router_sources=2), FAIL, "audit.router_sources"),
    Example("DLOG-01", "an id without a key", audits.log(router_sources=0), FAIL, "audit.router_sources"),
    Example("DLOG-01", "a key without an id", audits.log(router_key_id=None), FAIL, "audit.router_key_id"),
    Example(
        "DLOG-02",
        "the secret does not answer",
        audits.log(active=SigningKey("ops", ROTATED, LOCKED)),
        UNKNOWN,
        "files.unreadable",
    ),
    Example("DLOG-02", "a weak key", audits.log(router_secret=WEAK), FAIL, "audit.secret_weak"),
    Example(
        "DLOG-02",
        "an unset variable",
        audits.log(
            router_secret=None,
            router_missing_variable=True,
            router_problem=Problem("audit.variable_missing", {"variable": "LIVE_DECISION_LOG_HMAC"}),
        ),
        FAIL,
        "audit.variable_missing",
    ),
    Example("DLOG-03", "no log yet", audits.log(present=False, verdict=None), WARN, "audit.log_absent"),
    Example("DLOG-03", "a log that was there", audits.log(present=False, entries_before=7), FAIL, "audit.log_gone"),
    Example(
        "DLOG-03",
        "a log that left a trace",
        audits.log(present=False, trace="secrets/decision_log/checkpoint-x.json"),
        FAIL,
        "audit.log_vanished",
    ),
    Example(
        "DLOG-03",
        "a place that knows other logs only",
        audits.log(doubts=(Problem("audit.log_unknown", {"place": "/mnt/notes", "logs": "x"}),)),
        WARN,
        "audit.log_unknown",
    ),
    Example(
        "DLOG-03",
        "a place that is not mounted",
        audits.log(doubts=(Problem("audit.log_place_missing", {"place": "/mnt/notes"}),)),
        WARN,
        "audit.log_place_missing",
    ),
    Example("DLOG-03", "fewer entries than before", audits.log(entries_before=8), FAIL, "audit.log_shrunk"),
    Example(
        "DLOG-03",
        "another log than before",
        audits.log(log_id="log-two", other_log="log-one"),
        WARN,
        "audit.log_other",
    ),
    Example("DLOG-03", "not verified", audits.log(verdict=None), UNKNOWN, "audit.log_unverified"),
    Example(
        "DLOG-03",
        "an edited line",
        audits.log(
            verdict=LogVerdict(
                6, 1, Problem("audit.log_finding", {"path": "p", "line": 3, "offset": 99, "fault": "edit"}), 1
            )
        ),
        FAIL,
        "audit.log_finding",
    ),
    Example(
        "DLOG-04", "in use for long", audits.log(active=SigningKey("ops", NOW - 100 * DAY)), WARN, "audit.log_key_old"
    ),
    Example(
        "DLOG-04",
        "a window as long as the interval",
        audits.log(active=SigningKey("ops", NOW)),
        WARN,
        "audit.log_key_always_due",
        replace(audits.POLICY, rotation_warn_days=90.0),
    ),
    Example("DLOG-04", "dated to come", audits.log(active=SigningKey("ops", NOW + DAY)), FAIL, "audit.log_key_future"),
)
