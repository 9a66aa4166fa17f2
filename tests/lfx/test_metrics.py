"""Metrics of real runs: every way by which a run or a component ends, as a scrape has it and as OTLP has it.

Each test compares the two sinks with each other at its end, exactly: see :func:`assert_sinks_agree`.
"""

from __future__ import annotations

import asyncio
import gc
import re
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flows import INPUT, Cache, chat_input, chat_output, line, run, steps
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from lfx.events.event_manager import create_default_event_manager
from lfx.graph import Graph
from lfx.log.logger import logger
from lfx.schema.message import Message
from lfx.template.field.base import UNDEFINED
from nodes import basic, models, streams
from nodes.metered import Metered
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from test_components import router_flow
from test_loops import SUBGRAPHS, loop_flow
from test_streams import pair, streaming_model
from test_tools import agent_flow

from langflow_otel import _semconv as semconv
from langflow_otel import record_retry
from langflow_otel._metrics import catalogue
from langflow_otel._settings.settings import ScrapeSettings, Settings
from langflow_otel.instrumentor import LangflowInstrumentor
from langflow_otel.testing import Telemetry, capture_telemetry

# Read from the process at the moment of the question: two questions have two answers.
MOMENTARY = (
    "langflow_memory_fragmentation_ratio",
    "langflow_queue_",
    "langflow_otel_start_time",
    "langflow_flow_oldest_age",
    "langflow_event_loop_lateness",
)


# One comparison of the two sinks.


def pushed_samples(pushed: list[Metric], *authors: catalogue.Metric) -> dict[str, float]:
    """OTLP points as the samples that a scrape would have of them, by the catalogue's names and labels."""
    known = {metric.name: metric for metric in (*catalogue.CATALOGUE, *authors)}
    samples: dict[str, float] = {}
    for metric in pushed:
        definition = known[metric.name]
        assert (metric.unit, metric.description) == (definition.unit, definition.description)
        for point in metric.data.data_points:
            labels = [f'{name.replace(".", "_")}="{value}"' for name, value in point.attributes.items()]
            if isinstance(point, HistogramDataPoint):
                samples.update(_histogram(definition, labels, point))
            else:
                samples[_sample(definition.prometheus_name, labels)] = point.value
    return samples


def _histogram(
    definition: catalogue.Metric, labels: list[str], point: HistogramDataPoint
) -> Iterator[tuple[str, float]]:
    assert tuple(point.explicit_bounds) == definition.buckets
    name = definition.prometheus_name
    so_far = 0
    for bound, count in zip([*map(float, definition.buckets), "+Inf"], point.bucket_counts, strict=True):
        so_far += count
        yield _sample(f"{name}_bucket", [*labels, f'le="{bound}"']), so_far
    assert so_far == point.count
    yield _sample(f"{name}_count", labels), point.count
    yield _sample(f"{name}_sum", labels), point.sum


def _sample(name: str, labels: list[str]) -> str:
    return f"{name}{{{','.join(labels)}}}" if labels else name


def assert_sinks_agree(pushed: list[Metric], scraped: dict[str, float], *authors: catalogue.Metric) -> None:
    """Every count, sum and bucket of the two is the same number; each has all that the other has."""
    sent = pushed_samples([metric for metric in pushed if metric.name.startswith(_OURS + _names(authors))], *authors)
    if sent.get("langflow_event_loop_delay_seconds_count") is None:
        # It has no labels, so the scrape shows it from the start; OTLP does with the first observation.
        scraped = {name: value for name, value in scraped.items() if not name.startswith("langflow_event_loop_delay")}
    assert _lasting(sent) == _happened(_lasting(scraped))


_OURS = ("langflow", "gen_ai")


def _names(authors: tuple[catalogue.Metric, ...]) -> tuple[str, ...]:
    return tuple(metric.name for metric in authors)


def _lasting(samples: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in samples.items() if not name.startswith(MOMENTARY)}


def _happened(samples: dict[str, float]) -> dict[str, float]:
    """Without the outcomes that no run of a flow has had: the scrape has them at 0, and a push of the SDK's has not."""
    family = "langflow_flow_duration_seconds"

    def is_empty(name: str) -> bool:
        labels = re.sub(r',le="[^"]+"', "", name.partition("{")[2])
        return name.startswith(family) and samples[f"{family}_count{{{labels}"] == 0

    return {name: value for name, value in samples.items() if not is_empty(name)}


