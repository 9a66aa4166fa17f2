"""On a laptop: the flows are in the trace file as they were sent, and on the port for Prometheus."""

from __future__ import annotations

import urllib.request

import pytest
from collector_flows import instrumented, run_flows
from collector_process import Collector, eventually, free_ports
from prometheus_client.parser import text_string_to_metric_families

from langflow_otel.insights.trace import from_file

pytestmark = pytest.mark.slow


def test_flows_are_in_the_file_and_on_the_port(tmp_path):
    [port] = free_ports(1)
    file = tmp_path / "folder" / "traces.jsonl"

    with Collector("standalone.yaml", tmp_path, PROMETHEUS_PORT=f"127.0.0.1:{port}", TRACE_FILE=file) as collector:
        with instrumented(tmp_path, collector.http) as sent:
            run_flows(*["ok"] * 3, "failing")
        eventually(lambda: file.exists() and len(from_file(file)) == len(sent.spans))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            page = answer.read().decode()

    def by_id(spans):
        return sorted((span.span_id, span.parent_id, span.name, sorted(span.attributes.items())) for span in spans)

    assert by_id(from_file(file)) == by_id(sent.spans)
    samples = {
        (sample.name, sample.labels.get("flow"), sample.labels.get("status")): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "langflow_flow_duration_seconds_count"
    }
    assert samples == {
        ("langflow_flow_duration_seconds_count", "ok", "ok"): 3,
        ("langflow_flow_duration_seconds_count", "ok", "error"): 0,
        ("langflow_flow_duration_seconds_count", "failing", "ok"): 0,
        ("langflow_flow_duration_seconds_count", "failing", "error"): 1,
    }
