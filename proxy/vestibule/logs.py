"""Logging: one JSON object a line for machines, coloured lines for people in `dev`. Never a query, header or body."""

import logging
import sys
from typing import Any

import msgspec
import structlog


def configure(*, pretty: bool = False, level: str = "info") -> None:
    """Set up structlog and quieten libraries that log whole URLs (httpx does, at INFO)."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if pretty else "iso", utc=not pretty),
    ]
    if pretty:
        renderer = structlog.dev.ConsoleRenderer(
            pad_event_to=24, colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        processors = [*shared, renderer]
        factory: Any = structlog.PrintLoggerFactory(sys.stderr)
    else:
        # Without local variables: they hold keys, codes and cookies.
        tracebacks = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
        serializer = structlog.processors.JSONRenderer(serializer=_encode)
        processors = [*shared, tracebacks, serializer]
        factory = structlog.BytesLoggerFactory(sys.stderr.buffer)
    structlog.configure(
        processors=processors,
        logger_factory=factory,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
    for name in ("httpx", "httpcore", "uvicorn.error", "aiosqlite", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_unintended)


def _unintended(record: logging.LogRecord) -> bool:
    """A broken end is on purpose, and the access log has the reason."""
    return "without completing response" not in record.getMessage()


def _encode(event: Any, **_: Any) -> bytes:
    """`repr` for what is not JSON: a Secret stays masked even if somebody logs one."""
    return msgspec.json.encode(event, enc_hook=repr)
