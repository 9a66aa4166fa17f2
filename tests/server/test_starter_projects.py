"""LangFlow's own starter projects and what may go wrong with their models, on a real server with two workers.

Each model call is compared with what the model's server did. Runs where ``langflow-base`` and ``langchain-openai`` are
installed; with LangFlow 1.13, ``lfx-openai``, ``lfx-arxiv`` and ``langchain-ollama``, too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from waiting import read_until, wait_until

if not all(map(importlib.util.find_spec, ("langflow", "langchain_openai"))):
    pytest.skip(
        "these tests need a server and a model: pip install langflow-base langchain-openai", allow_module_level=True
    )

import paths
import starter_projects
from langflow_server import Server, langflow_server
from openai_server import Asked, FakeOpenAI, fake_openai
from received import runs_below
from starter_trees import TREES
from ways import RUN, SETTINGS, STREAM, VERSION, WAYS, ZERO_CODE, WayIn, every_way

from langflow_otel.insights.trace import TraceSpan

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NEWEST = VERSION >= starter_projects.NEWEST
ANY_WORKER = {"Connection": "close"}
"""Each request comes over a connection of its own, so that any worker may answer it."""
TOOLS = {
    "fetch_content": {"urls": [starter_projects.PAGE]},
    "perform_search": {"input_value": "ships", "query": "ships"},
    "run_sql_query": {"query": "select 1 as price"},
}
NEED_OTHERS = {
    "Hybrid Search RAG": "Astra DB",
    "Meeting Summary": "AssemblyAI",
}
"""Projects that need a service of others beside a model."""
PLAIN = TREES["Basic Prompting"].strip("\n").splitlines()
AGENT = TREES["Simple Agent"].strip("\n").splitlines()
OLDEST = {
    *("Basic Prompting", "Financial Report Parser", "Image Sentiment Analysis", "Memory Chatbot", "SaaS Pricing"),
    *("Research Translation Loop", "Simple Agent", "Text Sentiment Analysis", "Twitter Thread Generator"),
}
"""Those that LangFlow 1.7 has, too, and that need nothing but a model there."""
NEEDED_OTHERS = {
    "Blog Writer": "pages over HTTPS",
    "Custom Component Generator": "pages over HTTPS",
    "Hybrid Search RAG": "Astra DB",
    "Knowledge Retrieval": "a knowledge base",
    "Nvidia Remix": "pages over HTTPS",
    "Sequential Tasks Agents": "Yahoo Finance",
    "Social Media Agent": "Apify",
    "Structured Data Analysis Agent": "OpenDsStar",
    "Vector Store RAG": "Astra DB, or a knowledge base",
    "Youtube Analysis": "YouTube",
}
"""The same of LangFlow 1.8 to 1.10."""
if NEWEST:
    PROJECTS = sorted(set(starter_projects.names()) - set(NEED_OTHERS))
elif VERSION >= (1, 8):
    PROJECTS = sorted(set(starter_projects.names()) - set(NEEDED_OTHERS))
else:
    PROJECTS = sorted(OLDEST)
WORKERS = 1 if VERSION == (1, 10) else 2
"""LangFlow 1.10 refuses to start two without Redis."""
CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
CANARY = "canary-7f3a"
FLOW_USAGE = ("langflow.usage.input_tokens", "langflow.usage.output_tokens")


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOpenAI]:
    with fake_openai() as running:
        running.counting = True
        yield running


@pytest.fixture(scope="module")
def two_workers(fake: FakeOpenAI) -> Iterator[Server]:
    environment = {**SETTINGS, **starter_projects.environment(fake), CAPTURE: "EVENT_ONLY"}
    with langflow_server(workers=WORKERS, prefix=ZERO_CODE, environment=environment) as running:
        running.client.timeout = running.browser.timeout = 120
        yield running


@pytest.fixture(scope="module")
def settings(two_workers: Server) -> dict[tuple[str, str], Any]:
    return starter_projects.fill(two_workers)


@pytest.fixture(scope="module")
def log() -> list[Asked]:
    """What the model was asked in the tests before."""
    return []


@pytest.fixture
def server(two_workers: Server, fake: FakeOpenAI, log: list[Asked]) -> Server:
    """With nothing received, and a model that answers."""
    two_workers.forget()
    log += fake.asked
    fake.asked = []
    fake.replies, fake.tools = [], dict(TOOLS)
    fake.waiting.clear()
    return two_workers


@pytest.fixture(scope="module")
def flows(two_workers: Server, settings: dict[tuple[str, str], Any]) -> dict[str, str]:
    """Names of flows with one model that answers at once, one that streams, and an agent with tools."""
    create = starter_projects.create
    return {
        "plain": create(two_workers, "Basic Prompting", name="plain"),
        "streamed": create(two_workers, "Basic Prompting", {("LanguageModelComponent", "stream"): True}, "streamed"),
        "agent": create(two_workers, "Simple Agent", name="agent"),
        "tool": create(two_workers, "SaaS Pricing", settings, "tool"),
        "hasty": create(two_workers, "Simple Agent", {("Agent", "max_iterations"): 2}, "hasty"),
    }


@pytest.mark.parametrize("project", PROJECTS)
def test_a_starter_project(server, fake, settings, project):
    name = starter_projects.create(server, project, settings)
    answer = paths.api_run(server, name, "ships", ANY_WORKER)

    assert answer.status == 200, answer.text
    run = only_run(server)
    assert_as_asked(run, fake.asked)
    assert_named(run, name)
    if NEWEST:
        assert drawn(run) == TREES[project].strip("\n").splitlines()


DIRECT = next(way for way in WAYS if way.name == "playground, direct")
MODELS = pytest.mark.parametrize("kind", ["plain", "streamed", "agent"])


@MODELS
@every_way(RUN, STREAM, DIRECT)
def test_ways_in(server, fake, flows, way, kind):
    answer = way.drive(server, flows[kind], "ships", ANY_WORKER, **way.options)

    assert answer.status == 200, answer.text
    run = only_run(server)
    assert_as_asked(run, fake.asked)
    if NEWEST:
        assert drawn(run) == (AGENT if kind == "agent" else PLAIN)


@MODELS
def test_content_is_in_log_records_and_not_on_spans(server, fake, flows, kind):
    """Each record is of the span that would have it."""
    assert paths.api_run(server, flows[kind], f"ships {CANARY}", ANY_WORKER).status == 200

    run = only_run(server)
    names = {span.span_id: span.name for span in run.walk()}
    component = "invoke_agent Agent" if kind == "agent" else "component Language Model"
    expected = {f"invoke_workflow {flows[kind]}", "component Chat Input", component, "chat gpt-4o-mini"}

    def found() -> set[str | None]:
        records = [record for _, record in server.receiver.logs() if CANARY in str(record)]
        return {names.get(record.span_id.hex()) for record in records}

    assert read_until(found, lambda names_now: names_now == expected) == expected
    assert CANARY not in str([request.message for request in server.receiver.requests])


@MODELS
def test_client_that_goes(server, fake, flows, kind):
    fake.replies, fake.tools = ["wait"], {}
    url = f"/api/v1/run/{flows[kind]}?stream=true"
    body = {"input_value": "ships", "session_id": "s1"}
    with server.client.stream("POST", url, json=body, headers=ANY_WORKER):
        assert fake.waiting.wait(60)

    run = only_run(server)
    assert fake.sent_usage == []
    assert (run.status, run.attributes["langflow.error.category"]) == ("cancelled", "cancelled")
    (call,) = calls_of(run)
    assert (call.status, len(call.children), usage(run)) == ("cancelled", 1, (0, 0))
    assert_nothing_open(server)


@dataclass(frozen=True)
class Fault:
    """What the model's server does, and what a run is then."""

    replies: tuple[str | int, ...]
    error: str
    category: str
    way: WayIn = RUN


