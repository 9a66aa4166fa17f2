"""The short form of ``benchmarks/exactness.py``: who drives the runs, the spans, OTLP and the scrape agree exactly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("lfx", reason="these runs need LangFlow's engine: pip install 'langflow-otel[lfx]'")

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

from exactness import drive

pytestmark = pytest.mark.slow


def test_forty_at_a_time_in_each_of_two_workers() -> None:
    table = drive(runs=200, at_once=40, workers=2)
    driver = table["driver"]

    # Each worker fills its cache by one run more.
    assert (driver["flow ok"], driver["flow error"], driver["flow cancelled"]) == (172, 20, 10)
    assert driver["cached"] == 10
    assert table["scrape"] == driver
    assert table["otlp"] == driver
    assert table["spans"] == driver
    assert table["falls"] == {"scrape": 0}
