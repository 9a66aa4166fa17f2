"""The standard variables and the SDK that is installed: what the check passes does what it says, and what it refuses
never reaches the SDK, whichever version that is.

``LONG_TESTS=1`` draws many more texts, and other ones each time.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import unquote

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Counter, Histogram, ObservableCounter
from opentelemetry.sdk.metrics.export import MetricExportResult

from langflow_otel._content.log_lines import LogLine
from langflow_otel._sdk.batches import CountingMetricExporter
from langflow_otel._sdk.log_records import emit_function, in_memory_logger_provider, otlp_logger_provider
from langflow_otel._sdk.otlp import otlp_exporter
from langflow_otel._sdk.providers import build_meter_provider, build_tracer_provider
from langflow_otel._sdk.resource import langflow_resource
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings
from langflow_otel._settings.standard import accepted, accepted_environment
from langflow_otel._settings.standard_variables import STANDARD, names_for
from langflow_otel._settings.variables import VARIABLES
from langflow_otel.cli.config import standard_problems
from tests.support.broken_collectors import make_pem

LONG = bool(os.environ.get("LONG_TESTS"))

HTTP = OtlpTarget("http/protobuf", "http://127.0.0.1:9/v1/x", insecure=True)
GRPC = OtlpTarget("grpc", "http://127.0.0.1:9", insecure=True)
ARGUMENT = "OTEL_TRACES_SAMPLER_ARG"
RATIO = {"OTEL_TRACES_SAMPLER": "traceidratio"}


# What the SDK makes of the environment


@contextmanager
def traces() -> Iterator[Any]:
    provider = build_tracer_provider(Settings(otlp=HTTP))
    yield provider
    provider.shutdown()


@contextmanager
def metrics() -> Iterator[Any]:
    with mock.patch.object(CountingMetricExporter, "export", return_value=MetricExportResult.SUCCESS):
        provider = build_meter_provider(Settings(metrics_otlp=HTTP))
        yield provider
        provider.shutdown()


@contextmanager
def logs() -> Iterator[Any]:
    provider = otlp_logger_provider(Settings(), HTTP)
    yield provider
    provider.shutdown()


def exporter(target: OtlpTarget, signal: Any) -> Callable[[], AbstractContextManager[Any]]:
    @contextmanager
    def make() -> Iterator[Any]:
        made = otlp_exporter(target, signal)
        yield made
        made.shutdown()

    return make


@contextmanager
def resource() -> Iterator[Any]:
    yield langflow_resource(Settings())


# What it made of one variable


def field(made: Any, name: str) -> Any:
    """An attribute, whichever object of the SDK has it in this version, with or without an underscore."""
    for inner in ("_batch_processor", "_client", "_transport"):
        made = getattr(made, inner, made) if not hasattr(made, f"_{name}") and not hasattr(made, name) else made
    return getattr(made, f"_{name}") if hasattr(made, f"_{name}") else getattr(made, name)


def span_processor(provider: Any) -> Any:
    """The one that exports."""
    return provider._active_span_processor._span_processors[-1]


def log_processor(provider: Any) -> Any:
    return provider._multi_log_record_processor._log_record_processors[0]


def delay_ms(processor: Any) -> float:
    try:
        return field(processor, "schedule_delay_millis")
    except AttributeError:  # 1.33 to 1.35
        return round(field(processor, "schedule_delay") * 1000)


def metric_reader(provider: Any) -> Any:
    return (getattr(provider, "_metric_readers", None) or provider._sdk_config.metric_readers)[0]


def sampler(provider: Any) -> str:
    name = provider.sampler.get_description()
    parent = "parentbased_" if name.startswith("ParentBased") else ""
    kinds = {"AlwaysOn": "always_on", "AlwaysOff": "always_off", "TraceIdRatio": "traceidratio"}
    root = name.partition("root:")[2].partition(",")[0] or name
    return parent + next(kind for mark, kind in kinds.items() if mark in root)


def headers(made: Any) -> dict[str, str]:
    own = ("content-type", "content-encoding", "user-agent")
    return {name: value for name, value in dict(field(made, "headers")).items() if name.lower() not in own}


def limit(text: str) -> int | None:
    return None if text == "none" else int(text)


def lowered(text: str) -> str:
    return text.strip().lower()


def pairs(text: str) -> dict[str, str]:
    found = (part.partition("=") for part in text.split(","))
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in found if name.strip()}


class Case(NamedTuple):
    """How the SDK is started for a variable, what it has read then, and what that should be."""

    start: Callable[[], AbstractContextManager[Any]]
    read: Callable[[Any], Any]
    meant: Callable[[str], Any]


def cases() -> Iterator[tuple[str, Case]]:
    yield "OTEL_TRACES_SAMPLER", Case(traces, sampler, lowered)
    yield ARGUMENT, Case(traces, lambda made: made.sampler.rate, float)
    for family, start, processor in (("BSP", traces, span_processor), ("BLRP", logs, log_processor)):
        read = lambda made, processor=processor: delay_ms(processor(made))  # noqa: E731
        yield f"OTEL_{family}_SCHEDULE_DELAY", Case(start, read, int)
        for name, attribute in (
            ("EXPORT_TIMEOUT", "export_timeout_millis"),
            ("MAX_QUEUE_SIZE", "max_queue_size"),
            ("MAX_EXPORT_BATCH_SIZE", "max_export_batch_size"),
        ):
            read = lambda made, processor=processor, attribute=attribute: field(processor(made), attribute)  # noqa: E731
            yield f"OTEL_{family}_{name}", Case(start, read, int)
    for name, attribute in LIMITS.items():
        read = lambda made, attribute=attribute: getattr(made._span_limits, attribute)  # noqa: E731
        yield name, Case(traces, read, limit)
    for name, attribute in (("INTERVAL", "interval"), ("TIMEOUT", "timeout")):
        read = lambda made, attribute=attribute: field(metric_reader(made), f"export_{attribute}_millis")  # noqa: E731
        yield f"OTEL_METRIC_EXPORT_{name}", Case(metrics, read, float)
    yield (
        "OTEL_METRICS_EXEMPLAR_FILTER",
        Case(
            metrics, lambda made: type(made._sdk_config.exemplar_filter).__name__, lambda text: FILTERS[lowered(text)]
        ),
    )
    yield (
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        Case(metrics, temporality, lambda text: TEMPORALITIES[lowered(text)]),
    )
    yield (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        Case(metrics, aggregation, lambda text: AGGREGATIONS[lowered(text)]),
    )
    for infix, signal in (("", "traces"), ("TRACES_", "traces"), ("METRICS_", "metrics"), ("LOGS_", "logs")):
        for target in (HTTP, GRPC):
            start, mark = exporter(target, signal), f" ({target.protocol})"
            yield f"OTEL_EXPORTER_OTLP_{infix}TIMEOUT{mark}", Case(start, lambda made: field(made, "timeout"), float)
            yield f"OTEL_EXPORTER_OTLP_{infix}HEADERS{mark}", Case(start, headers, pairs)
        start = exporter(HTTP, signal)
        read = lambda made: field(made, "compression").value  # noqa: E731
        yield f"OTEL_EXPORTER_OTLP_{infix}COMPRESSION", Case(start, read, lowered)


def temporality(provider: Any) -> tuple[str, str]:
    found = metric_reader(provider)._exporter._preferred_temporality
    return found[Counter].name, found[ObservableCounter].name


def aggregation(provider: Any) -> str:
    return type(metric_reader(provider)._exporter._preferred_aggregation[Histogram]).__name__


LIMITS = {
    "OTEL_ATTRIBUTE_COUNT_LIMIT": "max_attributes",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "max_attribute_length",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "max_span_attributes",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "max_event_attributes",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "max_link_attributes",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT": "max_span_attribute_length",
    "OTEL_SPAN_EVENT_COUNT_LIMIT": "max_events",
    "OTEL_SPAN_LINK_COUNT_LIMIT": "max_links",
}
FILTERS = {
    "trace_based": "TraceBasedExemplarFilter",
    "always_on": "AlwaysOnExemplarFilter",
    "always_off": "AlwaysOffExemplarFilter",
}
TEMPORALITIES = {
    "cumulative": ("CUMULATIVE", "CUMULATIVE"),
    "delta": ("DELTA", "DELTA"),
    "lowmemory": ("DELTA", "CUMULATIVE"),
}
AGGREGATIONS = {
    "explicit_bucket_histogram": "ExplicitBucketHistogramAggregation",
    "base2_exponential_bucket_histogram": "ExponentialBucketHistogramAggregation",
}
CASES = dict(cases())


# The texts


WORDS = [
    word for variable in STANDARD for word in re.split(r"[, ]+", variable.accepts) if "_" in word or word.islower()
]
ODD = [
    "",
    " ",
    "0",
    "-1",
    "1.5",
    "1e3",
    "1e999",
    "nan",
    "inf",
    "25 %",
    "10",
    "0x10",
    "1_000",
    "١٢",
    "unset",
    "UNSET ",
]
NUMBERS = st.integers(-2, 2**33).map(str) | st.floats().map(str) | st.floats(0, 1).map(str)
LISTS = st.lists(st.sampled_from(["x-a=b", "x-a = b%20c", "x-key", "x-a=b%0Ac", "x-é=1", "=", ""]), max_size=3).map(
    ",".join
)
# What the system can hand over: any bytes but NUL.
BYTES = st.binary(max_size=20).map(lambda each: os.fsdecode(each.replace(b"\0", b"")))
TEXTS = NUMBERS | st.sampled_from([*ODD, *WORDS, *map(str.upper, WORDS)]) | LISTS | BYTES

any_text = hypothesis_settings(max_examples=300 if LONG else 6, derandomize=not LONG, deadline=None)


_OF_A_MILLISECOND = ("until it is registered", "collection timed out")
"""What the SDK says where metrics are to be pushed each millisecond, or within one."""


@contextmanager
def sdk_lines() -> Iterator[list[str]]:
    """What the SDK logs meanwhile."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.addFilter(lambda record: not any(words in record.getMessage() for words in _OF_A_MILLISECOND))
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def assert_done_as_said(key: str, env: dict[str, str]) -> list[str]:
    """The SDK starts without a word, and does what the variable says, or what the line says is used instead."""
    name, case = key.partition(" ")[0], CASES[key]
    with mock.patch.dict(os.environ, env), sdk_lines() as lines:
        before = dict(os.environ)
        with case.start() as made:
            found = case.read(made)
        assert dict(os.environ) == before
    assert lines == []
    problems = standard_problems(env)
    if not problems:
        assert found == case.meant(env[name])
    else:
        assert [problem.partition("=")[0] for problem in problems] == [name]
        if not name.endswith("HEADERS"):  # which are masked
            (used,) = re.findall("Using '(.*)' instead", problems[0])
            assert found == case.meant(used)
    return problems


