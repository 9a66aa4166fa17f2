"""The agent's tool."""

import asyncio

from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message


class TrackParcel(Component):  # type: ignore[misc]  # LangFlow is not type-checked here
    """A component that the agent uses as a tool."""

    display_name = "Track Parcel"
    description = "Says where a parcel is."
    name = "TrackParcel"
    inputs = [MessageTextInput(name="parcel", display_name="Parcel", tool_mode=True)]
    outputs = [
        Output(display_name="Place", name="place", method="track_parcel"),
        # What the canvas adds when a component is switched to tool mode.
        Output(display_name="Toolset", name="component_as_tool", method="to_toolkit", types=["Tool"]),
    ]

    async def track_parcel(self) -> Message:
        await asyncio.sleep(0.025)
        return Message(text=f"{self.parcel} is in the delivery van.")
