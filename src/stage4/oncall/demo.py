"""The rotation file of a demo installation: the demo people, one a tier, with the Warsaw clock."""

from __future__ import annotations

from datetime import datetime, timedelta


def demo_rotation_yaml(now: datetime, time_zone: str = "Europe/Warsaw") -> str:
    """The text of `ops/oncall_rotation.yaml`; every tier is on duty from the Monday a week before `now` on."""
    starts = now.date() - timedelta(days=now.weekday() + 7)
    return f"""\
# Kto ma dyżur. Godziny i dni są lokalne (time_zone); ludzie zmieniają się po kolei.
# Zastępstwo: - {{tier: l2, person: l2-ewa, from: 2026-12-24 08:00, until: 2026-12-27 08:00}}
# Who is on duty. Days and times are local (time_zone); people take turns in this order.
# An override: - {{tier: l2, person: l2-ewa, from: 2026-12-24 08:00, until: 2026-12-27 08:00}}
schema: stage4.oncall_rotation/1
time_zone: {time_zone}
slack_channel: "#ops-trading"
bridge: https://bridge.example/stage4-ops
contacts:
  l1-anna: {{phone: "+48 000 000 001", slack: "@l1-anna"}}
  l1-piotr: {{phone: "+48 000 000 002", slack: "@l1-piotr"}}
  l2-marek: {{phone: "+48 000 000 003", slack: "@l2-marek"}}
  l2-ewa: {{phone: "+48 000 000 004", slack: "@l2-ewa"}}
  im-zofia: {{phone: "+48 000 000 005", slack: "@im-zofia"}}
tiers:
  l1:
    people: [l1-anna, l1-piotr]
    starts: {starts.isoformat()}
    hand_off: ["06:00", "18:00"]
  l2:
    people: [l2-marek]
    starts: {starts.isoformat()}
    hand_off: "08:00"
    every_days: 7
  l2_deputy:
    people: [l2-ewa]
    starts: {starts.isoformat()}
    hand_off: "08:00"
    every_days: 7
  incident_manager:
    people: [im-zofia]
    starts: {starts.isoformat()}
    hand_off: "08:00"
    every_days: 7
overrides: []
"""
