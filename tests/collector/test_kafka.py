"""Real flows' spans, metrics and log records are in Kafka as OTLP protobuf, each trace under its id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("confluent_kafka", reason="has a Kafka broker to write to: pip install 'langflow-otel[configs]'")

import confluent_kafka as kafka
from backends import spans_in
from collector_flows import instrumented, run_flows
from collector_process import Collector, eventually
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

pytestmark = pytest.mark.slow

TOPICS = ("otlp_spans", "otlp_metrics", "otlp_logs")


@contextmanager
def broker() -> Iterator[str]:
    """librdkafka's own, that speaks the protocol; it lives as long as this client. Yields host:port."""
    client = kafka.Producer({"test.mock.num.brokers": 1})
    [found] = client.list_topics(timeout=10).brokers.values()
    yield f"{found.host}:{found.port}"


class Consumed:
    """What the topics hold, message by message."""

    def __init__(self, address: str) -> None:
        self._consumer = kafka.Consumer(
            {"bootstrap.servers": address, "group.id": "test", "auto.offset.reset": "earliest"}
        )
        self.messages: dict[str, list[Any]] = {topic: [] for topic in TOPICS}
        self._read: set[tuple[str, int]] = set()

    def __enter__(self) -> Consumed:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def poll(self) -> Consumed:
        """Read on, in what was there before and in what has come."""
        known = self._consumer.list_topics(timeout=10).topics
        there = {(topic, partition) for topic in TOPICS if topic in known for partition in known[topic].partitions}
        if new := there - self._read:
            self._consumer.incremental_assign([kafka.TopicPartition(*each, kafka.OFFSET_BEGINNING) for each in new])
            self._read |= new
        while message := self._consumer.poll(1):
            if not message.error():
                self.messages[message.topic()].append(message)
        return self

    @property
    def spans(self) -> list[tuple[str, Any]]:
        """Each with the key of its message."""
        return [
            (message.key().decode(), span)
            for message in self.messages["otlp_spans"]
            for span in spans_in(ExportTraceServiceRequest.FromString(message.value()))
        ]


def records_in(message: Any) -> Iterator[LogRecord]:
    for resource_logs in message.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            yield from scope_logs.log_records


def test_flows_are_in_the_topics(tmp_path):
    with (
        broker() as address,
        Collector("kafka.yaml", tmp_path, KAFKA_BROKERS=f"[{address}]") as collector,
    ):
        with instrumented(tmp_path, collector.http, log_level="INFO") as sent:
            run_flows(*["ok"] * 20, *["failing"] * 5, "chatty")
        with Consumed(address) as consumed:
            eventually(lambda: all(consumed.poll().messages.values()) and len(consumed.spans) >= len(sent.span_ids))

    assert sorted(span.span_id.hex() for _, span in consumed.spans) == sorted(sent.span_ids)
    assert all(key == span.trace_id.hex() for key, span in consumed.spans)
    metrics = [ExportMetricsServiceRequest.FromString(each.value()) for each in consumed.messages["otlp_metrics"]]
    assert "langflow.flow.duration" in str(metrics)
    logs = [ExportLogsServiceRequest.FromString(each.value()) for each in consumed.messages["otlp_logs"]]
    traces = {span.trace_id for _, span in consumed.spans}
    assert {record.trace_id for each in logs for record in records_in(each) if record.trace_id} <= traces
    assert any(record.trace_id for each in logs for record in records_in(each))
