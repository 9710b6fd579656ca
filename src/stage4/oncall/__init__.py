"""The rotation file in, who is on duty at an instant out; gaps and overrides included."""

from __future__ import annotations

from stage4.oncall.roster import Duty, Gap, Roster
from stage4.oncall.rotation import TIERS, Tier

__all__ = ["TIERS", "Duty", "Gap", "Roster", "Tier"]
