"""What a measurement costs the machine: processor, memory, I/O, context switches, steal; all sampled, none computed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from stage4.clock import Clock
from stage4.config.settings import ResourceLimits

if TYPE_CHECKING:
    import psutil

INTERVAL_SECONDS = 0.25
MEGABYTE = 1_000_000.0

ResourceStatus = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """Of this process and its children, the hiccup meter left out, over the measurement.

    `cpu_percent`: mean share of the whole machine, all processors together; `memory_mb`: largest resident set, sum
    over the processes; I/O in MB/s of the disk; `steal_percent`: time the hypervisor gave to others.
    """

    samples: int
    cpu_percent: float
    memory_mb: float
    io_read_mb_s: float
    io_write_mb_s: float
    context_switches: int
    involuntary_switches: int
    steal_percent: float
    host_cpu_percent: float


NOTHING = ResourceUse(0, 0.0, 0.0, 0.0, 0.0, 0, 0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ResourceVerdict:
    """`error` beyond a limit, `warning` beyond the headroom of one; `reasons` name the limits."""

    status: ResourceStatus
    reasons: tuple[str, ...]


def judge_resources(use: ResourceUse, limits: ResourceLimits) -> ResourceVerdict:
    """`use` against `runtime.resource_limits`; pure. What was not measured is not `ok`."""
    if not use.samples:
        return ResourceVerdict("warning", ("not_measured",))
    pairs = {
        "cpu_percent": (use.cpu_percent, limits.cpu_percent),
        "memory_mb": (use.memory_mb, limits.memory_mb),
        "io_read_mb_s": (use.io_read_mb_s, limits.io_read_mb_s),
        "io_write_mb_s": (use.io_write_mb_s, limits.io_write_mb_s),
    }
    beyond = tuple(name for name, (value, limit) in pairs.items() if value > limit)
    if beyond:
        return ResourceVerdict("error", beyond)
    headroom = limits.headroom_warning_threshold
    near = tuple(name for name, (value, limit) in pairs.items() if value > limit * headroom)
    return ResourceVerdict("warning" if near else "ok", near)


@dataclass(slots=True)
class Totals:
    """Sums over the processes at one moment; all but `memory` only ever grow."""

    cpu_seconds: float = 0.0
    memory: int = 0
    read: int = 0
    written: int = 0
    switches: int = 0
    involuntary: int = 0


class ResourceMeter:
    """Samples in a thread while the `with` block runs; `use` is there afterwards."""

    def __init__(self, clock: Clock, apart: int | None = None) -> None:
        """`apart` is the pid of a child that is not part of what is measured."""
        self._apart = apart
        self.use = NOTHING
        self._clock = clock
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="resource-meter", daemon=True)

    def __enter__(self) -> ResourceMeter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        own = psutil.Process()
        processes = [own, *(child for child in own.children(recursive=True) if child.pid != self._apart)]
        host_before, began_ns = psutil.cpu_times(), self._clock.monotonic_ns()
        seen: dict[int, Totals] = {}
        first = last = totals(processes, seen)
        samples, largest, ended = 1, first.memory, False
        while not ended:
            ended = self._ended.wait(INTERVAL_SECONDS)
            last = totals(processes, seen)
            samples, largest = samples + 1, max(largest, last.memory)
        seconds = max(self._clock.monotonic_ns() - began_ns, 1) / 1e9
        host_after = psutil.cpu_times()
        host_seconds = max(sum(host_after) - sum(host_before), 1e-9)
        idle = host_after.idle - host_before.idle + host_after.iowait - host_before.iowait
        self.use = ResourceUse(
            samples=samples,
            cpu_percent=100.0 * (last.cpu_seconds - first.cpu_seconds) / (seconds * (psutil.cpu_count() or 1)),
            memory_mb=largest / MEGABYTE,
            io_read_mb_s=(last.read - first.read) / MEGABYTE / seconds,
            io_write_mb_s=(last.written - first.written) / MEGABYTE / seconds,
            context_switches=last.switches - first.switches,
            involuntary_switches=last.involuntary - first.involuntary,
            steal_percent=100.0 * (host_after.steal - host_before.steal) / host_seconds,
            host_cpu_percent=100.0 * (1.0 - idle / host_seconds),
        )


def totals(processes: Iterable[psutil.Process], seen: dict[int, Totals]) -> Totals:
    """Sums over the processes; of one that has ended what it had used counts on, its memory does not."""
    import psutil

    for process in processes:
        try:
            with process.oneshot():
                times, switches, disk = process.cpu_times(), process.num_ctx_switches(), process.io_counters()
                seen[process.pid] = Totals(
                    cpu_seconds=times.user + times.system,
                    memory=process.memory_info().rss,
                    read=disk.read_bytes,
                    written=disk.write_bytes,
                    switches=switches.voluntary + switches.involuntary,
                    involuntary=switches.involuntary,
                )
        except psutil.Error:
            if process.pid in seen:
                seen[process.pid].memory = 0  # a worker that was replaced in the meantime
    return Totals(*(sum(getattr(each, name) for each in seen.values()) for name in Totals.__slots__))
