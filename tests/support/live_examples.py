"""What a probe may see that the controls do not accept, with the outcome and the words they have to answer."""

from __future__ import annotations

from dataclasses import replace

from stage4.audit.evidence import Evidence, Problem
from stage4.audit.evidence_live import Attempt, Call, Live
from stage4.audit.finding import Outcome
from support import audits, live
from support.audit_example import Example
from support.audits import GOOD

FAIL, UNKNOWN = Outcome.FAIL, Outcome.UNKNOWN
UNUSABLE = Problem("probe.pair_unusable", {"path": "x", "reason": "denied"}, undecided=True)
UNTRUSTED = Problem("probe.untrusted", {"reason": "Hostname mismatch"}, undecided=True)


def probed(seen: Live) -> Evidence:
    """Healthy but for what the probe saw."""
    return replace(GOOD, live=seen)


LIVE_EXAMPLES = (
    Example("LIVE-01", "nobody listens", probed(live.without_control("refused")), UNKNOWN, "probe.nobody_listens"),
    Example("LIVE-01", "it hangs", probed(live.without_control("timeout")), UNKNOWN, "probe.hangs"),
    Example("LIVE-01", "no gRPC", probed(live.without_control("other bytes")), UNKNOWN, "probe.another_service"),
    Example("LIVE-01", "the good certificate is refused", probed(live.without_control()), UNKNOWN, "probe.shut"),
    Example(
        "LIVE-01",
        "plain text",
        probed(live.without_control("other bytes", {("nothing", "plaintext"): "settings"})),
        UNKNOWN,
        "probe.speaks_plaintext",
    ),
    Example(
        "LIVE-01",
        "gone while it was probed",
        probed(live.seen({("certificate_again", "TLSv1.3"): "refused"})),
        UNKNOWN,
        "probe.went_away",
    ),
    Example(
        "LIVE-01",
        "the good token is refused",
        probed(live.seen(calls={"token": "UNAUTHENTICATED"})),
        UNKNOWN,
        "probe.call_failed",
    ),
    Example(
        "LIVE-01",
        "the client's key is unread",
        probed(replace(live.LIVE, attempts=(Attempt("certificate", "TLSv1.3", "not tried", problem=UNUSABLE),))),
        UNKNOWN,
        "probe.pair_unusable",
    ),
    Example(
        "LIVE-01",
        "the served certificate is not believed",
        probed(replace(live.LIVE, calls=(Call("token", "not tried", problem=UNTRUSTED),))),
        UNKNOWN,
        "probe.untrusted",
    ),
    Example(
        "LIVE-02",
        "in without a certificate",
        probed(live.seen({("no_certificate", "TLSv1.2"): "settings"})),
        FAIL,
        "probe.uncertified_in",
    ),
    Example("LIVE-02", "no positive control", probed(live.without_control()), UNKNOWN, "probe.no_control"),
    Example(
        "LIVE-02",
        "an answer that says nothing",
        probed(live.seen({("no_certificate", "TLSv1.3"): "timeout"})),
        UNKNOWN,
        "probe.unclear",
    ),
    Example(
        "LIVE-03",
        "in with a foreign certificate",
        probed(live.seen({("foreign_certificate", "TLSv1.3"): "settings"})),
        FAIL,
        "probe.foreign_in",
    ),
    Example(
        "LIVE-03",
        "in with a server certificate",
        probed(live.seen({("server_certificate", "TLSv1.2"): "settings"})),
        FAIL,
        "probe.server_in",
    ),
    Example(
        "LIVE-03",
        "the server's key is unread",
        probed(live.seen({("server_certificate", "TLSv1.3"): "not tried"}, problem=UNUSABLE)),
        UNKNOWN,
        "probe.pair_unusable",
    ),
    Example("LIVE-04", "no token", probed(live.seen(calls={"no_token": "OK"})), FAIL, "probe.no_token_admitted"),
    Example(
        "LIVE-04", "a made-up token", probed(live.seen(calls={"wrong_token": "OK"})), FAIL, "probe.wrong_token_admitted"
    ),
    Example(
        "LIVE-04",
        "no scope",
        probed(live.seen(calls={"token_without_scope": "OK"})),
        FAIL,
        "probe.lesser_token_admitted",
    ),
    Example(
        "LIVE-04",
        "the good token does not work",
        probed(live.seen(calls={"token": "UNAVAILABLE"})),
        UNKNOWN,
        "probe.no_token_control",
    ),
    Example(
        "LIVE-04",
        "no answer to a call",
        probed(live.seen(calls={"no_token": "DEADLINE_EXCEEDED"})),
        UNKNOWN,
        "probe.call_unclear",
    ),
    Example(
        "LIVE-05",
        "TLS 1.0",
        probed(live.seen({("certificate", "TLSv1"): "eof"}, negotiated="TLSv1")),
        FAIL,
        "probe.old_spoken",
    ),
    Example(
        "LIVE-05",
        "plain text",
        probed(live.seen({("nothing", "plaintext"): "settings"})),
        FAIL,
        "probe.plaintext_spoken",
    ),
    Example(
        "LIVE-05",
        "a library that knows no TLS 1.1",
        probed(live.seen({("certificate", "TLSv1.1"): "not offered"})),
        UNKNOWN,
        "probe.cannot_offer",
    ),
    Example(
        "LIVE-05",
        "bytes of something else",
        probed(live.seen({("nothing", "plaintext"): "other bytes"})),
        UNKNOWN,
        "probe.unclear",
    ),
    Example("LIVE-06", "another on disk", audits.certificate("server", fingerprint="9" * 64), FAIL, "probe.leaf_stale"),
    Example("LIVE-06", "none on disk", audits.bundle(certificates=()), UNKNOWN, "probe.no_leaf_on_disk"),
    Example(
        "LIVE-06",
        "none was served",
        probed(live.seen({(a.shown, a.protocol): a.outcome for a in live.LIVE.attempts}, served=None)),
        UNKNOWN,
        "probe.no_leaf",
    ),
)
