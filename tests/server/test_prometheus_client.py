"""A real server whose nodes use ``prometheus_client``, and whose own port shows its default registry."""

from __future__ import annotations

import http.client
import socket

import pytest

pytest.importorskip("langflow", reason="this is LangFlow's own server: pip install 'langflow-otel[langflow]'")

from langflow_server import langflow_server
from paths import api_run
from prometheus_client.parser import text_string_to_metric_families
from server_flows import line
from server_nodes.orders import Orders

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def samples(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Fails if a series is there twice."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def test_each_page_has_what_the_other_side_measures():
    ours, langflows = free_port(), free_port()
    environment = {
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(ours),
        "LANGFLOW_PROMETHEUS_ENABLED": "true",
        "LANGFLOW_PROMETHEUS_PORT": str(langflows),
        "LANGFLOW_LOG_LEVEL": "WARNING",
    }
    with langflow_server(environment=environment) as server:
        server.create_flow(line(Orders(_id="Orders-1")), "orders")
        for _ in range(3):
            api_run(server, "orders")
        page, own_port = samples(ours), samples(langflows)
        log = server.output()

    runs = {
        key: value
        for key, value in page.items()
        if key[0].startswith("langflow_flow_duration") and "_ema" not in key[0]
    }
    assert sum(value for (name, _), value in runs.items() if name.endswith("_count")) == 3
    assert {key: own_port[key] for key in runs} == runs
    # The server's process is a worker, of one: what it has in the registry is its own.
    assert own_port["orders_open", frozenset({("region", "eu")})] == 3
    ((labels, orders),) = [(dict(labels), value) for (name, labels), value in page.items() if name == "orders_open"]
    assert (labels.keys(), labels["region"], orders) == ({"region", "worker"}, "eu", 3)
    # Each says about the process what it says without the other, once.
    assert [name for name, _ in page if name == "process_threads"] == ["process_threads"]
    assert ("process_cpu_seconds_total", frozenset()) in own_port
    assert [name for name, _ in page if name.startswith("python_")] == []
    assert [name for name, _ in own_port if name == "process_threads"] == []
    # LangFlow measures requests as well, with other labels: each page has one of the two.
    for found, is_ours in ((page, True), (own_port, False)):
        requests = [labels for (name, labels) in found if name == "http_server_request_duration_seconds_count"]
        assert {"otel_scope_name" not in dict(labels) for labels in requests} == {is_ours}
    assert "contained at" not in log
    assert "The scrape is without" not in log
