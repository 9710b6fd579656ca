"""What the long-running processes say about themselves: one JSON line an event, on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog

from stage4 import words
from stage4.clock import Clock, format_instant


def configure(process: str, clock: Clock) -> None:
    """Send the logging of this process, its libraries' too, to stderr as JSON lines."""

    def stamped(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        record = event.get("_record")
        at = datetime.fromtimestamp(record.created, UTC) if isinstance(record, logging.LogRecord) else clock.now()
        return {"at": format_instant(at), "process": process, **event}

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level],
        processors=[
            stamped,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for talkative in ("alembic", "httpx", "uvicorn"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def tell(code: str, params: Mapping[str, object], *, level: int = logging.WARNING) -> None:
    """One event by its catalogue code, with its English text."""
    text = words.text(code, "en", **params) if words.has(code) else code
    told = {name: str(value) for name, value in params.items()}
    # Kept apart, because a parameter may be called `code` or `level` too.
    structlog.get_logger("stage4").log(level, text, code=code, params=told)
