"""What one process sends with, in real processes: put off until it is needed, and never shared with a child."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from otlp_receiver import Receiver, Request, otlp_receiver

from langflow_otel import LangflowInstrumentor, instrument, instrumentor, traced, uninstrument
from langflow_otel._hooks.patching import Patches
from langflow_otel._process.process import PassedIn, ProcessTelemetry
from langflow_otel._runs.facts import FlowInfo
from langflow_otel._runs.recorder import Recorder, active_recorder
from langflow_otel._settings.settings import Settings
from tests.support.processes import Start, Worker, processes
from tests.support.recording import at_once, recorder

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


# In the processes


def alone() -> None:
    """Without LangFlow."""
    instrumentor.patches = Patches(())
    instrumentor.lfx_is_installed = lambda: True
    LangflowInstrumentor._check_dependency_conflicts = lambda _: None  # type: ignore[method-assign]


def run_a_flow(name: str) -> None:
    run = recorder().start_flow(FlowInfo(name))
    assert run is not None
    run.finish()


def serving(pipe: Connection, deferred: bool, *pipes: Connection) -> None:
    alone()
    instrument(deferred=deferred)
    pipe.send("ready")
    obey(pipe, pipes)


def obey(pipe: Connection, pipes: tuple[Connection, ...]) -> None:
    def fork(number: int) -> int:
        child = os.fork()
        if child == 0:
            try:
                obey(pipes[number], pipes)
            finally:
                os._exit(1)
        return child

    commands = {
        "flow": run_a_flow,
        "custom": lambda name: traced(name)(lambda: None)(),
        "threads": lambda name, number: at_once(number, lambda: run_a_flow(name)),
        "is open": lambda: LangflowInstrumentor()._process is not None,
        "threads there are": lambda: sorted(thread.name for thread in threading.enumerate()),
        "off": uninstrument,
        "on": instrument,
        "fork": fork,
        "fork in a flow": lambda number: fork_in_a_flow(lambda: fork(number)),
        "is on": lambda: active_recorder() is not None,
    }
    while True:
        command, *arguments = pipe.recv()
        try:
            pipe.send(commands[command](*arguments))
        except Exception as error:
            pipe.send(repr(error))


def fork_in_a_flow(fork: Any) -> int:
    run = recorder().start_flow(FlowInfo("going on"))
    assert run is not None
    child: int = fork()
    run.finish()
    return child


# In the test


class Family:
    """A process and those that it forks."""

    def __init__(self, worker: Worker, pipes: list[tuple[Connection, Connection]]) -> None:
        self._worker = worker
        self._pipes = [ours for ours, _ in pipes]
        self.children: list[int] = []

    def tell(self, *message: object) -> Any:
        return self._worker.tell(message)

    def fork(self, how: str = "fork", by: int | None = None) -> int:
        """The child's number."""
        number = len(self.children)
        told = self.tell if by is None else lambda *message: self.tell_child(by, *message)
        self.children.append(told(how, number))
        return number

    def tell_child(self, number: int, *message: object) -> Any:
        self._pipes[number].send(message)
        assert self._pipes[number].poll(20), f"the child hangs at {message}"
        return self._pipes[number].recv()


@pytest.fixture
def protocol() -> str:
    return "http/protobuf"


@pytest.fixture
def receiver(protocol, monkeypatch) -> Iterator[Receiver]:
    with otlp_receiver(protocol) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.address}")
        yield receiver


@pytest.fixture
def start() -> Iterator[Start]:
    with processes() as start:
        yield start


@pytest.fixture
def family(start: Start, receiver: Receiver) -> Iterator[Any]:
    families: list[Family] = []

    def make(*, deferred: bool) -> Family:
        pipes = [Pipe() for _ in range(3)]
        families.append(Family(start(serving, deferred, *(theirs for _, theirs in pipes)), pipes))
        for _, theirs in pipes:
            theirs.close()
        return families[-1]

    yield make
    for each in families:
        for child in each.children:
            os.kill(child, 9)


