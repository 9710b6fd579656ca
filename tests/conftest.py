"""What all tests share: signals as they should be, and the table of PLAYBOOK rows at the end of a run."""

from __future__ import annotations

import signal
from collections import defaultdict

import pytest

# A shell without job control starts its background jobs with SIGINT ignored, and every child inherits that; the
# commands under test would then never hear the Ctrl-C that the tests send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROWS = (
    *("L1.1", "L1.2", "L1.3", "L1.4", "L1.5"),
    *("L2.1", "L2.2", "L2.3", "L2.4", "L2.5"),
    *("escalation.no_signals", "escalation.loss", "escalation.audit_fail", "escalation.l2_unconfirmed"),
    *("exist.audit_report", "exist.command_outputs", "exist.log_entry", "exist.document"),
)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):  # type: ignore[no-untyped-def]
    outcome = yield
    report = outcome.get_result()
    for marker in item.iter_markers("playbook"):
        report.user_properties.append(("playbook", [marker.args[0], marker.kwargs["accepted"]]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("playbook"):
            if marker.args[0] not in ROWS:
                raise pytest.UsageError(f"{item.nodeid}: {marker.args[0]} is no row of the playbook; rows: {ROWS}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints, for each row, how its accepted and its refused scenario went."""
    seen: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for outcome in ("passed", "failed", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            if outcome == "passed" and getattr(report, "when", "call") != "call":
                continue
            for name, value in getattr(report, "user_properties", []):
                if name == "playbook":
                    seen[value[0], value[1]].append(outcome)
    if not seen:
        return
    terminalreporter.section("PLAYBOOK rows")
    terminalreporter.write_line(f"{'row':<28}{'accepted':<14}{'refused':<14}")
    for row in ROWS:
        cells = []
        for accepted in (True, False):
            outcomes = seen.get((row, accepted), [])
            word = "-" if not outcomes else "passed" if set(outcomes) == {"passed"} else "FAILED"
            cells.append(f"{word} ({len(outcomes)})" if outcomes else word)
        terminalreporter.write_line(f"{row:<28}{cells[0]:<14}{cells[1]:<14}")
