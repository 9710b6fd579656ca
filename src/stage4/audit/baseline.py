"""The part of an audit that is about tokens and transport security, in the shape the field's baseline report has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from stage4.audit.evidence import Evidence, ServiceFacts, TokenFacts
from stage4.audit.finding import Finding, Outcome
from stage4.audit.policy import Policy
from stage4.audit.report import Report, message

SCHEMA: Final = "stage4.security_baseline/1"
DOCUMENT: Final = "security_baseline.json"


def sections(report: Report, evidence: Evidence, policy: Policy) -> dict[str, object]:
    """`tls` and `tokens` by service, with the findings that concern each; never a secret."""
    return {
        "tls": {
            "services": {
                service.name: {
                    "enabled": service.enabled,
                    "tls_enabled": service.tls_enabled,
                    "require_client_auth": service.require_client_auth,
                    "findings": _findings(report, "TLS", service.name),
                }
                for service in evidence.services
                if service.tls_enabled is not None
            }
        },
        "tokens": {"services": [_service(report, evidence, policy, service) for service in evidence.services]},
    }


def _service(report: Report, evidence: Evidence, policy: Policy, service: ServiceFacts) -> dict[str, object]:
    tokens = [token for token in evidence.tokens if token.service == service.name]
    required = policy.required_scopes(service.name)
    return {
        "service": service.name,
        "enabled": service.enabled,
        "configured": bool(tokens),
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
        "findings": _findings(report, "RBAC", service.name),
    }


def _coverage(tokens: Iterable[TokenFacts], required: Iterable[str]) -> Mapping[str, list[str]]:
    """For each required scope the ids of the usable tokens that have it."""
    usable = [token for token in tokens if token.problem is None]
    return {scope: [token.token_id for token in usable if scope in token.scopes] for scope in required}


def _findings(report: Report, group: str, service: str) -> list[dict[str, object]]:
    return [
        {
            "level": str(finding.outcome),
            "control": finding.control,
            "subject": finding.subject,
            "message": message(finding, "en"),
        }
        for finding in report.findings
        if finding.control.startswith(f"{group}-") and _concerns(finding, service)
    ]


def _concerns(finding: Finding, service: str) -> bool:
    if finding.outcome in (Outcome.PASS, Outcome.SKIPPED):
        return False
    return finding.subject == service or finding.subject.startswith(f"{service}/")
