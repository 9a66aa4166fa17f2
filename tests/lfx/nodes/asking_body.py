from langchain_core.messages import AIMessage
from lfx.custom.custom_component.component import Component
from lfx.io import DataInput, Output
from lfx.schema.data import Data

from nodes import nested


class AskingBody(Component):
    display_name = "Asking Body"
    name = "AskingBody"
    inputs = [DataInput(name="item", display_name="Item")]
    outputs = [Output(display_name="Out", name="out", method="ask")]

    async def ask(self) -> Data:
        answer = AIMessage(content="one", usage_metadata=nested.USAGE)
        await nested.CountingChatModel(messages=iter([answer])).ainvoke("hi")
        return self.item
