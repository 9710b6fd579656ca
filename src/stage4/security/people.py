"""
Who the people of an installation are: roles, public keys, language.

`ops/operators.yaml`:

```yaml
schema: stage4.operators/1
people:
  l1-anna:                      # the id: lower case, digits, hyphens; it stands in the log and in signatures
    name: Anna Nowak            # for people; never in the log
    roles: [l1]                 # l1, l2, incident_manager, product_owner, auditor
    language: pl                # pl (default) or en
    keys:                       # public SSH keys (ssh-ed25519), as in a .pub file; none: cannot sign
      - ssh-ed25519 AAAAC3Nza... l1-anna
    valid_from: 2026-01-01T00:00:00Z    # optional; outside these instants nothing the person signs counts
    valid_until: 2027-01-01T00:00:00Z   # optional
```

No contacts here: telephone numbers and channels stand in `ops/oncall_rotation.yaml`. A public key belongs to
one person only, because a signature must name exactly one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from stage4 import files
from stage4.clock import format_instant, parse_instant
from stage4.config.document import Document, KeyPath, read_yaml
from stage4.errors import Refused, UsageError
from stage4.security import sshsig
from stage4.words import Language

SCHEMA: Final = "stage4.operators/1"
_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_KEYS: Final = frozenset({"name", "roles", "language", "keys", "valid_from", "valid_until"})


class Role(StrEnum):
    """What a person may do; services have scopes instead."""

    L1 = "l1"
    L2 = "l2"
    INCIDENT_MANAGER = "incident_manager"
    PRODUCT_OWNER = "product_owner"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Person:
    """One person; `keys` are normalized `ssh-ed25519 AAAA...` lines without comment."""

    id: str
    name: str
    roles: frozenset[Role]
    keys: tuple[str, ...] = ()
    language: Language = "pl"
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def valid_at(self, at: datetime) -> bool:
        """Whether the person's acts count at `at`; from inclusive, until exclusive."""
        return (self.valid_from is None or self.valid_from <= at) and (
            self.valid_until is None or at < self.valid_until
        )


@dataclass(frozen=True, slots=True)
class People:
    """Everybody of one installation, by id."""

    by_id: Mapping[str, Person]

    @classmethod
    def load(cls, path: Path) -> People:
        """
        Read `ops/operators.yaml`.

        Raises Unavailable `files.*`, UsageError `config.bad_yaml`, or UsageError `security.operators_*` naming file,
        line and key.
        """
        document = read_yaml(path)
        if not isinstance(document.values, dict) or document.values.get("schema") != SCHEMA:
            raise _wrong(document, ("schema",), f"schema: {SCHEMA}")
        entries = document.values.get("people")
        if not isinstance(entries, dict) or not entries:
            raise _wrong(document, ("people",), "id: {name, roles, keys}")
        people = {id_: _person(document, id_, entry) for id_, entry in entries.items()}
        owners: dict[str, str] = {}
        for person in people.values():
            for index, key in enumerate(person.keys):
                if key in owners:
                    where = _where(document, ("people", person.id, "keys", str(index)))
                    raise UsageError("security.operators_key_shared", **where, owner=owners[key])
                owners[key] = person.id
        return cls(people)

    def get(self, person_id: str) -> Person:
        """The person; raises Refused `security.person_unknown`."""
        try:
            return self.by_id[person_id]
        except KeyError:
            raise Refused("security.person_unknown", person=person_id) from None

    def verify(self, person_id: str, armored: str, message: bytes, namespace: str, at: datetime) -> Person:
        """
        The person, if one of their keys signed `message` for `namespace` and they were valid at `at`.

        Raises Refused `security.person_unknown`, `security.person_not_valid`, `security.signature_*`.
        """
        person = self.get(person_id)
        if not person.valid_at(at):
            raise Refused("security.person_not_valid", person=person_id, at=format_instant(at))
        made_with = sshsig.parse(armored).public_key
        if made_with not in person.keys:
            raise Refused("security.signature_not_theirs", person=person_id, found=sshsig.fingerprint(made_with))
        sshsig.verify(armored, message, namespace, made_with)
        return person

    def write_allowed_signers(self, path: Path) -> None:
        """Write the file that `ssh-keygen -Y verify -f` wants, so that anybody can check signatures offline."""
        lines = (
            sshsig.allowed_signers_line(person.id, key, person.valid_from, person.valid_until)
            for person in self
            for key in person.keys
        )
        files.atomic_write(path, "".join(lines).encode("utf-8"))

    def __iter__(self) -> Iterator[Person]:
        return iter(self.by_id.values())

    def __contains__(self, person_id: object) -> bool:
        return person_id in self.by_id