FAULTS = {
    "401": Fault((401,), "AuthenticationError", "authentication"),
    "500 each time": Fault((500,) * 10, "InternalServerError", "provider"),
    "a stream is cut": Fault(("cut",), "RemoteProtocolError", "network", STREAM),
}


@pytest.mark.parametrize("kind", ["plain", "agent"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_faults_of_a_model(server, fake, flows, kind, fault):
    fake.replies, fake.tools = list(fault.replies), {}
    fault.way.drive(server, flows["streamed" if kind == "plain" else kind], "ships", ANY_WORKER)

    run = only_run(server)
    assert_as_asked(run, fake.asked)
    failed = [span for span in ours(run) if span.status == "error"]
    assert len(failed) == 3  # the flow, its component, the call
    assert {(span.attributes["error.type"], span.attributes["langflow.error.category"]) for span in failed} == {
        (fault.error, fault.category)
    }


@MODELS
def test_answer_after_two_429(server, fake, flows, kind):
    fake.replies, fake.tools = [429, 429], {}
    assert paths.api_run(server, flows[kind], "ships", ANY_WORKER).status == 200

    run = only_run(server)
    assert_as_asked(run, fake.asked)
    (call,) = calls_of(run)
    assert call.attributes["langflow.model.retries"] == 2
    assert [_http_status(child) for child in call.children] == [429, 429, 200]
    assert (run.status, call.status) == ("ok", "ok")


def _http_status(span: TraceSpan) -> int:
    """By the name that the version's HTTP instrumentor has for it."""
    return span.attributes.get("http.response.status_code") or span.attributes["http.status_code"]


@pytest.mark.skipif(not NEWEST, reason="LangFlow 1.13 has a starter project with a tool that can fail")
def test_tool_that_fails(server, fake, flows):
    """LangFlow gives its error to the model, which answers."""
    fake.tools = {"run_sql_query": {"query": "select price from nothing"}}
    assert paths.api_run(server, flows["tool"], "ships", ANY_WORKER).status == 200

    run = only_run(server)
    assert_as_asked(run, fake.asked)
    failed = {span.name: span.attributes for span in ours(run) if span.status != "ok"}
    assert set(failed) == {"execute_tool run_sql_query"}
    (about,) = failed.values()
    assert (about["error.type"], about["langflow.error.category"]) == ("ValueError", "tool")


def test_limit_of_iterations(server, fake, flows):
    fake.replies = ["tool"] * 4
    answer = paths.api_run(server, flows["hasty"], "ships", ANY_WORKER)

    run = only_run(server)
    assert_as_asked(run, fake.asked)
    (agent,) = [span for span in ours(run) if span.name == "invoke_agent Agent"]
    assert agent.attributes["langflow.agent.stop_reason"] == "iteration_limit"
    # LangFlow 1.10 takes the limit for an error of the agent.
    expected = (500, "error", "error") if VERSION == (1, 10) else (200, "ok", "ok")
    assert (answer.status, run.status, agent.status) == expected


MEASURED = {
    "gen_ai.client.inference.usage.input_tokens": ("prompt_tokens",),
    "gen_ai.client.inference.usage.output_tokens": ("completion_tokens",),
    "gen_ai.client.inference.usage.cache_read.input_tokens": ("prompt_tokens_details", "cached_tokens"),
    "gen_ai.client.inference.usage.reasoning.output_tokens": ("completion_tokens_details", "reasoning_tokens"),
}
"""Counters, and where the model's server has the same numbers."""


def test_metrics_of_both_workers(server, fake, flows, log):
    """All that the model's server has sent since it started, to either worker."""
    while len(by_worker(server, "langflow.flow.active")) < WORKERS:
        assert paths.api_run(server, flows["plain"], "ships", ANY_WORKER).status == 200
    # LangFlow 1.8 itself tries a key out, outside of runs.
    calls = [each for each in [*log, *fake.asked] if each.kind == "chat" and each.parent[0]]
    expected = {name: sum(_in(each.usage, keys) for each in calls) for name, keys in MEASURED.items()}

    def measured() -> dict[str, float]:
        return {name: sum_over_workers(server, name) for name in MEASURED}

    assert read_until(measured, lambda found: found == expected) == expected


def _in(usage: Mapping[str, Any], keys: Sequence[str]) -> int:
    found: Any = usage
    for key in keys:
        found = found.get(key, {})
    return found or 0


def only_run(server: Server) -> TraceSpan:
    """The one run that came in; all that was sent is of its trace."""
    (root,) = server.traces(runs=1)
    (run,) = runs_below(root)
    return run


def assert_as_asked(run: TraceSpan, asked: Sequence[Asked]) -> None:
    """Each call of the run is what the model's server saw: its requests, answer and tokens; and the sums are right."""
    parents = {child.span_id: span for span in run.walk() for child in span.children}
    requests: dict[str, list[Asked]] = {}
    for each in asked:
        if each.kind == "chat":
            trace_id, span_id = each.parent
            assert trace_id == run.trace_id
            requests.setdefault(parents[span_id].span_id, []).append(each)
    calls = {call.span_id: call for call in calls_of(run)}
    assert set(calls) == set(requests)
    for call_id, call in calls.items():
        assert recorded(call) == answered(requests[call_id])
    for span in run.walk():
        if span is run or "langflow.component.kind" in span.attributes:
            below = [each.usage for call_id in calls.keys() & _ids(span) for each in requests[call_id]]
            assert usage(span) == (total(below, "prompt_tokens"), total(below, "completion_tokens")), span.name


def ours(run: TraceSpan) -> list[TraceSpan]:
    return [span for span in run.walk() if span.scope == "langflow_otel"]


def calls_of(run: TraceSpan) -> list[TraceSpan]:
    return [span for span in run.walk() if span.name.startswith("chat ")]


def _ids(span: TraceSpan) -> set[str]:
    return {each.span_id for each in span.walk()}


def assert_nothing_open(server: Server) -> None:
    """Neither comes anything after the run, nor does a worker count it as going on."""
    wait_until(lambda: sum_over_workers(server, "langflow.flow.active") == 0)
    assert len(server.traces(runs=1)) == 1


def sum_over_workers(server: Server, metric: str) -> float:
    """Of the last values that each worker sent."""
    return sum(by_worker(server, metric).values())


def by_worker(server: Server, metric: str) -> dict[str, float]:
    last: dict[str, float] = {}
    for request in list(server.receiver.metric_requests):
        for resource in request.message.resource_metrics:
            about = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            for scope in resource.scope_metrics:
                for found in scope.metrics:
                    if scope.scope.name == "langflow_otel" and found.name == metric:
                        last[about["service.instance.id"]] = sum(p.as_int + p.as_double for p in found.sum.data_points)
    return last


def usage(span: TraceSpan) -> tuple[int, ...]:
    return tuple(span.attributes.get(name, 0) for name in FLOW_USAGE)


def total(usages: Sequence[Any], name: str) -> int:
    return sum(each.get(name, 0) for each in usages)


def recorded(call: TraceSpan) -> dict[str, Any]:
    """Of a model call, what its server has recorded, too."""
    about = call.attributes
    return {
        "model": about["gen_ai.request.model"],
        "server": about["server.address"],
        "streamed": about.get("gen_ai.request.stream", False),
        "first chunk": "gen_ai.response.time_to_first_chunk" in about,
        "requests": len([child for child in call.children if child.name.endswith("POST")]),
        "retries": about.get("langflow.model.retries", 0),
        "input": about.get("gen_ai.usage.input_tokens"),
        "output": about.get("gen_ai.usage.output_tokens"),
        "cached": about.get("gen_ai.usage.cache_read.input_tokens"),
        "reasoning": about.get("gen_ai.usage.reasoning.output_tokens"),
    }


def answered(requests: Sequence[Asked]) -> dict[str, Any]:
    """The same of the requests that were one call."""
    last = requests[-1]
    details = last.usage.get("prompt_tokens_details", {}), last.usage.get("completion_tokens_details", {})
    return {
        "model": last.model,
        "server": starter_projects.HOST,
        # Without a chunk LangFlow 1.7 and 1.8 do not say so.
        "streamed": last.streamed and (last.status == 200 or VERSION >= (1, 9)),
        "first chunk": last.streamed and last.status == 200,
        "requests": len(requests),
        "retries": len(requests) - 1,
        "input": last.usage.get("prompt_tokens"),
        "output": last.usage.get("completion_tokens"),
        "cached": details[0].get("cached_tokens"),
        "reasoning": details[1].get("reasoning_tokens"),
    }


def assert_named(run: TraceSpan, name: str) -> None:
    """All spans of the run have its flow's name; model calls its session; and components say what they are."""
    assert {span.attributes.get("langflow.flow.name") for span in ours(run)} == {name}
    assert {call.attributes["session.id"] for call in calls_of(run)} <= {"s1"}
    assert [span.name for span in ours(run) if span.attributes.get("langflow.component.kind") == "other"] == []


def drawn(run: TraceSpan) -> list[str]:
    """The tree as text. The components of the flow are in the order of their names, since some run at the same time."""
    components = sorted((span for span in run.children if span.scope == "langflow_otel"), key=lambda span: span.name)
    return [line for component in components for line in _drawn(component, 0)]


def _drawn(span: TraceSpan, depth: int) -> Iterator[str]:
    kind = span.attributes.get("langflow.component.kind")
    words = [span.name, f"({kind})" if kind else "", "" if span.status == "ok" else f"[{span.status}]"]
    if span.attributes.get("langflow.component.only_offered_tools"):
        words.append("only offered tools")
    yield "  " * depth + " ".join(filter(None, words))
    for child in span.children:
        yield from _drawn(child, depth + 1)
