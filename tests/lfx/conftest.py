from __future__ import annotations

import pytest

pytest.importorskip("lfx", reason="these tests run flows on LangFlow's engine: pip install 'langflow-otel[lfx]'")

import functools
import sys
import sysconfig
from collections.abc import AsyncIterator, Iterator
from types import ModuleType

from flows import Cache
from lfx.log.logger import configure

from langflow_otel._hooks import patching
from langflow_otel.testing import Telemetry, capture_telemetry


@pytest.fixture(scope="session", autouse=True)
def _quiet_langflow() -> None:
    # Not kept by the loggers: a test may want their lines.
    configure(log_level="CRITICAL", cache=False)


@functools.cache
def _may_import_langflow(module: str) -> bool:
    package = module.partition(".")[0]
    if package in sys.stdlib_module_names:
        return False
    found = sys.modules.get(package)
    paths = [*getattr(found, "__path__", ()), getattr(found, "__file__", None) or ""]
    is_installed = any(path.startswith(sysconfig.get_path("purelib")) for path in paths)
    return package in ("lfx", "langflow") or not is_installed


@functools.lru_cache(maxsize=1)
def _may_import_langflow_of(modules: tuple[str, ...]) -> list[str]:
    """Of these names; from one test to the next they are mostly the same."""
    return [name for name in modules if _may_import_langflow(name)]


@pytest.fixture(scope="session", autouse=True)
def _hooks_are_looked_for_where_they_may_be() -> Iterator[None]:
    """Not among the 100,000 names that LangFlow's dependencies have in their modules, four times for each test: that
    took half of its time. The tests that start a process show that all are looked through."""

    def modules() -> list[ModuleType]:
        return [sys.modules[name] for name in _may_import_langflow_of(tuple(sys.modules))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patching, "_loaded_modules", modules)
        yield


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
