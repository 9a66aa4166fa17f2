"""What the collector's file exporter writes, in each of its forms, is read."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from backends import made_span, send
from collector_process import Collector, eventually
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from langflow_otel.insights._reading.otlp_lines import Problems
from langflow_otel.insights._reading.trace_search import last_trace_id
from langflow_otel.insights._reading.trace_sources import trace_files
from langflow_otel.insights.traces import NoSpansError, open_traces

pytestmark = pytest.mark.slow

FORMS = {
    "json": "",
    "append": "append: true",
    "rotation": "rotation: {max_megabytes: 1, max_backups: 10}",
    "json compressed": "compression: zstd",
    "proto": "format: proto",
    "proto compressed": "format: proto\n    compression: zstd",
    "proto rotation": "format: proto\n    rotation: {max_megabytes: 1, max_backups: 10}",
}
CONFIG = """
extensions:
  health_check: {endpoint: "${env:COLLECTOR_HEALTH}"}
receivers:
  otlp:
    protocols:
      grpc: {endpoint: "${env:COLLECTOR_OTLP_GRPC}"}
exporters:
  file:
    path: ${env:TRACE_FILE}
    flush_interval: 100ms
    FORM
service:
  extensions: [health_check]
  pipelines:
    traces: {receivers: [otlp], exporters: [file]}
  telemetry:
    metrics: {level: none}
"""
BATCH = 500


def batch(number: int) -> list[Span]:
    """With long names, so that some batches fill a file that is rotated."""
    name = "invoke_workflow " + "long " * 120
    return [made_span(f"{number:08x}{index:08x}".encode(), name=name) for index in range(1, BATCH + 1)]


def found(path: Path, cache: Path) -> tuple[int, int]:
    """Spans, and bad lines."""
    try:
        with open_traces([path], cache_dir=cache) as traces:
            return traces.reading.spans, traces.reading.bad_line_count
    except NoSpansError:
        return 0, 0


def is_read(path: Path, cache: Path, count: int) -> bool:
    return found(path, cache)[0] == count


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str, tmp_path: Path):
    config, path, cache = tmp_path / "config.yaml", tmp_path / "out" / "traces", tmp_path / "cache"
    config.write_text(CONFIG.replace("FORM", FORMS[form]))
    path.parent.mkdir()
    starts, batches = (2, 3) if form == "append" else (1, 6)
    collector = Collector(str(config), tmp_path, TRACE_FILE=path)
    for start in range(starts):
        with collector:
            send(collector.grpc, (batch(start * batches + number) for number in range(batches)))
            count = (start + 1) * batches * BATCH
            # It is read while the collector has it open, and again each time that it has grown.
            eventually(partial(is_read, path, cache, count), what="spans are missing")
    assert found(path, cache) == (count, 0)
    assert found(path, tmp_path / "other cache") == (count, 0)
    assert (len(trace_files([path])) > 1) == ("rotation" in form)
    assert last_trace_id(trace_files([path]), Problems()) is not None
