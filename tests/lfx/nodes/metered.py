from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message

from langflow_otel import metrics

orders = metrics.counter("shop.orders", "Orders seen.", labels=["region"])


class Metered(Component):
    display_name = "Metered"
    name = "Metered"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        orders.add(2, region="eu")
        metrics.counter("shop.orders", "Orders seen.", labels=["region"]).add(1, region="eu")
        metrics.gauge("shop.stock", "Pieces left.", unit="1").set(7)
        metrics.histogram("shop.basket", "Size of a basket.", labels=["region"], buckets=[1, 10]).record(3, region="eu")
        return Message(text=str(self.value))
