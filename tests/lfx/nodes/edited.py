from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message

from langflow_otel import set_attributes, span, traced


class Edited(Component):
    display_name = "Edited"
    name = "Edited"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    @traced("rank", attributes={"index": "orders"})
    async def run_out(self) -> Message:
        with span("lookup"):
            set_attributes(input_size=len(str(self.value)))
        return Message(text=str(self.value))