def operators_yaml(people: Iterable[Person]) -> str:
    """The text of an `ops/operators.yaml` with `people`, which `People.load` reads back."""
    import yaml

    entries: dict[str, dict[str, object]] = {}
    for person in people:
        entry: dict[str, object] = {
            "name": person.name,
            "roles": sorted(role.value for role in person.roles),
            "language": person.language,
            "keys": [f"{key} {person.id}" for key in person.keys],
        }
        for name, instant in (("valid_from", person.valid_from), ("valid_until", person.valid_until)):
            if instant is not None:
                entry[name] = format_instant(instant)
        entries[person.id] = entry
    document = {"schema": SCHEMA, "people": entries}
    return yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=1000)


def _person(document: Document, id_: str, entry: Any) -> Person:
    base: KeyPath = ("people", id_)
    if not _ID.fullmatch(id_):
        raise _wrong(document, base, "a-z 0-9 -, 1-64")
    if not isinstance(entry, dict):
        raise _wrong(document, base, "{name, roles, keys}")
    for name in entry:
        if name not in _KEYS:
            raise UsageError(
                "security.operators_unknown_key", **_where(document, (*base, name)), known=", ".join(sorted(_KEYS))
            )
    language = entry.get("language", "pl")
    if language not in ("pl", "en"):
        raise _wrong(document, (*base, "language"), "pl, en")
    name = entry.get("name")
    if not isinstance(name, str) or not name.strip():
        raise _wrong(document, (*base, "name"), "name: Anna Nowak")
    return Person(
        id=id_,
        name=name.strip(),
        roles=_roles(document, (*base, "roles"), entry.get("roles")),
        keys=_public_keys(document, (*base, "keys"), entry.get("keys", [])),
        language=language,
        valid_from=_instant(document, (*base, "valid_from"), entry.get("valid_from")),
        valid_until=_instant(document, (*base, "valid_until"), entry.get("valid_until")),
    )


def _roles(document: Document, key: KeyPath, value: Any) -> frozenset[Role]:
    known = {role.value for role in Role}
    if not isinstance(value, list) or not value or any(role not in known for role in map(str, value)):
        raise _wrong(document, key, "[" + ", ".join(sorted(known)) + "]")
    return frozenset(Role(role) for role in value)


def _public_keys(document: Document, key: KeyPath, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _wrong(document, key, "[ssh-ed25519 AAAA...]")
    normalized: list[str] = []
    for index, line in enumerate(value):
        try:
            normalized.append(sshsig.normalized(str(line)))
        except UsageError as error:
            raise _wrong(document, (*key, str(index)), "ssh-ed25519 AAAA...") from error
    return tuple(dict.fromkeys(normalized))


def _instant(document: Document, key: KeyPath, value: Any) -> datetime | None:
    if value is None:
        return None
    # YAML itself reads an instant that stands without quotes.
    text = value.isoformat() if isinstance(value, datetime) else str(value)
    try:
        return parse_instant(text)
    except UsageError as error:
        raise _wrong(document, key, "2026-11-23T09:42:01Z") from error


def _where(document: Document, key: KeyPath) -> dict[str, object]:
    return {"path": document.path, "line": document.line(key), "key": ".".join(key)}


def _wrong(document: Document, key: KeyPath, expected: str) -> UsageError:
    return UsageError("security.operators_wrong", **_where(document, key), expected=expected)
