"""A real Prometheus scrapes real runs: its answers are the driver's own numbers."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

if not (shutil.which("prometheus") and shutil.which("promtool")):
    pytest.skip("Prometheus is not installed: apt-get install prometheus", allow_module_level=True)
pytest.importorskip("lfx", reason="these are flows on LangFlow's engine: pip install 'langflow-otel[lfx]'")

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from lfx.base.models.model import LCModelComponent
from lfx.components.flow_controls.conditional_router import ConditionalRouterComponent
from lfx.components.input_output import ChatInput, ChatOutput
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.io import MessageInput, MessageTextInput, Output, StrInput
from lfx.log.logger import configure
from lfx.schema.message import Message
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from langflow_otel import LangflowInstrumentor, record_retry
from langflow_otel._metrics.catalogue import CATALOGUE, QUEUE_CAPACITY, QUEUE_DEPTH, QUEUE_OLDEST_AGE, QUEUE_RUNNING
from langflow_otel._runs.recorder import count_dropped
from langflow_otel._settings.settings import ScrapeSettings, Settings

pytestmark = pytest.mark.slow

# Only where there is such a device, in LangFlow's own server, and where an embedding model is called.
NOT_HERE = {
    metric.prometheus_name
    for metric in CATALOGUE
    if metric.name.startswith(("hw.", "gen_ai.client.embeddings."))
    or metric in (QUEUE_CAPACITY, QUEUE_DEPTH, QUEUE_OLDEST_AGE, QUEUE_RUNNING)
}


class Sleeps(Component):
    """Takes as long as it is told."""

    display_name = "Sleeps"
    name = "Sleeps"
    seconds = 0.0
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        await asyncio.sleep(self.seconds)
        return Message(text=str(self.value))


class Fast(Sleeps):
    name = "Fast"
    seconds = 0.06


class Slow(Sleeps):
    name = "Slow"
    seconds = 0.6


class Retries(Sleeps):
    name = "Retries"

    async def run_out(self) -> Message:
        record_retry(1)
        return Message(text=str(self.value))


class Streams(Sleeps):
    name = "Streams"

    def run_out(self) -> Message:
        return Message(text=(chunk for chunk in ("a", "b")))


class Reads(Component):
    """Reads the stream that it is given."""

    display_name = "Reads"
    name = "Reads"
    inputs = [MessageInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    def run_out(self) -> Message:
        stream = getattr(self.value, "text_stream", None) or self.value.__dict__["text"]
        return Message(text="".join(stream))


class Broken(Sleeps):
    name = "Broken"

    async def run_out(self) -> Message:
        raise LookupError


class Waits(Sleeps):
    name = "Waits"
    seconds = 60.0


def shop(node: type[Component], name: str = "shop") -> Graph:
    start = ChatInput(_id="ChatInput-in").set(should_store_message=False)
    made = node(_id="Node-n").set(value=start.message_response)
    end = ChatOutput(_id="ChatOutput-out").set(input_value=made.run_out, should_store_message=False)
    return Graph(start, end, flow_name=name)


def stream() -> Graph:
    start = ChatInput(_id="ChatInput-in").set(should_store_message=False)
    made = Streams(_id="Streams-s").set(value=start.message_response)
    return Graph(start, Reads(_id="Reads-r").set(value=made.run_out), flow_name="stream")


def fork() -> Graph:
    """One of two branches is taken."""
    graph = Graph(flow_name="fork")
    graph.add_component(ChatInput(_id="ChatInput-in").set(should_store_message=False))
    router = ConditionalRouterComponent(_id="Router-r").set(
        match_text="hi", operator="equals", true_case_message="yes", false_case_message="no"
    )
    graph.add_component(router)
    for each in ("taken", "other"):
        graph.add_component(Sleeps(_id=f"Sleeps-{each}"))
    graph.add_component_edge("ChatInput-in", ("message", "input_text"), "Router-r")
    graph.add_component_edge("Router-r", ("true_result", "value"), "Sleeps-taken")
    graph.add_component_edge("Router-r", ("false_result", "value"), "Sleeps-other")
    graph.prepare()
    return graph


class FakeModel(LCModelComponent):
    display_name = "Fake Model"
    name = "FakeModel"
    inputs = [
        *LCModelComponent._base_inputs,
        StrInput(name="model_name", display_name="Model", value="fake-1"),
        StrInput(name="provider", display_name="Provider", value="fake"),
    ]

    def build_model(self) -> GenericFakeChatModel:
        usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
        return GenericFakeChatModel(messages=iter([AIMessage(content="one", usage_metadata=usage)]))


ANSWERED = {"model_name": "fake-1-2026"}


class Answers(GenericFakeChatModel):
    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content="one", response_metadata=ANSWERED))


class Fails(GenericFakeChatModel):
    def _generate(self, *_: Any, **__: Any) -> Any:
        raise LookupError


class Asks(Sleeps):
    """Calls a model in each way that makes series of its own."""

    name = "Asks"

    async def run_out(self) -> Message:
        details = {
            "input_token_details": {"cache_read": 1, "cache_creation": 1},
            "output_token_details": {"reasoning": 2},
        }
        usage: Any = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8, **details}
        model = Answers(messages=iter([AIMessage(content="one", usage_metadata=usage, response_metadata=ANSWERED)]))
        await model.ainvoke("hi")
        text = "".join([str(chunk.content) async for chunk in model.astream("hi")])
        with suppress(LookupError):
            await Fails(messages=iter([])).ainvoke("hi")
        return Message(text=text)


def chat(model: str = "fake-1") -> Graph:
    start = ChatInput(_id="ChatInput-in").set(should_store_message=False)
    asked = FakeModel(_id="Model-m").set(input_value=start.message_response, model_name=model)
    return Graph(start, asked, flow_name="chat")


async def run(graph: Graph) -> bool:
    try:
        await graph.arun([{"input_value": "hi"}], session_id="s")
    except ValueError:
        return False
    return True


async def cancelled(graph: Graph) -> None:
    task = asyncio.create_task(run(graph))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


FAST, SLOW, FAILED, CANCELLED = 45, 5, 10, 2


async def one_of_each() -> None:
    """Every series comes into being: a rate counts from a series' second sample."""
    assert await run(shop(Fast))
    assert await run(shop(Slow))
    assert not await run(shop(Broken))
    await cancelled(shop(Waits))
    # Failing, and then well again.
    assert await run(shop(Fast, "rest"))
    assert not await run(shop(Broken, "rest"))
    for each in (shop(Retries, "rest"), stream(), fork(), chat(), chat("fake-2"), shop(Asks, "asks")):
        assert await run(each), each.flow_name
    count_dropped("traces", "queue_full")


