"""A span for each call of a LangChain model, below the component that makes it."""

from __future__ import annotations

import asyncio
import copy
import functools
import json
import pickle
from collections.abc import Awaitable, Callable, Iterator
from types import MethodType
from typing import Any

import pytest
from flows import line, run
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.callbacks import manager as callbacks
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from lfx.graph import Graph
from nodes import asking, models, nested
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import suppress_instrumentation
from test_tools import agent_flow

from langflow_otel._hooks import model_call as models_hook
from langflow_otel._runs import model_call
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

TOKENS = ("gen_ai.usage.input_tokens", "langflow.usage.input_tokens")


def used_tokens(telemetry: Telemetry) -> list[float]:
    """In and out, over all calls."""
    usage = "gen_ai_client_inference_usage"
    return [sum(telemetry.metrics(f"{usage}_{kind}_tokens_total").values()) for kind in ("input", "output")]


class Counting(nested.CountingChatModel):
    """Has what a real model has."""

    temperature: float = 0.5

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "temperature": self.temperature, "max_tokens": 50}

    def _get_ls_params(self, stop: Any = None, **_: Any) -> Any:
        return {"ls_provider": "mistral", "ls_model_type": "chat"}


class Stuck(Counting):
    """Answers when the test says so, and that is never."""

    async def _agenerate(self, *_: Any, **__: Any) -> ChatResult:
        asking.seen["started"].set()
        await asyncio.Event().wait()
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=""))])


class StuckInStream(Counting):
    """Says one word, and no more."""

    async def _astream(self, *_: Any, **__: Any) -> Any:
        yield ChatGenerationChunk(message=AIMessageChunk(content="one"))
        asking.seen["started"].set()
        await asyncio.Event().wait()

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


def model(cls: type = Counting) -> Any:
    return cls(messages=iter([AIMessage(content="one two three", usage_metadata=nested.USAGE)] * 9))


Ask = Callable[[Any], Awaitable[Any]]


def asks(ask: Ask) -> None:
    asking.seen["ask"] = ask


async def invoke(_: Any) -> Any:
    return model().invoke("hi")


async def ainvoke(_: Any) -> Any:
    return await model().ainvoke("hi")


async def stream(_: Any) -> Any:
    return list(model().stream("hi"))


async def astream(_: Any) -> Any:
    return [chunk async for chunk in model().astream("hi")]


async def in_a_thread(_: Any) -> Any:
    return await asyncio.to_thread(model().invoke, "hi")


@pytest.mark.parametrize("way", [invoke, ainvoke, stream, astream, in_a_thread])
async def test_a_call_is_a_span_below_its_component(telemetry, way):
    asks(way)
    await run(line(asking.Asks))

    assert telemetry.tree(*TOKENS) == [
        "invoke_workflow demo langflow.usage.input_tokens=3",
        "  component Chat Input",
        "  component Asks langflow.usage.input_tokens=3",
        "    chat fake-1 gen_ai.usage.input_tokens=3",
        "  component Chat Output",
    ]
    attributes = dict(telemetry.only_span("chat fake-1").attributes)
    if way in (stream, astream):
        assert 0 <= attributes.pop("gen_ai.response.time_to_first_chunk") < 60
        assert attributes.pop("gen_ai.request.stream") is True
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "fake-1",
        "gen_ai.provider.name": "mistral_ai",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
        "langflow.flow.name": "demo",
        "session.id": "s1",
        "gen_ai.conversation.id": "s1",
        "langflow.status": "ok",
    }
    (sdk_span,) = [span for span in telemetry.sdk_spans if span.name == "chat fake-1"]
    assert sdk_span.kind.name == "CLIENT"
    assert used_tokens(telemetry) == [3, 5]


async def test_a_model_that_is_no_chat_model(telemetry):
    async def ask(_: Any) -> Any:
        return await FakeListLLM(responses=["one"]).ainvoke("hi")

    asks(ask)
    await run(line(asking.Asks))

    assert "    text_completion" in telemetry.tree()
    assert telemetry.only_span("text_completion").attributes["gen_ai.operation.name"] == "text_completion"


async def test_several_calls_of_one_component_are_summed(telemetry):
    async def ask(_: Any) -> Any:
        await model().abatch(["a", "b"])
        await model().agenerate([[HumanMessage("c")], [HumanMessage("d")]])
        return await model().with_fallbacks([model()]).ainvoke("e")

    asks(ask)
    await run(line(asking.Asks))

    assert telemetry.tree(*TOKENS) == [
        "invoke_workflow demo langflow.usage.input_tokens=15",
        "  component Chat Input",
        "  component Asks langflow.usage.input_tokens=15",
        *["    chat fake-1 gen_ai.usage.input_tokens=3"] * 5,
        "  component Chat Output",
    ]


