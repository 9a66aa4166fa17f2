import time
from types import SimpleNamespace

from langchain_core.embeddings import Embeddings
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from lfx.base.agents.agent import LCToolsAgentComponent
from lfx.base.models.model import LCModelComponent
from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output, StrInput
from lfx.schema.message import Message

try:
    from langchain_classic.agents import create_tool_calling_agent, create_xml_agent
except ImportError:
    from langchain.agents import create_tool_calling_agent, create_xml_agent
from langchain_core.prompts import ChatPromptTemplate

try:
    from lfx.schema.properties import Usage
except ImportError:  # LangFlow counts tokens since 1.9
    Usage = SimpleNamespace


class CallsOneTool(FakeMessagesListChatModel):
    def bind_tools(self, tools, **kwargs):
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools])


class FakeModel(LCModelComponent):
    """A LangFlow model component over LangChain's own fake chat model, which streams word by word."""

    display_name = "Fake Model"
    name = "FakeModel"
    inputs = [
        *LCModelComponent._base_inputs,
        StrInput(name="model_name", display_name="Model", value="fake-1"),
        StrInput(name="provider", display_name="Provider", value="fake"),
    ]

    def build_model(self):
        usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
        return GenericFakeChatModel(messages=iter([AIMessage(content="one two three", usage_metadata=usage)]))


class FailingModel(FakeModel):
    display_name = "Failing Model"
    name = "FailingModel"

    def build_model(self):
        raise PermissionError("canary-7f3a")


class NestedSpanModel(FakeModel):
    """Its model call has a span of another instrumentor, with the tokens on it."""

    display_name = "Nested Span Model"
    name = "NestedSpanModel"
    tracer = None

    async def text_response(self) -> Message:
        with self.tracer.start_as_current_span("chat fake-1", attributes={"gen_ai.usage.input_tokens": 3}):
            return await super().text_response()


def add(a: int, b: int) -> int:
    return a + b


class FakeAgent(LCToolsAgentComponent):
    """An agent whose model calls the tool once and then answers."""

    display_name = "Fake Agent"
    name = "FakeAgent"
    tool_name = "add"
    tool_args = {"a": 2, "b": 3}
    inputs = [*LCToolsAgentComponent._base_inputs]

    def create_agent_runnable(self):
        call = {"name": self.tool_name, "args": self.tool_args, "id": "call-1", "type": "tool_call"}
        model = CallsOneTool(responses=[AIMessage(content="", tool_calls=[call]), AIMessage(content="it is five")])
        prompt = ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
        return create_tool_calling_agent(model, self.tools or [plain_tool()], prompt)

    def build_agent(self):
        if not self.tools:
            self.tools = [plain_tool()]
        return super().build_agent()


class StuckAgent(FakeAgent):
    """An agent whose model calls the tool again and again."""

    display_name = "Stuck Agent"
    name = "StuckAgent"

    def create_agent_runnable(self):
        calls = [
            AIMessage(content="", tool_calls=[{"name": "add", "args": {"a": 2, "b": 3}, "id": f"call-{n}"}])
            for n in range(5)
        ]
        prompt = ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
        return create_tool_calling_agent(CallsOneTool(responses=calls), self.tools, prompt)


class MiddlewareAgent(Component):
    """What LangChain's middleware for LangGraph does before each call of the model, here the third."""

    display_name = "Middleware Agent"
    name = "MiddlewareAgent"
    run_limit = 3
    inputs = [MessageTextInput(name="input_value", display_name="Input")]
    outputs = [Output(display_name="Response", name="response", method="respond")]

    async def respond(self) -> Message:
        from langchain.agents.middleware import ModelCallLimitMiddleware

        middleware = ModelCallLimitMiddleware(run_limit=self.run_limit)
        return Message(text=str(await middleware.abefore_model({"run_model_call_count": 2}, None)))


class LimitedMiddlewareAgent(MiddlewareAgent):
    run_limit = 2


def plain_tool():
    return StructuredTool.from_function(add, name="add", description="Adds.")


