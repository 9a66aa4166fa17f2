from lfx.custom.custom_component.component import Component
from lfx.io import HandleInput, Output
from lfx.schema.message import Message


class Broken(Component):
    display_name = "Broken"
    name = "Broken"
    inputs = [HandleInput(name="value", display_name="Value", input_types=["Message", "Data", "JSON"])]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        raise LookupError("canary-7f3a: the user's prompt")
