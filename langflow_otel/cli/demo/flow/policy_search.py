"""The component that fails once."""

import asyncio

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message

from langflow_otel import span

SEARCH_S = 0.1
UNREACHABLE_ORDER = "order 1013"


class PolicySearch(Component):  # type: ignore[misc]  # LangFlow is not type-checked here
    """For one order its index is not to be reached, on purpose."""

    display_name = "Policy Search"
    name = "PolicySearch"
    inputs = [MessageTextInput(name="order", display_name="Order")]
    outputs = [Output(display_name="Policies", name="policies", method="search")]

    async def search(self) -> Message:
        with span("search index", index="policies", top_k=3):
            await asyncio.sleep(SEARCH_S)
            if UNREACHABLE_ORDER in self.order:
                raise ConnectionError("the policy index does not answer")
        return Message(text="Parcels arrive within three working days.")
