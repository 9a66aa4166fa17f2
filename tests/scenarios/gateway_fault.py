"""A collector whose backend dies: the shipped agent.yaml, fed by a client that sends spans."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from collector_process import Collector
from deployments import Watch
from fault_list import Fault, nothing
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from otlp_receiver import otlp_receiver

COLLECTOR_JOB = "otel-collector"
COLLECTOR_FAULT = Fault(
    "collector-backend", "the backend of the collector dies", "", nothing, ("OtelCollectorNotSending",), 600
)


@dataclass
class Backend:
    """What the collector sends to."""

    running: ExitStack

    def die(self) -> float:
        """When it did."""
        self.running.close()
        return time.time()


@contextmanager
def collector_with_backend(watched: Watch, folder: Path) -> Iterator[Backend]:
    """A collector that is scraped, gets a span each second, and hands it on."""
    running = ExitStack()
    receiver = running.enter_context(otlp_receiver("grpc"))
    with running, Collector("agent.yaml", folder, GATEWAY_ENDPOINT=receiver.address) as collector:
        watched.scrape("otel-collector", COLLECTOR_JOB, f"127.0.0.1:{collector.environment['COLLECTOR_METRICS_PORT']}")
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"http://{collector.grpc}", insecure=True)))
        stop = threading.Event()

        def send() -> None:
            while not stop.wait(1):
                provider.get_tracer("scenarios").start_span("span").end()

        threading.Thread(target=send, daemon=True).start()
        yield Backend(running)
        stop.set()
        provider.shutdown()
