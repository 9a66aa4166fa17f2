from __future__ import annotations

from collections.abc import Iterator

import pytest

from langflow_otel.testing import Telemetry

from .support import recording


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts processes is slow, as the marker says."""
    for item in items:
        if {"start", "parent_of"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with recording() as captured:
        yield captured


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors inside the library are contained, as they are in production."""
    monkeypatch.setattr("langflow_otel.recording.guard.strict", False)
