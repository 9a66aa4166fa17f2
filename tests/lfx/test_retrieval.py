"""Searches of vector stores and retrievers: attributes of the component or tool that makes them, and no span."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from flows import chat_output, line, run
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from lfx.graph import Graph
from nodes import searching
from test_tools import agent_flow

from langflow_otel import span
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

OPERATION, TOP_K, COUNT = "gen_ai.operation.name", "gen_ai.retrieval.top_k", "langflow.retrieval.document_count"
QUERY, DOCUMENTS = "gen_ai.retrieval.query.text", "gen_ai.retrieval.documents"
CANARY = "canary-7f3a"
ORIGINALS = {
    (owner, name): vars(owner)[name]
    for owner, names in {
        InMemoryVectorStore: ("similarity_search", "asimilarity_search", "similarity_search_with_score_by_vector"),
        VectorStore: ("search", "asearch", "similarity_search_with_relevance_scores"),
        BaseRetriever: ("invoke", "ainvoke"),
    }.items()
    for name in names
}


def store_flow(query: str = "pears", results: int = 2, search_type: str = "Similarity") -> Graph:
    node = searching.VectorStore(_id="VectorStore-v").set(
        search_query=query, number_of_results=results, search_type=search_type, ingest_data=[]
    )
    return Graph(node, chat_output(node.as_dataframe), flow_name="demo")


async def searched_by(component: type, search: Callable[[], Any]) -> None:
    component.search = staticmethod(search)
    await run(line(component))


def shown(telemetry: Telemetry, name: str) -> dict[str, Any]:
    attributes = telemetry.only_span(name).attributes
    return {each: attributes[each] for each in (OPERATION, TOP_K, COUNT, QUERY, DOCUMENTS) if each in attributes}


def documents_of(telemetry: Telemetry, name: str) -> list[dict[str, Any]]:
    return json.loads(str(telemetry.only_span(name).attributes[DOCUMENTS]))


@pytest.mark.parametrize("search_type", ["Similarity", "MMR"])
async def test_vector_store_component_has_one_span(telemetry, search_type):
    await run(store_flow(search_type=search_type))

    assert telemetry.tree(OPERATION, TOP_K, COUNT, "langflow.embeddings.text_count") == [
        f"invoke_workflow demo {OPERATION}=invoke_workflow",
        f"  component Vector Store {OPERATION}=retrieval {TOP_K}=2 {COUNT}=2",
        f"    embeddings {OPERATION}=embeddings langflow.embeddings.text_count=3",
        f"    embeddings {OPERATION}=embeddings langflow.embeddings.text_count=1",
        "  component Chat Output",
    ]
    assert CANARY not in repr([dict(each.attributes) for each in telemetry.spans])


async def test_fewer_documents_are_found_than_asked_for(telemetry):
    await run(store_flow(results=10))

    assert shown(telemetry, "component Vector Store") == {OPERATION: "retrieval", TOP_K: 10, COUNT: 3}


async def test_without_a_search_there_is_nothing(telemetry):
    await run(store_flow(query=""))

    assert shown(telemetry, "component Vector Store") == {}


async def test_failed_search_has_no_count(telemetry):
    with pytest.raises(Exception, match=CANARY):
        await run(store_flow(query="broken"))

    assert shown(telemetry, "component Vector Store") == {OPERATION: "retrieval", TOP_K: 2}
    assert telemetry.only_span("component Vector Store").attributes["error.type"] == "ConnectionError"


class First(BaseRetriever):
    """Of no vector store."""

    k: int = 2

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [Document(page_content=query)] * 5


class Twice(BaseRetriever):
    """Asks another one, as LangChain's for several queries do."""

    inner: Any

    def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        return [*self.inner.invoke(query), *self.inner.invoke(f"{query}?")]

    async def _aget_relevant_documents(self, query: str, **_: Any) -> list[Document]:
        first, second = await asyncio.gather(self.inner.ainvoke(query), self.inner.ainvoke(f"{query}?"))
        return [*first, *second]


