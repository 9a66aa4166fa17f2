"""The collector beside LangFlow hands on what real flows send, with the host's name, and measures the host."""

from __future__ import annotations

import re
import socket
from typing import Any

import pytest
from backends import arrived, made_span, send
from collector_flows import instrumented, run_flows
from collector_process import CONFIGS, Collector, eventually
from otlp_receiver import Receiver, otlp_receiver
from received import received_spans

from langflow_otel.insights.trace import build_trees

pytestmark = pytest.mark.slow

HOST = socket.gethostname()
DASHBOARDS = CONFIGS / "grafana" / "dashboards"
SCOPES = {"cpu", "disk", "filesystem", "load", "memory", "network"}


def metrics(receiver: Receiver) -> dict[str, dict[str, str]]:
    """Names of the metrics that came in, each with its resource."""
    return {
        metric.name: {each.key: each.value.string_value for each in resource_metrics.resource.attributes}
        for request in list(receiver.metric_requests)
        for resource_metrics in request.message.resource_metrics
        for scope_metrics in resource_metrics.scope_metrics
        for metric in scope_metrics.metrics
    }


def asked_of_hosts() -> set[str]:
    """Metrics that the dashboards ask of hosts: Prometheus's names, without suffixes."""
    text = (DASHBOARDS / "langflow-resources.json").read_text()
    found = re.findall(r'(\w+)\{job=\\"host\\"', text)
    return {re.sub("(_bytes|_seconds)?_(total|ratio)$", "", name) for name in found}


def outline(spans: Any) -> list[Any]:
    return sorted((span.trace_id, span.name, span.status) for root in build_trees(spans) for span in root.walk())


def test_spans_metrics_and_log_lines_of_real_flows_arrive_and_name_their_host(tmp_path):
    with (
        otlp_receiver("grpc") as backend,
        Collector("agent.yaml", tmp_path, GATEWAY_ENDPOINT=backend.address, COLLECTOR_HOST_INTERVAL="1s") as agent,
    ):
        with instrumented(tmp_path, agent.http, log_level="INFO") as sent:
            run_flows("ok", "failing", "chatty")
        eventually(lambda: set(arrived(backend)) == sent.span_ids)
        eventually(lambda: backend.logs())
        eventually(lambda: "langflow.flow.duration" in metrics(backend))
        # Each scraper of the host sends when it is done.
        eventually(lambda: asked_of_hosts() <= {name.replace(".", "_") for name in metrics(backend)})
        found = metrics(backend)

    spans = received_spans(backend)
    assert outline(spans) == outline(sent.spans)
    assert {(span.resource["host.name"], span.resource["service.name"]) for span in spans} == {(HOST, "langflow")}
    assert {span.trace_id for span in spans} >= {record.trace_id.hex() for _, record in backend.logs()}
    assert found["langflow.flow.duration"]["host.name"] == HOST
    assert found["langflow.flow.duration"]["service.name"] == "langflow"
    # Prometheus makes job and instance of these.
    of_the_host = {name: resource for name, resource in found.items() if resource["service.name"] == "host"}
    assert {name.split(".")[1] for name in of_the_host} >= SCOPES - {"load"}
    assert {resource["service.instance.id"] for resource in of_the_host.values()} == {HOST}
    assert len(asked_of_hosts()) > 5
    assert asked_of_hosts() <= {name.replace(".", "_") for name in of_the_host}


def test_batches_larger_than_grpc_takes_by_default_arrive(tmp_path):
    spans = [made_span(bytes([index]) * 16) for index in range(1, 200)]
    for span in spans:
        span.attributes.add(key="gen_ai.input.messages").value.string_value = "word " * 6000

    with (
        otlp_receiver("grpc") as backend,
        Collector("agent.yaml", tmp_path, GATEWAY_ENDPOINT=backend.address) as agent,
    ):
        send(agent.grpc, [spans])
        eventually(lambda: len(arrived(backend)) == len(spans))

    sizes = [request.message.ByteSize() for request in backend.requests]
    assert sum(sizes) > 5_000_000
    assert max(sizes) < 4 * 1024 * 1024