PRICES = """
currency: USD
prices:
  - {model: fake-1, input: 1000, output: 2000}
"""
ENDED_BEFORE = {"ok": 9, "error": 2, "cancelled": 1}


async def drive() -> None:
    """What the queries are about."""
    for _ in range(FAST):
        assert await run(shop(Fast))
    assert all(await asyncio.gather(*(run(shop(Slow)) for _ in range(SLOW))))
    for _ in range(FAILED):
        assert not await run(shop(Broken))
    for _ in range(CANCELLED):
        await cancelled(shop(Waits))


@dataclass
class Driven:
    """A Prometheus that has seen it all.

    Attributes:
        api: Prometheus's address.
        url: The scrape endpoint's.
        window_s: How far back the window reaches that holds all of :func:`drive` and nothing before it.
        at_s: When the window ends, since the epoch.
        traces: Ids of the traces of our flow runs.
    """

    api: str
    url: str
    window_s: int
    at_s: float
    traces: set[str]

    def query(self, promql: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Values by their labels."""
        found = self.ask("query", query=promql, time=self.at_s)["result"]
        return {tuple(sorted(each["metric"].items())): float(each["value"][1]) for each in found}

    def value(self, promql: str) -> float:
        [value] = self.query(promql.replace("[W]", f"[{self.window_s}s]")).values()
        return value

    def ask(self, what: str, **parameters: Any) -> Any:
        answer = json.loads(fetch(f"{self.api}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success"
        return answer["data"]


def fetch(url: str, **headers: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as response:
        return response.read().decode()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    """Drives the flows while Prometheus scrapes once a second."""
    configure(log_level="CRITICAL", cache=False)
    folder = tmp_path_factory.mktemp("prometheus")
    spans = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    instrumentor = LangflowInstrumentor()
    (folder / "prices.yaml").write_text(PRICES)
    scrape = ScrapeSettings(host="127.0.0.1", port=free_port())
    instrumentor.instrument(tracer_provider=provider, settings=Settings(scrape=scrape, prices=folder / "prices.yaml"))
    url = instrumentor.scrape_url
    assert url is not None
    try:
        with serving(folder, url) as api:
            found = Driven(api, url, 0, 0.0, set())
            wait_until_scraped(found)
            asyncio.run(one_of_each())
            time.sleep(2.5)
            started_s = time.time()
            asyncio.run(drive())
            time.sleep(2.5)
            found.at_s = time.time() - 0.5
            found.window_s = int(found.at_s - started_s + 1.5)
            found.traces = {f"{span.context.trace_id:032x}" for span in spans.get_finished_spans()}
            yield found
    finally:
        instrumentor.uninstrument()


@contextmanager
def serving(folder: Path, url: str) -> Iterator[str]:
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": "langflow", "static_configs": [{"targets": [urllib.parse.urlparse(url).netloc]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
    ]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(20)
        print(log.read_text()[-3000:])


def wait_until_scraped(found: Driven) -> None:
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        found.at_s = time.time()
        # Refused, or no sample yet.
        with suppress(OSError, ValueError):
            if found.value("up") == 1:
                return
        time.sleep(0.1)
    raise AssertionError("Prometheus does not scrape")


SHOP = 'langflow_flow_duration_seconds_count{flow="shop",status="%s"}'


@pytest.mark.parametrize(("status", "runs"), [("ok", FAST + SLOW), ("error", FAILED), ("cancelled", CANCELLED)])
def test_runs_are_those_that_were_driven(prometheus, status, runs):
    series = SHOP % status

    assert prometheus.value(f"{series} - {series} offset {prometheus.window_s}s") == runs
    # Prometheus extrapolates to the edges of the window, by less than a scrape interval at each.
    assert prometheus.value(f"increase({series}[W])") == pytest.approx(runs, rel=2 / prometheus.window_s)
    assert prometheus.value(f"rate({series}[W])") * prometheus.window_s == pytest.approx(
        runs, rel=2 / prometheus.window_s
    )


def test_the_error_ratio(prometheus):
    failed, ok = (f"sum(rate({SHOP % status}[W]))" for status in ("error", "ok"))

    expected = FAILED / (FAILED + FAST + SLOW)
    assert prometheus.value(f"{failed} / ({failed} + {ok})") == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("quantile", "metric", "low", "high"),
    [
        # 45 of 60 ms, 5 of 600 ms: the 48th of the 50 is a slow one.
        (0.95, 'langflow_flow_duration_seconds_bucket{flow="shop",status="ok"}', 0.5, 1.0),
        (0.5, 'langflow_component_duration_seconds_bucket{component_type=~"Fast|Slow",status="ok"}', 0.05, 0.1),
        (0.95, 'langflow_component_duration_seconds_bucket{component_type=~"Fast|Slow",status="ok"}', 0.5, 1.0),
    ],
)
def test_quantiles_are_in_the_bucket_of_the_true_ones(prometheus, quantile, metric, low, high):
    assert low < prometheus.value(f"histogram_quantile({quantile}, sum by (le) (rate({metric}[W])))") <= high


def test_the_sum_of_durations(prometheus):
    series = 'langflow_component_duration_seconds_sum{component_type="Slow",status="ok"}'

    spent_s = prometheus.value(f"{series} - {series} offset {prometheus.window_s}s")
    assert 0.6 * SLOW <= spent_s < 0.9 * SLOW


def test_the_gauges_are_the_drivers_own_numbers(prometheus):
    ok, failed = ENDED_BEFORE["ok"] + FAST + SLOW, ENDED_BEFORE["error"] + FAILED
    ended = ok + failed + ENDED_BEFORE["cancelled"] + CANCELLED

    assert prometheus.value("langflow_throughput") * 60 == pytest.approx(ended)
    assert prometheus.value("langflow_error_rate") == pytest.approx(100 * failed / (ok + failed))
    assert prometheus.value('langflow_component_failure_ratio{component_type="Broken"}') == 1
    assert prometheus.value('langflow_flow_active{flow="shop"}') == 0
    assert prometheus.value("max_over_time(langflow_cpu_saturation_ratio[1m])") > 0


def test_exemplars_lead_to_our_traces(prometheus):
    query = {"query": 'langflow_flow_duration_seconds_bucket{flow="shop"}', "end": prometheus.at_s}
    found = prometheus.ask("query_exemplars", start=prometheus.at_s - 120, **query)

    exemplars = [exemplar for series in found for exemplar in series["exemplars"]]
    assert {each["labels"]["trace_id"] for each in exemplars} <= prometheus.traces
    slow = [each for each in exemplars if 0.5 < float(each["value"]) <= 1.0]
    assert slow
    assert {series["seriesLabels"]["status"] for series in found} == {"ok", "error", "cancelled"}


def test_prometheus_has_nothing_to_complain_of(prometheus):
    [target] = prometheus.ask("targets")["activeTargets"]

    assert (target["health"], target["lastError"]) == ("up", "")
    assert prometheus.value("min_over_time(up[1m])") == 1


def test_promtool_has_nothing_to_complain_of(prometheus):
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=fetch(prometheus.url), capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_costs_are_those_of_the_list(prometheus):
    cost = ("__name__", "flow", "model", "provider", "currency")
    [(labels, value)] = prometheus.query("langflow_cost_total").items()
    assert value == pytest.approx((3 * 1000 + 5 * 2000) / 1e6, rel=1e-12)
    assert [dict(labels)[name] for name in cost] == ["langflow_cost_total", "chat", "fake-1", "fake", "USD"]
    assert prometheus.value('langflow_cost_unpriced_calls_total{model="fake-2"}') == 1


MODEL = "gen_ai_operation_name gen_ai_provider_name gen_ai_request_model gen_ai_response_model"
NAMES = f"""
gen_ai_client_inference_duration_seconds {MODEL} error_type flow
gen_ai_client_inference_operation_input_tokens {MODEL} flow
gen_ai_client_inference_operation_output_tokens {MODEL} flow
gen_ai_client_inference_time_to_first_chunk_seconds {MODEL} flow
gen_ai_client_inference_usage_cache_read_input_tokens_total {MODEL} gen_ai_token_modality flow
gen_ai_client_inference_usage_cache_write_input_tokens_total {MODEL} gen_ai_token_modality flow
gen_ai_client_inference_usage_input_tokens_total {MODEL} gen_ai_token_modality flow
gen_ai_client_inference_usage_output_tokens_total {MODEL} gen_ai_token_modality flow
gen_ai_client_inference_usage_reasoning_output_tokens_total {MODEL} gen_ai_token_modality flow
langflow_component_bypassed_total flow component_type reason
langflow_component_duration_seconds flow component_type status
langflow_component_errors_total flow component_type error_type
langflow_component_failure_ratio component_type
langflow_component_retries_total flow component_type
langflow_component_time_to_first_chunk_seconds flow component_type
langflow_cost_total flow model provider currency
langflow_cost_unpriced_calls_total flow model provider
langflow_cpu_saturation_ratio
langflow_error_rate
langflow_event_loop_delay_seconds
langflow_event_loop_lateness_seconds
langflow_flow_active flow entry_point
langflow_flow_duration_ema_seconds flow
langflow_flow_duration_seconds flow status entry_point
langflow_flow_error_rate flow
langflow_flow_oldest_age_seconds flow
langflow_flow_recovery_time_seconds flow
langflow_flow_throughput flow
langflow_memory_fragmentation_ratio
langflow_model_errors_total gen_ai_provider_name gen_ai_request_model langflow_error_category flow
langflow_model_retries_total gen_ai_provider_name gen_ai_request_model flow
langflow_otel_dropped_total signal reason
langflow_otel_start_time_seconds
langflow_throughput
process_cpu_time_seconds_total cpu_mode
process_cpu_utilization_ratio
process_disk_io_bytes_total disk_io_direction
process_memory_usage_bytes
process_memory_virtual_bytes
process_open_fds
process_threads
process_uptime_seconds
system_cpu_cores
system_cpu_utilization_ratio
system_disk_io_bytes_total disk_io_direction
system_filesystem_usage_bytes system_filesystem_mountpoint system_filesystem_state
system_filesystem_utilization_ratio system_filesystem_mountpoint
system_memory_limit_bytes
system_memory_usage_bytes
system_memory_utilization_ratio
system_network_io_bytes_total network_io_direction
target_info service_name
"""


def test_names_and_labels_are_those_that_were_promised(prometheus):
    # As strict as OpenMetrics is.
    page = fetch(prometheus.url, Accept="application/openmetrics-text")
    found = {}
    for family in text_string_to_metric_families(page):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label: None for sample in family.samples for label in sample.labels if label != "le"}
        found[name] = (family.type, tuple(sorted(labels)))

    promised = {line.split()[0]: tuple(sorted(line.split()[1:])) for line in NAMES.strip().splitlines()}
    assert {name: labels for name, (_, labels) in found.items()} == promised
    catalogue = {
        metric.prometheus_name: (
            metric.kind.replace("up_down_counter", "gauge"),
            tuple(sorted(metric.prometheus_labels)),
        )
        for metric in CATALOGUE
        if metric.prometheus_name not in NOT_HERE
    }
    assert {name: each for name, each in found.items() if name != "target_info"} == {
        name: each for name, each in catalogue.items() if name in promised
    }
    # Nothing here is a LangFlow server that answers requests, or has background jobs.
    assert catalogue.keys() - promised.keys() <= {"http_server_request_duration_seconds", "langflow_queue_wait_seconds"}


def test_both_formats_say_the_same(prometheus):
    def lines(accept: str) -> set[str]:
        page = fetch(prometheus.url, Accept=accept).splitlines()
        # Without exemplars and births, and without what is read from the machine at the moment.
        ours = (line for line in page if line.startswith(("langflow_flow", "langflow_component")))
        return {line.partition(" # ")[0] for line in ours if "_created{" not in line}

    assert lines("text/plain") == lines("application/openmetrics-text")