class Delegates(InMemoryVectorStore):
    """Hands its searches on, in functions of several kinds."""

    def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> Any:
        return super().asimilarity_search(query, k=k, **kwargs)

    def similarity_search_page(self, query: str, k: int = 4) -> Any:
        yield from self.similarity_search(query, k=k)

    async def asimilarity_search_page(self, query: str, k: int = 4) -> Any:
        for each in await self.asimilarity_search(query, k=k):
            yield each


def delegates() -> Any:
    found = Delegates(searching.ByLength())
    found.store = searching.store().store
    return found


async def at_once(searches: int) -> list[Any]:
    return await asyncio.gather(*(searching.store().asimilarity_search("pears", k=2) for _ in range(searches)))


async def in_threads(searches: int) -> list[Any]:
    each = [asyncio.to_thread(searching.store().similarity_search, "pears", k=2) for _ in range(searches)]
    return await asyncio.gather(*each)


async def pages() -> list[Any]:
    return [each async for each in delegates().asimilarity_search_page("pears", k=2)]


def retriever(**kwargs: Any) -> BaseRetriever:
    return searching.store().as_retriever(**kwargs)


SEARCHES = {
    "search": (lambda: searching.store().search("pears", "similarity", k=1), 1, 1),
    "search, by default": (lambda: searching.store().search("pears", search_type="similarity"), 4, 3),
    "asearch": (lambda: searching.store().asearch("pears", "mmr", k=2), 2, 2),
    "by place": (lambda: searching.store().similarity_search("pears", 3), 3, 3),
    "with score": (lambda: searching.store().similarity_search_with_score("pears", k=2), 2, 2),
    "asynchronous with score": (lambda: searching.store().asimilarity_search_with_score("pears", k=2), 2, 2),
    "by vector": (lambda: searching.store().similarity_search_by_vector([1.0, 1.0], k=2), 2, 2),
    "a store's own": (lambda: searching.store().similarity_search_with_score_by_vector([1.0, 1.0], k=2), 2, 2),
    "in a thread": (lambda: VectorStore.asimilarity_search(searching.store(), "pears", k=2), 2, 2),
    "several": (lambda: [searching.store().similarity_search("pears", k=2) for _ in range(3)], 6, 6),
    "several at once": (lambda: at_once(3), 6, 6),
    "several in threads": (lambda: in_threads(3), 6, 6),
    "a function that returns a coroutine": (lambda: delegates().asimilarity_search("pears", k=2), 2, 2),
    "a generator": (lambda: list(delegates().similarity_search_page("pears", k=2)), 2, 2),
    "an asynchronous generator": (pages, 2, 2),
    "retriever": (lambda: retriever(search_kwargs={"k": 2}).invoke("pears"), 2, 2),
    "asynchronous retriever": (lambda: retriever(search_kwargs={"k": 2}).ainvoke("pears"), 2, 2),
    "retriever, by default": (lambda: retriever().invoke("pears"), 4, 3),
    "retriever of its own": (lambda: First().invoke("pears"), 2, 5),
    "retriever of retrievers": (lambda: Twice(inner=retriever(search_kwargs={"k": 2})).invoke("pears"), 4, 4),
    "asynchronous one": (lambda: Twice(inner=retriever(search_kwargs={"k": 2})).ainvoke("pears"), 4, 4),
}


@pytest.mark.parametrize(("search", "asked", "found"), SEARCHES.values(), ids=SEARCHES.keys())
async def test_only_the_outermost_call_counts(telemetry, search, asked, found):
    await searched_by(searching.ShopRetriever, search)

    expected = {OPERATION: "retrieval", TOP_K: asked, COUNT: found}
    assert shown(telemetry, "component Retriever") == expected
    assert {each.name.split()[0] for each in telemetry.spans} <= {"invoke_workflow", "component", "embeddings"}


async def test_another_component_that_searches_keeps_its_operation(telemetry):
    await searched_by(searching.Searches, lambda: searching.store().similarity_search("pears", k=2))

    assert shown(telemetry, "component Searches") == {TOP_K: 2, COUNT: 2}


async def test_a_search_in_a_span_of_an_authors_is_the_components(telemetry):
    def search() -> None:
        with span("lookup"):
            searching.store().similarity_search("pears", k=2)

    await searched_by(searching.Searches, search)

    assert shown(telemetry, "component Searches") == {TOP_K: 2, COUNT: 2}
    assert shown(telemetry, "lookup") == {}


