"""
LIVE: whether the running service opens to whom it should, and to nobody else.

A refusal proves something only beside a positive control: the good certificate got the service's SETTINGS frame over
the same TLS version, before the refusals and after them. Without one nothing passes. A stranger who is let in is a
fail in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

from stage4.audit.evidence import Evidence
from stage4.audit.evidence_live import (
    CERTIFICATE,
    CERTIFICATE_AGAIN,
    CURRENT,
    FOREIGN_CERTIFICATE,
    LESSER_TOKEN,
    NO_CERTIFICATE,
    NO_TOKEN,
    NOT_OFFERED,
    NOT_TRIED,
    NOTHING,
    OTHER,
    OUTDATED,
    PLAINTEXT,
    REFUSED,
    SERVER_CERTIFICATE,
    SETTINGS,
    TIMEOUT,
    TOKEN,
    UNREACHABLE,
    UNTRUSTED,
    WRONG_TOKEN,
    Attempt,
    Live,
)
from stage4.audit.finding import Control, Opinion, Outcome, Rule, Severity, failed, passed, skipped, unknown
from stage4.audit.policy import Policy
from stage4.clock import format_instant

_LiveRule = Callable[[Evidence, Live], Iterator[Opinion]]
_DENIED = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})
# By what was shown: the text where it opened the door, and the text where it did not.
_STRANGERS = {
    NO_CERTIFICATE: ("probe.uncertified_in", "probe.uncertified_out"),
    FOREIGN_CERTIFICATE: ("probe.foreign_in", "probe.foreign_out"),
    SERVER_CERTIFICATE: ("probe.server_in", "probe.server_out"),
}
_CALLERS = {
    NO_TOKEN: ("probe.no_token_admitted", "probe.no_token_denied"),
    WRONG_TOKEN: ("probe.wrong_token_admitted", "probe.wrong_token_denied"),
    LESSER_TOKEN: ("probe.lesser_token_admitted", "probe.lesser_token_denied"),
}


def _probed(rule: _LiveRule) -> Rule:
    """The rule over what a probe saw; skipped, with the reason, where there was none to be made."""

    def judged(evidence: Evidence, policy: Policy, now: datetime) -> Iterator[Opinion]:
        live = evidence.live
        if live is None:
            yield skipped("-", "probe.not_asked")
        elif live.configured and any(s.name == "metrics_service" and not s.enabled for s in evidence.services):
            yield skipped(live.target, "audit.service_disabled", service="metrics_service")
        else:
            yield from rule(evidence, live)

    return judged


def _beside(control: Callable[[Live], bool], code: str, rule: _LiveRule) -> _LiveRule:
    """The rule where `control` worked; where it did not, only what fails in any case, or that nothing can be told."""

    def judged(evidence: Evidence, live: Live) -> Iterator[Opinion]:
        opinions = tuple(rule(evidence, live))
        if not control(live):
            fails = tuple(opinion for opinion in opinions if opinion.outcome is Outcome.FAIL)
            opinions = fails or (unknown(live.target, code, target=live.target),)
        yield from opinions

    return judged


def _opened(live: Live) -> frozenset[str]:
    """The TLS versions over which the positive control works."""
    again = any(attempt.outcome in (SETTINGS, UNTRUSTED) for attempt in live.of(CERTIFICATE_AGAIN))
    good = {attempt.protocol for attempt in live.of(CERTIFICATE) if attempt.outcome == SETTINGS}
    return frozenset(good & set(CURRENT)) if again else frozenset()


def _opens(live: Live) -> bool:
    return bool(_opened(live))


def _answers(live: Live) -> bool:
    """Whether the good token works."""
    call = live.call(TOKEN)
    return _opens(live) and call is not None and call.status == "OK"


def positive_control(evidence: Evidence, live: Live) -> Iterator[Opinion]:
    """LIVE-01: the good certificate and the good token work; the service itself may also be away."""
    call = live.call(TOKEN)
    if not _opens(live):
        yield _shut(live)
    elif _answers(live):
        versions = ", ".join(version for version in CURRENT if version in _opened(live))
        yield passed(live.target, "probe.works", target=live.target, versions=versions)
    elif call is not None and call.problem is not None:
        yield unknown(live.target, call.problem.code, **call.problem.params)
    else:
        yield unknown(live.target, "probe.call_failed", target=live.target, status=call.status if call else NOT_TRIED)


def _shut(live: Live) -> Opinion:
    """Why the good certificate did not get in, as far as one can tell."""
    good = [attempt for attempt in live.of(CERTIFICATE) if attempt.protocol in CURRENT]
    outcomes = [attempt.outcome for attempt in good]
    problem = next((attempt.problem for attempt in good if attempt.problem is not None), None)
    plain = next((attempt.outcome for attempt in live.of(NOTHING)), NOT_TRIED)
    if SETTINGS in outcomes:
        code = "probe.went_away"
    elif problem is not None:
        return unknown(live.target, problem.code, **problem.params)
    elif plain == SETTINGS:
        code = "probe.speaks_plaintext"
    elif REFUSED in outcomes or UNREACHABLE in outcomes:
        code = "probe.nobody_listens"
    elif TIMEOUT in outcomes:
        code = "probe.hangs"
    elif OTHER in outcomes:
        code = "probe.another_service"
    else:
        return unknown(live.target, "probe.shut", target=live.target, outcome=", ".join(outcomes) or NOT_TRIED)
    return unknown(live.target, code, target=live.target)


def uncertified(evidence: Evidence, live: Live) -> Iterator[Opinion]:
    """LIVE-02: who shows no certificate is turned away, over TLS 1.2 and over TLS 1.3."""
    yield from _strangers(live, NO_CERTIFICATE)


def foreign(evidence: Evidence, live: Live) -> Iterator[Opinion]:
    """LIVE-03: a certificate of another authority and one that is meant for servers are turned away."""
    yield from _strangers(live, FOREIGN_CERTIFICATE)
    yield from _strangers(live, SERVER_CERTIFICATE)


def _strangers(live: Live, shown: str) -> Iterator[Opinion]:
    attempts = {attempt.protocol: attempt for attempt in live.of(shown)}
    for version in CURRENT:
        attempt = attempts.get(version, Attempt(shown, version, NOT_TRIED))
        subject = f"{live.target} {shown} {version}"
        params = {"target": live.target, "version": version, "outcome": attempt.outcome}
        let_in, kept_out = _STRANGERS[shown]
        if attempt.outcome == SETTINGS:
            yield failed(subject, let_in, **params)
        elif _unspoken(live, version):
            yield skipped(subject, "probe.version_unspoken", **params)
        elif attempt.problem is not None:
            yield unknown(subject, attempt.problem.code, **attempt.problem.params)
        elif attempt.turned_away and version in _opened(live):
            yield passed(subject, kept_out, **params)
        else:
            yield unknown(subject, "probe.unclear", **params)


def _unspoken(live: Live, version: str) -> bool:
    """Whether the good certificate, which gets in over another version, was twice turned away before a handshake."""
    good = [attempt for attempt in live.of(CERTIFICATE) if attempt.protocol == version]
    return len(good) > 1 and all(attempt.turned_away and attempt.negotiated is None for attempt in good)


def tokens(evidence: Evidence, live: Live) -> Iterator[Opinion]:
    """LIVE-04: a call without a token, with a made-up one and with one that lacks the scope is refused."""
    for shown, (admitted, denied) in _CALLERS.items():
        subject = f"{live.target} {shown}"
        call = live.call(shown)
        if call is None and shown == LESSER_TOKEN:
            yield skipped(subject, "probe.no_lesser_token")
            continue
        status = NOT_TRIED if call is None else call.status
        params = {"target": live.target, "status": status}
        if status == "OK":
            yield failed(subject, admitted, **params)
        elif status in _DENIED:
            yield passed(subject, denied, **params)
        else:
            yield unknown(subject, "probe.call_unclear", **params)


def outdated(evidence: Evidence, live: Live) -> Iterator[Opinion]:
    """LIVE-05: TLS 1.0 and 1.1 end before the handshake does, and plain text gets no answer."""
    good = {attempt.protocol: attempt for attempt in live.of(CERTIFICATE)}
    for version in OUTDATED:
        attempt = good.get(version, Attempt(CERTIFICATE, version, NOT_TRIED))
        yield _old(live, attempt, "probe.old_spoken", "probe.old_refused")
    plain = next(live.of(NOTHING), Attempt(NOTHING, PLAINTEXT, NOT_TRIED))
    yield _old(live, plain, "probe.plaintext_spoken", "probe.plaintext_refused")


def _old(live: Live, attempt: Attempt, spoken: str, refused: str) -> Opinion:
    subject = f"{live.target} {attempt.protocol}"
    params = {"target": live.target, "version": attempt.protocol, "outcome": attempt.outcome}
    if attempt.outcome == SETTINGS or attempt.negotiated is not None:
        return failed(subject, spoken, **params)
    if attempt.outcome == NOT_OFFERED:
        return unknown(subject, "probe.cannot_offer", **params)
    return passed(subject, refused, **params) if attempt.turned_away else unknown(subject, "probe.unclear", **params)


def served(evidence: Evidence, live: Live) -> Iterator[Opinion]:
    """LIVE-06: every certificate that was served is the one on disk, the third corner beside the registry."""
    file = evidence.bundle.certificate("metrics_service") or evidence.bundle.certificate("server")
    leaves = {attempt.served.fingerprint: attempt.served for attempt in live.attempts if attempt.served is not None}
    if not leaves:
        yield unknown(live.target, "probe.no_leaf", target=live.target)
        return
    if file is None or not file.certificates:
        yield unknown(live.target, "probe.no_leaf_on_disk", target=live.target)
        return
    on_disk = file.certificates[0]
    params = {"target": live.target, "path": file.path, "disk": on_disk.fingerprint}
    stale = [leaf for fingerprint, leaf in leaves.items() if fingerprint != on_disk.fingerprint]
    if stale:
        ends = "?" if stale[0].not_after is None else format_instant(stale[0].not_after)
        yield failed(live.target, "probe.leaf_stale", **params, served=stale[0].fingerprint, not_after=ends)
    else:
        yield passed(live.target, "probe.leaf_current", **params, not_after=format_instant(on_disk.not_after))


def _door(rule: _LiveRule) -> Rule:
    return _probed(_beside(_opens, "probe.no_control", rule))


CONTROLS = (
    Control("LIVE-01", _probed(positive_control), Severity.HIGH),
    Control("LIVE-02", _door(uncertified), Severity.CRITICAL, ("RFC 8446 4.4.2.4",), waivable=False),
    Control("LIVE-03", _door(foreign), Severity.CRITICAL, ("RFC 5280 6.1", "RFC 5280 4.2.1.12"), waivable=False),
    Control(
        "LIVE-04",
        _probed(_beside(_answers, "probe.no_token_control", tokens)),
        Severity.CRITICAL,
        ("RFC 6750 3.1",),
        waivable=False,
    ),
    Control("LIVE-05", _door(outdated), Severity.HIGH, ("RFC 8996", "RFC 9325 3.1.1")),
    Control("LIVE-06", _door(served), Severity.HIGH),
)
