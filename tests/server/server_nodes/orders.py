import prometheus_client
from lfx.custom.custom_component.component import Component
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message

from langflow_otel.prometheus import LangflowCollector


class Orders(Component):
    """As an author writes it who knows ``prometheus_client``: LangFlow makes the class anew for each run."""

    display_name = "Orders"
    name = "Orders"
    inputs = [MessageTextInput(name="value", display_name="Value")]
    outputs = [Output(display_name="Out", name="out", method="run_out")]

    async def run_out(self) -> Message:
        try:
            prometheus_client.Gauge("orders_open", "Orders that are open.", ["region"])
            prometheus_client.REGISTRY.register(LangflowCollector())
        except ValueError:  # by an earlier run
            pass
        prometheus_client.REGISTRY._names_to_collectors["orders_open"].labels("eu").inc()
        return Message(text=str(self.value))