async def test_search_of_an_agents_tool_is_on_the_tool(telemetry):
    await run(await agent_flow(searching.AsksTool))

    assert shown(telemetry, "execute_tool look_up") == {OPERATION: "execute_tool", TOP_K: 3, COUNT: 3}
    assert shown(telemetry, "look up") == {}
    assert shown(telemetry, "invoke_agent Fake Agent") == {OPERATION: "invoke_agent"}


async def test_vector_store_component_as_a_tool_is_on_the_tool(telemetry):
    await run(await agent_flow(searching.AsksStore, searching.VectorStore))

    assert shown(telemetry, "execute_tool search_documents") == {OPERATION: "execute_tool", TOP_K: 2, COUNT: 2}


async def test_a_cancelled_search_has_no_count(telemetry):
    started = asyncio.Event()

    class Waits(InMemoryVectorStore):
        async def asimilarity_search(self, query: str, k: int = 4, **_: Any) -> list[Document]:
            started.set()
            await asyncio.Event().wait()
            return []

    waits = Waits(searching.ByLength())
    task = asyncio.create_task(searched_by(searching.Searches, lambda: waits.asimilarity_search("pears", k=5)))
    await started.wait()
    task.cancel()
    await asyncio.wait([task])

    assert shown(telemetry, "component Searches") == {TOP_K: 5}


async def test_search_of_a_task_that_outlives_it_is_another(telemetry):
    goes_on, tasks = asyncio.Event(), []

    async def later() -> None:
        await goes_on.wait()
        await searching.store().asimilarity_search("pears", k=1)

    class Starts(InMemoryVectorStore):
        async def asimilarity_search(self, query: str, k: int = 4, **_: Any) -> list[Document]:
            tasks.append(asyncio.create_task(later()))
            return []

    async def search() -> None:
        await Starts(searching.ByLength()).asimilarity_search("pears", k=5)
        goes_on.set()
        await asyncio.gather(*tasks)

    await searched_by(searching.Searches, search)

    assert shown(telemetry, "component Searches") == {TOP_K: 6, COUNT: 1}


async def test_langflows_own_store_of_a_knowledge_base_is_one(telemetry):
    backends = pytest.importorskip("lfx.base.knowledge_bases.backends.base")

    class Backend(backends.BaseVectorStoreBackend):
        async def similarity_search(self, query: str, k: int, **_: Any) -> list[tuple[Document, float]]:
            return [(Document(page_content="pears"), 0.0)] * (k - 1)

    Backend.__abstractmethods__ = frozenset()
    backend = Backend("fruit")
    await searched_by(searching.Searches, lambda: backend.similarity_search(query="pears", k=3, with_scores=True))

    assert shown(telemetry, "component Searches") == {TOP_K: 3, COUNT: 2}


async def captured(graph: Graph, **settings: Any) -> Telemetry:
    with capture_telemetry(settings=Settings(content_on_spans=True, **settings)) as telemetry:
        await run(graph)
    return telemetry


async def test_query_and_documents_leave_where_content_may():
    telemetry = await captured(store_flow("apples are canary-7f3a"), openinference=True)

    found = documents_of(telemetry, "component Vector Store")
    assert [(each["id"], each["content"]) for each in found] == [
        ("doc-0", "apples are canary-7f3a"),
        ("doc-1", "pears"),
    ]
    assert found[0]["score"] == pytest.approx(1.0)
    assert 0.0 < found[1]["score"] < 1.0
    attributes = telemetry.only_span("component Vector Store").attributes
    assert attributes[QUERY] == "apples are canary-7f3a"
    assert attributes["openinference.span.kind"] == "RETRIEVER"


async def test_a_document_without_id_or_score_has_what_is_known():
    searching.ShopRetriever.search = staticmethod(lambda: First().invoke("pears"))
    telemetry = await captured(line(searching.ShopRetriever), openinference=True)

    assert documents_of(telemetry, "component Retriever") == [{"id": "", "content": "pears"}] * 5
    attributes = telemetry.only_span("component Retriever").attributes
    shown_by_phoenix = [attributes[f"retrieval.documents.{number}.document.content"] for number in range(5)]
    assert shown_by_phoenix == ["pears"] * 5


