"""What goes over the wire, as real receivers get it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from otlp_receiver import Receiver, otlp_receiver

from langflow_otel._content.log_lines import LogLine
from langflow_otel._runs.facts import ComponentInfo, FlowInfo, ModelUsage, Outcome, ToolInfo
from langflow_otel._runs.recorder import Recorder
from langflow_otel._sdk.log_records import emit_function, otlp_logger_provider
from langflow_otel._sdk.providers import build_meter_provider, build_tracer_provider
from langflow_otel._settings.otlp_target import otlp_target, spelled_out
from langflow_otel._settings.settings import Settings
from langflow_otel.version import __version__

GRPC: Literal["grpc"] = "grpc"
HTTP: Literal["http/protobuf"] = "http/protobuf"


@pytest.fixture(params=[GRPC, HTTP])
def receiver(request, monkeypatch) -> Iterator[Receiver]:
    with otlp_receiver(request.param) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.address}")
        yield receiver


def send_a_flow() -> tuple[int, int]:
    """Runs a flow with one component, whose tool fails; returns the time before and after."""
    settings = Settings.from_env()
    assert settings.problems == ()
    provider = build_tracer_provider(settings)
    recorder = Recorder(provider, settings)
    before = time.time_ns()
    flow = recorder.start_flow(FlowInfo("Orders", "api", "f-1", session_id="sütun", component_count=2))
    assert flow is not None
    component = recorder.start_component(ComponentInfo("Agent-1", "Agent", "Agent", "agent"), flow)
    tool = recorder.start_tool(ToolInfo("search"), component)
    try:
        raise KeyError("canary")
    except KeyError as exc:
        tool.finish(Outcome("error", exc))
    component.produced(("answer", "log"))
    component.used_model(ModelUsage("gpt", "openai", 10, 20))
    component.finish()
    flow.finish()
    after = time.time_ns()
    provider.shutdown()
    return before, after


def attributes(entry: Any) -> dict[str, Any]:
    return {each.key: value(each.value) for each in entry.attributes}


def value(wire: AnyValue) -> Any:
    """With the type it has on the wire."""
    kind = wire.WhichOneof("value")
    if kind == "array_value":
        return tuple(value(item) for item in wire.array_value.values)
    return getattr(wire, kind)


def test_a_flow_arrives_as_one_trace(receiver):
    before, after = send_a_flow()

    flow, agent, tool = (
        receiver.spans[name] for name in ("invoke_workflow Orders", "invoke_agent Agent", "execute_tool search")
    )
    assert len(receiver.spans) == 3
    assert {len(span.trace_id) for span in (flow, agent, tool)} == {16}
    assert flow.trace_id == agent.trace_id == tool.trace_id
    assert len({flow.span_id, agent.span_id, tool.span_id}) == 3
    assert (flow.parent_span_id, agent.parent_span_id, tool.parent_span_id) == (b"", flow.span_id, agent.span_id)
    times = [flow.start_time_unix_nano, agent.start_time_unix_nano, tool.start_time_unix_nano]
    times += [tool.end_time_unix_nano, agent.end_time_unix_nano, flow.end_time_unix_nano]
    assert [before, *times, after] == sorted([before, *times, after])
    assert {span.kind for span in (flow, agent, tool)} == {Span.SPAN_KIND_INTERNAL}


def test_attributes_arrive_with_their_types(receiver):
    send_a_flow()

    assert attributes(receiver.spans["invoke_workflow Orders"]) == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": "Orders",
        "gen_ai.conversation.id": "sütun",
        "session.id": "sütun",
        "langflow.flow.id": "f-1",
        "langflow.flow.name": "Orders",
        "langflow.flow.component_count": 2,
        "langflow.entry_point": "api",
        "langflow.usage.input_tokens": 10,
        "langflow.usage.output_tokens": 20,
        "langflow.status": "ok",
    }
    assert attributes(receiver.spans["invoke_agent Agent"]) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "Agent",
        "gen_ai.request.model": "gpt",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 20,
        "langflow.component.id": "Agent-1",
        "langflow.component.type": "Agent",
        "langflow.component.display_name": "Agent",
        "langflow.component.kind": "agent",
        "langflow.component.output.names": ("answer", "log"),
        "langflow.flow.id": "f-1",
        "langflow.flow.name": "Orders",
        "langflow.status": "ok",
    }


def test_an_error_arrives_as_status_and_event_without_its_message(receiver):
    send_a_flow()

    tool = receiver.spans["execute_tool search"]
    assert (tool.status.code, tool.status.message) == (Status.STATUS_CODE_ERROR, "")
    assert attributes(tool)["error.type"] == "KeyError"
    (event,) = tool.events
    assert event.name == "exception"
    assert tool.start_time_unix_nano <= event.time_unix_nano <= tool.end_time_unix_nano
    assert attributes(event)["exception.type"] == "KeyError"
    assert attributes(event)["exception.stacktrace"].endswith("in send_a_flow\nKeyError")
    assert receiver.spans["invoke_workflow Orders"].status.code == Status.STATUS_CODE_UNSET
    assert b"canary" not in receiver.requests[0].message.SerializeToString()


def test_resource_and_scope_say_who_sent_it(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    send_a_flow()

    (request,) = receiver.requests
    (resource_spans,) = request.message.resource_spans
    resource = attributes(resource_spans.resource)
    assert resource["service.name"] == "shop"
    assert resource["deployment.environment.name"] == "test"
    assert resource["telemetry.sdk.language"] == "python"
    assert len(resource["service.instance.id"]) == 36
    (scope_spans,) = resource_spans.scope_spans
    assert (scope_spans.scope.name, scope_spans.scope.version) == ("langflow_otel", __version__)
    assert scope_spans.schema_url == "https://opentelemetry.io/schemas/1.44.0"


def test_headers_arrive(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=abc%20123,x-tenant=t1")
    send_a_flow()

    headers = receiver.requests[0].headers
    assert (headers["x-api-key"], headers["x-tenant"]) == ("abc 123", "t1")


def test_headers_come_from_a_file_too(receiver, monkeypatch, tmp_path):
    path = tmp_path / "headers"
    path.write_text("# mounted\nauthorization=Bearer%20abc\n\nx-tenant=file, x-b=2\n")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=variable,x-team=red")
    monkeypatch.setenv("LANGFLOW_OTEL_OTLP_HEADERS_FILE", str(path))
    send_a_flow()
    settings = Settings.from_env()
    lines = otlp_logger_provider(settings, settings.logs_otlp)
    emit_function(lines, "x")(LogLine("x", 9, "INFO", "hi", {}))
    lines.force_flush()
    lines.shutdown()
    meters = build_meter_provider(settings)
    meters.get_meter("x").create_counter("x").add(1)
    meters.shutdown()

    expected = {"authorization": "Bearer abc", "x-tenant": "file", "x-b": "2", "x-team": "red"}
    for requests in (receiver.requests, receiver.log_requests, receiver.metric_requests):
        assert {name: requests[0].headers.get(name) for name in expected} == expected


def test_an_address_without_a_scheme(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_INSECURE", "true")
    send_a_flow()

    assert len(receiver.spans) == 3


def test_compression(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    send_a_flow()

    assert len(receiver.spans) == 3
    if receiver.requests[0].path:
        assert receiver.requests[0].headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("variable", "path", "expected"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "", "/v1/traces"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "/", "/v1/traces"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "/tenant", "/tenant/v1/traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "/own/path", "/own/path"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", "/"),
    ],
)
def test_the_path_over_http(monkeypatch, variable: str, path: str, expected: str):
    with otlp_receiver(HTTP) as receiver:
        monkeypatch.setenv(variable, f"http://{receiver.address}{path}")
        send_a_flow()

    assert [request.path for request in receiver.requests] == [expected]


def test_a_receiver_that_is_down_costs_no_flow(monkeypatch, caplog):
    with otlp_receiver(HTTP) as receiver:
        address = receiver.address
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    send_a_flow()

    assert all("canary" not in record.getMessage() for record in caplog.records)


# What is written back for LangFlow's own telemetry

ENDPOINT, PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
INSECURE = {"OTEL_EXPORTER_OTLP_INSECURE": "true"}


@pytest.mark.parametrize(
    ("env", "changes"),
    [
        ({}, {}),
        ({ENDPOINT: " "}, {}),
        ({ENDPOINT: "http://host:4318"}, {}),
        ({ENDPOINT: "https://host/tenant"}, {}),
        ({ENDPOINT: "host:4318"}, {ENDPOINT: "https://host:4318"}),
        ({ENDPOINT: " host:4318 "}, {ENDPOINT: "https://host:4318"}),
        ({ENDPOINT: "host:4318", **INSECURE}, {ENDPOINT: "http://host:4318"}),
        ({ENDPOINT: "host:4317"}, {ENDPOINT: "https://host:4317", PROTOCOL: "grpc"}),
        ({ENDPOINT: "http://host:4317"}, {PROTOCOL: "grpc"}),
        ({ENDPOINT: "http://host:4317", PROTOCOL: "grpc"}, {}),
        ({ENDPOINT: "http://host:4317", PROTOCOL: "http/protobuf"}, {}),
        ({ENDPOINT: "host", PROTOCOL: "grpc"}, {ENDPOINT: "https://host"}),
        (
            {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "host:4317", "OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true"},
            {
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://host:4317",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            },
        ),
        (
            {ENDPOINT: "http://a:4318", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "b:4318/v1/metrics"},
            {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://b:4318/v1/metrics"},
        ),
        (
            {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "b:4317", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "grpc"},
            {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "https://b:4317"},
        ),
        # What is wrong stays as it is, and is said elsewhere.
        ({ENDPOINT: "host:99999"}, {}),
        ({ENDPOINT: "ho st:4318"}, {}),
        ({ENDPOINT: "ftp://host:4318"}, {}),
        ({ENDPOINT: "host:4318", "OTEL_EXPORTER_OTLP_INSECURE": "perhaps"}, {}),
        ({ENDPOINT: "host:4318", PROTOCOL: "smoke"}, {}),
    ],
)
def test_what_langflow_would_not_understand_is_spelled_out(env: dict[str, str], changes: dict[str, str]):
    before = dict(env)
    assert spelled_out(env) == changes
    assert env == before


@pytest.mark.parametrize("endpoint", ["host:4317", "host:4318", "http://host:4317", "host"])
def test_spelled_out_it_means_the_same_to_us(endpoint: str):
    env = {ENDPOINT: endpoint}
    spelled = env | spelled_out(env)

    for signal in ("TRACES", "METRICS", "LOGS"):
        assert otlp_target(spelled, signal, []) == otlp_target(env, signal, [])
    assert spelled_out(spelled) == {}
