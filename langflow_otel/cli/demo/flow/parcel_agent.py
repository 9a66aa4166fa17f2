"""An agent with one tool."""

from typing import Any

from langchain_core.prompts import ChatPromptTemplate
from lfx.base.agents.agent import LCToolsAgentComponent

from langflow_otel.cli.demo.flow.chat_model import ScriptedChatModel, answer, create_tool_calling_agent


class ParcelAgent(LCToolsAgentComponent):  # type: ignore[misc]  # LangFlow is not type-checked here
    """An agent whose model calls its one tool and then answers."""

    display_name = "Parcel Agent"
    name = "ParcelAgent"
    inputs = [*LCToolsAgentComponent._base_inputs]

    def create_agent_runnable(self) -> Any:
        tool = self.tools[0].name
        call = {"name": tool, "args": {"parcel": "P-77"}, "id": "call-1", "type": "tool_call"}
        script = [answer("", 31, 9, [call]), answer("The parcel is in the delivery van.", 52, 8)]
        prompt = ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
        return create_tool_calling_agent(ScriptedChatModel(messages=iter(script)), self.tools, prompt)