@contextmanager
def measured(**kwargs: Any) -> Iterator[Telemetry]:
    with capture_telemetry(**kwargs) as telemetry:
        yield telemetry
        assert_sinks_agree(telemetry.pushed_metrics(), telemetry.metrics())


@pytest.fixture
async def telemetry() -> AsyncIterator[Telemetry]:
    with measured() as captured:
        yield captured


# Samples by what they count.


def flow(name: str = "demo", status: str = "ok", entry_point: str = "sdk") -> str:
    return f'langflow_flow_duration_seconds_count{{flow="{name}",status="{status}",entry_point="{entry_point}"}}'


def active(name: str = "demo", entry_point: str = "sdk") -> str:
    return f'langflow_flow_active{{flow="{name}",entry_point="{entry_point}"}}'


def component(kind: str, status: str = "ok", name: str = "demo") -> str:
    return f'langflow_component_duration_seconds_count{{flow="{name}",component_type="{kind}",status="{status}"}}'


def error(kind: str, error_type: str) -> str:
    return f'langflow_component_errors_total{{flow="demo",component_type="{kind}",error_type="{error_type}"}}'


def bypassed(kind: str, reason: str) -> str:
    return f'langflow_component_bypassed_total{{flow="demo",component_type="{kind}",reason="{reason}"}}'


def first_chunk(kind: str) -> str:
    return f'langflow_component_time_to_first_chunk_seconds_count{{flow="demo",component_type="{kind}"}}'


def model_calls(
    number: int, model: str = "fake-1", provider: str = "fake", *, streamed: bool = False, has_tokens: bool = True
) -> dict[str, float]:
    """Calls of 3 tokens in and 5 out."""
    family, modality = "gen_ai_client_inference", 'gen_ai_token_modality="unknown",'
    asked = f'gen_ai_provider_name="{provider}",gen_ai_request_model="{model}"'

    def series(name: str, more: str = "") -> str:
        return f'{family}_{name}{{gen_ai_operation_name="chat",{asked},{more}flow="demo"}}'

    each = {series(f"operation_{kind}_tokens_count"): number for kind in ("input", "output")}
    return {
        series("duration_seconds_count"): number,
        series("usage_input_tokens_total", modality): 3 * number * has_tokens,
        series("usage_output_tokens_total", modality): 5 * number * has_tokens,
        f'langflow_model_retries_total{{{asked},flow="demo"}}': 0,
        **(each if has_tokens else {}),
        **({series("time_to_first_chunk_seconds_count"): number} if streamed else {}),
    }


LINE = {component("ChatInput"): 1, component("Echo"): 1, component("ChatOutput"): 1}


def counts_in(samples: dict[str, float]) -> dict[str, float]:
    """Everything that counts something; a timer of its own counts the event loop's delays."""
    return {
        name: value
        for name, value in samples.items()
        if name.partition("{")[0].endswith(("_count", "_total", "_active")) and "event_loop" not in name
    }


def counts(telemetry: Telemetry) -> dict[str, float]:
    return counts_in(_happened(telemetry.metrics()))


def gauges(telemetry: Telemetry) -> dict[str, float]:
    """The derived ones; rates as what they are rates of, over the 60 s of the window."""
    samples = telemetry.metrics()
    prefixes = ("langflow_throughput", "langflow_error_rate", "langflow_flow_throughput", "langflow_flow_error_rate")
    prefixes += ("langflow_component_failure_ratio", "langflow_cpu_saturation")
    return {
        name: round(value * 60, 9) if "throughput" in name else value
        for name, value in samples.items()
        if name.startswith(prefixes)
    }


def sum_of(telemetry: Telemetry, count: str) -> float:
    return telemetry.metrics()[count.replace("_count{", "_sum{")]