def instance(request: Request, message: str) -> str:
    (resource,) = getattr(request.message, message)
    return next(
        attribute.value.string_value
        for attribute in resource.resource.attributes
        if attribute.key == "service.instance.id"
    )


def spans_by_instance(receiver: Receiver) -> dict[str, list[str]]:
    """Names of all spans that came in, twice where they came twice."""
    found: dict[str, list[str]] = {}
    for request in receiver.requests:
        spans = [span.name for scope in request.message.resource_spans[0].scope_spans for span in scope.spans]
        found.setdefault(instance(request, "resource_spans"), []).extend(spans)
    return found


def all_spans(receiver: Receiver) -> list[str]:
    return list(chain.from_iterable(spans_by_instance(receiver).values()))


def flows_by_instance(receiver: Receiver) -> dict[str, int]:
    """Flow runs as the metrics count them, at the last push of each process."""
    found: dict[str, int] = {}
    for request in receiver.metric_requests:
        for scope in request.message.resource_metrics[0].scope_metrics:
            for metric in scope.metrics:
                if metric.name == "langflow.flow.duration":
                    points = metric.histogram.data_points
                    found[instance(request, "resource_metrics")] = sum(point.count for point in points)
    return found


def flow(name: str) -> str:
    return f"invoke_workflow {name}"


def test_put_off_nothing_is_made_before_the_first_flow(family, receiver):
    parent = family(deferred=True)
    assert parent.tell("is on")
    assert not parent.tell("is open")
    assert parent.tell("threads there are") == ["MainThread"]

    parent.tell("flow", "first")
    assert parent.tell("is open")
    parent.tell("off")
    assert spans_by_instance(receiver).popitem()[1] == [flow("first")]
    assert list(flows_by_instance(receiver).values()) == [1]


def test_put_off_a_custom_span_is_something_to_record_too(family, receiver):
    parent = family(deferred=True)
    parent.tell("custom", "first")
    parent.tell("off")

    assert list(spans_by_instance(receiver).values()) == [["first"]]


def test_put_off_and_never_needed_nothing_is_sent(family, receiver):
    parent = family(deferred=True)
    child = parent.fork()
    assert parent.tell("off") is None
    assert parent.tell_child(child, "off") is None

    assert (receiver.requests, receiver.metric_requests) == ([], [])


# A process that has used gRPC cannot fork children that use it, unless GRPC_ENABLE_FORK_SUPPORT says so.
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_put_off_each_child_has_its_own(family, receiver):
    parent = family(deferred=True)
    first, second = parent.fork(), parent.fork()
    for child in (first, second):
        parent.tell_child(child, "flow", f"child {child}")
        parent.tell_child(child, "custom", f"work {child}")
    for child in (first, second):
        parent.tell_child(child, "off")

    sent = spans_by_instance(receiver)
    assert sorted(sent.values()) == [[flow("child 0"), "work 0"], [flow("child 1"), "work 1"]]
    assert len(sent) == 2
    assert flows_by_instance(receiver) == dict.fromkeys(sent, 1)
    assert not parent.tell("is open")


@pytest.mark.parametrize("deferred", [True, False])
def test_after_a_fork_parent_and_child_go_on_each_by_itself(family, receiver, deferred):
    """Spans that wait for their export at the fork are the parent's."""
    parent = family(deferred=deferred)
    parent.tell("flow", "before")
    child = parent.fork()
    parent.tell_child(child, "flow", "of the child")
    parent.tell("flow", "after")
    grandchild = parent.fork(by=child)
    parent.tell_child(grandchild, "flow", "of the grandchild")
    parent.tell_child(grandchild, "off")
    parent.tell_child(child, "off")
    parent.tell("off")

    sent = spans_by_instance(receiver)
    assert sorted(sent.values()) == [
        [flow("before"), flow("after")],
        [flow("of the child")],
        [flow("of the grandchild")],
    ]
    assert flows_by_instance(receiver) == {key: len(spans) for key, spans in sent.items()}


