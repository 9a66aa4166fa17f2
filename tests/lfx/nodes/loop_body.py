from lfx.custom.custom_component.component import Component
from lfx.io import DataInput, Output
from lfx.schema.data import Data


class Body(Component):
    display_name = "Body"
    name = "Body"
    inputs = [DataInput(name="item", display_name="Item")]
    outputs = [Output(display_name="Out", name="out", method="pass_on")]

    async def pass_on(self) -> Data:
        return self.item
