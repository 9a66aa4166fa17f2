"""Calls of embedding models, by LangChain's classes: one span for each, whatever methods it goes through."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from flows import chat_output
from langchain_core.embeddings import Embeddings
from lfx.components.input_output import ChatInput
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message
from pydantic import BaseModel

from langflow_otel import span
from langflow_otel._hooks.embeddings import EmbeddingClasses, create
from langflow_otel._runs.span_attributes import model_attributes
from langflow_otel.testing import capture_telemetry

SHOWN = ("langflow.embeddings.text_count", "gen_ai.embeddings.dimension.count")


class Before(BaseModel, Embeddings):
    """As LangChain's are: a model of pydantic's, whose query is a call for documents."""

    model: str = "embed-1"
    error: Any = None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if self.error is not None:
            raise self.error
        return [[0.0, 1.0, 2.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


original = Before.__dict__["embed_query"]


def of_a_later_class(base: type = Before) -> Embeddings:
    class After(base):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return [[0.0, 1.0, 2.0] for _ in texts]

        async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
            await asyncio.sleep(0)
            return self.embed_documents(texts)

        async def aembed_query(self, text: str) -> list[float]:
            return (await self.aembed_documents([text]))[0]

    return After()


class Embeds(Component):
    display_name = "Embeds"
    name = "Embeds"
    inputs = [MessageTextInput(name="text", display_name="Text")]
    outputs = [Output(display_name="Message", name="message", method="embed")]
    call: Callable[[], Any] | None = None

    async def embed(self) -> Message:
        result = type(self).call()
        if asyncio.iscoroutine(result):
            await result
        return Message(text="done")


async def run(call: Callable[[], Any]) -> None:
    Embeds.call = staticmethod(call)
    start = ChatInput(_id="ChatInput-in").set(should_store_message=False)
    node = Embeds(_id="Embeds-e").set(text=start.message_response)
    await Graph(start, chat_output(node.embed), flow_name="demo").arun([{"input_value": "hi"}], session_id="s1")


def tree_with(*lines: str, status: str = "") -> list[str]:
    around = ["invoke_workflow demo" + status, "  component Chat Input", "  component Embeds" + status]
    return [*around, *(f"    {line}" for line in lines), *([] if status else ["  component Chat Output"])]


ONE = "embeddings embed-1 langflow.embeddings.text_count=1 gen_ai.embeddings.dimension.count=3"
TWO = ONE.replace("text_count=1", "text_count=2")


@pytest.mark.parametrize("later", [False, True], ids=["class before us", "class after us"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_each_call_has_one_span(telemetry, later, is_async):
    model = of_a_later_class() if later else Before()

    async def calls() -> None:
        if is_async:
            await model.aembed_query("one")
            await model.aembed_documents(["one", "two"])
        else:
            model.embed_query("one")
            model.embed_documents(["one", "two"])

    await run(calls)

    assert telemetry.tree(*SHOWN) == tree_with(ONE, TWO)
    call = telemetry.only_span("component Embeds").children
    found = [each for each in telemetry.spans if each.name == "embeddings embed-1"]
    assert {each.attributes["gen_ai.operation.name"] for each in found} == {"embeddings"}
    assert {each.attributes["gen_ai.request.model"] for each in found} == {"embed-1"}
    assert all("gen_ai.usage.input_tokens" not in each.attributes for each in found)
    assert call is not None
    counts = telemetry.metrics("gen_ai_client_embeddings_duration_seconds_count")
    assert list(counts.values()) == [2]


async def test_calls_of_one_model_share_their_attributes(telemetry):
    """They would else displace those of chat models."""
    model_attributes.cache_clear()

    await run(lambda: [Before().embed_documents(["one"] * count) for count in (1, 2, 3)])

    assert [len(telemetry.names()), model_attributes.cache_info().misses] == [7, 1]


async def test_lfxs_wrapper_of_several_models_is_not_a_call_itself(telemetry):
    embeddings_class = pytest.importorskip("lfx.base.embeddings.embeddings_class")
    model = embeddings_class.EmbeddingsWithModels(Before())

    await run(lambda: model.embed_query("one"))

    assert telemetry.tree(*SHOWN) == tree_with(ONE)


async def test_a_call_that_fails_has_the_error(telemetry):
    with pytest.raises(Exception, match="no"):
        await run(lambda: Before(error=ConnectionError("no")).embed_query("one"))

    call = telemetry.only_span("embeddings embed-1")
    assert call.status == "error"
    assert call.attributes["error.type"] == "ConnectionError"


async def test_a_cancelled_call_is_cancelled(telemetry):
    started = asyncio.Event()

    class Waits(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise AssertionError

        def embed_query(self, text: str) -> list[float]:
            raise AssertionError

        async def aembed_query(self, text: str) -> list[float]:
            started.set()
            await asyncio.Event().wait()
            return []

    task = asyncio.create_task(run(lambda: Waits().aembed_query("one")))
    await started.wait()
    task.cancel()
    await asyncio.wait([task])

    call = telemetry.only_span("embeddings")
    assert call.attributes["langflow.status"] == "cancelled"


async def test_tokens_of_the_providers_answers_are_summed(telemetry):
    """LangChain drops them; the hook on the openai library reads them."""

    class Answer:
        def __init__(self, tokens: int | None) -> None:
            self.usage = None if tokens is None else type("Usage", (), {"prompt_tokens": tokens})()

    class Asks(Before):
        answers: list[Any]

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            for tokens in self.answers:
                create(lambda tokens=tokens: Answer(tokens), None, (), {})
            return [[0.0] for _ in texts]

    answers = ([3, 4], [3, None], [3, 10**30], [-3])
    await run(lambda: [Asks(answers=each).embed_query("one") for each in answers])

    tokens = [each.attributes.get("gen_ai.usage.input_tokens") for each in telemetry.spans if "embed" in each.name]
    assert tokens == [7, None, None, None]
    assert telemetry.only_span("invoke_workflow demo").attributes["langflow.usage.input_tokens"] == 7
    assert list(telemetry.metrics("gen_ai_client_embeddings_operation_input_tokens_sum").values()) == [7]


async def test_the_model_that_answers_is_on_span_and_metrics(telemetry):
    class Answer:
        model = "embed-1-2024"
        usage = None

    class Asks(Before):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            create(Answer, None, (), {})
            return [[0.0] for _ in texts]

    await run(lambda: [Asks().embed_query("one"), Before().embed_query("one")])

    models = [each.attributes.get("gen_ai.response.model") for each in telemetry.spans if "embed" in each.name]
    assert models == ["embed-1-2024", None]
    counts = telemetry.metrics("gen_ai_client_embeddings_duration_seconds_count")
    assert len(counts) == 2
    assert sum('gen_ai_response_model="embed-1-2024"' in name for name in counts) == 1


async def test_nothing_is_recorded_outside_of_runs(telemetry):
    Before().embed_query("one")

    assert telemetry.spans == []


def test_the_methods_are_put_back():
    with capture_telemetry():
        assert Before.__dict__["embed_query"] is not original
        with span("none"):
            later = type(of_a_later_class())

    assert Before.__dict__["embed_query"] is original
    assert "__init_subclass__" not in Embeddings.__dict__
    assert type(later.__dict__["aembed_query"]).__name__ == "function"


def test_switching_on_twice_wraps_once():
    classes = EmbeddingClasses()
    with capture_telemetry():
        wrapped = Before.__dict__["embed_query"]
        classes.switch_on()
        assert Before.__dict__["embed_query"] is wrapped
        classes.switch_off()
        assert Before.__dict__["embed_query"] is wrapped


def test_classes_that_the_host_drops_are_not_kept():
    """LangFlow executes the source of a component's module again and again."""
    code = "class Own(Embeddings):\n  def embed_query(self, text): return []"
    made = []
    with capture_telemetry():
        for _ in range(3):
            namespace: dict[str, Any] = {"Embeddings": Embeddings, "__name__": "own"}
            exec(code, namespace)
            made.append(weakref.ref(namespace["Own"]))
            del namespace
        gc.collect()

        assert [each() for each in made] == [None, None, None]