async def test_of_several_searches_one_query_and_its_documents_leave():
    def search() -> None:
        with pytest.raises(ConnectionError):
            searching.store().similarity_search("broken", k=1)
        searching.store().similarity_search("pears", k=1)
        searching.store().similarity_search("plums!", k=1)

    searching.ShopRetriever.search = staticmethod(search)
    telemetry = await captured(line(searching.ShopRetriever))

    assert telemetry.only_span("component Retriever").attributes[QUERY] == "pears"
    assert len(documents_of(telemetry, "component Retriever")) == 1


async def test_documents_of_a_tools_search_are_on_the_tool():
    telemetry = await captured(await agent_flow(searching.AsksTool))

    assert telemetry.only_span("execute_tool look_up").attributes[QUERY] == CANARY
    assert len(documents_of(telemetry, "execute_tool look_up")) == 3


@pytest.mark.parametrize("denied", ["VectorStore", "VectorStore-v", "search_query", "search_results"])
async def test_documents_stay_where_something_of_the_component_is_denied(denied):
    telemetry = await captured(store_flow(), content_deny=(denied,))

    assert shown(telemetry, "component Vector Store") == {OPERATION: "retrieval", TOP_K: 2, COUNT: 2}


@pytest.mark.parametrize("denied", ["VectorStore", "Shout-s", "search_query", "search_results"])
async def test_documents_of_a_denied_component_that_is_a_tool_stay(denied):
    with capture_telemetry(settings=Settings(content_on_spans=True, content_deny=(denied,))) as telemetry:
        await run(await agent_flow(searching.AsksStore, searching.VectorStore))

    found = shown(telemetry, "execute_tool search_documents")
    assert found == {OPERATION: "execute_tool", TOP_K: 2, COUNT: 2}


@pytest.mark.parametrize("denied", ["look_up", "FakeAgent", "Agent-a"])
async def test_documents_of_a_denied_tool_or_agent_stay(denied):
    telemetry = await captured(await agent_flow(searching.AsksTool), content_deny=(denied,))

    assert shown(telemetry, "execute_tool look_up") == {OPERATION: "execute_tool", TOP_K: 3, COUNT: 3}


async def test_many_documents_are_cut_and_the_best_stay():
    class Many(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            return [Document(id=f"doc-{number}", page_content="x" * 300) for number in range(250)]

    searching.ShopRetriever.search = staticmethod(lambda: Many().invoke("pears"))
    telemetry = await captured(line(searching.ShopRetriever), content_length=2000)

    text = str(telemetry.only_span("component Retriever").attributes[DOCUMENTS])
    found = json.loads(text)
    assert len(text) <= 2000
    assert [each["id"] for each in found] == [f"doc-{number}" for number in range(len(found))]
    assert 5 < len(found) < 30
    assert telemetry.only_span("component Retriever").attributes[COUNT] == 250


async def test_secrets_in_documents_are_redacted():
    key = "sk-proj-" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7" * 2
    searching.ShopRetriever.search = staticmethod(lambda: searching.store([f"key {key}"]).similarity_search(key, k=1))
    telemetry = await captured(line(searching.ShopRetriever))

    assert key not in repr(dict(telemetry.only_span("component Retriever").attributes))
    assert "redacted" in str(telemetry.only_span("component Retriever").attributes[DOCUMENTS])


async def test_outside_of_runs_a_search_is_the_hosts_alone(telemetry):
    assert len(searching.store().similarity_search("pears", k=2)) == 2
    assert len(await retriever().ainvoke("pears")) == 3

    assert telemetry.spans == []


def test_methods_are_put_back():
    with capture_telemetry():
        assert all(vars(owner)[name] is not original for (owner, name), original in ORIGINALS.items())

        class Later(InMemoryVectorStore):
            def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
                return super().similarity_search(query, k, **kwargs)

        assert type(vars(Later)["similarity_search"]).__name__ != "function"

    assert all(vars(owner)[name] is original for (owner, name), original in ORIGINALS.items())
    assert type(vars(Later)["similarity_search"]).__name__ == "function"
    assert "__init_subclass__" not in vars(VectorStore)