async def test_each_attempt_of_a_retry_is_a_call(telemetry):
    async def ask(_: Any) -> Any:
        broken = nested.BrokenChatModel(messages=iter([]))
        return await broken.with_fallbacks([model()]).ainvoke("hi")

    asks(ask)
    await run(line(asking.Asks))

    assert telemetry.tree("error.type") == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Asks",
        "    chat fake-1 [error] error.type=ValueError",
        "    chat fake-1",
        "  component Chat Output",
    ]


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_that_its_reader_leaves_is_cancelled(telemetry, way):
    async def ask(_: Any) -> Any:
        if way == "stream":
            chunks = model().stream("hi")
            next(chunks)
            return chunks.close()
        achunks = model().astream("hi")
        await achunks.__anext__()
        return await achunks.aclose()

    asks(ask)
    await run(line(asking.Asks))

    assert "    chat fake-1 [cancelled]" in telemetry.tree()


async def cancel_once_asked(graph: Graph) -> None:
    task = asyncio.create_task(run(graph))
    await asking.seen["started"].wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_call_ends_with_its_component(telemetry):
    """LangChain reports nothing."""
    asking.seen["started"] = asyncio.Event()

    async def ask(_: Any) -> Any:
        return await model(Stuck).ainvoke("hi")

    asks(ask)
    await cancel_once_asked(line(asking.Asks))

    assert telemetry.tree() == [
        "invoke_workflow demo [cancelled]",
        "  component Chat Input",
        "  component Asks [cancelled]",
        "    chat fake-1 [cancelled]",
    ]


async def test_an_agents_streamed_call_is_cancelled_with_the_agent(telemetry):
    asking.seen.update(started=asyncio.Event(), model=lambda: model(StuckInStream))
    await cancel_once_asked(await agent_flow(asking.OpenAIAgent))

    assert telemetry.tree() == [
        "invoke_workflow demo [cancelled]",
        "  component Chat Input",
        "  invoke_agent OpenAI Agent [cancelled]",
        "    chat fake-1 [cancelled]",
    ]
    assert telemetry.only_span("chat fake-1").attributes["gen_ai.request.stream"] is True


async def test_a_call_without_an_end_is_cancelled_with_its_flow(telemetry):
    async def ask(_: Any) -> Any:
        chunks = asking.seen["chunks"] = model().astream("hi")
        return await chunks.__anext__()

    asks(ask)
    await run(line(asking.Asks))

    assert "    chat fake-1 [cancelled]" in telemetry.tree()
    await asking.seen.pop("chunks").aclose()


async def test_two_flows_at_once_have_their_own_calls_and_sums(telemetry):
    meet = asyncio.Barrier(2) if hasattr(asyncio, "Barrier") else None

    async def ask(_: Any) -> Any:
        if meet is not None:
            await meet.wait()
        return await astream(_)

    asks(ask)
    await asyncio.gather(run(line(asking.Asks, name="a")), run(line(asking.Asks, name="b")))

    for root in telemetry.roots():
        (component,) = [span for span in root.children if span.name == "component Asks"]
        assert [span.name for span in component.children] == ["chat fake-1"]
        assert root.attributes["langflow.usage.input_tokens"] == 3
        assert component.children[0].attributes["langflow.flow.name"] in root.name


async def test_an_agents_calls_are_beside_its_tool_calls(telemetry):
    await run(await agent_flow(nested.LooksUpTwice))

    assert telemetry.tree(*TOKENS) == [
        "invoke_workflow demo langflow.usage.input_tokens=9",
        "  component Chat Input",
        "  invoke_agent Looks Up Twice langflow.usage.input_tokens=9",
        "    chat fake-1 gen_ai.usage.input_tokens=3",
        "    execute_tool look_up",
        "    chat fake-1 gen_ai.usage.input_tokens=3",
        "    execute_tool look_up",
        "    chat fake-1 gen_ai.usage.input_tokens=3",
    ]
    assert used_tokens(telemetry) == [9, 15]


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("flow", ["invoke_workflow demo langflow.usage.input_tokens=3"]),
        (
            "component",
            [
                "invoke_workflow demo langflow.usage.input_tokens=3",
                "  component Chat Input",
                "  component Asks gen_ai.usage.input_tokens=3",
                "  component Chat Output",
            ],
        ),
    ],
)
async def test_without_a_span_the_tokens_are_where_the_call_was(detail, expected):
    asks(ainvoke)
    with capture_telemetry(settings=Settings(detail=detail)) as telemetry:
        await run(line(asking.Asks))

    assert telemetry.tree(*TOKENS) == expected
    assert used_tokens(telemetry) == [3, 5]


