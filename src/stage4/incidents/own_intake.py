"""The alerts as this service took them in: the source of L1.1 where no Alertmanager is configured."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from stage4 import files
from stage4.clock import Clock, format_instant
from stage4.incidents.ports import AlertLog, Content
from stage4.incidents.store_sql import Store


@dataclass(frozen=True, slots=True)
class IntakeAlerts:
    """Lists what the intake stored, and says so in the artefact."""

    store: Store
    clock: Clock

    def alerts(self, incident_id: str, fingerprints: tuple[str, ...]) -> AlertLog:
        with self.store.read() as tx:
            alerts = tx.alerts_of(incident_id)
            firing = tx.firing(incident_id)
        document = {
            "schema": "stage4.alerts/1",
            "source": "intake",
            "read_at": format_instant(self.clock.now()),
            "alerts": [msgspec.to_builtins(alert) for alert in alerts],
        }
        return AlertLog("intake", firing, Content("alerts.json", files.json_bytes(document)))
