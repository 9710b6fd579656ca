"""
Judges the certificates of two published collections by the code of the audit, and writes what it answers into
docs/certificates.md and docs/certificates.pl.md: `make docs`; `--check` writes nothing and exits 1 where they differ.

NIST PKITS 1.0.1 (https://csrc.nist.gov/projects/pki-testing) and the x509 vectors of pyca/cryptography, both as the
package cryptography_vectors has them.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import cryptography_vectors
from cryptography import x509

from stage4 import files, words
from stage4.audit.controls.x509 import TOPICS
from stage4.errors import UsageError
from stage4.security import certificate_lints
from stage4.security.certificate_chain import ChainReason
from stage4.security.certificate_facts import facts_of
from stage4.security.certificate_judgement import Judgement, judge
from stage4.security.certificates import parse_either
from stage4.security.revocation import RevocationList, RevocationState, parse_lists
from stage4.words import Language

COMMANDS = (
    "```sh",
    "stage4 cert show secrets/mtls/core-oem-server.pem",
    "stage4 cert verify secrets/mtls/core-oem-server.pem --anchor secrets/mtls/core-oem-ca.pem --role server \\",
    "  --name DNS:localhost --crl core-oem.crl --at 2027-02-10T00:00:00Z",
    "```",
)
_LINT = re.compile(r'Lint\(Topic\.([A-Z_]+), ([Ll]evel(?:\.[A-Z]+)?), "([a-z]+)\.([a-z_]+)"')
REPOSITORY = Path(__file__).resolve().parent.parent
VECTORS = Path(cryptography_vectors.__file__).parent / "x509"
PKITS = VECTORS / "PKITS_data"
# Within the validity of everything in PKITS that is meant to be valid.
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
# No PKITS certificate has an extended key usage, which a service's certificate must have here (X509-06).
HOUSE_RULES = frozenset({"cert.any_purpose"})
# Which tests are in a section of PKITS: a part of the file name, looked for in this order.
SECTIONS: tuple[tuple[str, str], ...] = (
    ("4.15", "deltaCRL"),
    ("4.14", "istributionPoint|onlyContains|onlySomeReasons|indirectCRL|cRLIssuer"),
    ("4.11", "inhibitPolicyMapping"),
    ("4.12", "inhibitAnyPolicy"),
    ("4.10", "PolicyMapping|MappingFrom|MappingTo"),
    ("4.9", "requireExplicitPolicy"),
    ("4.13", "nameConstraints"),
    ("4.16", "CriticalCertificateExtension"),
    ("4.5", "BasicSelfIssued"),
    ("4.7", "keyUsage"),
    ("4.6", "basicConstraints|cAFalse|pathLen"),
    ("4.4", "CRL|Revoked|SerialNumber"),
    ("4.2", "not(Before|After)Date"),
    ("4.3", "NameChaining|NameUIDs|RFC3280|Rollover|UTF8String"),
    ("4.8", "Policies|[aA]nyPolicy|UserNotice|CPSPointer"),
    ("4.1", "Signature|CertificatePath|DSAParameter"),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """One certificate of a collection; `valid` is what its authors say, None where they leave it open.

    `judgement` is None for one that cannot be read or asked for, with the `problem`.
    """

    name: str
    valid: bool | None
    judgement: Judgement | None
    problem: str = ""

    @property
    def answer(self) -> str:
        """`accepted`, or the first reason for a refusal: of the file, the chain, the revocation or a lint."""
        if self.judgement is None:
            return self.problem
        if not self.judgement.chain.ok:
            return str(self.judgement.chain.reason)
        state = self.judgement.revocation.state
        if state not in (RevocationState.GOOD, RevocationState.UNCHECKED):
            return f"revocation_{state}"
        refusals = [lint.name for lint in self.judgement.refusals if lint.code not in HOUSE_RULES]
        return refusals[0] if refusals else "accepted"


@cache
def pkits() -> Mapping[str, tuple[Judged, ...]]:
    """Every end certificate of PKITS by section, with all the CAs and lists of the collection at hand."""
    certificates: dict[str, x509.Certificate | UsageError] = {}
    for path in sorted((PKITS / "certs").glob("*.crt")):
        try:
            certificates[path.stem] = parse_either(path.read_bytes(), path)[0]
        except UsageError as error:
            certificates[path.stem] = error
    lists = [crl for path in sorted((PKITS / "crls").glob("*.crl")) for crl in parse_lists(path.read_bytes(), path)]
    anchor = certificates["TrustAnchorRootCertificate"]
    assert isinstance(anchor, x509.Certificate)
    issuers: dict[x509.Name, list[x509.Certificate]] = defaultdict(list)
    for name, certificate in certificates.items():
        if isinstance(certificate, x509.Certificate) and not name.endswith("EE") and certificate != anchor:
            issuers[certificate.subject].append(certificate)
    judged: dict[str, list[Judged]] = {section: [] for section, _ in SECTIONS}
    for name, certificate in certificates.items():
        if name.endswith("EE"):
            judged[section_of(name)].append(_pkits_judged(name, certificate, issuers, anchor, lists))
    in_order = sorted(judged, key=lambda section: int(section.partition(".")[2]))
    return {section: tuple(judged[section]) for section in in_order}


def section_of(name: str) -> str:
    """The section of PKITS that has the test of this file."""
    return next(section for section, part in SECTIONS if re.search(part, name))


def _pkits_judged(
    name: str,
    certificate: x509.Certificate | UsageError,
    issuers: Mapping[x509.Name, Sequence[x509.Certificate]],
    anchor: x509.Certificate,
    lists: Sequence[RevocationList],
) -> Judged:
    valid = True if name.startswith("Valid") else False if name.startswith("Invalid") else None
    if isinstance(certificate, UsageError):
        return Judged(name, valid, None, _problem(certificate))
    above: list[x509.Certificate] = []
    wanted = [certificate]
    while wanted:
        found = [each for each in issuers.get(wanted.pop().issuer, ()) if each not in above]
        above += found
        wanted += found
    judgement = judge(certificate, above, [anchor], lists, purpose="client", host=None, now=AT)
    return Judged(name, valid, judgement)


@cache
def pyca() -> tuple[Judged, ...]:
    """
    Every file of the pyca vectors that should hold a certificate, as a server's, in the middle of its validity.

    The anchor is the last certificate of the file where that is a CA, else the CA that the vectors have for trying out.
    """
    fallback = parse_either((VECTORS / "custom/ca/ca.pem").read_bytes(), "ca.pem")[0]
    return tuple(_pyca_judged(name, content, fallback) for name, content in pyca_files())


def pyca_files() -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files with certificates; requests, lists, OCSP and bare keys are something else."""
    for path in sorted(VECTORS.rglob("*")):
        name = str(path.relative_to(VECTORS))
        if not path.is_file() or name.startswith(("PKITS_data/", "requests/", "ocsp/")):
            continue
        content = path.read_bytes()
        der = path.suffix in (".der", ".crt", ".cer") and "crl" not in path.name
        if der or b"-BEGIN CERTIFICATE-" in content or b"-BEGIN X509 CERTIFICATE-" in content:
            yield name, content


