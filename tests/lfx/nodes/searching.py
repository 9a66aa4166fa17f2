"""Components that search a vector store, as LangFlow's own do."""

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.tools import StructuredTool
from langchain_core.vectorstores import InMemoryVectorStore
from lfx.base.vectorstores.model import LCVectorStoreComponent, check_cached_vector_store
from lfx.custom.custom_component.component import Component
from lfx.io import DropdownInput, IntInput, MessageTextInput, Output
from lfx.schema.message import Message

from langflow_otel import span
from nodes.models import FakeAgent

TEXTS = ("apples are canary-7f3a", "pears", "fig")


class ByLength(Embeddings):
    """Needs no model."""

    def embed_documents(self, texts):
        return [[float(len(text)), 1.0] for text in texts]

    def embed_query(self, text):
        if text == "broken":
            raise ConnectionError("canary-7f3a")
        return self.embed_documents([text])[0]


def store(texts=TEXTS):
    found = InMemoryVectorStore(ByLength())
    found.add_documents([Document(id=f"doc-{number}", page_content=text) for number, text in enumerate(texts)])
    return found


class VectorStore(LCVectorStoreComponent):
    display_name = "Vector Store"
    name = "VectorStore"
    inputs = [
        *LCVectorStoreComponent.inputs,
        DropdownInput(name="search_type", options=["Similarity", "MMR"], value="Similarity"),
        IntInput(name="number_of_results", value=2),
    ]

    @check_cached_vector_store
    def build_vector_store(self):
        return store()


class Searches(Component):
    """Searches in its own code, and is no vector store by its class."""

    display_name = "Searches"
    name = "Searches"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]
    search = None

    async def run_out(self) -> Message:
        found = type(self).search()
        if hasattr(found, "__await__"):
            await found
        return Message(text="done")


class ShopRetriever(Searches):
    """A retriever by its name's part; its code is not LangFlow's."""

    trace_type = "retriever"
    display_name = "Retriever"
    name = "ShopRetriever"


def look_up(query: str) -> str:
    retriever = store().as_retriever(search_kwargs={"k": 3})
    with span("look up"):
        return " ".join(each.page_content for each in retriever.invoke(query))


async def alook_up(query: str) -> str:
    retriever = store().as_retriever(search_kwargs={"k": 3})
    with span("look up"):
        return " ".join(each.page_content for each in await retriever.ainvoke(query))


class AsksTool(FakeAgent):
    """An agent whose tool is a retriever over a vector store."""

    tool_name = "look_up"
    tool_args = {"query": "canary-7f3a"}

    def build_agent(self):
        self.tools = [StructuredTool.from_function(look_up, alook_up, name="look_up", description="Looks up.")]
        return super().build_agent()


class AsksStore(FakeAgent):
    """An agent whose tool is a vector store component."""

    tool_name = "search_documents"
    tool_args = {"search_query": "canary-7f3a"}
