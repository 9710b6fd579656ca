"""Renewing a bundle: what is carried over, what is kept, what is refused before anything is touched."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from stage4.errors import Conflict, Refused, Stage4Error, Unavailable, UsageError
from stage4.security import certificates, rotating
from stage4.security.certificate_facts import facts_of
from stage4.security.demo_pki import bundle_paths, create_bundle, make_bundle
from stage4.security.rotating import Bundle, Outcome, Renewal
from stage4.security.rotation import RotationRegistry
from stage4.security.rotation_journal import (
    backup_instant,
    journal_path,
    locked,
    read_journal,
    require_bundle_name,
)
from stage4.testing.clock import ManualClock
from support.certificates import make, pem

CLOCK = ManualClock()
LATER = ManualClock(CLOCK.now() + timedelta(days=90))


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    home = tmp_path / "secrets"
    create_bundle(home, "core-oem", now=CLOCK.now(), hosts=("metrics.desk", "10.0.0.7"), client_san="desk-client")
    registry = tmp_path / "var/security/tls_rotation.json"
    before = RotationRegistry()
    for purpose in ("tls_ca", "tls_server", "tls_client"):
        before = before.record("core-oem", purpose, CLOCK.now())
    before.record("other", "tls_ca", CLOCK.now()).write(registry)
    return Bundle(tmp_path, "core-oem", bundle_paths(home, "core-oem"), registry)


def renew(bundle: Bundle) -> tuple[Renewal, list[Renewal]]:
    told: list[Renewal] = []
    return rotating.renew(bundle, LATER, told.append), told


def busy_log(_: Renewal) -> None:
    raise Unavailable("log.busy", path="log", seconds=2)


def leaf(path: Path) -> x509.Certificate:
    return certificates.load_certificates(path)[0]


def contents(bundle: Bundle) -> dict[str, bytes]:
    return {role: path.read_bytes() for role, path in bundle.paths.items()}


def refused(bundle: Bundle, kind: type[Stage4Error], code: str) -> None:
    """Nothing is changed and nobody is told."""
    before = contents(bundle)
    told: list[Renewal] = []
    with pytest.raises(kind) as caught:
        rotating.renew(bundle, LATER, told.append)
    assert caught.value.code == code
    assert contents(bundle) == before
    assert not told
    assert not journal_path(bundle.root, bundle.name).exists()


def test_every_key_is_new_and_every_name_is_kept(bundle: Bundle) -> None:
    before = {role: facts_of(leaf(bundle.paths[role])) for role in ("ca", "server", "client")}

    done, told = renew(bundle)

    after = {role: facts_of(leaf(bundle.paths[role])) for role in ("ca", "server", "client")}
    assert not {facts.spki_sha256 for facts in before.values()} & {facts.spki_sha256 for facts in after.values()}
    assert after["server"].sans == ("DNS:metrics.desk", "IP:10.0.0.7")
    assert after["client"].sans == ("DNS:desk-client",)
    assert [after[role].subject for role in after] == [before[role].subject for role in before]
    assert done.old == {role: facts.fingerprint for role, facts in before.items()}
    assert done.new == {role: facts.fingerprint for role, facts in after.items()}
    assert told == [done]
    assert (done.outcome, done.at) == (Outcome.ROTATED, LATER.now())


def test_keys_stay_secret_and_the_old_files_lie_in_a_private_backup(bundle: Bundle) -> None:
    before = contents(bundle)

    done, _ = renew(bundle)

    assert {path.stat().st_mode & 0o777 for role, path in bundle.paths.items() if role.endswith("_key")} == {0o600}
    assert done.backup.stat().st_mode & 0o777 == 0o700
    for role, content in before.items():
        kept = done.backup / f"{role.replace('_', '-')}.pem"
        assert (kept.read_bytes(), kept.stat().st_mode & 0o777) == (content, 0o600)


def test_the_registry_gets_three_rows_and_keeps_the_others(bundle: Bundle) -> None:
    renew(bundle)

    registry = RotationRegistry.load(bundle.registry)
    for purpose in ("tls_ca", "tls_server", "tls_client"):
        assert registry.get("core-oem", purpose) == LATER.now()
    assert registry.get("other", "tls_ca") == CLOCK.now()


def test_two_rotations_in_one_second_leave_two_backups(bundle: Bundle) -> None:
    first, second = renew(bundle)[0].backup, renew(bundle)[0].backup

    assert second.name == f"{first.name}-2"
    assert backup_instant(second.name, "core-oem") == LATER.now()


def test_an_expired_bundle_and_a_lost_private_key_can_be_renewed(bundle: Bundle) -> None:
    bundle.paths["client_key"].unlink()
    late = ManualClock(CLOCK.now() + timedelta(days=1000))

    rotating.renew(bundle, late, lambda _: None)

    assert leaf(bundle.paths["server"]).not_valid_before_utc == late.now()
    assert bundle.paths["client_key"].exists()


def test_an_absent_registry_is_made(bundle: Bundle) -> None:
    bundle.registry.unlink()

    renew(bundle)

    assert len(RotationRegistry.load(bundle.registry).rotated_at) == 3


def test_a_foreign_authority_is_refused(bundle: Bundle) -> None:
    bundle.paths["ca"].write_bytes(pem(make("theirs", ca=True).certificate))
    refused(bundle, Refused, "rotation.foreign_authority")


def test_a_leaf_of_a_foreign_authority_is_refused(bundle: Bundle) -> None:
    bundle.paths["client"].write_bytes(pem(make("theirs").certificate))
    refused(bundle, Refused, "rotation.foreign_authority")


def test_a_file_that_trusts_a_second_authority_is_refused(bundle: Bundle) -> None:
    other = bundle.root / "other"
    create_bundle(other, "other", now=CLOCK.now())
    with bundle.paths["ca"].open("ab") as file:
        file.write(bundle_paths(other, "other")["ca"].read_bytes())
    refused(bundle, Refused, "rotation.several_authorities")


@pytest.mark.parametrize("role", ["server_key", "ca"])
def test_a_link_is_refused(role: str, bundle: Bundle) -> None:
    path = bundle.paths[role]
    elsewhere = bundle.root / "elsewhere.pem"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    refused(bundle, Refused, "rotation.link")


@pytest.mark.parametrize("linked", ["var/security/backups", "var/security"])
def test_backups_that_lead_out_of_the_installation_are_refused_and_nothing_is_left_there(
    linked: str, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside, path = tmp_path_factory.mktemp("outside"), bundle.root / linked
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.rename(outside / "kept")
        outside = outside / "kept"
    before = sorted(outside.rglob("*"))
    path.symlink_to(outside)

    refused(bundle, Refused, "exposure.backups_outside")
    assert sorted(outside.rglob("*")) == before


def test_another_account_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    refused(bundle, Refused, "rotation.not_owner")


@pytest.mark.parametrize(("content", "code"), [("[]", "security.registry_not_an_object"), ("{", "files.bad_json")])
def test_a_registry_that_cannot_be_read_is_refused_before_anything_is_made(
    content: str, code: str, bundle: Bundle
) -> None:
    bundle.registry.write_text(content)
    refused(bundle, UsageError, code)


def test_a_certificate_that_is_gone_is_named(bundle: Bundle) -> None:
    path = bundle.paths["server"]
    path.unlink()
    with pytest.raises(Unavailable, match=r"files\.missing.*core-oem-server\.pem"):
        rotating.plan(bundle)


def test_a_second_rotation_at_the_same_time_is_refused(bundle: Bundle) -> None:
    with locked(bundle.root):
        refused(bundle, Conflict, "rotation.busy")


def test_a_log_that_takes_no_entry_leaves_a_rotation_that_the_next_call_finishes(bundle: Bundle) -> None:
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"log\.busy"):
            rotating.renew(bundle, LATER, busy_log)
    made = contents(bundle)
    done, told = renew(bundle)

    assert (done.outcome, told) == (Outcome.FINISHED, [done])
    assert contents(bundle) == made


def test_a_file_that_does_not_answer_is_no_reason_to_give_the_new_bundle_up(bundle: Bundle) -> None:
    with pytest.raises(Unavailable, match=r"log\.busy"):
        rotating.renew(bundle, LATER, busy_log)
    path = bundle.paths["server"]
    aside = path.with_name("aside")
    path.rename(aside)
    path.mkdir()

    with pytest.raises(Unavailable, match=r"files\.unreadable"):
        renew(bundle)
    path.rmdir()
    aside.rename(path)

    assert renew(bundle)[0].outcome is Outcome.FINISHED


def test_a_clock_that_was_set_back_does_not_undo_a_rotation(bundle: Bundle) -> None:
    with pytest.raises(Unavailable):
        rotating.renew(bundle, LATER, busy_log)

    assert rotating.renew(bundle, CLOCK, lambda _: None).outcome is Outcome.FINISHED


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([x509.DNSName("*.desk.example")], ("DNS:*.desk.example",)),
        (
            [x509.UniformResourceIdentifier("spiffe://desk/metrics"), x509.DNSName("metrics.desk")],
            ("URI:spiffe://desk/metrics", "DNS:metrics.desk"),
        ),
        ([x509.UniformResourceIdentifier("spiffe://desk/metrics")], None),
    ],
)
def test_a_name_of_any_kind_is_carried_over(
    names: list[x509.GeneralName], expected: tuple[str, ...] | None, bundle: Bundle
) -> None:
    made = make_bundle(
        "core-oem",
        CLOCK.now(),
        server_names=names,
        client_names=[x509.DNSName("desk-client")],
        client_common_name="desk-client",
    )
    for role, (content, _) in made.items():
        bundle.paths[role].write_bytes(content)
    if expected is None:
        refused(bundle, Refused, "rotation.no_names")
    else:
        renew(bundle)
        assert facts_of(leaf(bundle.paths["server"])).sans == expected


def test_where_neither_bundle_can_be_had_it_is_said_and_everything_is_left(bundle: Bundle) -> None:
    with pytest.raises(Unavailable):
        rotating.renew(bundle, LATER, busy_log)
    journal = read_journal(bundle.root, "core-oem")
    assert journal is not None
    bundle.paths["server"].write_bytes(bundle.paths["client"].read_bytes())
    kept = bundle.root / "var/security/backups" / journal.backup
    (kept / "ca.pem").write_bytes((kept / "server.pem").read_bytes())

    before = contents(bundle)
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"rotation\.beyond_repair"):
            renew(bundle)
    assert contents(bundle) == before
    assert journal_path(bundle.root, "core-oem").exists()


@pytest.mark.parametrize(
    "change", [{"phase": "dancing"}, {"backup": "../../../secrets"}, {"bundle": "other"}, {"old": 7}, {"at": None}]
)
def test_a_journal_that_nobody_wrote_is_not_followed(change: dict[str, object], bundle: Bundle) -> None:
    with pytest.raises(Unavailable):
        rotating.renew(bundle, LATER, busy_log)
    path = journal_path(bundle.root, "core-oem")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(Unavailable, match=r"rotation\.journal_unreadable"):
        renew(bundle)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 65, "a\0b", "ż"])
def test_a_name_that_no_file_could_carry_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"rotation\.bad_bundle"):
        require_bundle_name(name)


def test_only_directories_of_the_bundle_are_its_backups() -> None:
    assert backup_instant("20261123T090000Z-core-oem", "core-oem") == CLOCK.now()
    for name in ("20261123T090000Z-core-oem-x", "20261123T090000Z-other", "20261399T090000Z-core-oem", "core-oem"):
        assert backup_instant(name, "core-oem") is None