def _pyca_judged(name: str, content: bytes, fallback: x509.Certificate) -> Judged:
    try:
        leaf, *above = parse_either(content, name)
    except UsageError as error:
        return Judged(name, None, None, _problem(error))
    facts = facts_of(leaf)
    anchor = above[-1] if above and facts_of(above[-1]).is_ca else fallback
    middle = facts.not_before + (facts.not_after - facts.not_before) / 2
    judgement = judge(leaf, [], [anchor], [], purpose="server", host=None, now=middle, together=above)
    return Judged(name, None, judgement)


def _problem(error: UsageError) -> str:
    return error.code.partition(".")[2]


def page(lang: Language) -> str:
    """The whole page in one language."""
    parts = [
        f"<!-- {words.text('reference.generated', lang)} -->",
        "",
        f"# {_say('title', lang)}",
        "",
        _say("intro", lang),
        "",
        f"## {_say('command', lang)}",
        "",
        _say("command_intro", lang),
        "",
        *COMMANDS,
        "",
        _say("command_codes", lang),
        "",
        f"## {_say('reasons', lang)}",
        "",
        *_table(
            [_say("reason", lang), _say("meaning", lang)],
            [(f"`{reason}`", words.text(f"security.chain_{reason}", lang)) for reason in ChainReason],
        ),
        f"## {_say('lints', lang)}",
        "",
        _say("lints_intro", lang),
        "",
        *_table([_say(name, lang) for name in ("lint", "level", "control", "meaning")], list(_lints(lang))),
        "## NIST PKITS",
        "",
        _say("pkits_intro", lang, at=AT.date().isoformat()),
        "",
        *_table([_say(name, lang) for name in _HEADS], list(_sections(lang))),
        f"### {_say('refused_valid', lang)}",
        "",
        _say("refused_valid_intro", lang),
        "",
        *_table([_say("answer", lang), _say("tests", lang)], list(_refused_valid())),
        "## pyca/cryptography",
        "",
        _say("pyca_intro", lang, count=len(pyca())),
        "",
        *_table([_say("answer", lang), _say("number", lang), _say("files", lang)], list(_pyca_rows())),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _lints(lang: Language) -> Iterator[tuple[str, ...]]:
    """Every lint of the source with its level, its control and its text without what it is filled with."""
    found = set(_LINT.findall(inspect.getsource(certificate_lints)))
    for topic, level, area, name in sorted(found, key=lambda lint: (TOPICS[certificate_lints.Topic[lint[0]]], lint)):
        grave = level.removeprefix("Level.").lower()
        # One of a CA's own lints is milder for the anchor.
        shown = "`fail`, `warn`" if grave == "level" else f"`{grave}`"
        text = str(dict(words.codes(area))[f"{area}.{name}"][lang])
        yield f"`{name}`", shown, TOPICS[certificate_lints.Topic[topic]], re.sub(r"\{\w+\}", "…", text)


_HEADS = ("section", "tests", "valid_accepted", "valid_refused", "invalid_refused", "invalid_accepted", "by_policy")


def _sections(lang: Language) -> Iterator[tuple[str, ...]]:
    total: Counter[str] = Counter()
    for section, judged in pkits().items():
        counted = Counter(_column(each) for each in judged)
        counted["tests"] = len(judged)
        total += counted
        title = f"{section} {_say('section_' + section.partition('.')[2], lang)}"
        yield title, *(str(counted[name]) for name in _HEADS[1:])
    yield f"**{_say('all', lang)}**", *(f"**{total[name]}**" for name in _HEADS[1:])


def _column(judged: Judged) -> str:
    if judged.valid is None:
        return "by_policy"
    return f"{'valid' if judged.valid else 'invalid'}_{'accepted' if judged.answer == 'accepted' else 'refused'}"


def _refused_valid() -> Iterator[tuple[str, str]]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for judged in (each for section in pkits().values() for each in section):
        if judged.valid and judged.answer != "accepted":
            reasons[judged.answer].append(judged.name.removeprefix("Valid").removesuffix("EE"))
    for reason, names in sorted(reasons.items()):
        yield f"`{reason}`", ", ".join(names)


def _pyca_rows() -> Iterator[tuple[str, str, str]]:
    answers: dict[str, list[str]] = defaultdict(list)
    for judged in pyca():
        answers[judged.answer].append(judged.name)
    for answer, names in sorted(answers.items()):
        yield f"`{answer}`", str(len(names)), ", ".join(f"`{name.rpartition('/')[2]}`" for name in names)


def _say(name: str, lang: Language, /, **params: object) -> str:
    return words.text(f"reference.corpus_{name}", lang, **params)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [*("| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *rows)), ""]


def documents() -> Mapping[Path, bytes]:
    """Both pages, by their paths below the repository."""
    names = {"en": "certificates.md", "pl": "certificates.pl.md"}
    return {Path("docs") / names[lang]: page(lang).encode("utf-8") for lang in words.languages}


def main(arguments: Sequence[str]) -> int:
    behind = 0
    for path, content in documents().items():
        target = REPOSITORY / path
        if not target.is_file() or target.read_bytes() != content:
            print(path)
            behind = 1
            if "--check" not in arguments:
                files.atomic_write(target, content)
    return behind if "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