@pytest.mark.parametrize(("keep", "tree"), [(True, 5), (False, 0)])
async def test_calls_of_an_unsampled_run_are_kept_with_it_and_counted(keep, tree):
    asks(astream)
    settings = Settings(sampling=(("*", 0.0),), keep_slow_s=0.0 if keep else None)
    with capture_telemetry(settings=settings) as telemetry:
        await run(line(asking.Asks))

    assert len(telemetry.tree()) == tree
    if keep:
        (span,) = [span for span in telemetry.sdk_spans if span.name == "chat fake-1"]
        assert (span.kind.name, span.attributes["gen_ai.usage.input_tokens"]) == ("CLIENT", 3)
    assert used_tokens(telemetry) == [3, 5]


async def test_outside_of_runs_and_where_suppressed_there_is_none(telemetry):
    await ainvoke(None)

    async def ask(_: Any) -> Any:
        with suppress_instrumentation():
            return await ainvoke(_)

    asks(ask)
    await run(line(asking.Asks))

    assert "chat fake-1" not in telemetry.names()
    assert telemetry.metrics("gen_ai_client") == {}


async def test_neither_context_nor_run_manager_keep_anything_of_a_call(telemetry):
    found: list[Any] = []

    async def ask(_: Any) -> Any:
        before = otel_context.get_current()
        manager = callbacks.AsyncCallbackManager.configure()
        (run_manager,) = await manager.on_chat_model_start({}, [[HumanMessage("hi")]], invocation_params={})
        found.append(len(vars(run_manager)))
        await run_manager.on_llm_new_token("a")
        await run_manager.on_llm_new_token("b")
        await run_manager.on_llm_end(ainvoke_result())
        found.append(sorted(name for name in vars(run_manager) if name.startswith("on_")))
        assert otel_context.get_current() is before
        return model_call.calling_model()

    asks(ask)
    await run(line(asking.Asks))

    assert found[1] == []
    assert telemetry.only_span("chat").status == "ok"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda manager: pickle.loads(pickle.dumps(manager))])
async def test_a_copy_of_a_run_manager_works_as_without_us(telemetry, copied):
    heard: list[Any] = []
    handler = Hears()

    async def ask(_: Any) -> None:
        manager = callbacks.CallbackManager.configure([handler])
        (run_manager,) = manager.on_chat_model_start({}, [[HumanMessage("hi")]], invocation_params={})
        other = copied(run_manager)
        heard.append((type(other), other.run_id == run_manager.run_id))
        for each in (other, run_manager):
            each.on_llm_new_token("a")
            each.on_llm_end(ainvoke_result())
            each.on_llm_end(ainvoke_result())
        heard.extend(sorted(name for name in vars(run_manager) if name.startswith("on_")))
        heard.append([len(each.handlers[0].heard) for each in (other, run_manager)])

    asks(ask)
    await run(line(asking.Asks))

    shared = copied is copy.copy
    assert heard == [(callbacks.CallbackManagerForLLMRun, True), [6, 6] if shared else [3, 3]]
    assert telemetry.only_span("chat").status == "ok"


