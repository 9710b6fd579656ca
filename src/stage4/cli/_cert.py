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
    from stage4.security.certificate_chain import Purpose
    from stage4.security.certificate_facts import CertificateFacts
    from stage4.security.certificate_judgement import Judgement
    from stage4.security.certificate_lints import Lint


def lint_line(lint: Lint, lang: Language) -> str:
    return f"{words.text(f'audit.outcome_{lint.level}', lang)} {words.text(lint.code, lang, **lint.params)}"


def reasons(judgement: Judgement, lang: Language) -> Iterator[str]:
    """The chain, the revocation, then every lint with its certificate."""
    from stage4.audit.certificate_remedies import revocation_params

    chain, said = judgement.chain, judgement.revocation
    yield f"  {words.text(f'security.chain_{chain.reason}', lang)}{_detail(judgement, lang)}"
    if chain.ok:
        yield f"  {words.text(f'security.revocation_{said.state}', lang, **revocation_params(said))}"
        if not judgement.named:
            yield f"  {words.text('cert.name_not_asked', lang)}"
    for subject, lint in judgement.lints:
        # What is wrong with the file names it already.
        prefix = "" if subject == lint.params.get("path") else f"{subject}: "
        yield f"  {prefix}{lint_line(lint, lang)}"


def _detail(judgement: Judgement, lang: Language) -> str:
    """What the reason alone does not say. The library's English is the only word there is on what it refuses itself."""
    from stage4.security.certificate_chain import ChainReason

    chain, leaf = judgement.chain, judgement.leaf
    if chain.reason in (ChainReason.POLICY, ChainReason.MALFORMED, ChainReason.ANCHOR_NOT_CA) and chain.detail:
        return f" ({chain.detail})"
    if chain.reason is ChainReason.WRONG_HOST and leaf is not None and leaf.sans:
        return f"; {words.text('cert.has_names', lang, names=', '.join(leaf.sans))}"
    return ""


def next_steps(judgement: Judgement, role: Purpose, lang: Language) -> list[str]:
    """What the controls of the audit that are not met say, the gravest first, each once."""
    from stage4.audit.certificate_remedies import remedies

    said = [
        next((step for code, params in texts if (step := words.hint(code, lang, **params))), None)
        for texts in remedies(judgement, role)
    ]
    return list(dict.fromkeys(step for step in said if step))


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
    from stage4.audit.certificate_remedies import revocation_params

    chain, said = judgement.chain, judgement.revocation
    text = words.text(f"security.revocation_{said.state}", "en", **revocation_params(said))
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
