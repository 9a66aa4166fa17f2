"""A custom component with metrics of its own, in the same scrape as the library's. Run it with:

    OTEL_METRICS_EXPORTER=prometheus python examples/custom_metrics.py

It runs the flow twice and prints the author's part of the scrape. With OTEL_EXPORTER_OTLP_ENDPOINT set and
OTEL_METRICS_EXPORTER=otlp,prometheus the same metrics are pushed as well.
"""

from __future__ import annotations

import asyncio
import urllib.request

from lfx.components.input_output import ChatInput, ChatOutput
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.io import MessageTextInput, Output
from lfx.schema.message import Message

from langflow_otel import LangflowInstrumentor, metrics

# Few values for each label: every combination is a series that somebody stores.
orders_scored = metrics.counter("orders_scored", "Orders that were scored.", labels=["region"])
order_score = metrics.histogram("order_score", "Scores of orders.", labels=["region"], buckets=[0.25, 0.5, 0.75, 1])


class OrderScore(Component):
    display_name = "Order Score"
    inputs = [MessageTextInput(name="order", display_name="Order")]
    outputs = [Output(display_name="Score", name="score", method="score")]

    async def score(self) -> Message:
        region, items = str(self.order).split()
        score = min(int(items) / 10, 1.0)
        orders_scored.add(1, region=region)
        order_score.record(score, region=region)
        return Message(text=f"{score:.0%}")


def build_flow() -> Graph:
    order = ChatInput().set(should_store_message=False)
    score = OrderScore().set(order=order.message_response)
    return Graph(order, ChatOutput().set(input_value=score.score, should_store_message=False), flow_name="scores")


async def main() -> None:
    for order in ("eu 3", "us 8"):
        await build_flow().arun([{"input_value": order}], session_id="s-1")


if __name__ == "__main__":
    instrumentor = LangflowInstrumentor()
    instrumentor.instrument()
    asyncio.run(main())
    if instrumentor.scrape_url is None:
        raise SystemExit("the port is taken: set OTEL_EXPORTER_PROMETHEUS_PORT to another one")
    with urllib.request.urlopen(instrumentor.scrape_url) as page:
        lines = page.read().decode().splitlines()
    print("\n".join(line for line in lines if "order" in line.partition("{")[0]))
    instrumentor.uninstrument()
