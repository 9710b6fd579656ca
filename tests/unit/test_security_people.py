"""Who may sign what: roles, keys that belong to one person, and validity."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stage4.errors import Refused, Stage4Error, UsageError
from stage4.security import demo_people, sshsig
from stage4.security.people import People, Person, Role, operators_yaml

NOW = datetime(2026, 11, 23, 9, 42, tzinfo=UTC)
KEY = sshsig.normalized((Path(__file__).parents[1] / "vectors" / "sshsig" / "anna.pub").read_text())


@pytest.fixture
def demo(tmp_path: Path) -> People:
    people = demo_people.create(tmp_path / "secrets/people")
    path = tmp_path / "operators.yaml"
    path.write_text(operators_yaml(people), encoding="utf-8")
    return People.load(path)


def load(tmp_path: Path, text: str) -> People:
    path = tmp_path / "operators.yaml"
    path.write_text(text, encoding="utf-8")
    return People.load(path)


def test_the_demo_people_fill_every_role_of_the_process(demo: People, tmp_path: Path) -> None:
    assert [person.id for person in demo] == list(demo_people.IDS)
    holders = {role: [person.id for person in demo if role in person.roles] for role in Role}
    assert holders == {
        Role.L1: ["l1-anna", "l1-piotr"],
        Role.L2: ["l2-marek", "l2-ewa"],
        Role.INCIDENT_MANAGER: ["im-zofia"],
        Role.PRODUCT_OWNER: ["po-jan"],
        Role.AUDITOR: [],
    }
    assert demo.get("l2-marek").name == "Marek Zieliński"
    for person in demo:
        assert stat.S_IMODE(demo_people.key_path(tmp_path, person.id).stat().st_mode) == 0o600


def test_making_the_demo_people_again_keeps_their_keys(demo: People, tmp_path: Path) -> None:
    assert demo_people.create(tmp_path / "secrets/people") == tuple(demo)


def test_a_signature_names_its_person(demo: People, tmp_path: Path) -> None:
    armored = sshsig.sign(demo_people.key_path(tmp_path, "im-zofia"), b"closed", sshsig.SIGN_OFF)
    assert demo.verify("im-zofia", armored, b"closed", sshsig.SIGN_OFF, NOW).roles == {Role.INCIDENT_MANAGER}


@pytest.mark.parametrize(
    ("person", "message", "namespace", "code"),
    [
        ("l1-anna", b"closed", sshsig.SIGN_OFF, "security.signature_not_theirs"),
        ("nobody", b"closed", sshsig.SIGN_OFF, "security.person_unknown"),
        ("im-zofia", b"open", sshsig.SIGN_OFF, "security.signature_wrong"),
        ("im-zofia", b"closed", sshsig.ENABLE, "security.signature_namespace"),
    ],
)
def test_a_signature_for_something_else_is_refused(
    demo: People, tmp_path: Path, person: str, message: bytes, namespace: str, code: str
) -> None:
    armored = sshsig.sign(demo_people.key_path(tmp_path, "im-zofia"), b"closed", sshsig.SIGN_OFF)
    with pytest.raises(Refused) as caught:
        demo.verify(person, armored, message, namespace, NOW)
    assert caught.value.code == code


def test_a_person_counts_only_within_their_validity(tmp_path: Path) -> None:
    private = tmp_path / "key"
    public = sshsig.normalized(sshsig.generate_person_key(private))
    person = Person("a", "A", frozenset({Role.L1}), (public,), "en", NOW, NOW + timedelta(days=1))
    people = load(tmp_path, operators_yaml([person]))
    assert people.get("a") == person
    armored = sshsig.sign(private, b"x", sshsig.SIGN_OFF)
    assert people.verify("a", armored, b"x", sshsig.SIGN_OFF, NOW) == person
    for at in (NOW - timedelta(seconds=1), NOW + timedelta(days=1)):
        with pytest.raises(Refused, match=r"security\.person_not_valid"):
            people.verify("a", armored, b"x", sshsig.SIGN_OFF, at)


def test_the_allowed_signers_name_every_person_with_both_purposes(demo: People, tmp_path: Path) -> None:
    path = tmp_path / "allowed_signers"
    demo.write_allowed_signers(path)
    lines = path.read_text().splitlines()
    assert [line.split()[0] for line in lines] == list(demo_people.IDS)
    assert all(' namespaces="stage4-signoff,stage4-enable" ssh-ed25519 ' in line for line in lines)


def entry(**fields: str) -> str:
    lines = {"name": "Anna", "roles": "[l1]", "keys": f'["{KEY}"]', **fields}
    return "schema: stage4.operators/1\npeople:\n  l1-anna:\n" + "".join(f"    {k}: {v}\n" for k, v in lines.items())


def test_an_entry_as_written_in_the_documentation_is_read(tmp_path: Path) -> None:
    person = load(tmp_path, entry(valid_from="2026-01-01T00:00:00Z", valid_until='"2027-01-01T00:00:00+01:00"')).get(
        "l1-anna"
    )
    assert person.language == "pl"
    assert person.keys == (KEY,)
    assert person.valid_from == datetime(2026, 1, 1, tzinfo=UTC)
    assert person.valid_until == datetime(2026, 12, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "code", "line", "key"),
    [
        ("", "security.operators_wrong", 1, "schema"),
        ("schema: other/1\n", "security.operators_wrong", 1, "schema"),
        ("schema: stage4.operators/1\n", "security.operators_wrong", 1, "people"),
        ("schema: stage4.operators/1\npeople: {}\n", "security.operators_wrong", 2, "people"),
        ("schema: stage4.operators/1\npeople:\n  L1 Anna: {}\n", "security.operators_wrong", 3, "people.L1 Anna"),
        ("schema: stage4.operators/1\npeople:\n  a: 1\n", "security.operators_wrong", 3, "people.a"),
        (entry(name='""'), "security.operators_wrong", 4, "people.l1-anna.name"),
        (entry(roles="l1"), "security.operators_wrong", 5, "people.l1-anna.roles"),
        (entry(roles="[]"), "security.operators_wrong", 5, "people.l1-anna.roles"),
        (entry(roles="[boss]"), "security.operators_wrong", 5, "people.l1-anna.roles"),
        (entry(keys="none"), "security.operators_wrong", 6, "people.l1-anna.keys"),
        (entry(keys="[ssh-rsa AAAA]"), "security.operators_wrong", 6, "people.l1-anna.keys.0"),
        (entry(language="de"), "security.operators_wrong", 7, "people.l1-anna.language"),
        (entry(valid_from="soon"), "security.operators_wrong", 7, "people.l1-anna.valid_from"),
        (entry(valid_from="2026-01-01 00:00:00"), "security.operators_wrong", 7, "people.l1-anna.valid_from"),
        (entry(role="[l1]"), "security.operators_unknown_key", 7, "people.l1-anna.role"),
        (
            entry() + f'  b: {{name: B, roles: [l2], keys: ["{KEY}"]}}\n',
            "security.operators_key_shared",
            7,
            "people.b.keys.0",
        ),
    ],
)
def test_a_mistake_in_the_file_is_named_with_line_and_key(
    tmp_path: Path, text: str, code: str, line: int, key: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, text)
    assert caught.value.code == code
    assert caught.value.params["path"] == tmp_path / "operators.yaml"
    assert (caught.value.params["line"], caught.value.params["key"]) == (line, key)


@pytest.mark.parametrize("text", ["people: [", "a: &x 1\nb: *x\n", "\x00", "- - -"])
def test_a_file_that_is_no_such_document_is_refused_without_a_traceback(tmp_path: Path, text: str) -> None:
    with pytest.raises(Stage4Error):
        load(tmp_path, text)
