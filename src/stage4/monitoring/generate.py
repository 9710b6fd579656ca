"""
The files of Prometheus, Alertmanager and Grafana under `deploy/`; `stage4 monitoring write` writes them.

They follow from the metric catalogue and the settings alone, so the same installation gives the same bytes; a test
compares the repository's own with a fresh generation.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from stage4 import files
from stage4.monitoring import alertmanager_config, grafana, prometheus_rules
from stage4.monitoring.plan import MonitoringPlan, plan_of

if TYPE_CHECKING:
    from stage4.config import Installation

_HEADER = "# Generated from the metric catalogue by `stage4 monitoring write`; changes here are lost.\n"
PROMETHEUS, ALERTMANAGER, GRAFANA = Path("deploy/prometheus"), Path("deploy/alertmanager"), Path("deploy/grafana")
LOCAL_ALERTMANAGER = "127.0.0.1:9093"


def generate(installation: Installation) -> dict[Path, bytes]:
    """Every generated file of `installation`, by its path relative to the root."""
    return generate_from(plan_of(installation))


def generate_from(plan: MonitoringPlan) -> dict[Path, bytes]:
    """As `generate`, from the plan."""
    alertmanager = (plan.alertmanager_url or f"http://{LOCAL_ALERTMANAGER}").split("//", 1)[1]
    token = Path(plan.alerts_token_file)
    token_file = token if token.is_absolute() else Path("../..") / token
    return {
        PROMETHEUS / "prometheus.yml": _yaml(
            prometheus_rules.prometheus_document(plan, alertmanager),
            f"# Start Prometheus with {' '.join(prometheus_rules.START_FLAGS)}, so that an alert right after a start\n"
            "# does not wait a minute.\n",
        ),
        PROMETHEUS / prometheus_rules.RULES_FILE: _yaml(prometheus_rules.rules_document(plan)),
        PROMETHEUS / prometheus_rules.TESTS_FILE: _yaml(prometheus_rules.tests_document(plan)),
        ALERTMANAGER / "alertmanager.yml": _yaml(alertmanager_config.alertmanager_document(plan, str(token_file))),
        GRAFANA / "dashboards" / f"{grafana.UID}.json": files.json_bytes(grafana.dashboard_document(plan)),
        GRAFANA / "provisioning/datasources/stage4.yml": _yaml(grafana.datasource_document(plan)),
        GRAFANA / "provisioning/dashboards/stage4.yml": _yaml(grafana.dashboards_document()),
    }


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def _yaml(document: object, comment: str = "") -> bytes:
    body: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return (_HEADER + comment + body).encode("utf-8")
