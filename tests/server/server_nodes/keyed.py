from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output, SecretStrInput
from lfx.schema.message import Message


class Keyed(Component):
    """Has a key, and hands it on, in what it says and in an error."""

    display_name = "Keyed"
    name = "Keyed"
    inputs = [
        MessageTextInput(name="value", display_name="Value"),
        SecretStrInput(name="key", display_name="Key", value="", load_from_db=False),
    ]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        if "fail" in str(self.value):
            raise PermissionError(f"no access with {self.key} for: {self.value}")
        return Message(text=f"{self.value}, with {self.key}")
