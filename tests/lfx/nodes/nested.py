"""Components whose models say canaries, so that a test can look for them in what leaves."""

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import StructuredTool
from lfx.schema.message import Message

from nodes.models import CallsOneTool, FakeAgent, FakeModel, create_tool_calling_agent

PROMPT, ANSWER, ARGUMENT, FOUND, FAULT = (
    f"canary-{name}" for name in ("prompt", "answer", "argument", "found", "fault")
)
CANARY = "canary-"
USAGE = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}

seen: dict = {}


class CountingChatModel(GenericFakeChatModel):
    """LangChain's fake, which as a real one has a name, and tells the tokens at the end of a stream too."""

    model_name: str = "fake-1"

    def _stream(self, *args, **kwargs):
        yield from super()._stream(*args, **kwargs)
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=USAGE))


class BrokenChatModel(GenericFakeChatModel):
    model_name: str = "fake-1"

    def _generate(self, *args, **kwargs):
        raise ValueError(f"cannot answer {FAULT}")


class Answers(FakeModel):
    display_name = "Answers"
    name = "Answers"

    def build_model(self):
        return CountingChatModel(messages=iter([AIMessage(content=f"{ANSWER} two three", usage_metadata=USAGE)]))


class Breaks(FakeModel):
    display_name = "Breaks"
    name = "Breaks"

    def build_model(self):
        return BrokenChatModel(messages=iter([]))


class AsksOpenAI(FakeModel):
    display_name = "Asks OpenAI"
    name = "AsksOpenAI"

    def build_model(self):
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(base_url=seen["url"], api_key="none", model="gpt-4o-mini", max_retries=0, stream_usage=True)


class EmbedsWithOpenAI(FakeModel):
    """Calls an embedding model in both ways."""

    display_name = "Embeds With OpenAI"
    name = "EmbedsWithOpenAI"

    async def text_response(self) -> Message:
        from langchain_openai import OpenAIEmbeddings

        model = OpenAIEmbeddings(
            base_url=seen["url"], api_key="none", model="embed-1", max_retries=0, check_embedding_ctx_length=False
        )
        model.embed_query(PROMPT)
        await model.aembed_documents([PROMPT, PROMPT])
        return Message(text="embedded")


class NamedToolCaller(CallsOneTool):
    model_name: str = "fake-1"


def look_up(text: str) -> str:
    return f"{FOUND} {text}"


class LooksUpTwice(FakeAgent):
    """An agent with three calls of its model: two that want the tool, and the answer."""

    display_name = "Looks Up Twice"
    name = "LooksUpTwice"

    def create_agent_runnable(self):
        calls = [
            AIMessage(
                content="",
                tool_calls=[{"name": "look_up", "args": {"text": ARGUMENT}, "id": f"c{turn}", "type": "tool_call"}],
                usage_metadata=USAGE,
            )
            for turn in range(2)
        ]
        model = NamedToolCaller(responses=[*calls, AIMessage(content=ANSWER, usage_metadata=USAGE)])
        prompt = ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
        return create_tool_calling_agent(model, self.tools, prompt)

    def build_agent(self):
        self.tools = [StructuredTool.from_function(look_up, name="look_up", description="Looks up.")]
        return super().build_agent()
