from __future__ import annotations

from collections.abc import Iterator

import pytest

from langflow_otel.testing import Telemetry
from tests.support.recording import recording


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts processes is slow, as the marker says."""
    for item in items:
        if {"start", "parent_of"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True, scope="session")
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is read of trace files is kept in the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
            patch.setenv(name, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with recording() as captured:
        yield captured


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors inside the library are contained, as they are in production."""
    monkeypatch.setattr("langflow_otel._guard.strict", False)