class Hears(BaseCallbackHandler):
    """Notes what LangChain reports to it."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_chat_model_start(self, *_: Any, **__: Any) -> None: ...

    def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        self.heard.append("token")

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.heard.append("end")


async def test_the_sync_twin_of_a_run_manager_is_not_ours(telemetry):
    """A model without async methods of its own gets one."""
    found: list[Any] = []

    async def ask(_: Any) -> None:
        manager = callbacks.AsyncCallbackManager.configure()
        (run_manager,) = await manager.on_chat_model_start({}, [[HumanMessage("hi")]], invocation_params={})
        twin = run_manager.get_sync()
        found.extend(name for name in vars(twin) if name.startswith("on_"))
        twin.on_llm_new_token("a")
        await run_manager.on_llm_end(ainvoke_result())

    asks(ask)
    await run(line(asking.Asks))

    assert found == []
    assert telemetry.only_span("chat").status == "ok"


async def test_what_others_put_on_a_run_manager_stays_there(telemetry):
    heard: list[str] = []

    async def ask(_: Any) -> None:
        manager = callbacks.CallbackManager.configure()
        (run_manager,) = manager.on_chat_model_start({}, [[HumanMessage("hi")]], invocation_params={})
        ours = run_manager.on_llm_end
        run_manager.on_llm_end = lambda *args, **kwargs: heard.append("on top") or ours(*args, **kwargs)
        on_top = run_manager.on_llm_end
        run_manager.on_llm_end(ainvoke_result())
        run_manager.on_llm_end(ainvoke_result())
        assert run_manager.on_llm_end is on_top

    asks(ask)
    await run(line(asking.Asks))

    assert heard == ["on top", "on top"]
    assert telemetry.only_span("chat").status == "ok"


@pytest.mark.parametrize("kind", ["function", "method"])
async def test_functions_set_on_a_run_manager_before_are_restored(telemetry, monkeypatch, kind):
    heard: list[str] = []
    before: Any = None
    of_class = callbacks.CallbackManagerForLLMRun
    start = of_class.__init__

    def theirs(self: Any, *args: Any, **kwargs: Any) -> Any:
        heard.append("before")
        return of_class.on_llm_end(self, *args, **kwargs)

    def with_theirs(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal before
        start(self, *args, **kwargs)
        before = MethodType(theirs, self) if kind == "method" else functools.partial(theirs, self)
        self.on_llm_end = before

    async def ask(_: Any) -> None:
        (run_manager,) = callbacks.CallbackManager.configure().on_chat_model_start(
            {}, [[HumanMessage("hi")]], invocation_params={}
        )
        assert run_manager.on_llm_end is not before
        run_manager.on_llm_end(ainvoke_result())
        assert run_manager.on_llm_end is before

    monkeypatch.setattr(of_class, "__init__", with_theirs)
    asks(ask)
    await run(line(asking.Asks))

    assert heard == ["before"]
    assert telemetry.only_span("chat").status == "ok"


def ainvoke_result() -> Any:
    from langchain_core.outputs import LLMResult

    return LLMResult(generations=[[ChatGeneration(message=AIMessage(content="x"))]])


CANARY = "canary-7f3a"
MESSAGES = [
    SystemMessage(f"be {CANARY}-system"),
    HumanMessage(f"ask {CANARY}-prompt"),
    AIMessage(content="", tool_calls=[{"name": "look_up", "args": {"q": f"{CANARY}-argument"}, "id": "c1"}]),
    ToolMessage(content=f"{CANARY}-found", tool_call_id="c1"),
]


async def ask_with_messages(_: Any) -> Any:
    answer = AIMessage(content=f"it is {CANARY}-answer", usage_metadata=nested.USAGE)
    return await Counting(messages=iter([answer])).ainvoke(MESSAGES, stop=["END"])


def sent(telemetry: Telemetry) -> str:
    return repr([(span.name, span.attributes, span.events) for span in telemetry.spans])


async def test_messages_stay_here_by_default(telemetry):
    asks(ask_with_messages)
    await run(line(asking.Asks))

    assert CANARY not in sent(telemetry)


async def test_messages_have_the_conventions_form_where_they_leave():
    asks(ask_with_messages)
    with capture_telemetry(settings=Settings(content_on_spans=True, openinference=True)) as telemetry:
        await run(line(asking.Asks))

    attributes = telemetry.only_span("chat fake-1").attributes
    found = {name: json.loads(str(attributes[f"gen_ai.{name}"])) for name in ("input.messages", "output.messages")}
    assert found == {
        "input.messages": [
            {"role": "user", "parts": [{"type": "text", "content": f"ask {CANARY}-prompt"}]},
            {
                "role": "assistant",
                "parts": [
                    {"type": "tool_call", "id": "c1", "name": "look_up", "arguments": {"q": f"{CANARY}-argument"}}
                ],
            },
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": f"{CANARY}-found"}]},
        ],
        "output.messages": [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": f"it is {CANARY}-answer"}],
                "finish_reason": "stop",
            },
        ],
    }
    system = json.loads(str(attributes["gen_ai.system_instructions"]))
    assert system == [{"type": "text", "content": f"be {CANARY}-system"}]
    assert json.loads(str(attributes["gen_ai.request.stop_sequences"])) == ["END"]
    kinds = {span.name: span.attributes["openinference.span.kind"] for span in telemetry.spans}
    assert kinds["chat fake-1"] == "LLM"
    assert [name for name, kind in kinds.items() if kind == "LLM"] == ["chat fake-1"]


@pytest.mark.parametrize("denied", ["Asks", "Asks-0", "notes", "out"])
async def test_messages_stay_where_their_component_is_denied(denied):
    asks(ask_with_messages)
    with capture_telemetry(settings=Settings(content_on_spans=True, content_deny=(denied,))) as telemetry:
        await run(line(asking.Asks))

    assert "messages" not in repr(dict(telemetry.only_span("chat fake-1").attributes))


async def test_of_a_denied_tool_only_the_call_leaves():
    asks(ask_with_messages)
    with capture_telemetry(settings=Settings(content_on_spans=True, content_deny=("look_up",))) as telemetry:
        await run(line(asking.Asks))

    attributes = str(telemetry.only_span("chat fake-1").attributes["gen_ai.input.messages"])
    assert f"{CANARY}-prompt" in attributes
    assert f"{CANARY}-argument" not in attributes
    assert f"{CANARY}-found" not in attributes


async def test_a_secret_of_the_component_is_taken_out_of_the_messages():
    async def ask(component: Any) -> Any:
        return await model().ainvoke(f"my word is {component.password}")

    asks(ask)
    graph = line(asking.Asks)
    graph.get_vertex("Asks-0").custom_component.set(password=f"{CANARY}-of-the-component")
    with capture_telemetry(settings=Settings(content_on_spans=True)) as telemetry:
        await run(graph)

    assert "my word is" in sent(telemetry)
    assert CANARY not in sent(telemetry)


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    asking.seen.clear()


async def test_a_flow_in_a_flow_is_in_the_sums_of_both(telemetry):
    from nodes import basic

    asks(ainvoke)
    basic.seen["inner"] = lambda: line(asking.Asks, name="inner")
    await run(line(basic.RunsFlow))

    sums = {span.name: span.attributes.get("langflow.usage.input_tokens") for span in telemetry.spans}
    assert sums["invoke_workflow inner"] == sums["invoke_workflow demo"] == sums["component Runs Flow"] == 3


async def test_a_model_component_shows_what_its_call_says(telemetry):
    from observations import FLOWS

    await run(await FLOWS["model"]())

    assert telemetry.tree(*TOKENS, "gen_ai.request.model") == [
        "invoke_workflow demo langflow.usage.input_tokens=3",
        "  component Chat Input",
        "  component Fake Model langflow.usage.input_tokens=3",
        "    chat fake-1 gen_ai.usage.input_tokens=3 gen_ai.request.model=fake-1",
        "  component Chat Output",
    ]
    assert isinstance(models.FakeModel(_id="x").build_model(), GenericFakeChatModel)


async def test_what_cannot_be_followed_is_no_call(telemetry):
    class Slotted:
        """No manager of LangChain's: nothing can be put on it."""

        __slots__ = ()

        def on_llm_end(self, response: Any) -> str:
            return f"end of {response}"

    started = [Slotted()]
    given = ({}, [[HumanMessage("hi")]])
    asks(
        lambda _: asyncio.sleep(
            0, models_hook.on_chat_model_start(lambda *_: started, callbacks.CallbackManager([]), given, {})
        )
    )
    await run(line(asking.Asks))

    assert "chat" not in telemetry.names()
    assert started[0].on_llm_end("it") == "end of it"


async def test_what_is_asked_of_a_call_beside_its_messages(monkeypatch):
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    tool = {"type": "function", "function": {"name": "look_up", "description": "Looks it up.", "parameters": {}}}
    structured = {
        "kwargs": {"method": "json_schema"},
        "schema": {"title": "Price", "description": "", "type": "object"},
    }

    async def ask(_: Any) -> Any:
        return await model().ainvoke("hi", tools=[tool], reasoning_effort="low", ls_structured_output_format=structured)

    asks(ask)
    with capture_telemetry(settings=Settings.from_env()) as telemetry:
        await run(line(asking.Asks))

    attributes = telemetry.only_span("chat fake-1").attributes
    assert attributes["gen_ai.request.reasoning.level"] == "low"
    assert attributes["gen_ai.output.type"] == "json"
    assert json.loads(str(attributes["gen_ai.tool.definitions"])) == [
        {"type": "function", "name": "look_up", "description": "Looks it up.", "parameters": {}}
    ]
