"""How long nothing came: the clocks behind "no signals"."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class SilenceClock:
    """Seconds of silence that count; instants are nanoseconds of the monotonic clock.

    It stands still while `counting` is false (a recorded stop, closed trading windows, warm-up) and goes on from
    where it stood; only what was waited for sets it back.
    """

    at_ns: int
    seconds: float = 0.0

    def advanced(self, now_ns: int, *, counting: bool) -> SilenceClock:
        """After the time since the last call, counted or not."""
        passed = (now_ns - self.at_ns) / 1e9 if counting else 0.0
        return SilenceClock(now_ns, self.seconds + max(0.0, passed))

    def broken(self) -> SilenceClock:
        """What was waited for came."""
        return replace(self, seconds=0.0)
