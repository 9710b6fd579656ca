"""
The dashboard *Stage4 – Multi-Strategy Operations* and its provisioning.

The data source is a variable, so the dashboard also works where Grafana gave the source another uid. Thresholds of
a panel are those of the strictest risk profile in use; the pictures of L1.3 judge each schedule by its own.
"""

from __future__ import annotations

from stage4 import words
from stage4.monitoring.alerts import JOB, LAST_SAMPLE
from stage4.monitoring.plan import MonitoringPlan
from stage4.telemetry.catalogue import DESK, Metric, Thresholds, panel_metrics

UID = "stage4-multi"
TITLE = "Stage4 – Multi-Strategy Operations"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_UNITS = {
    "percent": "percent",
    "milliseconds": "ms",
    "seconds": "s",
    "basis_points": "none",
    "boolean": "bool",
    "ratio": "none",
}
_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8


def dashboard_document(plan: MonitoringPlan) -> dict[str, object]:
    """The dashboard as Grafana imports it; it has no `id`, so that importing it twice replaces it."""
    metrics = panel_metrics()
    panels = [_chain_panel(1), *(_panel(n, shown, plan) for n, shown in enumerate(metrics, start=2))]
    return {
        "uid": UID,
        "title": TITLE,
        "tags": ["stage4"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "5s",
        "timezone": "utc",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source_variable(), _scheduler_variable()]},
        "annotations": {"list": [_alert_annotation()]},
        "panels": [*panels, _alert_list(len(panels) + 1)],
    }


def _source_variable() -> dict[str, object]:
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def _scheduler_variable() -> dict[str, object]:
    query = f"label_values({LAST_SAMPLE.name}, scheduler)"
    return {
        "name": "scheduler",
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "scheduler"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _alert_annotation() -> dict[str, object]:
    return {
        "name": "Stage4",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Stage4.+", alertstate="firing", severity=~"critical|warning"}',
        "titleFormat": "{{alertname}} {{severity}}",
        "textFormat": "{{scheduler}} {{schedule}} {{risk_profile}}",
    }


def _place(number: int) -> dict[str, int]:
    row, column = divmod(number - 1, _COLUMNS)
    return {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}


def _panel(number: int, shown: Metric, plan: MonitoringPlan) -> dict[str, object]:
    spec = shown.panel
    assert spec is not None, "panel_metrics lists metrics with a panel"
    legend = " ".join(f"{{{{{label}}}}}" for label in shown.labels if label in ("schedule", "risk_profile"))
    return {
        "id": number,
        "type": spec.view,
        "title": f"{words.text(shown.title_code, 'pl')} – {shown.short_name}",
        "description": "\n\n".join(words.text(shown.help_code, lang) for lang in words.languages),
        "datasource": SOURCE,
        "gridPos": _place(number),
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "expr": _query(shown, spec.aggregate, spec.window_seconds),
                "legendFormat": legend or "{{scheduler}}",
            }
        ],
        "fieldConfig": {"defaults": _field(shown, plan), "overrides": []},
        "options": {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}}
        if spec.view == "timeseries"
        else {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"},
    }


def _query(shown: Metric, aggregate: str, window_seconds: int) -> str:
    selector = f'{shown.name}{{scheduler=~"$scheduler"}}'
    if shown.type == "counter":
        return f"rate({selector}[{window_seconds}s])"
    return selector if aggregate == "last" else f"{aggregate}_over_time({selector}[{window_seconds}s])"


def _field(shown: Metric, plan: MonitoringPlan) -> dict[str, object]:
    field: dict[str, object] = {
        "unit": "ops" if shown.type == "counter" else _UNITS.get(shown.unit, "none"),
        "decimals": shown.digits,
        "noValue": f"{words.text('panels.no_data', 'pl')} / {words.text('panels.no_data', 'en')}",
    }
    if shown.unit == "boolean":
        return {**field, "mappings": [_yes_no()], "color": {"mode": "thresholds"}, "thresholds": _steps(shown, None)}
    thresholds = _strictest(shown, plan)
    if thresholds is None:
        return field
    return {
        **field,
        "custom": {"thresholdsStyle": {"mode": "line+area"}},
        "thresholds": _steps(shown, thresholds),
    }


