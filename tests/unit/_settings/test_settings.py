"""The environment becomes settings: defaults, accepted values, and one line for each wrong one."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import RESERVED_BY_LANGFLOW, ScrapeSettings, Settings
from langflow_otel._settings.variables import CAPTURE, VARIABLES

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
TRACES_PROTOCOL = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
INSECURE = "OTEL_EXPORTER_OTLP_INSECURE"
TRACES_INSECURE = "OTEL_EXPORTER_OTLP_TRACES_INSECURE"
SAMPLING, KEEP = "LANGFLOW_OTEL_SAMPLING", "LANGFLOW_OTEL_KEEP"
RATIOS = "none, or a list of pattern=ratio, each ratio 0 to 1"
METRICS = "OTEL_METRICS_EXPORTER"
LOGS = "OTEL_LOGS_EXPORTER"
METRICS_ENDPOINT = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
METRICS_PROTOCOL = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"
METRICS_INSECURE = "OTEL_EXPORTER_OTLP_METRICS_INSECURE"
HOST = "OTEL_EXPORTER_PROMETHEUS_HOST"
PORT = "OTEL_EXPORTER_PROMETHEUS_PORT"
TO_LOCALHOST = OtlpTarget("http/protobuf", "http://localhost:4318/v1/metrics", insecure=True)


def target(**env: str) -> OtlpTarget | None:
    settings = Settings.from_env(env)
    assert settings.problems == ()
    return settings.otlp


def test_an_empty_environment_gives_the_defaults_and_no_problem():
    assert Settings.from_env({}) == Settings()
    assert Settings() == Settings(
        service_name="langflow",
        sdk_disabled=False,
        enabled="auto",
        detail="model",
        error_messages="none",
        openinference=False,
        user_id=False,
        console=False,
        otlp=None,
        trace_file=None,
        metrics_console=False,
        metrics_default=True,
        metrics_otlp=None,
        scrape=None,
        window_s=60.0,
        max_flows=200,
        metric_labels=("flow", "component_type"),
        problems=(),
    )
    assert ScrapeSettings() == ScrapeSettings("localhost", 9464, token_file=None, cert_file=None, key_file=None)
    assert not Settings().has_destination


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().detail = "flow"  # type: ignore[misc]


def test_without_an_argument_the_process_environment_is_read(monkeypatch):
    monkeypatch.setenv("LANGFLOW_OTEL_DETAIL", "output")

    assert Settings.from_env() == Settings(detail="output")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("OTEL_SERVICE_NAME", "orders", {"service_name": "orders"}),
        ("OTEL_SERVICE_NAME", "Bestellungen-日本", {"service_name": "Bestellungen-日本"}),
        ("OTEL_SERVICE_NAME", "x" * 100_000, {"service_name": "x" * 100_000}),
        ("OTEL_TRACES_EXPORTER", "console", {"console": True}),
        ("OTEL_TRACES_EXPORTER", " Console ", {"console": True}),
        ("OTEL_TRACES_EXPORTER", "none", {}),
        (
            "OTEL_TRACES_EXPORTER",
            "otlp",
            {"otlp": OtlpTarget("http/protobuf", "http://localhost:4318/v1/traces", insecure=True)},
        ),
        (
            "OTEL_TRACES_EXPORTER",
            "otlp, console",
            {"otlp": OtlpTarget("http/protobuf", "http://localhost:4318/v1/traces", insecure=True), "console": True},
        ),
        ("OTEL_SDK_DISABLED", "true", {"sdk_disabled": True}),
        ("OTEL_SDK_DISABLED", "TRUE", {"sdk_disabled": True}),
        ("OTEL_SDK_DISABLED", "false", {}),
        ("LANGFLOW_OTEL_ENABLED", "auto", {}),
        ("LANGFLOW_OTEL_ENABLED", "true", {"enabled": "true"}),
        ("LANGFLOW_OTEL_ENABLED", "False", {"enabled": "false"}),
        ("LANGFLOW_OTEL_DETAIL", "flow", {"detail": "flow"}),
        ("LANGFLOW_OTEL_DETAIL", "model", {}),
        ("LANGFLOW_OTEL_DETAIL", "component", {"detail": "component"}),
        ("LANGFLOW_OTEL_DETAIL", " OUTPUT\n", {"detail": "output"}),
        ("LANGFLOW_OTEL_ERROR_MESSAGES", "none", {}),
        ("LANGFLOW_OTEL_ERROR_MESSAGES", "full", {"error_messages": "full"}),
        ("LANGFLOW_OTEL_ERROR_MESSAGES", "Redacted", {"error_messages": "redacted"}),
        (SAMPLING, "none", {}),
        (SAMPLING, "*=1", {"sampling": (("*", 1.0),), "keep_errors": True}),
        (
            SAMPLING,
            " check=out=1, chat-*=0.01 ,*=.1,",
            {"sampling": (("check=out", 1.0), ("chat-*", 0.01), ("*", 0.1)), "keep_errors": True},
        ),
        (KEEP, "errors", {"keep_errors": True}),
        (KEEP, "none", {}),
        (KEEP, "slow:5s", {"keep_slow_s": 5.0}),
        (KEEP, "Slow:250ms,errors", {"keep_errors": True, "keep_slow_s": 0.25}),
        (KEEP, "slow:1.5m", {"keep_slow_s": 90.0}),
        (CAPTURE, "NO_CONTENT", {}),
        (CAPTURE, "false", {}),
        (CAPTURE, "true", {"content_on_spans": True}),
        (CAPTURE, "span_only", {"content_on_spans": True}),
        (CAPTURE, "EVENT_ONLY", {"content_in_events": True}),
        (CAPTURE, "SPAN_AND_EVENT", {"content_on_spans": True, "content_in_events": True}),
        ("LANGFLOW_OTEL_CONTENT_DENY", "HRLookup,notes", {"content_deny": ("HRLookup", "notes")}),
        ("LANGFLOW_OTEL_CONTENT_LENGTH", "500", {"content_length": 500}),
        ("LANGFLOW_OTEL_REDACT", "EMP-[0-9]{6}|x", {"redact": "EMP-[0-9]{6}|x"}),
        ("LANGFLOW_OTEL_REDACT", "none", {}),
        ("LANGFLOW_OTEL_REDACT_IPS", "true", {"redact_ips": True}),
        ("LANGFLOW_OTEL_SEMCONV", "genai", {}),
        ("LANGFLOW_OTEL_SEMCONV", "genai,openinference", {"openinference": True}),
        ("LANGFLOW_OTEL_SEMCONV", "OpenInference, GenAI", {"openinference": True}),
        ("LANGFLOW_OTEL_TRACE_FILE", "none", {}),
        ("LANGFLOW_OTEL_TRACE_FILE", "/tmp/sp ans-ü.jsonl", {"trace_file": Path("/tmp/sp ans-ü.jsonl")}),
        ("LANGFLOW_OTEL_TRACE_FILE", "~/spans.jsonl", {"trace_file": Path.home() / "spans.jsonl"}),
        ("LANGFLOW_OTEL_USER_ID", "true", {"user_id": True}),
        ("LANGFLOW_OTEL_USER_ID", "false", {}),
        (METRICS, "none", {"metrics_default": False}),
        (METRICS, "console", {"metrics_default": False, "metrics_console": True}),
        (METRICS, "otlp", {"metrics_otlp": TO_LOCALHOST}),
        (METRICS, "prometheus", {"metrics_default": False, "scrape": ScrapeSettings()}),
        (
            METRICS,
            " OTLP, Prometheus ,console",
            {
                "metrics_default": False,
                "metrics_otlp": TO_LOCALHOST,
                "scrape": ScrapeSettings(),
                "metrics_console": True,
            },
        ),
        # Nothing is scraped: where it would be does not count.
        (HOST, "0.0.0.0", {}),
        (PORT, "1", {}),
        ("LANGFLOW_OTEL_SCRAPE_TOKEN_FILE", "token", {}),
        ("LANGFLOW_OTEL_WINDOW", "1", {"window_s": 1.0}),
        ("LANGFLOW_OTEL_WINDOW", "2.5", {"window_s": 2.5}),
        ("LANGFLOW_OTEL_WINDOW", " 86400 ", {"window_s": 86400.0}),
        ("LANGFLOW_OTEL_MAX_FLOWS", "1", {"max_flows": 1}),
        ("LANGFLOW_OTEL_MAX_FLOWS", "100000", {"max_flows": 100_000}),
        ("LANGFLOW_OTEL_METRIC_LABELS", "none", {"metric_labels": ()}),
        ("LANGFLOW_OTEL_METRIC_LABELS", " None\n", {"metric_labels": ()}),
        ("LANGFLOW_OTEL_METRIC_LABELS", "flow", {"metric_labels": ("flow",)}),
        (
            "LANGFLOW_OTEL_METRIC_LABELS",
            "Flow_ID, component_type,flow_version",
            {"metric_labels": ("flow_id", "component_type", "flow_version")},
        ),
    ],
)
def test_an_accepted_value(name: str, text: str, expected: dict[str, Any]):
    assert Settings.from_env({name: text}) == dataclasses.replace(Settings(), **expected)


@pytest.mark.parametrize(
    ("name", "text", "accepts", "used"),
    [
        ("OTEL_TRACES_EXPORTER", "jaeger", "otlp, console, none, or a list", "otlp"),
        ("OTEL_TRACES_EXPORTER", "console,zipkin", "otlp, console, none, or a list", "otlp"),
        ("OTEL_TRACES_EXPORTER", ",", "otlp, console, none, or a list", "otlp"),
        ("OTEL_TRACES_EXPORTER", "otlp_json", "otlp, console, none, or a list", "otlp"),
        ("OTEL_SDK_DISABLED", "1", "true, false", "false"),
        ("LANGFLOW_OTEL_ENABLED", "on", "auto, true, false", "auto"),
        ("LANGFLOW_OTEL_DETAIL", "outputs", "flow, component, model, output", "model"),
        ("LANGFLOW_OTEL_DETAIL", "日本", "flow, component, model, output", "model"),
        ("LANGFLOW_OTEL_ERROR_MESSAGES", "redact", "none, redacted (needs langflow-otel[redact]), full", "none"),
        (SAMPLING, "0.1", RATIOS, "none"),
        (SAMPLING, "*=2", RATIOS, "none"),
        (SAMPLING, "*=ten", RATIOS, "none"),
        (SAMPLING, "=1", RATIOS, "none"),
        (SAMPLING, ",", RATIOS, "none"),
        ("LANGFLOW_OTEL_CONTENT_LENGTH", "10", "100 to 1000000", "8192"),
        (
            "LANGFLOW_OTEL_REDACT",
            "(",
            "none, or a regular expression of RE2 syntax (needs langflow-otel[redact])",
            "none",
        ),
        (
            "LANGFLOW_OTEL_REDACT",
            "x*",
            "none, or a regular expression of RE2 syntax (needs langflow-otel[redact])",
            "none",
        ),
        ("LANGFLOW_OTEL_SEMCONV", "openinference", "genai; genai,openinference", "genai"),
        ("LANGFLOW_OTEL_SEMCONV", "genai,traceloop", "genai; genai,openinference", "genai"),
        ("LANGFLOW_OTEL_TRACE_FILE", "~no-such-user/spans", "a path, none", "none"),
        ("LANGFLOW_OTEL_USER_ID", "yes", "true, false", "false"),
        (METRICS, "statsd", "otlp, prometheus, console, none, or a list", "otlp"),
        (METRICS, "prometheus,statsd", "otlp, prometheus, console, none, or a list", "otlp"),
        (HOST, "http://localhost", "a host name or address", "localhost"),
        (HOST, "localhost:9464", "a host name or address", "localhost"),
        (HOST, "local host", "a host name or address", "localhost"),
        (HOST, "[]", "a host name or address", "localhost"),
        (PORT, "65536", "0 to 65535", "9464"),
        (PORT, "-1", "0 to 65535", "9464"),
        (PORT, "http", "0 to 65535", "9464"),
        (PORT, "9464.0", "0 to 65535", "9464"),
        ("LANGFLOW_OTEL_WINDOW", "0", "seconds, 1 to 86400", "60"),
        ("LANGFLOW_OTEL_WINDOW", "0.99", "seconds, 1 to 86400", "60"),
        ("LANGFLOW_OTEL_WINDOW", "86400.1", "seconds, 1 to 86400", "60"),
        ("LANGFLOW_OTEL_WINDOW", "nan", "seconds, 1 to 86400", "60"),
        ("LANGFLOW_OTEL_WINDOW", "inf", "seconds, 1 to 86400", "60"),
        ("LANGFLOW_OTEL_WINDOW", "60s", "seconds, 1 to 86400", "60"),
        ("LANGFLOW_OTEL_MAX_FLOWS", "0", "1 to 100000", "200"),
        ("LANGFLOW_OTEL_MAX_FLOWS", "100001", "1 to 100000", "200"),
        ("LANGFLOW_OTEL_MAX_FLOWS", "1e3", "1 to 100000", "200"),
        (
            "LANGFLOW_OTEL_METRIC_LABELS",
            "flow,component_id",
            "none, or a list of flow, component_type, flow_id, flow_version",
            "flow,component_type",
        ),
        (
            "LANGFLOW_OTEL_METRIC_LABELS",
            "none,flow",
            "none, or a list of flow, component_type, flow_id, flow_version",
            "flow,component_type",
        ),
        ("LANGFLOW_OTEL_SCRAPE_KEY_FILE", "~no-such-user/key", "a path, none", "none"),
        ("LANGFLOW_OTEL_SCRAPE_HOSTS", "a.example:9464", "none, *, or a list of host names without ports", "none"),
        ("LANGFLOW_OTEL_SCRAPE_HOSTS", "http://a.example", "none, *, or a list of host names without ports", "none"),
        ("LANGFLOW_OTEL_SCRAPE_REGISTRY", "yes", "true, false", "true"),
    ],
)
def test_a_wrong_value_gives_one_line_and_the_default(name: str, text: str, accepts: str, used: str):
    problem = f"{name}={text!r} is not accepted; use {accepts}. Using {used!r} instead."

    assert Settings.from_env({name: text}) == dataclasses.replace(Settings(), problems=(problem,))


def test_every_variable_has_a_default_that_it_accepts():
    for variable in VARIABLES:
        variable.parse(variable.default)
        assert variable.accepts
        assert variable.meaning


@pytest.mark.parametrize(
    "text", ["all", "slow", "slow:", "slow:5", "slow:5x", "slow:-1s", "errors,none", "slow:1s,slow:2s"]
)
def test_what_runs_to_keep_is_not_accepted(text: str):
    """The ratio keeps its meaning, and failed runs are kept."""
    settings = Settings.from_env({SAMPLING: "*=0", KEEP: text})

    assert (settings.keep_errors, settings.keep_slow_s) == (True, None)
    assert settings.problems == (
        f"{KEEP}={text!r} is not accepted; use none, or a list of errors and slow:DURATION (ms, s, m, h). "
        "Using 'errors' instead.",
    )


@pytest.mark.parametrize(("variable", "text"), [(CAPTURE, "true"), ("LANGFLOW_OTEL_ERROR_MESSAGES", "redacted")])
def test_without_the_extra_nothing_leaves_that_would_have_to_be_redacted(monkeypatch, variable: str, text: str):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    settings = Settings.from_env({variable: text})

    assert (settings.captures_content, settings.error_messages) == (False, "none")
    assert "langflow-otel[redact]" in settings.problems[0]


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_an_empty_value_is_as_good_as_none(text: str):
    names = [variable.name for variable in VARIABLES]
    names += [ENDPOINT, TRACES_ENDPOINT, PROTOCOL, TRACES_PROTOCOL, INSECURE, TRACES_INSECURE]
    names += [METRICS_ENDPOINT, METRICS_PROTOCOL, METRICS_INSECURE]

    assert Settings.from_env(dict.fromkeys(names, text)) == Settings()


def test_a_huge_wrong_value_is_cut_to_one_short_line():
    (problem,) = Settings.from_env({"LANGFLOW_OTEL_DETAIL": "many\nlines " * 10_000}).problems

    assert "\n" not in problem
    assert len(problem) < 250
    assert problem.startswith("LANGFLOW_OTEL_DETAIL='many\\nlines many")
    assert problem.endswith("...' is not accepted; use flow, component, model, output. Using 'model' instead.")


def test_several_wrong_values_are_each_reported(caplog):
    settings = Settings.from_env({"LANGFLOW_OTEL_DETAIL": "x", "OTEL_SDK_DISABLED": "y"})

    with caplog.at_level(logging.WARNING, "langflow_otel"):
        settings.log_problems()

    assert [record.getMessage() for record in caplog.records] == [
        "OTEL_SDK_DISABLED='y' is not accepted; use true, false. Using 'false' instead.",
        "LANGFLOW_OTEL_DETAIL='x' is not accepted; use flow, component, model, output. Using 'model' instead.",
    ]


def test_a_percent_sign_in_a_value_survives_the_log(caplog):
    Settings.from_env({"LANGFLOW_OTEL_DETAIL": "%s %d"}).log_problems()

    assert caplog.records[0].getMessage().startswith("LANGFLOW_OTEL_DETAIL='%s %d' is not accepted")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("LANGFLOW_OTEL_DETIAL", "LANGFLOW_OTEL_DETAIL"),
        ("LANGFLOW_OTEL_DETAILS", "LANGFLOW_OTEL_DETAIL"),
        ("LANGFLOW_OTEL_ENABLE", "LANGFLOW_OTEL_ENABLED"),
        ("LANGFLOW_OTEL_TRACEFILE", "LANGFLOW_OTEL_TRACE_FILE"),
        ("LANGFLOW_OTEL_ERROR_MESAGE", "LANGFLOW_OTEL_ERROR_MESSAGES"),
        ("LANGFLOW_OTEL_SEMCOV", "LANGFLOW_OTEL_SEMCONV"),
        ("LANGFLOW_OTEL_USERID", "LANGFLOW_OTEL_USER_ID"),
        ("LANGFLOW_OTEL_MAX_FLOW", "LANGFLOW_OTEL_MAX_FLOWS"),
        ("LANGFLOW_OTEL_METRICS_LABELS", "LANGFLOW_OTEL_METRIC_LABELS"),
        ("LANGFLOW_OTEL_SCRAPE_TOKENFILE", "LANGFLOW_OTEL_SCRAPE_TOKEN_FILE"),
    ],
)
def test_a_misspelled_variable_is_reported_with_the_right_name(written: str, meant: str):
    assert Settings.from_env({written: "flow"}).problems == (
        f"{written} is not a variable of langflow-otel; did you mean {meant}? It is ignored.",
    )


@pytest.mark.parametrize(
    "name",
    [
        *RESERVED_BY_LANGFLOW,
        "LANGFLOW_OTEL_SOMETHING_OF_LANGFLOWS_OWN",
        "LANGFLOW_OTEL_",
        "LANGFLOW_OTEL_" + "x" * 100_000,
        "LANGFLOW_DETIAL",
        "OTEL_SERVICE_NAMES",
    ],
)
def test_a_name_that_is_not_ours_is_left_alone(name: str):
    assert Settings.from_env({name: "x"}) == Settings()


def test_the_name_that_langflow_reserves_is_not_ours():
    assert RESERVED_BY_LANGFLOW == ("LANGFLOW_OTEL_DB_SPANS",)
    assert not {variable.name for variable in VARIABLES} & set(RESERVED_BY_LANGFLOW)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        # An address with a scheme; port 4317 means gRPC, all else HTTP.
        ({ENDPOINT: "http://host:4317"}, ("grpc", "http://host:4317", True)),
        ({ENDPOINT: "https://host:4317"}, ("grpc", "https://host:4317", False)),
        ({ENDPOINT: "https://host:4317/"}, ("grpc", "https://host:4317/", False)),
        ({ENDPOINT: "HTTP://host:4317"}, ("grpc", "HTTP://host:4317", True)),
        ({ENDPOINT: "http://user:pw@host:4317"}, ("grpc", "http://user:pw@host:4317", True)),
        ({ENDPOINT: "http://host:4318"}, ("http/protobuf", "http://host:4318/v1/traces", True)),
        ({ENDPOINT: "http://host:4318/"}, ("http/protobuf", "http://host:4318/v1/traces", True)),
        ({ENDPOINT: "https://host"}, ("http/protobuf", "https://host/v1/traces", False)),
        ({ENDPOINT: "https://host/otlp"}, ("http/protobuf", "https://host/otlp/v1/traces", False)),
        ({ENDPOINT: "http://host:14317"}, ("http/protobuf", "http://host:14317/v1/traces", True)),
        ({ENDPOINT: "http://host:8080/4317"}, ("http/protobuf", "http://host:8080/4317/v1/traces", True)),
        ({ENDPOINT: " https://host:4318 "}, ("http/protobuf", "https://host:4318/v1/traces", False)),
        # A query string stays behind the path.
        ({ENDPOINT: "https://host/otlp?key=a/b"}, ("http/protobuf", "https://host/otlp/v1/traces?key=a/b", False)),
        ({ENDPOINT: "http://host:4317?key=1"}, ("grpc", "http://host:4317?key=1", True)),
        # IPv6.
        ({ENDPOINT: "http://[::1]:4317"}, ("grpc", "http://[::1]:4317", True)),
        ({ENDPOINT: "[::1]:4318", INSECURE: "true"}, ("http/protobuf", "http://[::1]:4318/v1/traces", True)),
        # No scheme: TLS unless INSECURE says otherwise.
        ({ENDPOINT: "host:4317"}, ("grpc", "https://host:4317", False)),
        ({ENDPOINT: "host:4317", INSECURE: "true"}, ("grpc", "http://host:4317", True)),
        ({ENDPOINT: "host:4317", INSECURE: "True"}, ("grpc", "http://host:4317", True)),
        ({ENDPOINT: "host:4317", INSECURE: "false"}, ("grpc", "https://host:4317", False)),
        ({ENDPOINT: "host:4317", TRACES_INSECURE: "true"}, ("grpc", "http://host:4317", True)),
        ({ENDPOINT: "host:4317", TRACES_INSECURE: "false", INSECURE: "true"}, ("grpc", "https://host:4317", False)),
        ({ENDPOINT: "host:4317", TRACES_INSECURE: " ", INSECURE: "true"}, ("grpc", "http://host:4317", True)),
        ({ENDPOINT: "host:4318"}, ("http/protobuf", "https://host:4318/v1/traces", False)),
        ({ENDPOINT: "host"}, ("http/protobuf", "https://host/v1/traces", False)),
        ({ENDPOINT: "host:4318/otlp"}, ("http/protobuf", "https://host:4318/otlp/v1/traces", False)),
        # A scheme says it all.
        ({ENDPOINT: "http://host:4317", INSECURE: "false"}, ("grpc", "http://host:4317", True)),
        ({ENDPOINT: "https://host:4317", INSECURE: "true"}, ("grpc", "https://host:4317", False)),
        # The signal's own endpoint wins and is used as it stands.
        ({TRACES_ENDPOINT: "http://host:4318"}, ("http/protobuf", "http://host:4318", True)),
        ({TRACES_ENDPOINT: "http://host:4318/x/"}, ("http/protobuf", "http://host:4318/x/", True)),
        (
            {TRACES_ENDPOINT: "https://a/v1/traces", ENDPOINT: "http://b:4317"},
            ("http/protobuf", "https://a/v1/traces", False),
        ),
        ({TRACES_ENDPOINT: "", ENDPOINT: "http://b:4317"}, ("grpc", "http://b:4317", True)),
        # A protocol that is named wins over the port.
        ({ENDPOINT: "http://a:4317", PROTOCOL: "http/protobuf"}, ("http/protobuf", "http://a:4317/v1/traces", True)),
        ({ENDPOINT: "http://host:4318", PROTOCOL: "grpc"}, ("grpc", "http://host:4318", True)),
        ({ENDPOINT: "http://host:4318", PROTOCOL: "GRPC"}, ("grpc", "http://host:4318", True)),
        (
            {ENDPOINT: "http://host:1", PROTOCOL: "grpc", TRACES_PROTOCOL: "http/protobuf"},
            ("http/protobuf", "http://host:1/v1/traces", True),
        ),
        # gRPC's own schemes.
        ({ENDPOINT: "unix:///run/o.sock", PROTOCOL: "grpc", INSECURE: "true"}, ("grpc", "unix:///run/o.sock", True)),
        # Asked for without an address.
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("http/protobuf", "http://localhost:4318/v1/traces", True)),
        ({"OTEL_TRACES_EXPORTER": "otlp", PROTOCOL: "grpc"}, ("grpc", "http://localhost:4317", True)),
        ({"OTEL_TRACES_EXPORTER": "console,OTLP", PROTOCOL: "grpc"}, ("grpc", "http://localhost:4317", True)),
    ],
)
def test_where_otlp_goes(env: dict[str, str], expected: tuple[Any, str, bool]):
    protocol, endpoint, insecure = expected

    assert target(**env) == OtlpTarget(protocol, endpoint, insecure)


@pytest.mark.parametrize("exporter", ["none", "console"])
def test_an_endpoint_does_not_count_where_the_exporter_is_another(exporter: str):
    assert target(**{ENDPOINT: "http://host:4317", "OTEL_TRACES_EXPORTER": exporter}) is None


def test_a_protocol_alone_is_no_destination():
    assert target(**{PROTOCOL: "grpc"}) is None


def test_a_wrong_exporter_is_no_request_for_the_default_endpoint():
    assert Settings.from_env({"OTEL_TRACES_EXPORTER": "otlp_json"}).otlp is None


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://",
        "https:///v1/traces",
        "htp://host:4318",
        "http://host:port",
        "http://host:99999",
        "http://[::1:4318",
        "::1:4318",
        "http://my host:4318",
        "://",
    ],
)
def test_an_endpoint_that_no_exporter_could_reach_is_reported(endpoint: str):
    settings = Settings.from_env({ENDPOINT: endpoint})

    assert settings.otlp is None
    assert settings.problems == (
        f"{ENDPOINT}={endpoint!r} is not accepted; use host:port or http(s)://host:port. Using 'none' instead.",
    )


def test_a_wrong_protocol_is_reported_with_the_one_that_is_used():
    by_port = Settings.from_env({ENDPOINT: "http://host:4317", PROTOCOL: "http/json"})
    by_name = Settings.from_env({ENDPOINT: "http://host:4317", TRACES_PROTOCOL: "tcp", PROTOCOL: "http/protobuf"})

    assert by_port.otlp == OtlpTarget("grpc", "http://host:4317", insecure=True)
    assert by_port.problems == (
        "OTEL_EXPORTER_OTLP_PROTOCOL='http/json' is not accepted; use grpc, http/protobuf. Using 'grpc' instead.",
    )
    assert by_name.otlp == OtlpTarget("http/protobuf", "http://host:4317/v1/traces", insecure=True)
    assert by_name.problems == (
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL='tcp' is not accepted; use grpc, http/protobuf. "
        "Using 'http/protobuf' instead.",
    )


def test_a_wrong_insecure_means_tls_and_is_reported():
    settings = Settings.from_env({ENDPOINT: "host:4317", INSECURE: "yes"})

    assert settings.otlp == OtlpTarget("grpc", "https://host:4317", insecure=False)
    assert settings.problems == (
        "OTEL_EXPORTER_OTLP_INSECURE='yes' is not accepted; use true, false. Using 'false' instead.",
    )


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, False),
        ({ENDPOINT: "http://host:4317"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"LANGFLOW_OTEL_TRACE_FILE": "spans.jsonl"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "LANGFLOW_OTEL_TRACE_FILE": "spans.jsonl"}, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({METRICS_ENDPOINT: "http://host:4317"}, True),
        ({METRICS: "console"}, True),
        ({METRICS: "otlp"}, True),
        ({METRICS: "prometheus"}, True),
        ({METRICS: "none"}, False),
        ({METRICS: "none", ENDPOINT: "http://host:4317"}, True),
        ({METRICS: "none", "OTEL_TRACES_EXPORTER": "none", ENDPOINT: "http://host:4317"}, True),
        (
            {METRICS: "none", "OTEL_TRACES_EXPORTER": "none", LOGS: "none", ENDPOINT: "http://host:4317"},
            False,
        ),
        ({LOGS: "console"}, True),
        ({HOST: "0.0.0.0", PORT: "9464"}, False),
    ],
)
def test_what_counts_as_a_destination(env: dict[str, str], expected: bool):
    assert Settings.from_env(env).has_destination is expected


# Metrics


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        # The general endpoint, each signal with its own path.
        ({ENDPOINT: "http://host:4318"}, ("http/protobuf", "http://host:4318/v1/metrics", True)),
        ({ENDPOINT: "https://host/otlp/?key=1"}, ("http/protobuf", "https://host/otlp/v1/metrics?key=1", False)),
        ({ENDPOINT: "http://host:4317"}, ("grpc", "http://host:4317", True)),
        ({ENDPOINT: "host:4317"}, ("grpc", "https://host:4317", False)),
        # Its own endpoint wins and is used as it stands.
        ({METRICS_ENDPOINT: "http://host:9090/api/v1/otlp"}, ("http/protobuf", "http://host:9090/api/v1/otlp", True)),
        (
            {METRICS_ENDPOINT: "https://a/v1/metrics", ENDPOINT: "http://b:4317"},
            ("http/protobuf", "https://a/v1/metrics", False),
        ),
        ({METRICS_ENDPOINT: " ", ENDPOINT: "http://b:4317"}, ("grpc", "http://b:4317", True)),
        # So do its own protocol and its own word on TLS.
        ({ENDPOINT: "http://host:1", METRICS_PROTOCOL: "grpc"}, ("grpc", "http://host:1", True)),
        (
            {ENDPOINT: "http://host:4317", PROTOCOL: "grpc", METRICS_PROTOCOL: "http/protobuf"},
            ("http/protobuf", "http://host:4317/v1/metrics", True),
        ),
        ({ENDPOINT: "host:4317", METRICS_INSECURE: "true"}, ("grpc", "http://host:4317", True)),
        ({ENDPOINT: "host:4317", METRICS_INSECURE: "false", INSECURE: "true"}, ("grpc", "https://host:4317", False)),
        ({ENDPOINT: "host:4317", INSECURE: "true"}, ("grpc", "http://host:4317", True)),
        # Asked for without an address.
        ({METRICS: "otlp", PROTOCOL: "grpc"}, ("grpc", "http://localhost:4317", True)),
        ({METRICS: "console, otlp"}, ("http/protobuf", "http://localhost:4318/v1/metrics", True)),
    ],
)
def test_where_metrics_go_by_otlp(env: dict[str, str], expected: tuple[Any, str, bool]):
    settings = Settings.from_env(env)

    assert settings.problems == ()
    assert settings.metrics_otlp == OtlpTarget(*expected)


def test_each_signal_goes_where_its_own_variables_say():
    settings = Settings.from_env(
        {
            TRACES_ENDPOINT: "http://traces:4317",
            METRICS_ENDPOINT: "metrics:4318/mine",
            METRICS_INSECURE: "true",
            TRACES_PROTOCOL: "http/protobuf",
        }
    )

    assert settings.otlp == OtlpTarget("http/protobuf", "http://traces:4317", insecure=True)
    assert settings.metrics_otlp == OtlpTarget("http/protobuf", "http://metrics:4318/mine", insecure=True)


def test_a_signals_own_variables_are_nothing_to_the_other():
    """Also those that are wrong."""
    only_traces = Settings.from_env({TRACES_ENDPOINT: "http://host:4317", METRICS_PROTOCOL: "tcp"})
    only_metrics = Settings.from_env({METRICS_ENDPOINT: "http://host:4317", TRACES_INSECURE: "maybe"})

    assert (only_traces.metrics_otlp, only_traces.problems) == (None, ())
    assert (only_metrics.otlp, only_metrics.problems) == (None, ())
    assert only_traces.otlp == only_metrics.metrics_otlp == OtlpTarget("grpc", "http://host:4317", insecure=True)


@pytest.mark.parametrize("exporters", ["none", "console", "prometheus", "prometheus,console"])
def test_an_endpoint_does_not_count_where_metrics_go_elsewhere(exporters: str):
    settings = Settings.from_env({ENDPOINT: "http://host:4317", METRICS: exporters})

    assert settings.metrics_otlp is None
    assert settings.otlp is not None


def test_the_scrape_endpoint_has_its_own_variables():
    settings = Settings.from_env(
        {
            METRICS: "prometheus",
            HOST: " [::1] ",
            PORT: "0",
            "LANGFLOW_OTEL_SCRAPE_TOKEN_FILE": "/run/token",
            "LANGFLOW_OTEL_SCRAPE_CERT_FILE": "~/cert.pem",
            "LANGFLOW_OTEL_SCRAPE_KEY_FILE": "none",
            "LANGFLOW_OTEL_SCRAPE_HOSTS": " Metrics.example.com, langflow.example.com,*",
            "LANGFLOW_OTEL_SCRAPE_REGISTRY": "False",
        }
    )

    assert settings.problems == ()
    assert settings.scrape == ScrapeSettings(
        "::1",
        0,
        Path("/run/token"),
        Path.home() / "cert.pem",
        None,
        ("metrics.example.com", "langflow.example.com", "*"),
        registry=False,
    )


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "fe80::1", "metrics.example.com"])
def test_where_a_scrape_may_be_answered(host: str):
    settings = Settings.from_env({METRICS: "prometheus", HOST: host})

    assert settings.problems == ()
    assert settings.scrape == ScrapeSettings(host)


@pytest.mark.parametrize(
    ("env", "line"),
    [
        (
            {ENDPOINT: "http://host:4318", PROTOCOL: "tcp"},
            f"{PROTOCOL}='tcp' is not accepted; use grpc, http/protobuf. Using 'http/protobuf' instead.",
        ),
        (
            {ENDPOINT: "host:4317", INSECURE: "maybe"},
            f"{INSECURE}='maybe' is not accepted; use true, false. Using 'false' instead.",
        ),
        (
            {ENDPOINT: "http://"},
            f"{ENDPOINT}='http://' is not accepted; use host:port or http(s)://host:port. Using 'none' instead.",
        ),
    ],
)
def test_what_is_wrong_for_both_signals_is_said_once(env: dict[str, str], line: str):
    assert Settings.from_env(env).problems == (line,)


def test_what_is_wrong_for_one_signal_leaves_the_other_alone():
    settings = Settings.from_env({ENDPOINT: "http://host:4317", METRICS_ENDPOINT: "http://", METRICS_PROTOCOL: "tcp"})

    assert settings.otlp == OtlpTarget("grpc", "http://host:4317", insecure=True)
    assert settings.metrics_otlp is None
    assert settings.problems == (
        f"{METRICS_PROTOCOL}='tcp' is not accepted; use grpc, http/protobuf. Using 'http/protobuf' instead.",
        f"{METRICS_ENDPOINT}='http://' is not accepted; use host:port or http(s)://host:port. Using 'none' instead.",
    )


NAMES = [variable.name for variable in VARIABLES]
NAMES += [ENDPOINT, TRACES_ENDPOINT, PROTOCOL, TRACES_PROTOCOL, INSECURE, TRACES_INSECURE]
NAMES += [METRICS_ENDPOINT, METRICS_PROTOCOL, METRICS_INSECURE]
ADDRESSES = st.from_regex(r"(\w{0,5}:)?/{0,3}[\[\]\w.:@-]{0,12}(:\d{0,6})?[/?#%\w]{0,6}", fullmatch=True)


@given(
    st.dictionaries(
        st.sampled_from(NAMES) | st.text().map("LANGFLOW_OTEL_".__add__),
        st.text()
        | ADDRESSES
        | st.sampled_from(["otlp", "prometheus", "grpc", "true", "~", "~x", "none,", "nan", "-1", "1e9", "9" * 5000]),
    )
)
def test_no_environment_makes_it_raise(env: dict[str, str]):
    settings = Settings.from_env(env)

    assert all(len(problem.splitlines()) == 1 for problem in settings.problems if "did you mean" not in problem)
    for found in (settings.otlp, settings.metrics_otlp):
        assert found is None or "://" in found.endpoint
    assert 1 <= settings.window_s <= 86400
    assert 1 <= settings.max_flows <= 100_000
    assert len(set(settings.problems)) == len(settings.problems)


def test_each_setting_that_is_one_variable_is_named_in_the_table():
    named = [variable.setting for variable in VARIABLES if variable.setting]
    of_scrape = {f"scrape.{each.name}" for each in dataclasses.fields(ScrapeSettings)}

    assert len(named) == len(set(named))
    assert {name for name in named if "." in name} == of_scrape
    assert {name for name in named if "." not in name} < {each.name for each in dataclasses.fields(Settings)}
