"""What whoever runs a flow sees of it: its results, its error, the order of its steps, LangFlow's own events and the
state in which the graph is left. It must be the same with and without instrumentation."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import lfx.load
from flows import INPUT, Cache, chat_input, chat_output, line
from lfx.events.event_manager import create_default_event_manager
from lfx.graph import Graph
from nodes import basic, chatty, content, models, searching, streams
from nodes.authored import Authored, Observed, Secretive
from nodes.edited import Edited
from test_components import router_flow
from test_loops import loop_flow
from test_retrieval import store_flow
from test_streams import pair
from test_tools import agent_flow

from langflow_otel._hooks import flow as flow_hooks
from langflow_otel._hooks.server import ServerMiddleware
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._settings.settings import Settings

EVERYTHING = Settings(
    content_on_spans=True,
    content_in_events=True,
    error_messages="redacted",
    log_bodies=True,
    openinference=True,
    detail="output",
)
"""All that may be recorded of a flow."""

Make = Callable[[], Awaitable[Graph]]
Drive = Callable[[Graph], Awaitable[Any]]


def _ready(make: Callable[[], Graph]) -> Make:
    async def made() -> Graph:
        return make()

    return made


def _parallel() -> Graph:
    start = chat_input()
    left = basic.Left(_id="Left-l").set(value=start.message_response)
    right = basic.Right(_id="Right-r").set(value=start.message_response)
    join = basic.Join(_id="Join-j").set(value=left.run_out, other=right.run_out)
    return Graph(start, chat_output(join.run_out), flow_name="demo")


def _model(stream: bool) -> Graph:
    start = chat_input()
    model = models.FakeModel(_id="FakeModel-m").set(input_value=start.message_response, stream=stream)
    return Graph(start, chat_output(model.text_response), flow_name="demo")


def _frozen() -> Graph:
    graph = line(basic.Echo)
    graph.get_vertex("Echo-0").frozen = True
    return graph


def _flow_in_flow() -> Graph:
    basic.seen["inner"] = lambda: line(basic.Echo, name="inner")
    return line(basic.RunsFlow)


def _recursion() -> Graph:
    graph = line(basic.Recurses)
    basic.seen.update(recurse=True, graph=graph)
    return graph


def _retriever() -> Graph:
    searching.Searches.search = staticmethod(lambda: searching.store().as_retriever().ainvoke("pears"))
    return line(searching.Searches)


async def _from_file() -> Graph:
    # It would set LangFlow's log up anew.
    with mock.patch("lfx.load.load.configure"):
        return await lfx.load.aload_flow_from_json({**line(Edited).dump(), "name": "from a file"})


FLOWS: dict[str, Make] = {
    "line": _ready(lambda: line(basic.Echo)),
    "authored": _ready(lambda: line(Authored)),
    "other instrumentors": _ready(lambda: line(Observed)),
    "stream": _ready(lambda: pair(streams.Streams, streams.Reads)),
    "sync stream": _ready(lambda: pair(streams.StreamsSync, streams.Reads)),
    "closed stream": _ready(lambda: pair(streams.Streams, streams.ReadsOneAndCloses)),
    "unread stream": _ready(lambda: pair(streams.Streams, streams.Ignores)),
    "secrets": _ready(lambda: line(content.Secrets, Secretive)),
    "log lines": _ready(lambda: line(chatty.Chatty, chatty.ChattyError)),
    "router": _ready(lambda: router_flow("hi")),
    "loop": _ready(loop_flow),
    "parallel": _ready(_parallel),
    "frozen": _ready(_frozen),
    "copied": _ready(lambda: copy.deepcopy(line(basic.TracedOutput))),
    "from a file": _from_file,
    "flow in flow": _ready(_flow_in_flow),
    "recursion": _ready(_recursion),
    "model": _ready(lambda: _model(stream=False)),
    "streaming model": _ready(lambda: _model(stream=True)),
    "embeddings": _ready(lambda: line(models.EmbedsTwice)),
    "agent": lambda: agent_flow(models.ShoutAgent, models.Shout),
    "broken tool": lambda: agent_flow(models.ShoutAgent, models.ShoutBroken),
    "search": _ready(store_flow),
    "retriever": _ready(_retriever),
    "failing stream": _ready(lambda: pair(streams.StreamsBroken, streams.Reads)),
    "failing": _ready(lambda: line(basic.Echo, basic.Broken)),
    "failing model": _ready(lambda: Graph(start := chat_input(), _failing_model(start), flow_name="demo")),
}
"""The cheapest first: LangFlow takes a second to print the error of a component."""


def _failing_model(start: Any) -> Any:
    return models.FailingModel(_id="FailingModel-m").set(input_value=start.message_response)


async def by_arun(graph: Graph) -> Any:
    return await _results(graph)


async def by_arun_with_events(graph: Graph) -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    return await _or_error(_results(graph, event_manager=create_default_event_manager(queue))), _events_in(queue)


async def _results(graph: Graph, **kwargs: Any) -> Any:
    results = await graph.arun(INPUT, session_id="s1", **kwargs)
    return [{key: text_of(value) for key, value in out.results.items()} for out in results[0].outputs if out]


async def by_async_start(graph: Graph) -> Any:
    return await _or_error(_steps(graph.async_start(INPUT, max_iterations=20)))


async def by_async_start_with_events(graph: Graph) -> Any:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    steps = graph.async_start(INPUT, max_iterations=20, event_manager=create_default_event_manager(queue))
    return await _or_error(_steps(steps)), _events_in(queue)


async def left_after_one_step(graph: Graph) -> Any:
    items = graph.async_start(INPUT, max_iterations=20)
    first = await items.__anext__()
    await items.aclose()
    return _step_of(first)


async def by_start(graph: Graph) -> Any:
    return [_step_of(item) for item in await asyncio.to_thread(lambda: list(graph.start(INPUT, max_iterations=20)))]


async def by_astep(graph: Graph) -> Any:
    graph.prepare()
    steps = []
    while len(steps) < 20 and (not steps or steps[-1] != "Finish"):
        steps.append(_step_of(await graph.astep(inputs=INPUT[0])))
    return steps


async def by_process(graph: Graph) -> Any:
    graph.prepare()
    await graph.process(fallback_to_env_vars=False)


async def twice(graph: Graph) -> Any:
    return [await by_arun(graph), await by_arun(graph)]


async def by_server(graph: Graph) -> Any:
    """Behind a request to a server, which has our middleware around its application while the library is on."""
    found: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
        else:
            found.append(await by_arun(graph))
            await send({"type": "http.response.start", "status": 200})

    async def send(message: Any) -> None:
        found.append(message)

    served = application if active_recorder() is None else ServerMiddleware(application, "lfx")
    request = {"method": "POST", "path": "/flows/demo/run", "headers": [(b"baggage", b"tenant=a")], "scheme": "http"}
    route = {"route": SimpleNamespace(path="/flows/{flow}/run"), "path_params": {"flow": "demo"}}
    await served({"type": "http", **request, **route}, None, send)
    await served({"type": "websocket", **request}, None, send)
    await served({"type": "lifespan"}, None, send)
    return found


async def by_playground(graph: Graph) -> Any:
    """As the server's driver of the playground, whose graph is known to us only by its components."""

    async def driver(**_: Any) -> Any:
        graph.prepare()
        return [_step_of(await graph.build_vertex(vertex, inputs_dict=INPUT[0])) for vertex in graph.sort_vertices()]

    told = {"flow_name": "demo", "flow_id": "f-1", "inputs": SimpleNamespace(session="s1")}
    if active_recorder() is None:
        return await driver(**told)
    return await flow_hooks.generate_flow_events(driver, None, (), told)


