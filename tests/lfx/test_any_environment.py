"""``instrument()`` in any environment: the flow runs as ever, and what is wrong is said and not raised.

``LONG_TESTS=1`` makes many more environments, and other ones each time.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from counting_collector import CountingCollector
from flows import INPUT, line
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from nodes import basic, streams
from test_streams import pair

from langflow_otel import LangflowInstrumentor, instrument, uninstrument
from langflow_otel import _guard as guard
from langflow_otel._hooks import table
from langflow_otel._settings.variables import VARIABLES

LONG = bool(os.environ.get("LONG_TESTS"))

pytestmark = [pytest.mark.slow, pytest.mark.any_version, pytest.mark.timeout(3600 if LONG else 300)]

SIGNALS = ("", "TRACES_", "METRICS_", "LOGS_")
FORMS = ("PROTOCOL", "HEADERS", "COMPRESSION", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY", "INSECURE", "TIMEOUT")
STANDARD = [
    *(f"OTEL_EXPORTER_OTLP_{signal}{form}" for signal in SIGNALS for form in ("ENDPOINT", *FORMS)),
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_PROPAGATORS",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
    "OTEL_METRICS_EXEMPLAR_FILTER",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "OTEL_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
]
OURS = [variable.name for variable in VARIABLES]
PATHS = [variable.name for variable in VARIABLES if variable.accepts == "a path, none"]
# As a list: which sequence a set has differs from one process to the next.
OTHERS = [name for name in (*OURS, *STANDARD) if name not in PATHS]

BYTES = st.binary(max_size=40).map(lambda each: os.fsdecode(each.replace(b"\0", b"")))
PLAUSIBLE = st.sampled_from(
    [
        *("0", "-1", "1", "2.5", "1e9", "inf", "1e400", "9" * 400, "true", "false", "none", "otlp", "console", "all"),
        *("prometheus", "otlp,prometheus", "grpc", "http/protobuf", "http/json", "gzip", "deflate", "zip", "x=y,z"),
        *("/no/such/file", "http://", "https://127.0.0.1:1", "always_off", "traceidratio", "parentbased_always_on"),
        *("openinference", "genai,openinference", "*=0", "errors", "slow:1ms", "SPAN_AND_EVENT", "full", "redacted"),
        *("output", "flow", "[a-z]+", "(", "b3", "x" * 100_000, "é" * 50_000, "a=b,c=\udcff", "two\nlines", "%s"),
    ]
)
# Somewhere below a folder of the test's: it writes to what it accepts.
PATH = st.one_of(
    st.sampled_from(["{}/a", "{}/a/b/c", "{}", "none", "/dev/full", "/dev/null", "{}/\udcff", "{}/" + "x" * 5000]),
    BYTES.map(lambda each: "{}/" + each.replace("/", "").replace("{", "").replace("}", "")),
)
# An export that may take for ever would be waited for: SDKs take these for seconds.
ENDLESS = ("inf", "1e9", "1e400", "9" * 400)

any_environment = hypothesis_settings(
    max_examples=1_000 if LONG else 12,
    derandomize=not LONG,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def environments() -> st.SearchStrategy[dict[str, str]]:
    usual = st.dictionaries(st.sampled_from(OTHERS), PLAUSIBLE | BYTES, max_size=6)
    return st.tuples(usual, st.dictionaries(st.sampled_from(PATHS), PATH, max_size=2)).map(
        lambda both: both[0] | both[1]
    )


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


async def seen() -> list[Any]:
    found: list[Any] = []
    for graph in (line(basic.Echo), line(basic.Broken), pair(streams.Streams, streams.Reads)):
        try:
            outputs = await graph.arun(INPUT, session_id="s1")
            found.append([sorted(each.results) for each in outputs[0].outputs if each])
        except Exception as exc:
            found.append((type(exc).__name__, type(exc.__cause__).__name__))
    return found


@pytest.fixture(scope="module")
def collector() -> Iterator[CountingCollector]:
    collector = CountingCollector("http/protobuf")
    yield collector
    collector.stop()


@pytest.fixture(scope="module")
def plain() -> list[Any]:
    return asyncio.run(seen())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the SDK's own threads
@any_environment
@given(env=environments())
def test_flows_run_in_any_environment(collector, plain, tmp_path, monkeypatch, caplog, env: dict[str, str]):
    monkeypatch.setattr(guard, "strict", False)
    guard.faults.clear()
    caplog.clear()
    known = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.address}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "0.3",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        "OTEL_BSP_SCHEDULE_DELAY": "20",
    }
    given_ = {name: text.format(tmp_path) if name in PATHS else text for name, text in env.items()}
    for name in given_:
        if name.startswith("OTEL_EXPORTER_OTLP") and name.endswith("_TIMEOUT") and given_[name] in ENDLESS:
            given_[name] = "-1"
    with environment(known | given_):
        instrument()
        try:
            found = asyncio.run(seen())
        finally:
            if LangflowInstrumentor().is_instrumented_by_opentelemetry:
                uninstrument()

    assert found == plain
    assert not guard.faults
    assert table.patches.on == []
    for record in caplog.records:
        if record.name == "langflow_otel" and record.levelno >= logging.WARNING:
            assert len(record.getMessage()) < 2000
