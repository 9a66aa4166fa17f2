from __future__ import annotations

import pytest

pytest.importorskip("lfx", reason="these tests run flows on LangFlow's engine: pip install 'langflow-otel[lfx]'")

from collections.abc import AsyncIterator

from flows import Cache
from lfx.log.logger import configure

from langflow_otel.testing import Telemetry, capture_telemetry


@pytest.fixture(scope="session", autouse=True)
def _quiet_langflow() -> None:
    # Not kept by the loggers: a test may want their lines.
    configure(log_level="CRITICAL", cache=False)


@pytest.fixture
async def telemetry() -> AsyncIterator[Telemetry]:
    """Async, so that the check for leftover tasks sees the test's own loop."""
    with capture_telemetry() as captured:
        yield captured


@pytest.fixture
def chat_cache(monkeypatch: pytest.MonkeyPatch) -> Cache:
    cache = Cache()
    monkeypatch.setattr("lfx.graph.graph.base.get_chat_service", lambda: cache)
    return cache
