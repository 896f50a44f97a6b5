"""For all tests."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logs_can_be_captured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A command that runs in this process sets up logging; loggers that it caches would escape from later tests."""
    configure = structlog.configure
    monkeypatch.setattr(structlog, "configure", lambda **kw: configure(**kw | {"cache_logger_on_first_use": False}))
    yield
    structlog.reset_defaults()
