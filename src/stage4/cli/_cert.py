"""A certificate and its judgement, for people and as a document: what `stage4 cert` prints."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from stage4 import words
from stage4.clock import format_instant
from stage4.words import Language

if TYPE_CHECKING:
    from stage4.security.certificate_facts import CertificateFacts
    from stage4.security.certificate_judgement import Judgement
    from stage4.security.certificate_lints import Lint


def lint_line(lint: Lint, lang: Language) -> str:
    return f"{words.text(f'audit.outcome_{lint.level}', lang)} {words.text(lint.code, lang, **lint.params)}"


def _revocation_params(judgement: Judgement) -> dict[str, str]:
    said = judgement.revocation
    return {
        "subject": said.subject,
        "issuer": said.issuer,
        "next_update": format_instant(said.next_update) if said.next_update else "-",
        "revoked_at": format_instant(said.revoked_at) if said.revoked_at else "-",
        "reason": said.reason or "-",
    }


def reasons(judgement: Judgement, asked: bool, lang: Language) -> Iterator[str]:
    """The chain, the revocation, then every lint with its certificate."""
    chain, said = judgement.chain, judgement.revocation
    detail = f" ({chain.detail})" if chain.detail else ""
    yield f"  {words.text(f'security.chain_{chain.reason}', lang)}{detail}"
    if chain.ok:
        yield f"  {words.text(f'security.revocation_{said.state}', lang, **_revocation_params(judgement))}"
        if not asked:
            yield f"  {words.text('cert.name_not_asked', lang)}"
    for subject, lint in judgement.lints:
        # What is wrong with the file names it already.
        prefix = "" if subject == lint.params.get("path") else f"{subject}: "
        yield f"  {prefix}{lint_line(lint, lang)}"


def next_steps(judgement: Judgement, role: str, lang: Language) -> list[str]:
    """What the controls of the audit that are not met say, the gravest first, each once."""
    from stage4.security.certificate_chain import ChainReason
    from stage4.security.certificate_lints import Level, Topic

    controls = {
        Topic.FILE: "01",
        Topic.ROLE: "06",
        Topic.TIME: "07",
        Topic.HORIZON: "08",
        Topic.SIGNATURE: "09",
        Topic.KEY: "10",
        Topic.KNOWN_KEY: "11",
        Topic.AUTHORITY: "12",
        Topic.FORM: "13",
    }
    numbers, hints = [], []
    if judgement.chain.reason in (ChainReason.EXPIRED, ChainReason.NOT_YET_VALID, ChainReason.ISSUER_EXPIRED):
        numbers.append("07")
    elif not judgement.chain.ok:
        numbers.append("04" if role == "server" else "05")
    elif hint := words.hint(f"security.revocation_{judgement.revocation.state}", lang, **_revocation_params(judgement)):
        hints.append(hint)
    elif not judgement.revocation.ok:
        numbers.append("14")
    ordered = sorted((lint for _, lint in judgement.lints), key=lambda lint: lint.level is not Level.FAIL)
    hints += [words.hint(f"audit.control_x509_{number}", lang) or "" for number in numbers]
    hints += [
        words.hint(lint.code, lang, **lint.params)
        or words.hint(f"audit.control_x509_{controls[lint.topic]}", lang)
        or ""
        for lint in ordered
    ]
    return list(dict.fromkeys(hint for hint in hints if hint))


def fact_lines(facts: CertificateFacts, now: datetime, lang: Language) -> Iterator[str]:
    """Label and value, aligned."""
    rows = {
        "subject": facts.subject or "-",
        "issuer": facts.issuer or "-",
        "names": ", ".join(facts.sans) or "-",
        "begins": words.instant(facts.not_before),
        "ends": f"{words.instant(facts.not_after)} ({_left(facts, now, lang)})",
        "role": words.text(f"cert.role_{_role(facts)}", lang),
        "authority": _authority(facts, lang),
        "usages": ", ".join(facts.key_usage or ("-",)),
        "purposes": ", ".join(facts.eku or ("-",)),
        "key": f"{facts.key_kind} {facts.key_curve or facts.key_bits}",
        "signature": facts.signature_hash or "-",
        "serial": f"{facts.serial:x}",
        "constraints": ", ".join([f"+{n}" for n in facts.permitted_names] + [f"-{n}" for n in facts.excluded_names]),
        "fingerprint": facts.fingerprint,
        "spki": facts.spki_sha256,
    }
    labels = {name: words.text(f"cert.label_{name}", lang) for name in rows}
    width = max(map(len, labels.values()))
    for name, value in rows.items():
        if value:
            yield f"{labels[name]:<{width}}  {value}"


def _left(facts: CertificateFacts, now: datetime, lang: Language) -> str:
    days = (facts.not_after - now).total_seconds() / 86400
    return words.text("cert.days_left", lang, days=words.number(days, lang, 1))


def _role(facts: CertificateFacts) -> str:
    """What it seems to be for: `authority`, `server`, `client`, `both`, `any` or `other`."""
    if facts.is_ca:
        return "authority"
    if facts.eku is None or "anyExtendedKeyUsage" in facts.eku:
        return "any"
    roles = [role for role in ("server", "client") if f"{role}Auth" in facts.eku]
    return "both" if len(roles) == 2 else roles[0] if roles else "other"


def _authority(facts: CertificateFacts, lang: Language) -> str:
    if not facts.is_ca:
        return words.text("cert.no", lang)
    if facts.path_length is None:
        return words.text("cert.yes", lang)
    return words.text("cert.yes_path_length", lang, length=facts.path_length)


def facts_document(facts: CertificateFacts, lints: Sequence[Lint]) -> dict[str, object]:
    members = {
        field.name: format_instant(value) if hasattr(value := getattr(facts, field.name), "tzinfo") else value
        for field in dataclasses.fields(facts)
    }
    # A number of twenty octets is beyond what most readers of JSON keep exactly.
    return {
        **members,
        "serial": f"{facts.serial:x}",
        "role": _role(facts),
        "lints": [lint_document(lint) for lint in lints],
    }


def lint_document(lint: Lint, subject: str | None = None) -> dict[str, object]:
    """A lint as a document, with the certificate it is about."""
    document: dict[str, object] = {
        "level": str(lint.level),
        "code": lint.code,
        "message": words.text(lint.code, "en", **lint.params),
    }
    return document if subject is None else {"subject": subject, **document}


def judgement_document(judgement: Judgement) -> dict[str, object]:
    chain, said = judgement.chain, judgement.revocation
    text = words.text(f"security.revocation_{said.state}", "en", **_revocation_params(judgement))
    return {
        "chain": {
            "reason": str(chain.reason),
            "message": words.text(f"security.chain_{chain.reason}", "en"),
            "detail": chain.detail,
        },
        "revocation": {"state": str(said.state), "message": text},
        "lints": [lint_document(lint, subject) for subject, lint in judgement.lints],
        "certificate": None if judgement.leaf is None else facts_document(judgement.leaf, ()),
        "authorities": [facts.subject for facts in judgement.authorities] if chain.ok else [],
    }
