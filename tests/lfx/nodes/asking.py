"""Components that call a model in the way that a test gives."""

from langchain_core.prompts import ChatPromptTemplate
from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output, SecretStrInput
from lfx.schema.message import Message

from nodes.models import FakeAgent, create_tool_calling_agent

seen: dict = {}


class Asks(Component):
    display_name = "Asks"
    name = "Asks"
    inputs = [
        MessageTextInput(name="value", display_name="Value"),
        MessageTextInput(name="notes", display_name="Notes"),
        SecretStrInput(name="password", display_name="Password"),
    ]
    outputs = [Output(display_name="Out", name="out", method="ask")]

    async def ask(self) -> Message:
        return Message(text=str(await seen["ask"](self)))


class AsksAgain(Asks):
    display_name = "Asks Again"
    name = "AsksAgain"


class OpenAIAgent(FakeAgent):
    """An agent whose model is the test's."""

    display_name = "OpenAI Agent"
    name = "OpenAIAgent"

    def create_agent_runnable(self):
        prompt = ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
        return create_tool_calling_agent(seen["model"](), self.tools, prompt)
