"""
The people of a demo installation, with their private keys on this machine.

Real people keep their keys to themselves; here `stage4 demo` has to play all of them. Production
installations refuse these ids.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from stage4.security import sshsig
from stage4.security.people import Person, Role

DIRECTORY: Final = Path("secrets/people")
_DEMO: Final = (
    Person("l1-anna", "Anna Nowak", frozenset({Role.L1})),
    Person("l1-piotr", "Piotr Wiśniewski", frozenset({Role.L1})),
    Person("l2-marek", "Marek Zieliński", frozenset({Role.L2})),
    Person("l2-ewa", "Ewa Kamińska", frozenset({Role.L2})),
    Person("im-zofia", "Zofia Lewandowska", frozenset({Role.INCIDENT_MANAGER})),
    Person("po-jan", "Jan Dąbrowski", frozenset({Role.PRODUCT_OWNER})),
)
IDS: Final = tuple(person.id for person in _DEMO)


def key_path(root: Path, person_id: str) -> Path:
    """Where the private key of a demo person lies (mode 0600)."""
    return root / DIRECTORY / person_id


def create(directory: Path) -> tuple[Person, ...]:
    """
    Make the demo people's key pairs in `directory` (0700) and return the people with their public keys.

    A key that exists is kept, and its public half derived from it, so a second call gives the same people.
    Raises Unavailable `files.*` or UsageError `security.person_key_malformed`.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    people = []
    for person in _DEMO:
        path = directory / person.id
        line = sshsig.public_key_of(path) if path.exists() else sshsig.generate_person_key(path, person.id)
        people.append(Person(person.id, person.name, person.roles, (sshsig.normalized(line),), person.language))
    return tuple(people)
