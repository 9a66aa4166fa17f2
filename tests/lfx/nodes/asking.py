"""Components that call a model in the way that a test gives."""

import copy
import sys

from langchain_core.prompts import ChatPromptTemplate
from lfx.components.models_and_agents.agent import AgentComponent
from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output, SecretStrInput
from lfx.schema.message import Message

from nodes.models import FakeAgent, FakeModel, create_tool_calling_agent

seen: dict = {}

# The agent of lfx 0.4 imports aliases of modules that need LangFlow's server: hypothesis looks at each imported module,
# which would import those.
for _alias in [name for name in sys.modules if name.startswith("lfx.components.logic.")]:
    del sys.modules[_alias]


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


class OpenAIModel(FakeModel):
    """A model component over the test's model."""

    display_name = "OpenAI Model"
    name = "OpenAIModel"

    def build_model(self):
        return seen["model"]()


_AGENT_INPUTS = copy.deepcopy(AgentComponent.inputs)


def langflows_agent():
    """The class with inputs of its own: before lfx 0.3 these keep what was set in a run before."""
    return type("LangFlowsAgent", (LangFlowsAgent,), {"inputs": copy.deepcopy(_AGENT_INPUTS)})


class LangFlowsAgent(AgentComponent):
    """LangFlow's own, with the test's model."""

    display_name = "Agent"
    name = "LangFlowsAgent"

    def _get_llm(self):
        return seen["model"]()

    async def get_llm(self):  # before lfx 0.3
        return seen["model"](), "OpenAI"
