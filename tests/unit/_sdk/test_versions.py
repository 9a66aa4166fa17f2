"""Questions about the installed OpenTelemetry SDK, asked of real objects of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

import langflow_otel
from langflow_otel._sdk import versions

PACKAGE = Path(langflow_otel.__file__).parent
PRIVATE_OF_SDK = re.compile(
    r"\"(_active_span_processor|_span_processors|_batch_processor|_on_ending|_local_parent_sampled|_max_request_size|"
    r"_TRACER_PROVIDER|is_trace_id_random|_log_record_limits|cardinality_limits|_transport)\""
)


def test_processors_are_found_in_a_provider():
    provider, processor = TracerProvider(shutdown_on_exit=False), SimpleSpanProcessor(ConsoleSpanExporter())
    assert versions.processors_in(versions.active_processor(provider)) == ()

    provider.add_span_processor(processor)

    assert versions.processors_in(versions.active_processor(provider)) == (processor,)
    assert versions.processors_in(versions.active_processor(object())) == ()


def test_queue_of_a_batch_processor_is_bounded():
    with open(os.devnull, "w") as out:
        processor = BatchSpanProcessor(ConsoleSpanExporter(out=out), max_queue_size=7, max_export_batch_size=3)
        queue = versions.queue_of(processor)
        processor.shutdown()

    assert queue.maxlen == 7
    assert versions.queue_of(object()) == ()


@pytest.mark.parametrize("make", [TracerProvider, lambda: MeterProvider([InMemoryMetricReader()])])
def test_provider_has_ended_when_it_is_shut_down(make):
    provider = make()
    if isinstance(provider, TracerProvider):
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    assert not versions.has_ended(provider)

    provider.shutdown()

    assert versions.has_ended(provider)


def test_private_names_of_the_sdk_are_in_this_module_only():
    found = {
        path.name: PRIVATE_OF_SDK.findall(path.read_text("utf-8"))
        for room in ("_sdk", "_process", "cli")
        for path in (PACKAGE / room).rglob("*.py")
    }

    assert [name for name, names in found.items() if names] == ["versions.py"]
