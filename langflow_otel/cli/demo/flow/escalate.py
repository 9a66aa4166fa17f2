"""A component that the router leaves out."""

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message


class Escalate(Component):  # type: ignore[misc]  # LangFlow is not type-checked here
    """Only for refunds: the router leaves it out in every run of the demo."""

    display_name = "Escalate"
    name = "Escalate"
    inputs = [MessageTextInput(name="order", display_name="Order")]
    outputs = [Output(display_name="Ticket", name="ticket", method="open_ticket")]

    def open_ticket(self) -> Message:
        return Message(text=f"A person will look at it: {self.order}")
