from lfx.custom.custom_component.component import Component
from lfx.io import Output
from lfx.schema.data import Data
from lfx.schema.dataframe import DataFrame


class Rows(Component):
    display_name = "Rows"
    name = "Rows"
    outputs = [Output(display_name="Out", name="out", method="rows")]

    def rows(self) -> DataFrame:
        return DataFrame([Data(text="a"), Data(text="b")])
