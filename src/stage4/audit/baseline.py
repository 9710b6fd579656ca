"""
The part of an audit that is about tokens and transport security, in the shape the field's baseline report has.

Beside the members of every audit stand the ones that readers of the field's reports look for: `errors`, `generated_at`,
`config_path`, and each service with its TLS and its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final

from stage4.audit.evidence import Evidence, ServiceFacts, TokenFacts
from stage4.audit.finding import Finding, Outcome
from stage4.audit.policy import Policy
from stage4.audit.report import Report, message
from stage4.clock import format_instant

DOCUMENT: Final = "security_baseline.json"
_DAY: Final = timedelta(days=1)
_FINE: Final = (Outcome.PASS, Outcome.SKIPPED)


def sections(report: Report, evidence: Evidence, policy: Policy) -> dict[str, object]:
    """`tls` and `tokens` by service, with the findings that concern each; never a secret."""
    tokens: dict[str, list[TokenFacts]] = {}
    for token in evidence.tokens:
        tokens.setdefault(token.service, []).append(token)
    found = _by_service(report, evidence, policy)
    wrong = [finding for finding in report.by_weight if finding.outcome in (Outcome.FAIL, Outcome.UNKNOWN)]
    certificates = [finding for finding in report.findings if _group(finding) in ("X509", "FS")]
    return {
        "generated_at": format_instant(evidence.collected_at),
        "config_path": evidence.inputs[0].path if evidence.inputs else None,
        "errors": [_shown(finding) for finding in wrong],
        "tls": {
            "services": {
                service.name: {
                    "enabled": service.enabled,
                    "tls_enabled": service.tls_enabled,
                    "require_client_auth": service.require_client_auth,
                    "pinned": len(service.pinned),
                    "findings": [_shown(finding) for finding in found.get(("TLS", service.name), ())],
                }
                for service in evidence.services
                if service.tls_enabled is not None
            },
            "certificates": _certificates(evidence),
            "findings": [_shown(finding) for finding in certificates if finding.outcome not in _FINE],
        },
        "tokens": {
            "services": [
                _service(service, tokens.get(service.name, []), policy, found.get(("RBAC", service.name), ()))
                for service in evidence.services
            ]
        },
    }


def _certificates(evidence: Evidence) -> list[dict[str, object]]:
    return [
        {
            "role": file.role,
            "path": file.path,
            "subject": file.certificates[0].subject,
            "not_after": format_instant(file.certificates[0].not_after),
            "days_left": round((file.certificates[0].not_after - evidence.collected_at) / _DAY, 1),
            "fingerprint": f"sha256:{file.certificates[0].fingerprint}",
        }
        for file in evidence.bundle.certificates
        if file.certificates
    ]


def _service(
    service: ServiceFacts, tokens: list[TokenFacts], policy: Policy, findings: Iterable[Finding]
) -> dict[str, object]:
    required = policy.required_scopes(service.name)
    # The service's own token stands in its section; the others are listed.
    shared = [token for token in tokens if token.place and token.place == f"runtime.{service.name}"]
    return {
        "service": service.name,
        "enabled": service.enabled,
        "configured": bool(tokens),
        "shared_secret_token": bool(shared),
        "token_count": len(tokens),
        "required_scopes": list(required),
        "coverage": _coverage(tokens, required),
        "tokens": [
            {
                "token_id": token.token_id,
                "source": token.reference,
                "scopes": list(token.scopes),
                "usable": token.problem is None,
            }
            for token in tokens
        ],
        "findings": [_shown(finding) for finding in findings],
    }


def _coverage(tokens: Iterable[TokenFacts], required: Iterable[str]) -> Mapping[str, list[str]]:
    """For each required scope the ids of the usable tokens that have it."""
    usable = [token for token in tokens if token.problem is None]
    return {scope: [token.token_id for token in usable if scope in token.scopes] for scope in required}


def _by_service(report: Report, evidence: Evidence, policy: Policy) -> Mapping[tuple[str, str], list[Finding]]:
    """What is not well, by group of controls and service."""
    services = {service.name: service.name for service in evidence.services}
    services |= {f"{name}/{scope}": name for name in list(services) for scope in policy.required_scopes(name)}
    services |= {token.subject: token.service for token in evidence.tokens}
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in report.findings:
        if finding.outcome not in _FINE and finding.subject in services:
            found.setdefault((_group(finding), services[finding.subject]), []).append(finding)
    return found


def _group(finding: Finding) -> str:
    return finding.control.partition("-")[0]


def _shown(finding: Finding) -> dict[str, object]:
    return {
        "level": str(finding.outcome),
        "control": finding.control,
        "subject": finding.subject,
        "message": message(finding, "en"),
    }
