"""
What a number of samples can support: exact binomial bounds, pure.

Whether a sample lies beyond a value is a coin with two sides, whatever the distribution of latencies looks like.
So the bounds need no assumption about its shape: Clopper and Pearson, "The use of confidence or fiducial limits",
Biometrika 26 (1934), for a share, and the order statistics of David and Nagaraja, "Order Statistics" (2003), 7.1,
for a percentile. They do assume that samples are independent; inside a stall they are not, and a bound is then too
narrow.
"""

from __future__ import annotations

import math

CONFIDENCE = 0.95
_SIGMAS = 12.0
_HALVINGS = 60


def share_beyond(count: int, beyond: int, confidence: float = CONFIDENCE) -> float:
    """The largest share that `beyond` of `count` samples leave possible (one-sided, Clopper and Pearson).

    1.0 for no sample at all: having seen nothing bounds nothing.
    """
    if count <= 0 or beyond >= count:
        return 1.0
    if beyond == 0:
        return 1.0 - float((1.0 - confidence) ** (1.0 / count))
    low, high = beyond / count, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if at_most(beyond, count, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def share_at_least(count: int, beyond: int, confidence: float = CONFIDENCE) -> float:
    """The smallest share that `beyond` of `count` samples leave possible (one-sided); 0.0 for no sample."""
    return 1.0 - share_beyond(count, count - beyond, confidence) if count > 0 else 0.0


def samples_for(quantile: float, confidence: float = CONFIDENCE) -> int:
    """How many samples it takes until the largest of them bounds `quantile` (0.99: p99) from above."""
    return math.ceil(round(math.log(1.0 - confidence) / math.log(quantile), 9))


def ranks(count: int, quantile: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """The places (1 is the smallest of `count` samples) that hold `quantile` between them with `confidence`.

    None where no sample is small or large enough to be a bound.
    """
    tail = (1.0 - confidence) / 2
    first, masses = _masses(count, quantile)
    lower: int | None = None
    upper: int | None = None
    total = 0.0
    for place, mass in enumerate(masses, first):
        # P(fewer than `place` samples lie below the quantile) is what is summed up so far.
        if total <= tail and place >= 1:
            lower = place
        if upper is None and total >= 1.0 - tail and place >= 1:
            upper = place
        total += mass
    return lower, upper


def at_most(most: int, count: int, share: float) -> float:
    """P(X <= `most`) of a binomial variable with `count` trials of probability `share`."""
    first, masses = _masses(count, share)
    return min(1.0, math.fsum(masses[: max(0, most - first + 1)]))


def _masses(count: int, share: float) -> tuple[int, list[float]]:
    """(First place, probabilities from there on); what lies further than twelve deviations out is nothing."""
    if share <= 0.0:
        return 0, [1.0]
    if share >= 1.0:
        return count, [1.0]
    middle, deviation = count * share, math.sqrt(count * share * (1.0 - share))
    first = max(0, math.floor(middle - _SIGMAS * deviation) - 20)
    last = min(count, math.ceil(middle + _SIGMAS * deviation) + 20)
    logs = math.log(share), math.log1p(-share)
    whole = math.lgamma(count + 1)
    return first, [
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(count - k + 1) + k * logs[0] + (count - k) * logs[1])
        for k in range(first, last + 1)
    ]
