"""Enabling: what an order must prove, and that nothing less releases a stop."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from stage4.errors import Conflict, Refused
from stage4.runtime import enable
from stage4.runtime.gate import Gate
from stage4.runtime.latch import GATE_FILE, read_latch
from stage4.runtime.stop import ALL, Scope, ScopeKind, request_stop
from stage4.security import sshsig
from support.gates import EWA_AND_JAN, Site, ask, make_site, people, signer, signers


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@pytest.fixture
def stopped(site: Site) -> Gate:
    gate = site.gate()
    request_stop(site.root, reason="r", clock=site.clock)
    assert not ask(gate).open
    return gate


def outcome(gate: Gate) -> tuple[str, str]:
    (only,) = gate.apply_orders(people())
    return only.outcome, only.reason_code


def test_two_people_enable_and_the_evidence_is_kept(site: Site, stopped: Gate) -> None:
    path = enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    (result,) = stopped.apply_orders(people())
    assert (result.outcome, result.signers) == ("accepted", EWA_AND_JAN)
    assert ask(stopped).open
    assert ask(site.gate()).open
    kept = site.overrides / "consumed"
    assert sorted(file.name for file in kept.iterdir()) == [path.name, f"stop_{result.nonce}.json"]
    assert stopped.apply_orders(people()) == ()


def test_only_the_gate_releases_writing_an_order_changes_nothing(site: Site, stopped: Gate) -> None:
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    assert not ask(stopped).open
    assert site.wide_file.exists()


def test_one_signature_waits_for_the_second(site: Site, stopped: Gate) -> None:
    statement = enable.prepare(site.root, clock=site.clock)
    ewa, sign = signer("im-ewa")
    path = enable.submit(site.root, statement, [(ewa, sign(statement.message))])
    assert outcome(stopped) == ("waiting", "gate.order_waiting")
    jan, sign = signer("l2-jan")
    enable.add_signature(path, jan, sign(statement.message))
    assert outcome(stopped) == ("accepted", "gate.order_accepted")


@pytest.mark.parametrize(
    ("signing", "code"),
    [
        ([signer("im-ewa"), signer("im-ewa")], "gate.order_one_person"),
        ([signer("l2-jan"), signer("l1-ola")], "gate.order_no_incident_manager"),
        ([signer("im-ewa"), signer("l2-jan", key="im-ewa")], "security.signature_not_theirs"),
        ([signer("im-ewa"), signer("nobody")], "security.person_unknown"),
        ([signer("im-ewa"), ("l2-jan", lambda _: "no signature")], "security.signature_malformed"),
        ([signer("im-ewa"), ("l2-jan", lambda _: signer("l2-jan")[1](b"another text"))], "security.signature_wrong"),
    ],
)
def test_an_order_without_two_people_is_refused(site: Site, stopped: Gate, signing: list, code: str) -> None:  # type: ignore[type-arg]
    path = enable.request_enable(site.root, signers=signing, clock=site.clock)
    assert outcome(stopped) == ("refused", code)
    assert not ask(stopped).open
    assert (site.overrides / "refused" / path.name).exists()
    assert stopped.apply_orders(people()) == ()


def test_a_signature_made_for_another_purpose_does_not_enable(site: Site, stopped: Gate) -> None:
    from support.gates import key_of

    statement = enable.prepare(site.root, clock=site.clock)
    signed = [(id_, sshsig.sign(key_of(id_)[0], statement.message, sshsig.SIGN_OFF)) for id_ in EWA_AND_JAN]
    enable.submit(site.root, statement, signed)
    assert outcome(stopped) == ("refused", "security.signature_namespace")


def test_an_order_for_an_earlier_stop_does_not_release_a_later_one(site: Site, stopped: Gate) -> None:
    order = enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    content = order.read_bytes()
    assert outcome(stopped)[0] == "accepted"
    request_stop(site.root, reason="again", clock=site.clock)
    assert not ask(stopped).open
    order.write_bytes(content)
    assert outcome(stopped) == ("refused", "gate.order_other_stop")


def test_stopping_again_voids_an_order_that_nobody_has_carried_out(site: Site, stopped: Gate) -> None:
    order = enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    assert request_stop(site.root, reason="still wrong", clock=site.clock).already
    assert stopped.apply_orders(people()) == ()
    assert not ask(stopped).open
    assert (site.overrides / "consumed" / f"void_{order.name}").exists()


def test_an_order_is_used_once_even_where_two_stops_look_alike(site: Site, stopped: Gate) -> None:
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    stopped.apply_orders(people())
    site.wide_file.touch()
    assert not ask(stopped).open
    order = enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    content = order.read_bytes()
    assert outcome(stopped)[0] == "accepted"
    site.wide_file.touch()
    assert not ask(stopped).open
    order.write_bytes(content)
    assert outcome(stopped) == ("refused", "gate.order_replayed")


def test_an_order_for_one_empty_stop_does_not_release_another(site: Site) -> None:
    gate = site.gate()
    part = Scope(ScopeKind.SCHEDULE, "s1")
    (site.overrides / part.file_name).touch()
    site.wide_file.touch()
    gate.refresh()
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), file_name=part.file_name, clock=site.clock)
    assert outcome(gate)[0] == "accepted"
    assert list(gate.stops) == [ALL.file_name]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"installation_id": "inst-2"}, "gate.order_foreign"),
        ({"stop_digest": "0" * 64}, "gate.order_other_stop"),
        ({"stop": "multi_strategy_disable.tag.x.json"}, "gate.order_other_stop"),
    ],
)
def test_an_order_about_something_else_is_refused(site: Site, stopped: Gate, change: dict[str, str], code: str) -> None:
    statement = msgspec.structs.replace(enable.prepare(site.root, clock=site.clock), **change)
    enable.submit(site.root, statement, [(id_, sign(statement.message)) for id_, sign in signers(*EWA_AND_JAN)])
    assert outcome(stopped) == ("refused", code)


@pytest.mark.parametrize(
    ("hours_after", "code"), [(-1, "gate.order_untimely"), (1, "gate.order_untimely"), (-25, "gate.order_untimely")]
)
def test_an_order_from_before_the_stop_or_from_the_future_is_refused(
    site: Site, stopped: Gate, hours_after: int, code: str
) -> None:
    from datetime import timedelta

    statement = enable.prepare(site.root, clock=site.clock)
    moved = msgspec.structs.replace(statement, requested_at=statement.requested_at + timedelta(hours=hours_after))
    enable.submit(site.root, moved, [(id_, sign(moved.message)) for id_, sign in signers(*EWA_AND_JAN)])
    assert outcome(stopped) == ("refused", code)


def test_an_order_nobody_carried_out_for_a_day_is_refused(site: Site, stopped: Gate) -> None:
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    site.clock.sleep(25 * 3600)
    assert outcome(stopped) == ("refused", "gate.order_expired")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff" * 10, b'{"schema": "stage4.enable_order/1"}'])
def test_a_malformed_order_is_refused(site: Site, stopped: Gate, content: bytes) -> None:
    (site.overrides / "enable_x.json").write_bytes(content)
    assert outcome(stopped) == ("refused", "gate.bad_document")


@pytest.mark.parametrize("instant", ["2026-11-23T09:00:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_an_order_of_no_comparable_instant_is_refused_and_the_gate_lives(
    site: Site, stopped: Gate, instant: str
) -> None:
    path = enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    written = path.read_text()
    at = msgspec.json.decode(written)["statement"]["requested_at"]
    path.write_text(written.replace(at, instant))
    result, _ = outcome(stopped)
    assert result == "refused"
    assert not ask(stopped).open
    assert stopped.apply_orders(people()) == ()


def test_a_nonce_cannot_name_a_path(site: Site, stopped: Gate) -> None:
    path = enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    nonce = path.stem.removeprefix("enable_")
    path.write_text(path.read_text().replace(nonce, "../../../../etc/x"))
    assert outcome(stopped) == ("refused", "gate.bad_document")


def test_what_was_stopped_without_a_file_can_be_enabled_by_order(site: Site) -> None:
    (site.root / GATE_FILE).unlink()
    gate = site.gate()
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    assert outcome(gate)[0] == "accepted"
    assert ask(gate).open
    assert ask(site.gate()).open


def test_a_vanished_stop_can_be_enabled_by_order(site: Site, stopped: Gate) -> None:
    site.wide_file.unlink()
    stopped.refresh()
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    assert outcome(stopped)[0] == "accepted"
    assert ask(stopped).open


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_an_unreadable_stop_can_be_enabled_by_order(site: Site, make) -> None:  # type: ignore[no-untyped-def]
    make(site.wide_file)
    gate = site.gate()
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    assert outcome(gate)[0] == "accepted"
    assert ask(gate).open


def test_a_replaced_directory_can_be_enabled_by_order(site: Site) -> None:
    gate = site.gate()
    site.overrides.rename(site.overrides.with_name("elsewhere"))
    site.overrides.mkdir()
    assert not ask(gate).open
    gate.refresh()
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    assert outcome(gate)[0] == "accepted"
    assert ask(gate).open


def test_a_memory_that_cannot_be_written_releases_nothing_and_the_order_still_counts_later(
    site: Site, stopped: Gate
) -> None:
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    lock = (site.root / GATE_FILE).with_suffix(".lock")
    lock.unlink()
    lock.mkdir()
    assert outcome(stopped) == ("waiting", "gate.latch_unwritten")
    assert not ask(stopped).open
    lock.rmdir()
    assert outcome(stopped)[0] == "accepted"
    assert ask(stopped).open


def test_a_stop_while_an_order_lies_there_is_not_swallowed(site: Site, stopped: Gate) -> None:
    enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    site.wide_file.unlink()
    request_stop(site.root, reason="another stop", clock=site.clock)
    stopped.refresh()
    assert stopped.apply_orders(people()) == ()
    assert not ask(stopped).open


def test_there_is_nothing_to_enable_where_nothing_is_stopped(site: Site) -> None:
    site.gate()
    with pytest.raises(Refused, match=r"gate\.nothing_to_enable"):
        enable.prepare(site.root, clock=site.clock)


def test_an_order_is_submitted_once(site: Site, stopped: Gate) -> None:
    statement = enable.prepare(site.root, clock=site.clock)
    enable.submit(site.root, statement, [])
    with pytest.raises(Conflict, match=r"gate\.order_exists"):
        enable.submit(site.root, statement, [])


def test_used_nonces_stay_in_the_memory(site: Site, stopped: Gate) -> None:
    path = enable.request_enable(site.root, signers=signers(*EWA_AND_JAN), clock=site.clock)
    stopped.apply_orders(people())
    assert read_latch(site.root / GATE_FILE).consumed == (path.stem.removeprefix("enable_"),)
