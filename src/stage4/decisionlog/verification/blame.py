"""Why a line is no sound entry of its log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stage4.decisionlog.verification.verdict import Fault


@dataclass(frozen=True, slots=True)
class Blame:
    """The class of a fault, and its code and parameters in the catalogue."""

    fault: Fault
    code: str
    params: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_blank(self) -> bool:
        """Whether the line is empty, so that it cannot stand in place of an entry."""
        return self.code == "log.format_blank"
