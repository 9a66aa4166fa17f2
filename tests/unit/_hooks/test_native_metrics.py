"""What LangFlow itself pushes is not pushed twice. In processes of their own: the providers are global."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PREPARE = """
import json
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

class Nowhere(ConsoleMetricExporter):
    def export(self, *args, **kwargs): ...

READERS
metrics.set_meter_provider(MeterProvider(readers, shutdown_on_exit=False))
"""
INSTRUMENT = "SystemMetricsInstrumentor(config={'process.memory.usage': None}).instrument()\n"
ASK = """
from langflow_otel import LangflowInstrumentor
from langflow_otel._hooks.native import already_pushed
from langflow_otel._settings.settings import Settings

own = InMemoryMetricReader()
LangflowInstrumentor().instrument(
    meter_provider=MeterProvider([own], shutdown_on_exit=False), settings=Settings(), skip_dep_check=True
)
names = [m.name for r in own.get_metrics_data().resource_metrics for s in r.scope_metrics for m in s.metrics]
print(json.dumps([sorted(already_pushed()), sorted(n for n in names if n.startswith("process."))]))
"""
PERIODIC = "readers = [PeriodicExportingMetricReader(Nowhere(), export_interval_millis=60000)]"
ALL_BY_LANGFLOW = {
    "process.cpu.time",
    "process.cpu.utilization",
    "process.memory.usage",
    "process.memory.virtual",
    "process.thread.count",
}


@pytest.mark.parametrize(
    ("readers", "instrument", "theirs"),
    [
        (PERIODIC, INSTRUMENT, ALL_BY_LANGFLOW),
        (PERIODIC, "", set()),
        ("readers = [InMemoryMetricReader()]", INSTRUMENT, set()),
        ("readers = []", INSTRUMENT, set()),
    ],
    ids=["pushed", "not instrumented", "only scraped", "no reader"],
)
@pytest.mark.slow
def test_process_metrics_that_langflow_pushes_are_left_to_it(readers, instrument, theirs):
    code = PREPARE.replace("READERS", readers) + instrument + ASK
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    pushed_by_langflow, pushed_by_us = map(set, json.loads(result.stdout.splitlines()[-1]))

    assert pushed_by_langflow == theirs
    assert theirs.isdisjoint(pushed_by_us)
    assert {"process.cpu.time", "process.memory.usage", "process.uptime"} <= pushed_by_us | theirs
