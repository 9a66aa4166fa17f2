from __future__ import annotations

import gc
import logging
import os
from collections.abc import Generator
from typing import Any

# Before gRPC is imported: its own handling of forks waits for ever in a child that forks again.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
# For the processes of pytest-xdist, before they import numpy: its own threads cost ten times the work of small matrices
# where the processors are busy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import hypothesis
import pytest

from langflow_otel import _guard as guard
from langflow_otel._content import error_texts
from langflow_otel.redaction import known_secrets

# An example may take long on a busy machine, and says nothing about the code then.
hypothesis.settings.register_profile("without deadline", deadline=None)
hypothesis.settings.load_profile("without deadline")


def pytest_collection() -> None:
    """What is imported stays: to look for garbage in it, again and again, is a quarter of the time that it takes."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Without it, a collection of garbage that a test waits for takes 10 ms, not 250."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """A test's output may hold half of a surrogate pair, with which pytest-xdist cannot send its report."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OTEL_", "LANGFLOW_OTEL_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _warnings_are_logged() -> None:
    """LangFlow's ``configure()`` sets the root logger's level, for the tests that come after it, too."""
    logging.getLogger().setLevel(logging.WARNING)


@pytest.fixture(autouse=True)
def _strict_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors inside the library are loud; a test about their containment sets it back."""
    monkeypatch.setattr(guard, "strict", True)
    guard.faults.clear()


@pytest.fixture(autouse=True)
def _no_known_secrets() -> None:
    """Those of one test are the harmless texts of another."""
    known_secrets.forget_secrets()


@pytest.fixture(autouse=True)
def _no_denied_errors() -> None:
    """Nor are the messages of its errors known in another."""
    error_texts.forget_denied()
