"""
Alertmanager: where alerts go.

Everything goes to the incident service. Critical alerts go at once and one by one, because the rules ask for an
alert within five seconds and an incident must not wait for a batch. The watchdog comes every minute, so that its
absence is noticed.
"""

from __future__ import annotations

from stage4.monitoring.alerts import WATCHDOG
from stage4.monitoring.plan import MonitoringPlan

INTAKE = "/api/v1/alerts/alertmanager"
CRITICAL, ROUTINE, ALIVE = "stage4-critical", "stage4", "stage4-watchdog"


def alertmanager_document(plan: MonitoringPlan, token_file: str) -> dict[str, object]:
    """`alertmanager.yml`; `token_file` is relative to the file itself and holds the bearer token."""
    return {
        "global": {"resolve_timeout": "5m"},
        "route": {
            "receiver": ROUTINE,
            "group_by": ["alertname", "scheduler", "installation"],
            "group_wait": "5s",
            "group_interval": "30s",
            "repeat_interval": "1h",
            "routes": [
                {
                    "receiver": ALIVE,
                    "matchers": [f'alertname="{WATCHDOG}"'],
                    "group_wait": "0s",
                    "group_interval": "30s",
                    "repeat_interval": "1m",
                },
                {
                    "receiver": CRITICAL,
                    "matchers": ['severity="critical"'],
                    "group_by": ["..."],
                    "group_wait": "0s",
                    "group_interval": "1s",
                    "repeat_interval": "5m",
                },
            ],
        },
        "inhibit_rules": [
            {
                "source_matchers": ['severity="critical"'],
                "target_matchers": ['severity="warning"'],
                "equal": ["alertname", "installation", "scheduler", "schedule", "risk_profile"],
            }
        ],
        "receivers": [{"name": name, "webhook_configs": [_webhook(plan, token_file)]} for name in _RECEIVERS],
    }


_RECEIVERS = (ROUTINE, CRITICAL, ALIVE)


def _webhook(plan: MonitoringPlan, token_file: str) -> dict[str, object]:
    return {
        "url": plan.service_url + INTAKE,
        "send_resolved": True,
        "max_alerts": 0,
        "http_config": {"authorization": {"type": "Bearer", "credentials_file": token_file}, "follow_redirects": False},
    }
