from lfx.custom.custom_component.component import Component
from lfx.inputs.inputs import HandleInput
from lfx.io import Output
from lfx.schema.message import Message


class End(Component):
    display_name = "End"
    name = "End"
    inputs = [HandleInput(name="done", display_name="Done", input_types=["DataFrame", "Table", "Data"])]
    outputs = [Output(display_name="Out", name="out", method="finish")]

    def finish(self) -> Message:
        return Message(text="end")
