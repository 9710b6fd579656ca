"""What is told of a stop that was asked for: the sentence, the exit code, and the parts of the document."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from stage4.clock import format_instant
from stage4.errors import ExitCode
from stage4.runtime.kill import Kill
from stage4.runtime.state import OrderCancellation, StopProgress
from stage4.runtime.stop import Scope, StopDocument, StopReceipt, Word
from stage4.runtime.stop_request import Remark, StopRequest, remark


def message(
    root: Path, receipt: StopReceipt, word: Word | None, kill: Kill | None = None
) -> tuple[str, dict[str, object]]:
    """The catalogue code and its parameters; `word` None: the waiting was interrupted."""
    if kill is not None:
        return message_of_kill(kill, stop_stands=True)
    if word is None:
        return "stop.word_interrupted", {}
    if word.answer == "disabled":
        return ("stop.word_already" if receipt.already else "stop.word_disabled"), {}
    if word.state is None:
        return "stop.word_absent", {"root": str(root)}
    facts: dict[str, object] = {
        "pid": word.state.pid,
        "at": format_instant(word.state.at),
        "in_flight": word.state.in_flight,
        "root": str(root),
    }
    return f"stop.word_{word.answer}", facts


def message_of_kill(kill: Kill, *, stop_stands: bool) -> tuple[str, dict[str, object]]:
    """The catalogue code and its parameters of the last resort."""
    code = "killed_without_file" if kill.outcome == "killed" and not stop_stands else kill.outcome
    return f"kill.{code}", {"pid": kill.pid, "reason": kill.reason}


def exit_code(word: Word | None, kill: Kill | None = None) -> ExitCode:
    """0 only on the scheduler's own `disabled`, or when its process was ended; whatever else it is, the file stands.

    A process that had ended before is no proof: another one may run that could not write its word.
    """
    if kill is not None:
        return ExitCode.DONE if kill.outcome == "killed" else ExitCode.CANNOT_TELL
    if word is None:
        return ExitCode.INTERRUPTED
    return ExitCode.DONE if word.answer == "disabled" else ExitCode.CANNOT_TELL


def remarks(receipt: StopReceipt, expires_at: datetime | None) -> Iterator[Remark]:
    """What is odd about the stop as it stands."""
    if not receipt.placed:
        yield remark("stop.memory_only", reason=receipt.partial)
    elif receipt.partial is not None:
        yield remark("stop.written_partly", reason=receipt.partial)
    elif receipt.facts.fault is not None:
        yield remark(receipt.facts.fault)
    if not receipt.latched:
        yield remark("stop.not_latched")
    if expires_at is not None:
        yield remark("stop.expiry_informs", at=format_instant(expires_at))


def requested(request: StopRequest) -> dict[str, object]:
    """What was asked for."""
    return {
        "reason": request.reason,
        "ticket": request.ticket,
        "requested_by": request.requested_by,
        "component": request.component,
        "expires_at": _instant(request.expires_at),
    }


def override(root: Path, receipt: StopReceipt) -> dict[str, object]:
    """The file that stands; `in_force` None: it cannot be read as a document, and stops nevertheless."""
    facts = receipt.facts
    return {
        "path": str(receipt.path.relative_to(root)),
        "sha256": facts.digest,
        "fault": facts.fault,
        "placed": receipt.placed,
        "latched": receipt.latched,
        "scope": scope(facts.scope),
        "in_force": None if facts.document is None else in_force(facts.document),
    }


def scope(covered: Scope) -> dict[str, object]:
    return {"kind": covered.kind.value, "name": covered.name}


def in_force(document: StopDocument) -> dict[str, object]:
    """What the standing file says, which is another's words where the stop stood already."""
    return {
        "timestamp": format_instant(document.timestamp),
        "reason": document.reason,
        "ticket": document.ticket,
        "requested_by": document.requested_by,
        "expires_at": _instant(document.expires_at),
    }


def kill(done: Kill | None) -> dict[str, object] | None:
    """What became of the last resort; None where it was not taken."""
    if done is None:
        return None
    return {"outcome": done.outcome, "pid": done.pid, "working_orders": done.working_orders, "reason": done.reason}


def progress(come: StopProgress | None) -> dict[str, object] | None:
    """How far a stop has come by the scheduler's word, both states apart; None where it does not honour it."""
    if come is None:
        return None
    return {
        "gate_closed": True,
        "closed_at": format_instant(come.closed_at),
        "acknowledged_at": format_instant(come.acknowledged_at),
        "verified_at": _instant(come.verified_at),
        "orders": {
            "state": orders_state(come.orders),
            "found": come.orders.found,
            "working": come.orders.working,
            "fault": come.orders.fault,
        },
    }


def orders_state(orders: OrderCancellation) -> str:
    """`none` worked, all `cancelled`, still `cancelling`, or `unknown` because the broker could not be asked."""
    if orders.fault is not None:
        return "unknown"
    if orders.working:
        return "cancelling"
    return "cancelled" if orders.found else "none"


def scheduler(word: Word | None, file_name: str) -> dict[str, object]:
    """The scheduler's answer to the stop in `file_name`, and the state it stands in where it wrote one."""
    if word is None:
        return {"answer": "interrupted"}
    answer: dict[str, object] = {"answer": word.answer, "waited_ms": word.waited_ms}
    if word.state is not None:
        answer |= {
            "state": word.state.state.value,
            "pid": word.state.pid,
            "at": format_instant(word.state.at),
            "override_digest": word.state.override_digest,
            "in_flight": word.state.in_flight,
            "working_orders": word.state.working_orders,
            "signals_after_stop": word.state.signals_after_stop,
            "progress": progress(word.state.progress.get(file_name)),
        }
    return answer


def _instant(at: datetime | None) -> str | None:
    return None if at is None else format_instant(at)
