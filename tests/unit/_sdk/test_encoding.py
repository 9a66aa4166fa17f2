"""Batches are encoded in pieces small enough for the event loop to come in between."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from langflow_otel._sdk import batches
from langflow_otel._sdk.batches import EVERY, PausingSequence
from langflow_otel._sdk.content_filter import ContentFilter


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    pauses: list[float] = []
    monkeypatch.setattr(batches.time, "sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("length", [0, 1, EVERY - 1, EVERY, 5 * EVERY + 1])
def test_it_is_the_same_sequence(length: int, pauses):
    items = list(range(length))
    batch = PausingSequence(items)

    assert list(batch) == items
    assert len(batch) == length
    assert bool(batch) == bool(items)
    assert batch[:2] == items[:2]
    assert pauses == [0] * (length // EVERY)


def test_every_exporter_gets_its_spans_so(pauses):
    class Encoder(SpanExporter):
        encoded = 0

        def export(self, spans: Any) -> SpanExportResult:
            before = len(pauses)
            self.encoded = len(list(spans))
            self.pauses = len(pauses) - before
            return SpanExportResult.SUCCESS

    tracer = TracerProvider().get_tracer("langflow_otel")
    spans = [tracer.start_span("component") for _ in range(512)]
    encoder = Encoder()

    assert ContentFilter(encoder).export(spans) is SpanExportResult.SUCCESS
    assert (encoder.encoded, encoder.pauses) == (512, 512 // EVERY)