async def cancelled_after(delay_s: float, graph: Graph) -> None:
    basic.seen["waiting"] = asyncio.Event()
    task = asyncio.create_task(run(graph))
    await basic.seen["waiting"].wait()
    await asyncio.sleep(delay_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def fails(graph: Graph) -> None:
    with pytest.raises(Exception, match="canary"):
        await run(graph)


# How runs end.


async def test_a_run_that_ends_ok(telemetry):
    await run(line(basic.Echo))

    assert counts(telemetry) == {flow(): 1, active(): 0, **LINE}
    assert gauges(telemetry) == {
        "langflow_throughput": 1,
        "langflow_error_rate": 0,
        'langflow_flow_throughput{flow="demo"}': 1,
        'langflow_flow_error_rate{flow="demo"}': 0,
        'langflow_component_failure_ratio{component_type="ChatInput"}': 0,
        'langflow_component_failure_ratio{component_type="Echo"}': 0,
        'langflow_component_failure_ratio{component_type="ChatOutput"}': 0,
        "langflow_cpu_saturation_ratio": 0,
    }


async def test_the_durations_are_those_of_the_spans(telemetry):
    await run(line(basic.Blocking))

    assert 0.2 <= sum_of(telemetry, component("Blocking")) < sum_of(telemetry, flow())
    for sample, span in ((component("Blocking"), "component Blocking"), (flow(), "invoke_workflow demo")):
        # A busy machine may let another process run between the two clocks.
        assert sum_of(telemetry, sample) == pytest.approx(telemetry.only_span(span).duration_s, abs=0.2)


async def test_the_moving_average_follows_the_runs(telemetry):
    average = 'langflow_flow_duration_ema_seconds{flow="demo"}'
    await run(line(basic.Blocking))
    first = sum_of(telemetry, flow())
    assert telemetry.metrics()[average] == first

    await run(line(basic.Echo))
    second = sum_of(telemetry, flow()) - first
    assert telemetry.metrics()[average] == pytest.approx(0.3 * second + 0.7 * first)


class RendersForHalfASecond:
    """LangFlow's logger, slow to render tracebacks: it takes up to two seconds for a real one."""

    async def aexception(self, *args: object, **values: object) -> None:
        await asyncio.sleep(0.5)
        await logger.aexception(*args, **values)

    def __getattr__(self, name: str) -> object:
        return getattr(logger, name)


@pytest.mark.parametrize("broken", [basic.Broken, basic.BrokenInThread, basic.BrokenSetUp])
async def test_a_run_that_fails(telemetry, monkeypatch, broken):
    for module in ("vertex", "graph"):
        monkeypatch.setattr(f"lfx.graph.{module}.base.logger", RendersForHalfASecond())
    await fails(line(basic.Echo, broken))

    assert counts(telemetry) == {
        flow(status="error"): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("Echo"): 1,
        component(broken.name, "error"): 1,
        error(broken.name, "KeyError"): 1,
    }
    assert gauges(telemetry) == {
        "langflow_throughput": 1,
        "langflow_error_rate": 100,
        'langflow_flow_throughput{flow="demo"}': 1,
        'langflow_flow_error_rate{flow="demo"}': 100,
        'langflow_component_failure_ratio{component_type="ChatInput"}': 0,
        'langflow_component_failure_ratio{component_type="Echo"}': 0,
        f'langflow_component_failure_ratio{{component_type="{broken.name}"}}': 1,
        "langflow_cpu_saturation_ratio": 0,
    }
    # What LangFlow takes to render the traceback is the run's time and not the component's.
    component_s = sum_of(telemetry, component(broken.name, "error"))
    assert 0 < component_s < sum_of(telemetry, flow(status="error")) - 0.5


async def test_a_run_that_is_cancelled_has_the_duration_that_it_had(telemetry):
    await cancelled_after(0.05, line(basic.Waits))

    assert counts(telemetry) == {
        flow(status="cancelled"): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("Waits", "cancelled"): 1,
    }
    assert 0.05 <= sum_of(telemetry, component("Waits", "cancelled")) <= sum_of(telemetry, flow(status="cancelled")) < 9
    # It finished, and it neither failed nor succeeded.
    assert gauges(telemetry) == {
        "langflow_throughput": 1,
        "langflow_error_rate": 0,
        'langflow_flow_throughput{flow="demo"}': 1,
        'langflow_flow_error_rate{flow="demo"}': 0,
        'langflow_component_failure_ratio{component_type="ChatInput"}': 0,
        'langflow_component_failure_ratio{component_type="Waits"}': 0,
        "langflow_cpu_saturation_ratio": 0,
    }


async def test_a_flow_without_a_finished_run_has_no_moving_average(telemetry):
    await cancelled_after(0, line(basic.Waits))

    assert 'langflow_flow_duration_ema_seconds{flow="demo"}' not in telemetry.metrics()


async def test_a_run_that_is_timed_out_is_cancelled(telemetry):
    basic.seen["waiting"] = asyncio.Event()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(run(line(basic.Waits)), timeout=0.1)

    assert counts(telemetry) == {
        flow(status="cancelled"): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("Waits", "cancelled"): 1,
    }
    assert 0.05 <= sum_of(telemetry, flow(status="cancelled")) < 9


@pytest.mark.usefixtures("chat_cache")
async def test_a_component_answered_from_the_cache_is_counted_and_has_no_duration(telemetry):
    for _ in range(3):
        graph = line(basic.Echo)
        graph.get_vertex("Echo-0").frozen = True
        await run(graph)

    assert counts(telemetry) == {
        flow(): 3,
        active(): 0,
        component("ChatInput"): 3,
        component("Echo"): 1,
        bypassed("Echo", "cached"): 2,
        component("ChatOutput"): 3,
    }


async def test_components_on_a_branch_not_taken(telemetry):
    await run(router_flow("hi"))
    await run(router_flow("other"))

    assert counts(telemetry) == {
        flow(): 2,
        active(): 0,
        component("ChatInput"): 2,
        component("ConditionalRouter"): 2,
        **{component(kind): 1 for kind in ("Left", "Join", "Right", "Echo")},
        **{bypassed(kind, "skipped"): 1 for kind in ("Left", "Join", "Right", "Echo")},
    }


async def test_a_loop_runs_its_body_for_each_item(telemetry):
    await run(loop_flow())

    assert counts(telemetry) == {
        flow(): 1,
        active(): 0,
        component("Rows"): 1,
        component("LoopComponent"): 1 if SUBGRAPHS else 3,
        component("Body"): 2,
        component("End"): 1,
    }


async def test_a_flow_run_by_a_flow_is_measured_and_not_in_the_throughput(telemetry):
    basic.seen["inner"] = lambda: line(basic.Echo, name="inner")
    await run(line(basic.RunsFlow))

    assert counts(telemetry) == {
        flow(): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("RunsFlow"): 1,
        component("ChatOutput"): 1,
        flow("inner", entry_point="flow"): 1,
        active("inner", "flow"): 0,
        **{component(kind, name="inner"): 1 for kind in ("ChatInput", "Echo", "ChatOutput")},
    }
    rates = {name: value for name, value in gauges(telemetry).items() if "throughput" in name}
    assert rates == {"langflow_throughput": 1, 'langflow_flow_throughput{flow="demo"}': 1}
    inner = flow("inner", entry_point="flow")
    assert sum_of(telemetry, inner) < sum_of(telemetry, component("RunsFlow")) < sum_of(telemetry, flow())


async def test_a_flow_run_by_a_flow_that_fails_is_one_failure(telemetry):
    basic.seen["inner"] = lambda: line(basic.Broken, name="inner")
    await fails(line(basic.RunsFlow))

    assert counts(telemetry) == {
        flow(status="error"): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("RunsFlow", "error"): 1,
        error("RunsFlow", "KeyError"): 1,
        flow("inner", "error", "flow"): 1,
        active("inner", "flow"): 0,
        component("ChatInput", name="inner"): 1,
        component("Broken", "error", "inner"): 1,
        error("Broken", "KeyError").replace("demo", "inner"): 1,
    }
    assert telemetry.metrics()["langflow_error_rate"] == 100
    assert telemetry.metrics()["langflow_throughput"] == pytest.approx(1 / 60)


async def by_hand(graph: Graph) -> None:
    graph.prepare()
    while type(await graph.astep()).__name__ != "Finish":
        pass


async def in_a_thread(graph: Graph) -> None:
    await asyncio.to_thread(lambda: list(graph.start(INPUT)))


async def until_finish(graph: Graph) -> None:
    stream = graph.async_start(INPUT)
    async for item in stream:
        if type(item).__name__ == "Finish":
            break
    await stream.aclose()


@pytest.mark.parametrize("way", [run, steps, by_hand, in_a_thread, until_finish])
async def test_a_run_is_one_run_whichever_way_it_starts(telemetry, way):
    await way(line(basic.Echo))

    assert counts(telemetry) == {flow(): 1, active(): 0, **LINE}


async def left_early(graph: Graph) -> None:
    stream = graph.async_start(INPUT)
    await stream.__anext__()
    await stream.aclose()


async def given_up(graph: Graph) -> None:
    graph.prepare()
    await graph.astep()


@pytest.mark.parametrize("way", [left_early, given_up])
async def test_a_run_that_nobody_takes_to_its_end_is_cancelled(telemetry, way):
    await way(line(basic.Echo))
    gc.collect()

    assert counts(telemetry) == {flow(status="cancelled"): 1, active(): 0, component("ChatInput"): 1}


async def test_several_inputs_are_one_run(telemetry):
    await line(basic.Echo).arun(INPUT * 2, session_id="s1")

    assert counts(telemetry) == {flow(): 1, active(): 0, **dict.fromkeys(LINE, 2)}


async def test_a_flow_that_runs_itself(telemetry):
    graph = line(basic.Recurses)
    basic.seen.update(recurse=True, graph=graph)
    await run(graph)

    runs = {name: value for name, value in counts(telemetry).items() if "flow_duration" in name}
    [inner] = [name for name in runs if 'entry_point="flow"' in name]
    assert runs == {flow(): 1, inner: 1}
    assert telemetry.metrics()["langflow_throughput"] == pytest.approx(1 / 60)


async def test_a_component_built_by_itself_belongs_to_no_flow(telemetry):
    graph = line(basic.Echo)
    graph.prepare()
    await graph.build_vertex("ChatInput-in", inputs_dict={"input_value": "hi"})

    assert counts(telemetry) == {component("ChatInput", name="unnamed"): 1}


# What components do.


@pytest.mark.parametrize("tool", [models.Shout, models.ShoutBroken])
async def test_an_agent_with_a_tool_is_one_component(telemetry, tool):
    await run(await agent_flow(models.ShoutAgent, tool))

    assert counts(telemetry) == {
        flow(): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("FakeAgent"): 1,
        **model_calls(2, "unknown", "callsonetool", has_tokens=False),
    }


async def test_tokens_of_a_model(telemetry):
    for _ in range(2):
        start = chat_input()
        await run(Graph(start, models.FakeModel(_id="F-m").set(input_value=start.message_response), flow_name="demo"))

    counted = model_calls(2)
    assert counts(telemetry) == {
        flow(): 2,
        active(): 0,
        component("ChatInput"): 2,
        component("FakeModel"): 2,
        **counted,
    }


class AnswersOnce(models.FakeModel):
    """Fails from the second call on."""

    name = "AnswersOnce"
    calls = 0

    async def text_response(self) -> Message:
        type(self).calls += 1
        if self.calls > 1:
            raise PermissionError("canary-7f3a")
        return await super().text_response()


async def test_tokens_of_an_earlier_run_of_the_same_graph_are_not_counted_again(telemetry, monkeypatch):
    monkeypatch.setattr(AnswersOnce, "calls", 0)
    start = chat_input()
    model = AnswersOnce(_id="A-m").set(input_value=start.message_response)
    graph = Graph(start, model, flow_name="demo")
    await run(graph)
    # LangFlow answers from the value that the output still has.
    await run(graph)
    for output in graph.get_vertex("A-m").custom_component._outputs_map.values():
        output.value = UNDEFINED
    await fails(graph)

    counted = model_calls(1)
    assert counts(telemetry) == {
        flow(): 2,
        flow(status="error"): 1,
        active(): 0,
        component("ChatInput"): 3,
        component("AnswersOnce"): 2,
        component("AnswersOnce", "error"): 1,
        error("AnswersOnce", "PermissionError"): 1,
        **counted,
    }


class Agent(models.FakeAgent):
    """Calls its model twice, with 3 tokens in and 5 out each time."""

    name = "Agent"

    def create_agent_runnable(self) -> Any:
        call = {"name": "add", "args": {"a": 2, "b": 3}, "id": "call-1", "type": "tool_call"}
        usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
        messages = [AIMessage(content="", tool_calls=[call], usage_metadata=usage)]
        messages += [AIMessage(content="it is five", usage_metadata=usage)]
        prompt = models.ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
        return models.create_tool_calling_agent(models.CallsOneTool(responses=messages), self.tools, prompt)


async def test_tokens_of_an_agent_are_those_of_all_its_model_calls(telemetry):
    await run(await agent_flow(Agent))

    assert counts(telemetry) == {
        flow(): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("Agent"): 1,
        **model_calls(2, "unknown", "callsonetool"),
    }


async def test_retries_inside_a_component(telemetry):
    class Retries(basic.Echo):
        name = "Retries"

        async def run_out(self) -> Message:
            record_retry(1, 0.1, ConnectionError())
            record_retry(2)
            return await super().run_out()

    await run(line(Retries))

    assert counts(telemetry) == {
        flow(): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("Retries"): 1,
        'langflow_component_retries_total{flow="demo",component_type="Retries"}': 2,
        component("ChatOutput"): 1,
    }


# Streams.


class TellsUsageLast(GenericFakeChatModel):
    """Tokens come with the last chunk, as with real models."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from super()._stream(*args, **kwargs)
        usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=usage))


class StreamingModel(models.FakeModel):
    name = "StreamingModel"

    def build_model(self) -> TellsUsageLast:
        return TellsUsageLast(messages=iter([AIMessage(content="one two three")]))


async def test_a_stream_that_the_component_drains_itself(telemetry):
    start = chat_input()
    model = StreamingModel(_id="M-m").set(input_value=start.message_response, stream=True)
    graph = Graph(start, chat_output(model.text_response), flow_name="demo")
    await run(graph, event_manager=create_default_event_manager(asyncio.Queue()))

    counted = model_calls(1, streamed=True)
    assert counts(telemetry) == {
        flow(): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("StreamingModel"): 1,
        component("ChatOutput"): 1,
        first_chunk("StreamingModel"): 1,
        **counted,
    }


@pytest.mark.parametrize("producer", [streams.Streams, streams.StreamsSync])
async def test_a_stream_that_the_next_component_reads(telemetry, producer):
    await run(pair(producer, streams.Reads))

    assert counts(telemetry) == {
        flow(): 1,
        active(): 0,
        component("ChatInput"): 1,
        component(producer.name): 1,
        component("Reads"): 1,
        first_chunk(producer.name): 1,
    }
    if producer is streams.Streams:
        assert 0.005 <= sum_of(telemetry, first_chunk("Streams")) < sum_of(telemetry, component("Reads"))


async def test_a_stream_that_is_never_read_has_no_first_chunk(telemetry):
    await run(pair(streams.Streams, streams.Ignores))

    assert counts(telemetry) == {
        flow(): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("Streams"): 1,
        component("Ignores"): 1,
    }


async def test_a_stream_that_is_read_after_its_flow_is_not_measured(telemetry):
    start = chat_input()
    made = streams.Streams(_id="Streams-s").set(value=start.message_response)
    graph = Graph(start, made, flow_name="demo")
    await run(graph)
    stream = streams.stream_of(graph.get_vertex("Streams-s").results["out"])
    assert [chunk async for chunk in stream] == ["a", "b", "c"]

    assert counts(telemetry) == {flow(): 1, active(): 0, component("ChatInput"): 1, component("Streams"): 1}


async def test_a_stream_that_fails_in_the_middle_is_the_readers_error(telemetry):
    await fails(pair(streams.StreamsBroken, streams.Reads))

    assert counts(telemetry) == {
        flow(status="error"): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("StreamsBroken"): 1,
        first_chunk("StreamsBroken"): 1,
        component("Reads", "error"): 1,
        error("Reads", "RuntimeError"): 1,
    }


# Many at once.


async def test_parallel_branches(telemetry, monkeypatch):
    monkeypatch.setattr(basic.Blocking, "seconds", 1)
    start = chat_input()
    left = basic.Blocking(_id="Left-l").set(value=start.message_response)
    right = basic.Blocking(_id="Right-r").set(value=start.message_response)
    join = basic.Join(_id="Join-j").set(value=left.run_out, other=right.run_out)
    await run(Graph(start, chat_output(join.run_out), flow_name="demo"))

    assert counts(telemetry) == {
        flow(): 1,
        active(): 0,
        component("ChatInput"): 1,
        component("Blocking"): 2,
        component("Join"): 1,
        component("ChatOutput"): 1,
    }
    assert sum_of(telemetry, component("Blocking")) >= 2
    assert sum_of(telemetry, flow()) < sum_of(telemetry, component("Blocking"))


@pytest.mark.slow
async def test_twenty_runs_at_once(telemetry):
    basic.seen["waiting"] = asyncio.Event()
    waiting = [asyncio.create_task(line(basic.Waits, name="waits").arun(INPUT, session_id="s")) for _ in range(5)]
    await asyncio.gather(*(line(basic.Blocking, name=f"flow {n % 3}").arun(INPUT, session_id="s") for n in range(20)))

    during = telemetry.metrics()
    assert during[active("waits")] == 5
    assert during["langflow_cpu_saturation_ratio"] > 0
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    runs = {"flow 0": 7, "flow 1": 7, "flow 2": 6}
    assert counts(telemetry) == {
        **{flow(name): count for name, count in runs.items()},
        **{active(name): 0 for name in (*runs, "waits")},
        **{component(kind, name=n): c for n, c in runs.items() for kind in ("ChatInput", "Blocking", "ChatOutput")},
        flow("waits", "cancelled"): 5,
        component("ChatInput", name="waits"): 5,
        component("Waits", "cancelled", "waits"): 5,
    }
    assert round(telemetry.metrics()["langflow_throughput"] * 60, 9) == 25
    assert telemetry.metrics()["langflow_cpu_saturation_ratio"] == 0


async def test_the_time_to_recovery_is_from_the_first_failure_to_the_next_success(telemetry):
    recoveries = 'langflow_flow_recovery_time_seconds_count{flow="demo"}'
    await fails(line(basic.Broken))
    await run(line(basic.Echo))
    assert recoveries not in telemetry.metrics()  # it had not worked before

    before_s = time.monotonic()
    await fails(line(basic.Broken))
    failed_s = time.monotonic()
    await asyncio.sleep(0.2)
    await fails(line(basic.Broken))
    failed_again_s = time.monotonic()
    await run(line(basic.Echo))
    recovered_s = time.monotonic()
    await run(line(basic.Echo))

    assert telemetry.metrics()[recoveries] == 1
    assert failed_again_s - failed_s <= sum_of(telemetry, recoveries) <= recovered_s - before_s


async def test_a_blocked_event_loop_shows(telemetry):
    started_s = time.monotonic()
    await run(line(basic.Echo))
    time.sleep(1.3)  # noqa: ASYNC251 - that is the point
    await asyncio.sleep(0.01)
    delay_s = telemetry.metrics()["langflow_event_loop_delay_seconds_sum"]

    # Due a second after the run's start.
    assert 1.3 - 1.0 - 0.1 <= delay_s <= time.monotonic() - started_s - 1.0
    assert telemetry.metrics()["langflow_event_loop_delay_seconds_count"] == 1


# Settings do not change what is counted.


async def one_of_each(cache: Cache) -> None:
    """Runs of every kind."""
    await run(line(basic.Echo))
    await fails(line(basic.Broken))
    await cancelled_after(0, line(basic.Waits))
    await run(router_flow("hi"))
    await run(loop_flow())
    await run(pair(streams.Streams, streams.Reads))
    graph, events = streaming_model()
    await run(graph, event_manager=events)
    await run(await agent_flow(models.ShoutAgent, models.Shout))
    basic.seen["inner"] = lambda: line(basic.Echo, name="inner")
    await run(line(basic.RunsFlow))
    cache.kept.clear()
    for _ in range(2):
        frozen = line(basic.Echo)
        frozen.get_vertex("Echo-0").frozen = True
        await run(frozen)


@pytest.mark.slow
async def test_what_is_counted_does_not_depend_on_sampling_and_detail(chat_cache):
    seen = {}
    for name, how in {
        "sampled": {},
        "unsampled": {"sampler": ALWAYS_OFF},
        "flow": {"settings": Settings(detail="flow")},
        "output": {"settings": Settings(detail="output")},
    }.items():
        with measured(**how) as telemetry:
            await one_of_each(chat_cache)
        seen[name] = counts(telemetry)
    with no_traces() as (_, reader):
        await one_of_each(chat_cache)
        seen["no traces"] = counts_in(pushed_samples(pushed(reader)))

    assert seen["sampled"][flow()] == 9
    assert seen == dict.fromkeys(seen, seen["sampled"])


async def test_labels_that_are_not_wanted_are_added_up():
    with measured(settings=Settings(metric_labels=("flow", "flow_version"))) as telemetry:
        await run(line(basic.Echo))

    version = telemetry.only_span("invoke_workflow demo").attributes["langflow.flow.version"]
    of_flow = f'{{flow_version="{version}",flow="demo",'
    assert counts(telemetry) == {
        f'langflow_flow_duration_seconds_count{of_flow}status="ok",entry_point="sdk"}}': 1,
        f'langflow_flow_active{of_flow}entry_point="sdk"}}': 0,
        f'langflow_component_duration_seconds_count{of_flow}status="ok"}}': 3,
    }


async def test_a_suppressed_run_is_not_measured(telemetry):
    with suppress_instrumentation():
        await run(line(basic.Echo))

    assert counts(telemetry) == {}


# Metrics that authors add.


async def test_an_authors_metrics_in_source_that_langflow_executes_as_its_code_editor_does():
    graph = Graph.from_payload(line(Metered).dump()["data"], flow_name="demo")
    again = Graph.from_payload(line(Metered).dump()["data"], flow_name="demo")
    authors = (
        catalogue.Metric("shop.orders", "counter", "", "Orders seen.", ("region",)),
        catalogue.Metric("shop.stock", "gauge", "1", "Pieces left.", per_worker=True),
        catalogue.Metric("shop.basket", "histogram", "", "Size of a basket.", ("region",), (1.0, 10.0)),
    )
    with capture_telemetry() as telemetry:
        await run(graph)
        await run(again)
        scraped = telemetry.metrics("langflow", "gen_ai", "shop")
        assert_sinks_agree(telemetry.pushed_metrics(), scraped, *authors)

    classes = {type(each.get_vertex("Metered-0").custom_component) for each in (graph, again)}
    assert len(classes | {Metered}) == 3
    assert telemetry.metrics("shop") == {
        'shop_orders_total{region="eu"}': 6,
        "shop_stock_ratio": 7,
        'shop_basket_bucket{region="eu",le="1.0"}': 0,
        'shop_basket_bucket{region="eu",le="10.0"}': 2,
        'shop_basket_bucket{region="eu",le="+Inf"}': 2,
        'shop_basket_sum{region="eu"}': 6,
        'shop_basket_count{region="eu"}': 2,
    }


# Metrics have a destination, spans have none.


@contextmanager
def no_traces() -> Iterator[tuple[LangflowInstrumentor, InMemoryMetricReader]]:
    reader = InMemoryMetricReader()
    instrumentor = LangflowInstrumentor()
    instrumentor.instrument(
        meter_provider=MeterProvider([reader], shutdown_on_exit=False),
        settings=Settings(scrape=ScrapeSettings(host="127.0.0.1", port=0)),
    )
    try:
        yield instrumentor, reader
    finally:
        instrumentor.uninstrument()


def pushed(reader: InMemoryMetricReader) -> list[Metric]:
    data = reader.get_metrics_data()
    found = [] if data is None else [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    return [
        metric
        for scope in found
        if scope.scope.name == semconv.SCOPE
        for metric in scope.metrics
        if metric.name.startswith(_OURS)
    ]


async def test_metrics_without_any_destination_for_spans():
    with no_traces() as (instrumentor, reader):
        await run(line(basic.Echo))
        await fails(line(basic.Broken))
        await cancelled_after(0.05, line(basic.Waits))
        pairs = (each.rpartition(" ") for each in (await page_of(instrumentor)).splitlines() if each[0] != "#")
        scraped = {name: float(value) for name, _, value in pairs if name.startswith(_OURS)}
        assert_sinks_agree(pushed(reader), scraped)

    assert counts_in(scraped) == {
        flow(): 1,
        flow(status="error"): 1,
        flow(status="cancelled"): 1,
        active(): 0,
        component("ChatInput"): 3,
        component("Echo"): 1,
        component("ChatOutput"): 1,
        component("Broken", "error"): 1,
        error("Broken", "KeyError"): 1,
        component("Waits", "cancelled"): 1,
    }


async def page_of(instrumentor: LangflowInstrumentor) -> str:
    url = instrumentor.scrape_url
    assert url is not None

    def get() -> str:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.read().decode()

    return await asyncio.to_thread(get)
