"""A component that uses all that this library gives to authors, and one with spans of other instrumentors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from lfx.schema.message import Message
from opentelemetry import trace

from langflow_otel import metrics, record_retry, set_attributes, span, traced
from langflow_otel._sdk.instrumentor_spans import TracersBelowRuns
from nodes.basic import Echo
from tests.support import secret_corpus

tracers = TracersBelowRuns()
"""As an instrumentor of a library gets them; who captures telemetry says what makes the spans."""
seen: dict[str, Any] = {}


class Authored(Echo):
    display_name = "Authored"
    name = "Authored"

    @traced("score", attributes={"index": "orders"})
    async def run_out(self) -> Message:
        with span("lookup", table="orders") as lookup:
            set_attributes(input_size=3)
            lookup.set_attributes(rows=2)
        record_retry(1, 0.5, ValueError("canary-7f3a"))
        metrics.counter("authored.things", "Things.", labels=["thing"]).add(2, thing="a")
        metrics.gauge("authored.stock", "Stock.").set(7)
        metrics.histogram("authored.size", "Size.", buckets=[1, 10]).record(3)
        parts = [*self.letters(), *[part async for part in self.more_letters()], self.last()]
        return Message(text=f"{self.value} {''.join(parts)}")

    @traced
    def letters(self) -> Iterator[str]:
        yield "a"
        yield "b"

    @traced
    async def more_letters(self) -> AsyncIterator[str]:
        yield "c"

    @traced
    def last(self) -> str:
        return "d"


class Secretive(Echo):
    """Says what holds secrets of each kind that is looked for."""

    display_name = "Secretive"
    name = "Secretive"

    async def run_out(self) -> Message:
        texts = [text.text for text in secret_corpus.planted(size=200) + secret_corpus.clean(size=50)]
        return Message(text="\n".join(texts)[:12_000])


class Observed(Echo):
    display_name = "Observed"
    name = "Observed"

    async def run_out(self) -> Message:
        tracer = tracers.get_tracer("opentelemetry.instrumentation.some_model")
        attributes = {"gen_ai.prompt": "canary-7f3a", "gen_ai.usage.input_tokens": 3, "url.full": "https://a/b?c=d"}
        with tracer.start_as_current_span("chat some-model", attributes=attributes) as current:
            current.add_event("gen_ai.user.message", {"content": "canary-7f3a"})
            current.add_link(current.get_span_context())
        own = trace.NoOpTracer() if "provider" not in seen else seen["provider"].get_tracer("my.app")
        try:
            with tracer.start_as_current_span("chat broken"), own.start_as_current_span("mine") as mine:
                mine.update_name("my own")
                raise ValueError("canary-7f3a")
        except ValueError as exc:
            return Message(text=f"{self.value} {exc.args}")
