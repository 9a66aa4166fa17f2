import os

import httpx
import requests
from langchain_classic.agents import create_tool_calling_agent
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import StructuredTool
from lfx.base.agents.agent import LCToolsAgentComponent

from langflow_otel import span


class BindableModel(FakeMessagesListChatModel):
    model_name: str = "fake-1"

    def bind_tools(self, tools, **kwargs):
        return self


class Researcher(LCToolsAgentComponent):
    """An agent whose model calls a tool once, which calls another service by two clients, one in a thread."""

    display_name = "Researcher"
    name = "Researcher"
    inputs = [*LCToolsAgentComponent._base_inputs]

    def create_agent_runnable(self):
        call = {"name": "look_up", "args": {"text": "ships"}, "id": "call-1", "type": "tool_call"}
        model = BindableModel(responses=[AIMessage(content="", tool_calls=[call]), AIMessage(content="found")])
        prompt = ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
        return create_tool_calling_agent(model, self.tools, prompt)

    def build_agent(self):
        self.tools = [StructuredTool.from_function(func=self.look_up, name="look_up", description="Looks up.")]
        return super().build_agent()

    def look_up(self, text: str) -> str:
        url = os.environ["TEST_SERVICE_URL"]
        with span("search"):
            httpx.get(url)
            requests.get(url, timeout=30)
        return text
