"""The log agent reads LangFlow's JSON lines into records that belong to their traces, across restarts and rotation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from collector_flows import Sent
from collector_process import Collector, eventually
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from otlp_receiver import otlp_receiver

pytestmark = pytest.mark.slow

FLOWS = Path(__file__).parent / "collector_flows.py"


def langflow(log_file: Path, trace_file: Path) -> None:
    """A process that runs flows and logs as LangFlow does in a container."""
    environment = {
        **os.environ,
        "LANGFLOW_LOG_ENV": "container_json",
        "LANGFLOW_LOG_FILE": str(log_file),
        "LANGFLOW_LOG_LEVEL": "INFO",
        "LANGFLOW_OTEL_TRACE_FILE": str(trace_file),
    }
    subprocess.run([sys.executable, str(FLOWS), "chatty", "failing"], env=environment, check=True, timeout=100)


def kept_by_the_kubelet(text: str, stream: str = "stdout", part: str = "F") -> str:
    return f"2026-11-30T08:15:00.123456789Z {stream} {part} {text}\n"


def attributes(record: LogRecord) -> dict[str, str]:
    return {each.key: each.value.string_value for each in record.attributes}


def test_lines_become_records_of_their_traces(tmp_path):
    log_file, trace_file = tmp_path / "langflow.log", tmp_path / "sent.jsonl"
    langflow(log_file, trace_file)
    written = [json.loads(line) for line in log_file.read_text().splitlines()]
    [span] = [span for span in Sent(trace_file).spans if span.name == "component Chatty"]

    with otlp_receiver("http/protobuf") as loki:
        collector = Collector(
            "logs.yaml", tmp_path, LOGS_ENDPOINT=f"http://{loki.address}/otlp", LANGFLOW_LOG_FILE=log_file
        )
        with collector:
            eventually(lambda: len(loki.logs()) >= len(written))
        log_file.rename(tmp_path / "langflow.log.1")
        log_file.write_text('{"event": "after the rotation", "level": "warning"}\nnot JSON at all\n')
        with collector:
            eventually(lambda: len(loki.logs()) >= len(written) + 2)

    records = [record for _, record in loki.logs()]
    *first, rotated, plain = records
    assert [record.body.string_value for record in first] == [line["event"] for line in written]
    [said] = [record for record in first if record.body.string_value.startswith("said canary")]
    assert (said.trace_id.hex(), said.span_id.hex()) == (span.trace_id, span.span_id)
    assert (said.severity_text, said.severity_number) == ("info", 9)
    assert abs(said.time_unix_nano - span.start_ns) < 60e9
    assert not {"trace_id", "span_id", "timestamp", "level", "event"} & attributes(said).keys()
    assert (rotated.body.string_value, rotated.severity_number) == ("after the rotation", 13)
    assert plain.body.string_value == "not JSON at all"
    [resource] = {
        each.value.string_value
        for request in loki.log_requests[:1]
        for resource_logs in request.message.resource_logs
        for each in resource_logs.resource.attributes
        if each.key == "service.name"
    }
    assert resource == "langflow"
    assert {request.path for request in loki.log_requests} == {"/otlp/v1/logs"}


def test_lines_that_a_kubelet_keeps_are_read_as_those_of_a_file(tmp_path):
    pod = tmp_path / "langflow_langflow-7d9c-x2x_1b2c3d4e-0000-4000-8000-0123456789ab" / "langflow"
    pod.mkdir(parents=True)
    line = {"event": "said", "level": "warning", "timestamp": "2026-11-30T08:14:59.5Z", "trace_id": "ab" * 16}
    line |= {"span_id": "cd" * 8, "service": "langflow"}
    (pod / "0.log").write_text(
        kept_by_the_kubelet(json.dumps(line))
        + kept_by_the_kubelet("a long line", "stderr", "P")
        + kept_by_the_kubelet(", two parts", "stderr")
    )

    with otlp_receiver("http/protobuf") as loki:
        endpoint = f"http://{loki.address}/otlp"
        found = f"{tmp_path}/langflow_langflow-*/langflow/*.log"
        with Collector("logs.yaml", tmp_path, LOGS_ENDPOINT=endpoint, LANGFLOW_LOG_FILE=found):
            eventually(lambda: len(loki.logs()) >= 2)
        resources = [
            {each.key: each.value.string_value for each in resource_logs.resource.attributes}
            for request in loki.log_requests
            for resource_logs in request.message.resource_logs
        ]

    records = {record.body.string_value: record for _, record in loki.logs()}
    assert set(records) == {"said", "a long line, two parts"}
    said = records["said"]
    assert (said.trace_id.hex(), said.span_id.hex(), said.severity_number) == ("ab" * 16, "cd" * 8, 13)
    assert said.time_unix_nano == 1796026499_500_000_000
    assert {each["k8s.pod.name"] for each in resources} == {"langflow-7d9c-x2x"}
    assert {each["k8s.namespace.name"] for each in resources} == {"langflow"}
    assert "langflow" in {each.get("service.name") for each in resources}