class Shout(Component):
    """A component that an agent can use as a tool."""

    display_name = "Shout"
    name = "Shout"
    inputs = [MessageTextInput(name="text", display_name="Text", tool_mode=True)]
    outputs = [Output(display_name="Out", name="out", method="shout")]

    def shout(self) -> Message:
        return Message(text=str(self.text).upper())


class ShoutAsync(Shout):
    display_name = "Shout Async"
    name = "ShoutAsync"

    async def shout(self) -> Message:
        return Message(text=str(self.text).upper())


class ShoutBroken(Shout):
    display_name = "Shout Broken"
    name = "ShoutBroken"

    def shout(self) -> Message:
        raise ZeroDivisionError("canary-7f3a")


class ShoutAgent(FakeAgent):
    tool_name = "shout"
    tool_args = {"text": "hi"}


class InTextAgent(FakeAgent):
    """An agent whose model writes its tool calls as text, and reads what they return in its prompt."""

    display_name = "In Text Agent"
    name = "InTextAgent"
    tool_name = "shout"

    def create_agent_runnable(self):
        say = "<tool>shout</tool><tool_input>canary-argument</tool_input>"
        answers = [AIMessage(content=say), AIMessage(content="<final_answer>it is five</final_answer>")]
        prompt = ChatPromptTemplate.from_template("{tools} {input} {agent_scratchpad}")
        return create_xml_agent(FakeMessagesListChatModel(responses=answers), self.tools, prompt)


class MultiplyAgent(FakeAgent):
    tool_name = "multiply"
    tool_args = {"a": 2, "b": 3}


class CallsTool(Component):
    """Calls a LangChain tool from a component that is no agent."""

    display_name = "Calls Tool"
    name = "CallsTool"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    def run_out(self) -> Message:
        return Message(text=str(plain_tool().run({"a": 1, "b": 2})))


class Counts(Component):
    """No model by its bases, and counts the tokens of one, as LangFlow's operations with a model do."""

    display_name = "Counts"
    name = "Counts"
    inputs = [MessageTextInput(name="value", display_name="Value"), StrInput(name="model_name", value="fake-1")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    def run_out(self) -> Message:
        self._token_usage = Usage(input_tokens=3, output_tokens=5)
        return Message(text="counted")


class CountsNothing(Counts):
    display_name = "Counts Nothing"
    name = "CountsNothing"

    def run_out(self) -> Message:
        return Message(text="not counted")


class FakeEmbeddings(Embeddings):
    model = "embed-1"

    def embed_documents(self, texts):
        return [[0.0, 1.0] for _ in texts]

    def embed_query(self, text):
        return self.embed_documents([text])[0]


class EmbedsTwice(Component):
    """Calls an embedding model in both ways."""

    display_name = "Embeds Twice"
    name = "EmbedsTwice"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        model = FakeEmbeddings()
        vectors = [model.embed_query(self.value), *await model.aembed_documents([self.value])]
        return Message(text=str(vectors))


class ProviderError(Exception):
    """As a provider's library raises it."""

    status_code = 429


class LimitedModel(FakeModel):
    """LangFlow raises a ValueError from what its model's provider raised."""

    display_name = "Limited Model"
    name = "LimitedModel"

    def build_model(self):
        return RaisesChatModel(messages=iter([]))


class RaisesChatModel(GenericFakeChatModel):
    def _generate(self, *args, **kwargs):
        seen["failed_at"] = time.time_ns()
        raise ProviderError("canary-7f3a")

    def _stream(self, *args, **kwargs):
        seen["failed_at"] = time.time_ns()
        raise ProviderError("canary-7f3a")
        yield

    def bind_tools(self, tools, **kwargs):
        return self


class LimitedAgent(FakeAgent):
    """LangFlow raises its ExceptionWithMessageError from what the provider of the agent's model raised."""

    display_name = "Limited Agent"
    name = "LimitedAgent"

    def create_agent_runnable(self):
        prompt = ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
        return create_tool_calling_agent(RaisesChatModel(messages=iter([])), self.tools, prompt)


seen = {}
