"""
The strategies. To add one: a file with a frozen dataclass that fits `Strategy`, and a line in `STRATEGIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import msgspec

from stage4.config.settings import Settings
from stage4.errors import UsageError
from stage4.runtime.signal import Evaluation, Snapshot
from stage4.runtime.strategies.cross_exchange import CrossExchange
from stage4.runtime.strategies.mean_reversion import MeanReversion
from stage4.runtime.strategies.volatility_target import VolatilityTarget


class Strategy(Protocol):
    """Parameters are fields, `evaluate` is pure.

    * The same snapshot gives the same evaluation, whatever was evaluated before.
    * A snapshot of at least `required_bars` bars gives at least one signal, a hold at the least; fewer give none.
    * It submits nothing itself and touches neither clock, chance nor files.
    """

    @property
    def required_bars(self) -> int:
        """Bars of each venue without which nothing can be said."""

    @property
    def window_bars(self) -> int:
        """Bars of each venue that it wants to see; at least `required_bars`."""

    def evaluate(self, snapshot: Snapshot) -> Evaluation:
        """What to do now."""


STRATEGIES: Mapping[str, type[Strategy]] = MappingProxyType(
    {
        "mean_reversion": MeanReversion,
        "volatility_target": VolatilityTarget,
        "cross_exchange": CrossExchange,
    }
)


@dataclass(frozen=True, slots=True)
class StrategySpec:
    """A strategy as it travels to a worker: its kind and its parameters."""

    kind: str
    parameters: Mapping[str, object]

    def build(self) -> Strategy:
        """The strategy itself."""
        return msgspec.convert(self.parameters, STRATEGIES[self.kind])


def configured(settings: Settings) -> Mapping[str, StrategySpec]:
    """Every named parameter set of the settings; raises UsageError `runtime.strategy_twice` when a name repeats."""
    sections: tuple[tuple[str, Mapping[str, msgspec.Struct]], ...] = (
        ("mean_reversion", settings.mean_reversion_strategies),
        ("volatility_target", settings.volatility_target_strategies),
        ("cross_exchange", settings.cross_exchange_arbitrage_strategies),
    )
    specs: dict[str, StrategySpec] = {}
    for kind, section in sections:
        for name, parameters in section.items():
            if name in specs:
                raise UsageError("runtime.strategy_twice", strategy=name)
            specs[name] = StrategySpec(kind, msgspec.to_builtins(parameters))
    return specs