@pytest.mark.parametrize("key", CASES)
@any_text
@given(text=TEXTS)
def test_a_text_does_what_it_says_or_has_its_line(key: str, text: str):
    name = key.partition(" ")[0]
    if not text.strip():
        return
    extra = RATIO if name == ARGUMENT else {}
    # The smallest batch fits in each queue.
    if name.endswith("QUEUE_SIZE"):
        extra = {name.replace("QUEUE", "EXPORT_BATCH"): "1"}
    if name.endswith("BATCH_SIZE"):
        extra = {name.replace("EXPORT_BATCH", "QUEUE"): str(2**31 - 1)}
    assert_done_as_said(key, {**extra, name: text})


# Together


REFUSED = [
    ({"OTEL_BSP_MAX_QUEUE_SIZE": "100"}, "at least OTEL_BSP_MAX_EXPORT_BATCH_SIZE, which is 512", "512"),
    (
        {"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "200"},
        "1 to OTEL_BSP_MAX_QUEUE_SIZE, which is 100",
        "100",
    ),
    ({"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "4096"}, "1 to OTEL_BLRP_MAX_QUEUE_SIZE, which is 2048", "2048"),
    ({**RATIO, ARGUMENT: "25 %"}, "0 to 1", "1.0"),
    ({**RATIO, ARGUMENT: "10"}, "0 to 1", "1.0"),
    (
        {ARGUMENT: "0.1"},
        "it with OTEL_TRACES_SAMPLER=parentbased_traceidratio or traceidratio",
        "parentbased_always_on",
    ),
    ({"OTEL_RESOURCE_ATTRIBUTES": "team"}, "key=value,key=value", "none"),
    ({"OTEL_RESOURCE_ATTRIBUTES": "team=a,b, c=d,"}, "key=value,key=value", "team=a,c=d"),
    ({"OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such/file"}, "the path of a PEM file", "none"),
    ({"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY": "/no/such/file"}, "the path of a PEM file", "none"),
    ({"OTEL_EXPORTER_OTLP_CLIENT_KEY": __file__}, "it with OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "none"),
    (
        {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": __file__},
        "the path of a PEM file that belongs to the key in OTEL_EXPORTER_OTLP_CLIENT_KEY, or holds it, unencrypted",
        "none",
    ),
    (
        {"OTEL_EXPORTER_OTLP_TIMEOUT": "20", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT": "soon"},
        "seconds, above 0, up to 600",
        "20",
    ),
    ({"OTEL_ATTRIBUTE_COUNT_LIMIT": "7", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "-1"}, "0 to 2147483647", "7"),
    ({"OTEL_CONFIG_FILE": "otel.yaml"}, "the other variables: this file is not read", "none"),
    ({"OTEL_PYTHON_METER_PROVIDER": "mine"}, "the name of an installed one", "default_meter_provider"),
    (
        {"OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel,moon"},
        "*, or a list of resource detectors that are installed",
        "otel",
    ),
    ({"OTEL_PROPAGATORS": "pigeon"}, "none, or a list of propagators that are installed", "tracecontext,baggage"),
    ({"OTEL_PYTHON_HTTPX_EXCLUDED_URLS": "health("}, "a list of regular expressions", "none"),
    ({"OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER": "mine"}, "the name of an installed one", "none"),
]


@pytest.mark.parametrize(("env", "accepts", "used"), REFUSED, ids=[list(each[0])[-1] for each in REFUSED])
def test_what_is_refused_has_one_line_and_the_sdk_starts(env: dict[str, str], accepts: str, used: str):
    name = list(env)[-1]

    assert standard_problems(env) == [f"{name}={env[name]!r} is not accepted; use {accepts}. Using {used!r} instead."]
    assert Settings.from_env(env).problems == tuple(standard_problems(env))
    assert_starts(env)


def assert_starts(env: dict[str, str]) -> None:
    """All signals do, over both protocols, and the SDK does not say a word."""
    ways = [exporter(GRPC, signal) for signal in ("traces", "metrics", "logs")]
    with mock.patch.dict(os.environ, env), sdk_lines() as lines:
        for start in (resource, traces, metrics, logs, *ways):
            with start():
                pass
    assert lines == []


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_variable_is_as_good_as_none(text: str):
    """As templates of containers have them."""
    env = {variable.name: text for variable in STANDARD}
    unset = accepted({}).values

    assert standard_problems(env) == []
    assert accepted(env).values == unset
    assert_starts(env)
    with mock.patch.dict(os.environ, env), traces() as provider:
        assert provider._span_limits.max_span_attributes == 128
        assert provider._span_limits.max_events == 128


@pytest.mark.parametrize("name", ["OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT"])
def test_a_log_record_leaves_whatever_its_limits_say(monkeypatch, name: str):
    """Some of the SDK's versions read them for each record."""
    monkeypatch.setenv(name, "many")
    with accepted_environment():
        provider, kept = in_memory_logger_provider()
    emit_function(provider, "lfx")(LogLine("lfx", 9, "INFO", "hello", {"a": 1}))

    assert len(kept.get_finished_logs()) == 1


def test_a_header_is_never_quoted():
    env = {"OTEL_EXPORTER_OTLP_HEADERS": "authorization: hunter2,x-key=hunter2,é=hunter2"}
    (problem,) = standard_problems(env)

    assert "hunter2" not in problem
    assert problem.endswith("Using 'x-key=***' instead.")
    with mock.patch.dict(os.environ, env):
        for target in (HTTP, GRPC):
            with exporter(target, "traces")() as made:
                assert headers(made) == {"x-key": "hunter2"}


def test_a_private_key_in_place_of_its_path_is_not_shown():
    (problem,) = standard_problems({"OTEL_EXPORTER_OTLP_CLIENT_KEY": "-----BEGIN PRIVATE KEY-----\nhunter2"})

    assert problem.startswith("OTEL_EXPORTER_OTLP_CLIENT_KEY='***' is not accepted; ")


def test_deflate_over_grpc_is_refused():
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://localhost:4318/v1/logs",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "deflate",
    }

    assert Settings.from_env(env).problems == (
        "OTEL_EXPORTER_OTLP_COMPRESSION='deflate' is not accepted; use none, gzip with the protocol grpc. "
        "Using 'none' instead.",
    )
    assert_starts(env)


def test_two_that_are_wrong_have_their_own_lines():
    env = {"OTEL_BSP_MAX_QUEUE_SIZE": "0", "OTEL_METRICS_EXEMPLAR_FILTER": "xyz", "OTEL_BLRP_SCHEDULE_DELAY": "x"}

    assert {problem.partition("=")[0] for problem in standard_problems(env)} == set(env)
    assert_starts(env)


# Files


def verification(made: Any) -> tuple[Any, Any]:
    """By what an exporter over HTTP knows its collector, and what it shows of itself."""
    session = getattr(getattr(getattr(made, "_client", None), "_transport", None), "_session", None)
    return (made._certificate_file, made._client_cert) if session is None else (session.verify, session.cert)


@pytest.mark.parametrize("infix", ["", "TRACES_"])
def test_files_that_fit_are_used(tmp_path: Path, infix: str):
    """Over gRPC also without an authority's, which the SDK asks for."""
    pem = make_pem(tmp_path)
    client = {
        f"OTEL_EXPORTER_OTLP_{infix}CLIENT_CERTIFICATE": str(pem.chain),
        f"OTEL_EXPORTER_OTLP_{infix}CLIENT_KEY": str(pem.key),
    }
    env = {**client, "OTEL_EXPORTER_OTLP_CERTIFICATE": str(pem.chain)}
    chain, key = pem.chain.read_bytes(), pem.key.read_bytes()

    assert standard_problems(env) == standard_problems(client) == []
    with mock.patch.dict(os.environ, env), exporter(HTTP, "traces")() as made:
        assert verification(made) == (str(pem.chain), (str(pem.chain), str(pem.key)))
    assert grpc_credentials(env) == {"root_certificates": chain, "certificate_chain": chain, "private_key": key}
    assert grpc_credentials(client) == {"certificate_chain": chain, "private_key": key}


def grpc_credentials(env: dict[str, str]) -> dict[str, bytes]:
    secure = replace(GRPC, endpoint="https://127.0.0.1:9", insecure=False)
    made = grpc.ssl_channel_credentials
    with (
        mock.patch.dict(os.environ, env),
        mock.patch.object(grpc, "ssl_channel_credentials", side_effect=made) as make,
        exporter(secure, "traces")(),
    ):
        return dict(make.call_args.kwargs)


def test_a_file_with_both_needs_no_second_one(tmp_path: Path):
    pem = make_pem(tmp_path)
    both = pem.chain.read_bytes() + pem.key.read_bytes()
    pem.chain.write_bytes(both)
    env = {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(pem.chain)}

    assert standard_problems(env) == []
    assert grpc_credentials(env) == {"certificate_chain": both, "private_key": both}


@pytest.mark.parametrize("wrong", ["another key", "a password", "no certificate"])
def test_files_that_do_not_fit_are_refused(tmp_path: Path, wrong: str):
    pem, other = make_pem(tmp_path), tmp_path / "other"
    other.mkdir()
    key = make_pem(other).key
    if wrong == "a password":
        loaded = load_pem_private_key(pem.key.read_bytes(), None)
        key.write_bytes(loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    if wrong == "no certificate":
        pem.chain.write_text("nothing")
        key = pem.key
    certificate = "OTEL_EXPORTER_OTLP_LOGS_CLIENT_CERTIFICATE"
    env = {certificate: str(pem.chain), "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(key)}
    (problem,) = standard_problems(env)

    assert problem.startswith(f"{certificate}={str(pem.chain)!r}"[:40])
    assert "a PEM file that belongs to the key in OTEL_EXPORTER_OTLP_CLIENT_KEY, or holds it, unencrypted" in problem
    assert_starts(env)
    with mock.patch.dict(os.environ, env), exporter(HTTP, "logs")() as made:
        assert not verification(made)[1]


@pytest.mark.parametrize("text", ["", " ", "/no/such/file"])
def test_a_collector_is_verified_whatever_the_variable_says(text: str):
    """Exporters of older SDKs take an empty variable for "do not verify"."""
    for infix in ("", "TRACES_"):
        env = {f"OTEL_EXPORTER_OTLP_{infix}CERTIFICATE": text}
        with mock.patch.dict(os.environ, env), exporter(HTTP, "traces")() as made:
            assert verification(made)[0] is True


# The environment


def test_the_environment_is_the_same_again_also_after_an_error():
    env = {"OTEL_BSP_MAX_QUEUE_SIZE": "0", "OTEL_BSP_SCHEDULE_DELAY": "7", "OTEL_METRICS_EXEMPLAR_FILTER": ""}
    with mock.patch.dict(os.environ, env):
        before = dict(os.environ)
        with suppress(LookupError), accepted_environment():
            during = dict(os.environ)
            with accepted_environment() as values:
                assert dict(os.environ) == during
            raise LookupError

        assert during == {**before, "OTEL_BSP_MAX_QUEUE_SIZE": "2048", "OTEL_METRICS_EXEMPLAR_FILTER": "trace_based"}
        assert values["OTEL_BSP_SCHEDULE_DELAY"] == "7"
        assert dict(os.environ) == before
        with accepted_environment():
            assert dict(os.environ) == during


def test_each_variable_that_the_sdk_names_is_known():
    """One that a new version of the SDK reads is checked here, or is of no concern to us."""
    from opentelemetry import environment_variables as api
    from opentelemetry.sdk import environment_variables as sdk

    named = {
        value for module in (api, sdk) for name, value in vars(module).items() if name.lstrip("_").startswith("OTEL_")
    }
    known = {variable.name for variable in (*VARIABLES, *STANDARD)}

    others = {name for name in named if "ZIPKIN" in name or "JAEGER" in name}
    assert named - known - others - set(OF_NO_CONCERN) == set()


OF_NO_CONCERN = {
    **dict.fromkeys(
        (
            "OTEL_PYTHON_ID_GENERATOR",
            "OTEL_PYTHON_TRACER_CONFIGURATOR",
            "OTEL_PYTHON_METER_CONFIGURATOR",
            "OTEL_PYTHON_LOGGER_CONFIGURATOR",
        ),
        "read by the SDK's own start (opentelemetry-instrument), not for our providers",
    ),
    **dict.fromkeys(
        (
            "OTEL_PYTHON_LOG_AUTO_INSTRUMENTATION",
            "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED",
            "OTEL_PYTHON_LOG_CODE_ATTRIBUTES",
            "OTEL_PYTHON_LOG_CORRELATION",
            "OTEL_PYTHON_LOG_FORMAT",
            "OTEL_PYTHON_LOG_LEVEL",
        ),
        "of the logging instrumentor",
    ),
    "OTEL_PYTHON_EVENT_LOGGER_PROVIDER": "of events by an older interface, of which we make none",
    "OTEL_LOG_LEVEL": "read by no part of the SDK",
}


def test_a_signals_variables_are_its_own_and_those_of_all():
    names = {signal: set(names_for(signal)) for signal in ("TRACES", "METRICS", "LOGS")}

    assert "OTEL_BSP_MAX_QUEUE_SIZE" in names["TRACES"] - names["METRICS"] - names["LOGS"]
    assert "OTEL_METRIC_EXPORT_INTERVAL" in names["METRICS"] - names["TRACES"] - names["LOGS"]
    assert "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT" in names["LOGS"] - names["TRACES"] - names["METRICS"]
    assert "OTEL_EXPORTER_OTLP_TIMEOUT" in names["TRACES"] & names["METRICS"] & names["LOGS"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pigeon", "baggage traceparent tracestate"),
        ("none", ""),
        ("", "baggage traceparent tracestate"),
        ("baggage", "baggage"),
    ],
)
def test_no_propagators_keep_us_from_being_imported(text: str, expected: str):
    program = (
        "from langflow_otel import instrument; from langflow_otel._hooks import server;"
        "from opentelemetry import propagate;"
        "print(*sorted(propagate.get_global_textmap().fields))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "OTEL_PROPAGATORS": text}, capture_output=True, text=True
    )

    assert (done.stdout.strip(), done.stderr) == (expected, "")
