"""Whatever single bit of a certificate or of a revocation list is changed: it is not accepted, and nothing crashes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives import serialization

from stage4.errors import UsageError
from stage4.security.certificate_judgement import Judgement, judge
from stage4.security.certificates import parse_either
from stage4.security.revocation import parse_lists
from support.certificates import NOW, SERVER, make, revocation_list

DER = serialization.Encoding.DER
CA = make("ca", ca=True, ends=NOW + timedelta(days=365))
MIDDLE = make("middle", CA, ca=True, path_length=0)
LEAF = make("leaf", MIDDLE, eku=SERVER, sans=("localhost",))
FILES = {
    "leaf": LEAF.certificate.public_bytes(DER),
    "middle": MIDDLE.certificate.public_bytes(DER),
    "list of the middle": revocation_list(MIDDLE, make("other", MIDDLE)).public_bytes(DER),
    "list of the root": revocation_list(CA).public_bytes(DER),
}


def judged(files: dict[str, bytes]) -> Judgement:
    lists = [each for name, content in files.items() if name.startswith("list") for each in parse_lists(content, name)]
    return judge(
        parse_either(files["leaf"], "leaf")[0],
        [],
        [CA.certificate],
        lists,
        purpose="server",
        host="localhost",
        now=NOW,
        together=parse_either(files["middle"], "middle"),
    )


def test_untouched_they_are_accepted() -> None:
    judgement = judged(FILES)

    assert not judgement.failed
    assert not judgement.warned


@pytest.mark.parametrize("name", FILES)
def test_no_bit_can_be_changed(name: str) -> None:
    content = FILES[name]
    accepted = []
    for place in range(len(content)):
        for bit in (0, 3, 7):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            try:
                judgement = judged(FILES | {name: bytes(changed)})
            except UsageError:
                continue
            if not judgement.failed:
                accepted.append((place, bit))

    assert accepted == []