def test_a_fork_in_the_middle_of_a_flow_sends_it_once(family, receiver):
    parent = family(deferred=False)
    child = parent.fork("fork in a flow")
    parent.tell_child(child, "flow", "of the child")
    parent.tell_child(child, "off")
    parent.tell("off")

    assert Counter(all_spans(receiver)) == {flow("going on"): 1, flow("of the child"): 1}


@pytest.mark.parametrize("deferred", [True, False])
def test_custom_spans_outside_of_flows_work_in_a_child(family, receiver, deferred):
    parent = family(deferred=deferred)
    child = parent.fork()
    parent.tell_child(child, "custom", "of the child")
    parent.tell_child(child, "off")

    assert list(spans_by_instance(receiver).values()) == [["of the child"]]


@pytest.mark.parametrize("deferred", [True, False])
def test_off_in_a_child_that_has_not_recorded_does_not_hang(family, receiver, deferred):
    parent = family(deferred=deferred)
    parent.tell("flow", "of the parent")
    child = parent.fork()
    assert parent.tell_child(child, "off") is None
    assert not parent.tell_child(child, "is on")
    parent.tell_child(child, "on")
    parent.tell_child(child, "flow", "of the child")
    parent.tell_child(child, "off")
    parent.tell("off")

    assert sorted(spans_by_instance(receiver).values()) == [[flow("of the child")], [flow("of the parent")]]


def test_a_child_of_a_process_that_is_off_again_is_off(family, receiver):
    parent = family(deferred=False)
    parent.tell("off")
    child = parent.fork()

    assert not parent.tell_child(child, "is on")


@pytest.mark.parametrize("in_child", [True, False])
def test_first_flows_at_once_are_all_recorded(family, receiver, in_child):
    """They wait for the one that makes the exporters."""
    parent = family(deferred=not in_child)
    child = parent.fork() if in_child else None
    if child is None:
        parent.tell("threads", "at once", 8)
        parent.tell("off")
    else:
        parent.tell_child(child, "threads", "at once", 8)
        parent.tell_child(child, "off")

    assert all_spans(receiver) == [flow("at once")] * 8
    assert list(flows_by_instance(receiver).values()) == [8]


# In this process


def test_closed_in_time_says_so_and_closes_once(tmp_path):
    telemetry = ProcessTelemetry(
        Settings(trace_file=tmp_path / "spans.jsonl", metrics_default=False), PassedIn(), list, tuple
    )
    recorder = Recorder(None, Settings())
    telemetry.serve(recorder)
    run = recorder.start_flow(FlowInfo("demo"))
    assert run is not None
    run.finish()

    assert telemetry.wanted
    assert telemetry.close_within(10)
    assert telemetry.close_within(10)
    assert (tmp_path / "spans.jsonl").read_text().count("spanId") == 1


def test_a_provider_that_was_passed_in_stays_open(monkeypatch):
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(TracerProvider, "shutdown", lambda _: pytest.fail("not ours"))
    telemetry = ProcessTelemetry(Settings(), PassedIn(tracer_provider=provider), list, tuple)

    assert telemetry.reasons == ["the tracer provider that was passed in"]
    assert telemetry.close_within(10)


def test_what_fails_half_way_leaves_nothing_open(tmp_path, monkeypatch):
    closed: list[str] = []
    shutdown = TracerProvider.shutdown
    monkeypatch.setattr(TracerProvider, "shutdown", lambda self: (closed.append("traces"), shutdown(self))[1])
    monkeypatch.setattr("langflow_otel._process.process.MetricsPipeline", _broken)
    with pytest.raises(ValueError, match="canary"):
        ProcessTelemetry(Settings(trace_file=tmp_path / "spans.jsonl"), PassedIn(), list, tuple)

    assert closed == ["traces"]


def _broken(*_: Any) -> Any:
    raise ValueError("canary")