DRIVES: dict[str, Drive] = {
    "arun": by_arun,
    "arun with events": by_arun_with_events,
    "async_start": by_async_start,
    "async_start with events": by_async_start_with_events,
    "left": left_after_one_step,
    "start": by_start,
    "astep": by_astep,
    "process": by_process,
    "twice": twice,
    "server": by_server,
    "playground": by_playground,
}
"""All ways by which a graph is run."""


class Failed(list[str]):
    """Classes and messages of an error and its causes, from the outside in."""


async def observed(make: Make, drive: Drive) -> tuple[Any, ...]:
    """What there is to see, as plain data that can be compared."""
    cache = Cache()
    with mock.patch("lfx.graph.graph.base.get_chat_service", return_value=cache):
        graph = await make()
        seen = await _or_error(drive(graph))
    return seen, state_of(graph)


async def _or_error(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    except Exception as exc:
        return failure(exc)


def failure(exc: BaseException | None) -> Failed:
    found = Failed()
    while exc is not None:
        found.append(type(exc).__name__)
        exc = exc.__cause__
    return found


def state_of(graph: Graph) -> list[Any]:
    """How a run leaves the graph."""
    return [
        (vertex.id, vertex.built, str(getattr(vertex, "state", "")), sorted(vertex.results or {}))
        for vertex in sorted(graph.vertices, key=lambda vertex: vertex.id)
    ]


def text_of(value: Any) -> Any:
    text = getattr(value, "text", None)
    return text if isinstance(text, str) else type(value).__name__


async def _steps(items: Any) -> list[str]:
    found = []
    try:
        async for item in items:
            found.append(_step_of(item))
    except Exception as exc:
        found += failure(exc)
    return found


def _step_of(item: Any) -> str:
    return str(getattr(getattr(item, "vertex", None), "id", type(item).__name__))


# What differs from run to run, whoever watches.
_VOLATILE = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\"]*|0x[0-9a-f]+|\b\d+\.\d+ ?m?s\b|\"(?:duration|id)\": [^,}\n]*"
)
_RANDOM_ID = 21
_VOLATILE_KEYS = ("duration", "timedelta", "time", "traceback", "stack_trace", "formatted_traceback")


def _events_in(queue: asyncio.Queue[Any]) -> list[Any]:
    """LangFlow's events, in their order."""
    found = []
    while not queue.empty():
        raw = queue.get_nowait()[1]
        if raw:
            found.append(_steady(json.loads(raw)))
    return found


def _steady(data: Any, key: str = "") -> Any:
    if isinstance(data, dict):
        return {name: _steady(value, name) for name, value in data.items()}
    if isinstance(data, list):
        return [_steady(each) for each in data]
    if any(part in key for part in _VOLATILE_KEYS) or (isinstance(data, str) and "Traceback (most recent" in data):
        return "..."
    if key == "id" and isinstance(data, str) and len(data) == _RANDOM_ID:
        return "..."
    return _VOLATILE.sub("...", data) if isinstance(data, str) else data