def test_what_others_put_on_a_class_stays_there():
    class Own(Before):
        def embed_query(self, text: str) -> list[float]:
            return [1.0]

    with capture_telemetry():
        ours = Own.embed_query
        theirs = Own.embed_query = lambda self, text: ours(self, text)

    assert Own.__dict__["embed_query"] is theirs
    assert Own().embed_query("one") == [1.0]


async def test_a_vector_of_another_kind_is_handed_on(telemetry):
    class Vectors:
        """As an array of numpy: it has no truth value."""

        def __bool__(self) -> bool:
            raise ValueError

    class Own(Before):
        def embed_documents(self, texts: list[str]) -> Any:
            return vectors

    vectors, found = Vectors(), []
    await run(lambda: found.append(Own().embed_documents(["one"])))

    assert found == [vectors]
    assert telemetry.only_span("embeddings embed-1").status == "ok"


async def test_a_coroutine_that_was_dropped_is_closed_in_any_context(telemetry):
    class Waits(Before):
        async def aembed_query(self, text: str) -> list[float]:
            await asyncio.sleep(3600)
            return []

    def calls() -> None:
        coroutine = Waits().aembed_query("one")
        contextvars.copy_context().run(coroutine.send, None)
        coroutine.close()

    await run(calls)
    assert telemetry.only_span("embeddings embed-1").attributes["langflow.status"] == "cancelled"


def test_the_method_of_a_model_can_be_copied_and_pickled():
    with capture_telemetry():
        for held in (copy.deepcopy(Before().embed_query), pickle.loads(pickle.dumps(Before().embed_query))):
            assert held("one") == [0.0, 1.0, 2.0]
