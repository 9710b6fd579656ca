"""The decision log, what is kept of earlier audits, and the waivers: what was edited, removed or made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stage4.clock import format_instant
from stage4.decisionlog.traces import checkpoint_path
from stage4.decisionlog.writer import DecisionLog
from stage4.security.keyring import KeyRing, create_keyring
from stage4.testing.clock import ManualClock
from support.certificates import NOW
from support.decision_logs import draft
from support.hostile.cases import Case, case
from support.hostile.ground import LOG, RING, Ground
from support.hostile.pki import DAY
from support.hostile.tokens import OTHER_SECRET, ROUTER, variable

FINDING, WEAK = "DLOG-03 fail audit.log_finding", "DLOG-02 fail audit.secret_weak"
Lines = list[bytes]


def _lines(edit: Callable[[Lines], Lines]) -> Callable[[Ground], None]:
    return lambda ground: ground.lines(edit)


def _replaced(old: bytes, new: bytes) -> Callable[[Ground], None]:
    """One change in the second entry."""

    def edit(lines: Lines) -> Lines:
        assert old in lines[2]
        return [*lines[:2], lines[2].replace(old, new, 1), *lines[3:]]

    return _lines(edit)


def _ring(edit: Callable[[Any], object]) -> Callable[[Ground], None]:
    def spoil(ground: Ground) -> None:
        path = ground.root / RING
        ring = json.loads(path.read_bytes())
        edit(ring)
        path.write_text(json.dumps(ring), encoding="utf-8")

    return spoil


def _key(**changes: object) -> Callable[[Ground], None]:
    return _ring(lambda ring: ring["keys"][0].update(changes))


def _key_file(ground: Ground) -> Path:
    return next((ground.root / RING).parent.glob("*.key"))


def _new_log(entries: int) -> Callable[[Ground], None]:
    """Another log, with a ring of its own, in the place of the old one: everything in it is signed rightly."""

    def spoil(ground: Ground) -> None:
        shutil.rmtree((ground.root / RING).parent)
        shutil.rmtree((ground.root / LOG).parent)
        (ground.root / LOG).parent.mkdir()
        ring = create_keyring(ground.root / RING, NOW - DAY)
        log = DecisionLog(ground.root / LOG, ring, ManualClock(NOW - DAY), origin="tests")
        log.append_many([draft(number) for number in range(entries)])

    return spoil


def _other_ring(ground: Ground) -> None:
    """The ring and its key are new, the log is the old one."""
    shutil.rmtree((ground.root / RING).parent)
    create_keyring(ground.root / RING, NOW - DAY)


def _resigned(ground: Ground) -> None:
    """The last entry but one is gone and its followers are signed again by who has the key: the checkpoint knows."""
    path, ring = ground.root / LOG, KeyRing.load(ground.root / RING, {})
    kept = path.read_bytes().splitlines(keepends=True)[:2]
    path.write_bytes(b"".join(kept))
    checkpoint_path(path).unlink()  # an honest writer would see by it that entries are gone
    log = DecisionLog(path, ring, ManualClock(NOW - DAY), origin="tests")
    log.append_many([draft(number) for number in range(100, 110)])


def _router(**changes: object) -> Callable[[Ground], None]:
    def edit(values: Any) -> None:
        router = values["execution"]["live_router"]["decision_log"]
        router.update(changes)
        for name in [name for name, value in changes.items() if value is None]:
            del router[name]

    return lambda ground: ground.settings(edit)


def _router_file(content: str, mode: int = 0o600) -> Callable[[Ground], None]:
    def spoil(ground: Ground) -> None:
        path = ground.root / "secrets/router.key"
        path.write_text(content, encoding="utf-8")
        path.chmod(mode)
        _router(hmac_key_env=None, hmac_key_path="secrets/router.key")(ground)

    return spoil


LOGS: tuple[Case, ...] = (
    case("log-edited", "a word of an entry was changed", _replaced("zażółć".encode(), "zażółc".encode()), FINDING),
    case("log-edited-time", "the time of an entry was changed", _replaced(b"2026-", b"2025-"), FINDING),
    case("log-edited-space", "a space was added to an entry", _replaced(b'":', b'": '), FINDING),
    case(
        "log-signature-gone",
        "an entry has no signature",
        _lines(lambda lines: [*lines[:2], lines[2].rpartition(b',"signature"')[0] + b"}\n", *lines[3:]]),
        FINDING,
    ),
    case("log-deleted", "an entry is gone from the middle", _lines(lambda lines: lines[:1] + lines[2:]), FINDING),
    case("log-beginning-gone", "the first entry is gone", _lines(lambda lines: lines[1:]), FINDING),
    case(
        "log-swapped",
        "two entries have changed places",
        _lines(lambda lines: [lines[0], lines[2], lines[1], *lines[3:]]),
        FINDING,
    ),
    case("log-repeated", "an entry stands twice", _lines(lambda lines: [*lines, lines[-1]]), FINDING),
    case("log-garbage", "garbage at the end", _lines(lambda lines: [*lines, bytes(range(128, 160)) + b"\n"]), FINDING),
    case(
        "log-unsigned-line",
        "a line that nobody signed",
        _lines(lambda lines: [*lines, b'{"kind": "incident_note"}\n']),
        FINDING,
    ),
    case(
        "log-blank-line", "a blank line in the middle", _lines(lambda lines: [*lines[:2], b"\n", *lines[2:]]), FINDING
    ),
    case("log-nul", "octets of zero at the end", _lines(lambda lines: [*lines, bytes(64)]), "DLOG-03 fail"),
    case("log-last-gone", "the last entry is gone", _lines(lambda lines: lines[:-1]), "DLOG-03 fail"),
    case("log-two-gone", "the log ends before its checkpoint", _lines(lambda lines: lines[:2]), "DLOG-03 fail"),
    case("log-empty", "the log is an empty file", _lines(lambda lines: []), "DLOG-03 fail"),
    case("log-gone", "the log is not there any more", lambda g: (g.root / LOG).unlink(), "DLOG-03 fail audit.log_gone"),
    case(
        "log-folder-gone",
        "the whole folder of the log is gone",
        lambda g: shutil.rmtree((g.root / LOG).parent),
        "DLOG-03 fail audit.log_gone",
    ),
    case(
        "log-directory",
        "a directory stands in the log's place",
        lambda g: ((g.root / LOG).unlink(), (g.root / LOG).mkdir()),
        "DLOG-03 fail log.not_a_file",
    ),
    case("log-resigned", "who has the key wrote the end of the log anew", _resigned, FINDING),
    # Nothing here can tell it from a longer one: what was signed under the old keys is no longer believed.
    case("log-new-short", "a shorter log under new keys", _new_log(1), "DLOG-03 warn audit.log_unknown"),
    case("log-new-long", "a longer log under new keys", _new_log(40), "DLOG-03 warn audit.log_unknown"),
    case(
        "log-new-everywhere",
        "a longer log under new keys, and no checkpoint outside any more",
        lambda g: (_new_log(40)(g), shutil.rmtree(g.root / "var/checkpoints-outside")),
        "AUD-02 warn audit_report.kept_doubted",
    ),
    case("log-of-another", "the log of another installation", _other_ring, FINDING),
    case("ring-missing", "the key ring is not there", lambda g: (g.root / RING).unlink(), "DLOG-01 fail files.missing"),
    case("ring-garbage", "the key ring is garbage", lambda g: (g.root / RING).write_bytes(b"{"), "DLOG-01 fail"),
    case("ring-list", "the key ring is a list", lambda g: (g.root / RING).write_bytes(b"[]"), "DLOG-01 fail"),
    case("ring-no-keys", "the key ring has no keys", _ring(lambda ring: ring.update(keys=[])), "DLOG-01 fail"),
    case(
        "ring-other-active",
        "the key ring's active key is none of its keys",
        _ring(lambda ring: ring.update(active="ops-1999-01")),
        "DLOG-01 fail",
    ),
    case("ring-active-retired", "the active key was retired", _key(state="retired"), "DLOG-01 fail"),
    case("ring-active-revoked", "the active key was revoked", _key(state="revoked"), "DLOG-01 fail"),
    case("ring-algorithm", "the key ring's algorithm is MD5", _key(algorithm="HMAC-MD5"), "DLOG-01 fail"),
    case(
        "ring-fingerprint",
        "the key ring's secret is another than it says",
        lambda g: _key_file(g).write_text("S2V5cyBvZiB0aGlydHkgdHdvIG9jdGV0cyBhcmUgZ29vZCE=\n"),
        "DLOG-02 fail",
    ),
    case(
        "ring-secret-gone",
        "the secret of the log's key is gone",
        lambda g: _key_file(g).unlink(),
        "DLOG-02 unknown keyring.secret_missing",
    ),
    case(
        "ring-secret-short",
        "the secret of the log's key is 16 octets",
        lambda g: _key_file(g).write_text("a2V5IG9mIDE2IG9jdGV0cw==\n"),
        "DLOG-02 fail",
    ),
    case(
        "ring-secret-garbage",
        "the secret of the log's key is garbage",
        lambda g: _key_file(g).write_bytes(bytes(range(200, 255))),
        "DLOG-02 fail",
    ),
    case(
        "ring-old",
        "the log's key is in use for a hundred days",
        _key(created=format_instant(NOW - 100 * DAY)),
        "DLOG-04 warn audit.log_key_old",
    ),
    case(
        "ring-future",
        "the log's key was made tomorrow",
        _key(created=format_instant(NOW + DAY)),
        "DLOG-04 fail audit.log_key_future",
    ),
    case(
        "router-two-sources",
        "the router's key has two sources",
        _router(hmac_key_path="secrets/alertmanager.token"),
        "DLOG-01 fail audit.router_sources",
    ),
    case("router-no-id", "the router's key has no id", _router(key_id=None), "DLOG-01 fail audit.router_key_id"),
    case(
        "router-no-source",
        "the router's key has an id and no source",
        _router(hmac_key_env=None),
        "DLOG-01 fail audit.router_sources",
    ),
    case(
        "router-unset",
        "the router's variable is not set",
        variable(ROUTER, None),
        "DLOG-02 fail audit.variable_missing",
    ),
    case(
        "router-unset-allowed",
        "the router's variable is not set, and may be unset",
        variable(ROUTER, None),
        "DLOG-02 warn audit.variable_missing",
        flags=("--allow-missing-env",),
    ),
    case("router-blank", "the router's key is blank", variable(ROUTER, " "), "DLOG-02 fail audit.secret_blank"),
    case("router-weak", "the router's key is a word, again and again", variable(ROUTER, "router" * 6), WEAK),
    case(
        "router-short",
        "the router's key is short",
        variable(ROUTER, "kQ7vTz2mWp9xLr4N"),
        "DLOG-02 fail audit.hmac_key_short",
    ),
    case(
        "router-placeholder",
        "the router's key says secret",
        variable(ROUTER, "Secret-kQ7vTz2mWp9xLr4NcY8uHd3SaB6"),
        "DLOG-02 fail audit.secret_placeholder",
    ),
    case(
        "router-file-missing",
        "the router's key file is not there",
        _router(hmac_key_env=None, hmac_key_path="secrets/router.key"),
        "DLOG-02 fail files.missing",
    ),
    case(
        "router-file-open",
        "the router's key file may be read by all",
        _router_file(OTHER_SECRET, 0o644),
        "FS-01 fail audit.mode_open",
    ),
    case("router-file-blank", "the router's key file is blank", _router_file("\n"), "DLOG-02 fail audit.secret_blank"),
)


def _waivers(*entries: dict[str, object], text: str | None = None) -> Callable[[Ground], None]:
    def spoil(ground: Ground) -> None:
        path = ground.root / "ops/waivers.yaml"
        path.write_text(text if text is not None else json.dumps({"waivers": list(entries)}), encoding="utf-8")

    return spoil


def _waiver(**changes: object) -> dict[str, object]:
    right: dict[str, object] = {
        "control": "X509-13",
        "subject": "ser*",
        "owner": "l2-marek",
        "approver": "po-jan",
        "ticket": "OPS-1812",
        "justification": "a new certificate comes in December",
        "granted": f"{NOW - DAY:%Y-%m-%d}",
        "expires": f"{NOW + 30 * DAY:%Y-%m-%d}",
    }
    return {name: value for name, value in (right | changes).items() if value is not None}


def _day(days: int) -> str:
    return f"{NOW + days * DAY:%Y-%m-%d}"


MALFORMED = "AUD-01 fail audit_report.waiver_malformed"
WAIVERS: tuple[Case, ...] = (
    case(
        "waiver-expired",
        "a waiver ended yesterday",
        _waivers(_waiver(granted=_day(-20), expires=_day(-1))),
        "AUD-01 fail audit_report.waiver_expired",
    ),
    case("waiver-unmatched", "a waiver of nothing", _waivers(_waiver()), "AUD-01 warn audit_report.waiver_unmatched"),
    case(
        "waiver-refused",
        "a waiver of a control that bears none",
        _waivers(_waiver(control="X509-07")),
        "AUD-01 fail audit_report.waiver_refused",
    ),
    case(
        "waiver-of-itself",
        "a waiver of the audit's own control",
        _waivers(_waiver(control="AUD-01", subject="*")),
        "AUD-01 fail audit_report.waiver_refused",
    ),
    case(
        "waiver-unknown",
        "a waiver of a control that is not there",
        _waivers(_waiver(control="X509-99")),
        "AUD-01 fail audit_report.waiver_control_unknown",
    ),
    case("waiver-long", "a waiver of 91 days", _waivers(_waiver(granted=_day(0), expires=_day(91))), MALFORMED),
    case(
        "waiver-backwards",
        "a waiver that ends before it begins",
        _waivers(_waiver(granted=_day(5), expires=_day(4))),
        MALFORMED,
    ),
    case("waiver-nobody", "a waiver without an owner", _waivers(_waiver(owner=None)), MALFORMED),
    case("waiver-no-approver", "a waiver that nobody approved", _waivers(_waiver(approver="  ")), MALFORMED),
    case("waiver-no-end", "a waiver without an end", _waivers(_waiver(expires=None)), MALFORMED),
    case("waiver-odd-field", "a waiver with a field of its own", _waivers(_waiver(forever=True)), MALFORMED),
    case("waiver-every-control", "a waiver of every control", _waivers(_waiver(control="*", subject="*")), MALFORMED),
    case("waivers-list", "the waivers are a list", _waivers(text="- control: X509-13\n"), MALFORMED),
    case("waivers-garbage", "the waivers are garbage", _waivers(text="waivers: [{"), "AUD-01 fail config.bad_yaml"),
    case(
        "waivers-directory",
        "the waivers are a directory",
        lambda g: (g.root / "ops/waivers.yaml").mkdir(),
        "AUD-01 unknown files.unreadable",
    ),
    case(
        "waivers-writable",
        "anybody may write waivers",
        lambda g: (_waivers(_waiver())(g), (g.root / "ops/waivers.yaml").chmod(0o666)),
        "FS-02 fail audit.writable",
        "AUD-01 warn audit_report.waiver_unmatched",
    ),
    case(
        "waiver-self-approved",
        "somebody approves a waiver of their own",
        lambda g: (
            _waivers(_waiver(control="FS-01", subject="secrets/*", owner="po-jan"))(g),
            g.file("server-key").chmod(0o666),
        ),
        "AUD-01 fail waiver.same_person",
        "FS-01 fail audit.mode_open",
    ),
    case(
        "waiver-of-nobody",
        "nobody knows who answers for a waiver",
        _waivers(_waiver(owner="mallory")),
        "AUD-01 fail waiver.person_unknown",
    ),
    case(
        "waiver-by-l1",
        "somebody without the power approves a waiver",
        _waivers(_waiver(approver="l1-anna")),
        "AUD-01 fail waiver.approver_powerless",
    ),
    case(
        "waiver-grave-all",
        "a waiver accepts everything that a grave control finds",
        lambda g: (_waivers(_waiver(control="FS-01", subject="*"))(g), g.file("server-key").chmod(0o666)),
        "AUD-01 fail waiver.too_broad",
        "FS-01 fail audit.mode_open",
    ),
    case(
        "waiver-of-log",
        "a waiver accepts that the decision log is garbage",
        lambda g: (_waivers(_waiver(control="DLOG-03", subject="audit/*"))(g), (g.root / LOG).write_text("garbage\n")),
        "AUD-01 fail audit_report.waiver_refused",
        "DLOG-03 fail",
    ),
    case(
        "waiver-of-its-directory",
        "a waiver accepts that anybody may write waivers",
        lambda g: (_waivers(_waiver(control="FS-02", subject="ops*"))(g), (g.root / "ops").chmod(0o777)),
        "AUD-01 fail waiver.finding_refused",
        "FS-02 fail audit.directory_open",
    ),
    case(
        "waived-fail",
        "a fail is waived as it may be",
        lambda g: (_waivers(_waiver(control="FS-01", subject="secrets/mtls/*"))(g), g.file("server-key").chmod(0o640)),
        "FS-01 waived audit.mode_open",
    ),
    case(
        "waiver-hides-fail",
        "a fail is waived by one who may not: the file of waivers is malformed",
        lambda g: (
            _waivers(_waiver(control="FS-01", subject="*"), _waiver(ticket=None))(g),
            g.file("server-key").chmod(0o666),
        ),
        MALFORMED,
        "FS-01 fail audit.mode_open",
    ),
)


def _report(edit: Callable[[Any], object]) -> Callable[[Ground], None]:
    """The newest kept report is another than was signed."""

    def spoil(ground: Ground) -> None:
        path = sorted((ground.root / "var/audit/acceptance").glob("*/stage4_support/compliance.json"))[-1]
        report = json.loads(path.read_bytes())
        edit(report)
        path.write_text(json.dumps(report), encoding="utf-8")

    return spoil


FORGED = "AUD-02 warn audit_report.kept_doubted"
EARLIER: tuple[Case, ...] = (
    case(
        "report-edited",
        "the report of yesterday was edited",
        _report(lambda report: report.update(status="fail")),
        FORGED,
    ),
    case(
        "report-finding-gone",
        "a result is gone from the report of yesterday",
        _report(lambda report: report["results"].pop()),
        FORGED,
    ),
    case(
        "report-key-edited",
        "the public keys in the report of yesterday were edited",
        _report(lambda report: report["certificates"][0].update(spki_sha256="0" * 64)),
        FORGED,
    ),
    case(
        "report-other-settings",
        "the settings are others than yesterday",
        lambda g: g.settings(lambda v: v["operations"].update(daily_loss_limit_pct=9.0)),
        "AUD-02 warn audit_report.settings_changed",
    ),
    case(
        "report-other-catalogue",
        "the report of yesterday judged other controls",
        _report(lambda report: report["tool"].update(catalogue_sha256="0" * 64)),
        "AUD-02 warn audit_report.kept_doubted",
    ),
)
CASES = (*LOGS, *WAIVERS, *EARLIER)