def _yes_no() -> dict[str, object]:
    def both(code: str) -> str:
        return " / ".join(words.text(code, lang) for lang in words.languages)

    options = {"0": {"text": both("panels.no"), "color": "green"}, "1": {"text": both("panels.yes"), "color": "red"}}
    return {"type": "value", "options": options}


def _strictest(shown: Metric, plan: MonitoringPlan) -> Thresholds | None:
    in_use = {watched.risk_profile for watched in plan.schedules} if "schedule" in shown.labels else {DESK}
    found = [t for profile in sorted(in_use) if (t := plan.thresholds(shown.name, profile)) is not None]
    if not found:
        return None
    strictest = min if shown.direction == "higher_is_worse" else max
    return strictest(found, key=lambda thresholds: thresholds.warning)


def _steps(shown: Metric, thresholds: Thresholds | None) -> dict[str, object]:
    """Grafana's steps hold from their value upwards, so those of a lower-is-worse metric begin with red."""
    if thresholds is None:
        steps: list[tuple[str, float | None]] = [("green", None), ("red", 1)]
    elif shown.direction == "higher_is_worse":
        steps = [("green", None), ("orange", thresholds.warning), ("red", thresholds.critical)]
    else:
        steps = [("red", None), ("orange", thresholds.critical), ("green", thresholds.warning)]
    first, *rest = steps
    kept = [first, *(step for step in rest if step[1] is not None)]
    return {"mode": "absolute", "steps": [{"color": color, "value": value} for color, value in kept]}


def _chain_panel(number: int) -> dict[str, object]:
    return {
        "id": number,
        "type": "stat",
        "title": f"{words.text('panels.telemetry_age', 'pl')} / {words.text('panels.telemetry_age', 'en')}",
        "datasource": SOURCE,
        "gridPos": _place(number),
        "targets": [
            {
                "refId": "A",
                "datasource": SOURCE,
                "expr": f'time() - max by (scheduler) ({LAST_SAMPLE.name}{{scheduler=~"$scheduler"}})',
                "legendFormat": "{{scheduler}}",
            },
            {"refId": "B", "datasource": SOURCE, "expr": f'up{{job="{JOB}"}}', "legendFormat": "up", "hide": True},
        ],
        "fieldConfig": {
            "defaults": {
                "unit": "s",
                "thresholds": {
                    "mode": "absolute",
                    "steps": [{"color": "green", "value": None}, {"color": "red", "value": 30}],
                },
            },
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background"},
    }


def _alert_list(number: int) -> dict[str, object]:
    return {
        "id": number,
        "type": "alertlist",
        "title": f"{words.text('panels.alerts', 'pl')} / {words.text('panels.alerts', 'en')}",
        "gridPos": {**_place(number), "x": 0, "y": _place(number + 1)["y"], "w": _COLUMNS * _WIDTH},
        "options": {"maxItems": 20, "alertInstanceLabelFilter": '{alertname=~"Stage4.+"}'},
    }


def datasource_document(plan: MonitoringPlan) -> dict[str, object]:
    """Grafana's provisioning of the data source."""
    url = plan.prometheus_url or "http://127.0.0.1:9090"
    source = {"name": "Prometheus", "type": "prometheus", "uid": "prometheus", "access": "proxy", "url": url}
    return {"apiVersion": 1, "datasources": [{**source, "isDefault": True}]}


def dashboards_document() -> dict[str, object]:
    """Grafana's provisioning of the dashboard; the path is relative to Grafana's home."""
    provider = {"name": "stage4", "type": "file", "options": {"path": "dashboards"}}
    return {"apiVersion": 1, "providers": [provider]}
