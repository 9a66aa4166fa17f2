"""A collector can be anything but well: flows do not notice, nothing is left behind, and what is lost is counted.

``LONG_TESTS=1`` goes through the rarer faults as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from counting_collector import CountingCollector, Protocol
from flows import INPUT, line
from lfx.graph import Graph
from nodes import basic, streams
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client.parser import text_string_to_metric_families
from test_components import router_flow
from test_streams import pair
from waiting import wait_in_loop

from langflow_otel import LangflowInstrumentor, instrument, uninstrument
from langflow_otel import _guard as guard
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._runs.recorder import set_active_recorder
from langflow_otel._sdk.batches import CountingBatchSpanProcessor, CountingSpanExporter
from tests.support.broken_collectors import gibberish, grpc_server, http_server, make_pem, nobody, silent

ALL = bool(os.environ.get("LONG_TESTS"))
TIMEOUT_S = 0.4
"""Of one export; more than one may go on at the end, one after the other."""
OFF_WITHIN_S = 30.0
"""Generous: the machine may be busy. Without a bound it would be for ever."""
HTTP, GRPC = "http/protobuf", "grpc"


# The faults


Opens = Callable[[Path, pytest.MonkeyPatch], AbstractContextManager[str]]


@dataclass(frozen=True)
class Fault:
    """What is wrong with a collector.

    Attributes:
        opens: Starts it; gives the address, or the endpoint if that needs a scheme of its own.
        loses: True if no span can arrive.
        rare: Much like another one: for the long form.
    """

    protocol: Protocol
    opens: Opens
    loses: bool = True
    rare: bool = False
    variables: dict[str, str] = field(default_factory=dict)


def at(make: Callable[..., AbstractContextManager[str]], *args: Any, **kwargs: Any) -> Opens:
    return lambda folder, patch: make(*args, **kwargs)


def answers(status: int, **headers: str) -> Opens:
    return at(http_server, status, {name.replace("_", "-"): text for name, text in headers.items()})


def says(code: grpc.StatusCode) -> Opens:
    return at(grpc_server, code, "canary-7f3a")


@contextmanager
def well_but_for(protocol: Protocol, *, delay_s: float = 0, refuses: int = 0) -> Iterator[str]:
    """Takes what is sent: after a while, or when it has refused so often."""
    collector = CountingCollector(protocol)
    collector.delay_s, collector.refuses = delay_s, refuses
    try:
        yield collector.address
    finally:
        collector.stop()


slow = partial(well_but_for, delay_s=0.15)
refuses_at_first = partial(well_but_for, refuses=2)


@contextmanager
def of_tls(make: Callable[..., AbstractContextManager[str]], folder: Path, _: pytest.MonkeyPatch) -> Iterator[str]:
    """Its certificate is nobody's that we trust."""
    with make(pem=make_pem(folder)) as address:
        yield f"https://{address}"


@contextmanager
def plain_instead_of_tls(
    make: Callable[..., AbstractContextManager[str]], folder: Path, _: pytest.MonkeyPatch
) -> Iterator[str]:
    with make() as address:
        yield f"https://{address}"


@contextmanager
def no_such_name(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    known = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        # Not the system's: it may ask a name server that does not answer, for as long as it likes.
        if str(host).endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *args, **kwargs)

    patch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield "collector.invalid:4319"


# How long an export may take, where it is to arrive on a machine that is busy.
PATIENT = {"OTEL_EXPORTER_OTLP_TIMEOUT": "20"}

FAULTS = {
    "down": Fault(HTTP, at(nobody)),
    "hanging": Fault(HTTP, at(silent)),
    "slow": Fault(HTTP, at(slow, HTTP), loses=False, variables=PATIENT),
    "400": Fault(HTTP, answers(400), rare=True),
    "401": Fault(HTTP, answers(401, WWW_Authenticate="Bearer"), rare=True),
    "404": Fault(HTTP, answers(404)),
    "413": Fault(HTTP, answers(413), rare=True),
    "429, come back in an hour": Fault(HTTP, answers(429, Retry_After="3600")),
    "503, come back in an hour": Fault(HTTP, answers(503, Retry_After="3600"), rare=True),
    "503, come back on a date": Fault(HTTP, answers(503, Retry_After="Fri, 01 Jan 2100 00:00:00 GMT"), rare=True),
    "503, come back when you like": Fault(HTTP, answers(503, Retry_After="soon, -1, \xff"), rare=True),
    "503, then well": Fault(HTTP, at(refuses_at_first, HTTP), loses=False, variables=PATIENT),
    "500": Fault(HTTP, answers(500), rare=True),
    "no HTTP": Fault(HTTP, at(gibberish), rare=True),
    "says more than it sends": Fault(HTTP, answers(503, Content_Length="1000000"), rare=True),
    "an answer that is none": Fault(HTTP, at(http_server, 200, None, b"\xff\xfe<html>" * 100), loses=False),
    "TLS that nobody trusts": Fault(HTTP, partial(of_tls, http_server)),
    "no TLS": Fault(HTTP, partial(plain_instead_of_tls, http_server), rare=True),
    "no such name": Fault(HTTP, no_such_name),
    "gRPC, down": Fault(GRPC, at(nobody)),
    "gRPC, hanging": Fault(GRPC, at(silent), rare=True),
    "gRPC, slow": Fault(GRPC, at(slow, GRPC), loses=False, variables=PATIENT, rare=True),
    "gRPC, unavailable": Fault(GRPC, says(grpc.StatusCode.UNAVAILABLE)),
    "gRPC, unavailable, then well": Fault(GRPC, at(refuses_at_first, GRPC), loses=False, variables=PATIENT),
    "gRPC, exhausted": Fault(GRPC, says(grpc.StatusCode.RESOURCE_EXHAUSTED), rare=True),
    "gRPC, not allowed": Fault(GRPC, says(grpc.StatusCode.UNAUTHENTICATED), rare=True),
    "gRPC, not there": Fault(GRPC, at(grpc_server, only="NoSuchService"), rare=True),
    "gRPC, an answer that is none": Fault(GRPC, at(grpc_server, body=b"\xff\xfe<html>"), rare=True),
    "gRPC, no HTTP/2": Fault(GRPC, at(gibberish), rare=True),
    "gRPC, TLS that nobody trusts": Fault(GRPC, partial(of_tls, grpc_server)),
    "gRPC, no TLS": Fault(GRPC, partial(plain_instead_of_tls, grpc_server), rare=True),
    "gRPC, no such name": Fault(GRPC, no_such_name),
}


# What a caller sees


GRAPHS: dict[str, Callable[[], Graph]] = {
    "plain": lambda: line(basic.Echo, basic.TracedOutput),
    "router": lambda: router_flow("hi"),
    "failing": lambda: line(basic.Echo, basic.Broken),
    "stream": lambda: pair(streams.Streams, streams.Reads),
    "failing stream": lambda: pair(streams.StreamsBroken, streams.Reads),
    "closed stream": lambda: pair(streams.Streams, streams.ReadsOneAndCloses),
}


async def by_arun(graph: Graph) -> list[Any]:
    """The results, or the chain of errors."""
    try:
        outputs = await graph.arun(INPUT, session_id="s1")
        return [(name, _text(value)) for each in outputs[0].outputs if each for name, value in each.results.items()]
    except Exception as exc:
        return _chain(exc)


async def by_steps(graph: Graph) -> list[Any]:
    """What comes out, in its order, and the chain of errors."""
    seen: list[Any] = []
    try:
        async for step in graph.async_start(INPUT, max_iterations=20):
            seen.append(getattr(getattr(step, "vertex", None), "id", type(step).__name__))
    except Exception as exc:
        seen += _chain(exc)
    return seen


def _text(value: Any) -> Any:
    text = getattr(value, "text", None)
    return text if isinstance(text, str) else type(value).__name__


def _chain(exc: BaseException | None) -> list[Any]:
    chain: list[Any] = []
    while exc is not None:
        chain.append((type(exc).__name__, str(exc)))
        exc = exc.__cause__
    return chain


async def cancelled(how: str) -> list[Any]:
    """What becomes of a run that is cancelled, by its caller or by a time limit."""
    basic.seen["waiting"] = asyncio.Event()
    run = line(basic.Echo, basic.Waits).arun(INPUT, session_id="s1")
    task = asyncio.ensure_future(asyncio.wait_for(run, 0.2) if how == "time" else run)
    try:
        if how == "caller":
            await basic.seen["waiting"].wait()
            task.cancel("enough")
        await task
    except BaseException as exc:
        return [type(exc).__name__, exc.args if how == "caller" else (), task.cancelled()]
    return ["went on"]


async def everything_seen() -> dict[str, Any]:
    seen: dict[str, Any] = {f"cancelled by {how}": await cancelled(how) for how in ("caller", "time")}
    for name, make in GRAPHS.items():
        seen[name] = await by_arun(make())
        if name in ("router", "failing"):
            seen[f"{name}, step by step"] = await by_steps(make())
    # What the components keep: a stream, and an error with the frames of all that it went through.
    streams.seen.clear()
    basic.Broken.error.__traceback__ = None
    return seen


@pytest.fixture(scope="module")
def uninstrumented() -> dict[str, Any]:
    return {}


async def expected(known: dict[str, Any]) -> dict[str, Any]:
    if not known:
        known.update(await everything_seen())
    return known


# What is left


def open_files() -> Counter[str]:
    """By kind; files by name."""
    found = Counter[str]()
    if sys.platform == "linux":
        for path in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # The folder's own.
                found[os.readlink(path).partition(":")[0]] += 1
    del found["anon_inode"]  # gRPC's own, which it shares out among all of its channels.
    return found


POOLS = ("asyncio_", "ThreadPoolExecutor")
"""Threads of the event loop, and of the collectors here."""


@dataclass
class Before:
    threads: set[threading.Thread] = field(default_factory=lambda: set(threading.enumerate()))
    files: Counter[str] = field(default_factory=open_files)
    tasks: set[Any] = field(default_factory=asyncio.all_tasks)

    async def is_all_there_is(self) -> None:
        """Waits for what the other end has to notice."""
        deadline = time.monotonic() + 30
        while True:
            threads = {each for each in set(threading.enumerate()) - self.threads if not each.name.startswith(POOLS)}
            files = open_files() - self.files
            tasks = asyncio.all_tasks() - self.tasks
            if not (threads or files or tasks):
                return
            assert time.monotonic() < deadline, (threads, files, tasks)
            await asyncio.sleep(0.05)


class Made(SpanProcessor):
    """Counts the spans that are made."""

    def __init__(self) -> None:
        self.spans = 0

    def on_end(self, span: ReadableSpan) -> None:
        self.spans += 1


@dataclass
class Watched:
    """Instrumentation that is on.

    Attributes:
        made: Counts its spans.
        scrape: What it says about itself, also after it was switched off.
        parts: What has to be gone then.
    """

    made: Made
    scrape: Scrape
    parts: list[weakref.ref[Any]]

    def dropped(self, signal: str = "traces", reason: str = "") -> int:
        return sum(
            int(sample.value)
            for family in text_string_to_metric_families(self.scrape.page("", "").body.decode())
            for sample in family.samples
            if sample.name == "langflow_otel_dropped_total"
            and sample.labels["signal"] == signal
            and reason in sample.labels["reason"]
        )


def switch_on() -> Watched:
    instrument()
    instrumentor = LangflowInstrumentor()
    process = instrumentor._process
    assert process is not None
    assert process._traces is not None
    assert instrumentor.scrape is not None
    made = Made()
    process._traces.provider.add_span_processor(made)  # type: ignore[attr-defined]
    parts = [weakref.ref(each) for each in (process, process.metrics, instrumentor._recorder, process._traces.provider)]
    return Watched(made, instrumentor.scrape, parts)


def switch_off() -> float:
    """How long it took, in seconds."""
    started_s = time.monotonic()
    uninstrument()
    return time.monotonic() - started_s


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    variables = {
        "OTEL_EXPORTER_OTLP_TIMEOUT": str(TIMEOUT_S),
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_BLRP_SCHEDULE_DELAY": "100",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
    }
    for name, text in variables.items():
        monkeypatch.setenv(name, text)
    # pytest keeps what is logged, with exceptions that hold all there was.
    loggers = [logging.getLogger(name) for name in ("opentelemetry", "grpc")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.CRITICAL)
    yield
    for each, level in zip(loggers, levels, strict=True):
        each.setLevel(level)
    if LangflowInstrumentor().is_instrumented_by_opentelemetry:
        uninstrument()


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    """What gRPC and others start once in a process, and keep."""
    with pytest.MonkeyPatch.context() as patch:
        for protocol in (HTTP, GRPC):
            with slow(protocol) as address:
                patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{address}")
                patch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
                instrument()
                asyncio.run(cancelled("caller"))
                uninstrument()
    gc.collect()
    gc.freeze()  # All that is there by now need not be looked through each time.


def use(monkeypatch: pytest.MonkeyPatch, protocol: Protocol, address: str, **variables: str) -> None:
    endpoint = address if "://" in address else f"http://{address}"
    for name, text in {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        **variables,
    }.items():
        monkeypatch.setenv(name, text)


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if ALL or not fault.rare])
async def test_a_collector_that_is_not_well(name: str, monkeypatch, tmp_path, uninstrumented):
    fault = FAULTS[name]
    without = await expected(uninstrumented)
    before = Before()
    with fault.opens(tmp_path, monkeypatch) as address:
        use(monkeypatch, fault.protocol, address, **fault.variables)
        watched = switch_on()
        seen = await everything_seen()
        seconds = switch_off()

    assert seen == without
    assert seconds < OFF_WITHIN_S
    assert not guard.faults
    assert watched.made.spans > 30
    assert watched.dropped() == (watched.made.spans if fault.loses else 0)
    assert (watched.dropped("metrics") > 0) is fault.loses
    assert watched.dropped("traces", "own_error") == 0
    await before.is_all_there_is()
    parts = watched.parts
    del watched
    await wait_in_loop(lambda: gc.collect() is not None and not any(part() for part in parts), pause_s=0.3)


async def runs(times: int = 1) -> None:
    for _ in range(times):
        await line(basic.Echo).arun(INPUT, session_id="s1")


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize("protocol", [HTTP, GRPC])
async def test_what_arrives_and_what_is_counted_is_what_was_made(protocol: Protocol, monkeypatch):
    """It goes away in the middle and comes back at the same address."""
    collector = CountingCollector(protocol)
    try:
        use(monkeypatch, protocol, collector.address)
        watched = switch_on()

        async def settled() -> None:
            await wait_in_loop(lambda: len(collector.spans) + watched.dropped() == watched.made.spans)

        await runs(5)
        await settled()
        assert watched.dropped() == 0
        collector.stop()
        await runs(5)
        await settled()
        lost = watched.dropped()
        collector.start()
        arrived = len(collector.spans)
        deadline = time.monotonic() + 60
        while len(collector.spans) == arrived:  # gRPC waits a little before it tries again.
            assert time.monotonic() < deadline
            await runs(1)
            await settled()
        switch_off()

        assert lost == 20
        assert len(collector.spans) + watched.dropped() == watched.made.spans
    finally:
        collector.stop()


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize("protocol", [HTTP, GRPC])
async def test_down_at_the_start_it_gets_what_comes_after(protocol: Protocol, monkeypatch):
    collector = CountingCollector(protocol)
    collector.stop()
    try:
        use(monkeypatch, protocol, collector.address)
        watched = switch_on()
        await runs(2)
        await wait_in_loop(lambda: watched.dropped() == watched.made.spans == 8)
        collector.start()
        deadline = time.monotonic() + 60
        while not collector.spans:
            assert time.monotonic() < deadline
            await runs(1)
            await wait_in_loop(lambda: len(collector.spans) + watched.dropped() == watched.made.spans)
        switch_off()
        assert len(collector.spans) + watched.dropped() == watched.made.spans
    finally:
        collector.stop()


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize("protocol", [HTTP, GRPC])
async def test_what_a_full_queue_pushes_out_is_counted(protocol: Protocol, monkeypatch, uninstrumented):
    without = await expected(uninstrumented)
    before = Before()
    with silent() as address:
        use(monkeypatch, protocol, address, OTEL_BSP_MAX_QUEUE_SIZE="8", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4")
        watched = switch_on()
        seen = await everything_seen()
        pushed_out = watched.dropped(reason="queue_full")
        seconds = switch_off()

    assert seen == without
    assert pushed_out > 8
    assert watched.dropped() == watched.made.spans
    assert seconds < OFF_WITHIN_S
    await before.is_all_there_is()


# Who waits long enough


class Hangs(SpanExporter):
    """Until it is let go."""

    def __init__(self) -> None:
        self.reached, self.let_go = threading.Event(), threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        self.reached.set()
        assert self.let_go.wait(30)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None: ...


async def test_what_is_left_when_nobody_waits_any_longer_is_counted(telemetry, monkeypatch):
    """The SDK waits 30 s for its exporter at the end, and then leaves the rest in the queue."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
    hangs = Hangs()
    processor = CountingBatchSpanProcessor(CountingSpanExporter(hangs))
    inner = getattr(processor, "_batch_processor", processor)
    if inner is processor:
        pytest.skip("before 1.33, the SDK waits without end")
    telemetry.provider.add_span_processor(processor)
    await runs(1)
    assert await asyncio.to_thread(hangs.reached.wait, 30)
    monkeypatch.setattr(inner, "shutdown", partial(inner.shutdown, timeout_millis=50))
    processor.shutdown()
    left = telemetry.metrics("langflow_otel_dropped")
    hangs.let_go.set()
    await wait_in_loop(lambda: not inner._worker_thread.is_alive())

    reasons = 'signal="traces",reason="export_failed"'
    # One batch of two was on its way.
    assert left == {f"langflow_otel_dropped_total{{{reasons}}}": 2.0}
    assert telemetry.metrics("langflow_otel_dropped") == {f"langflow_otel_dropped_total{{{reasons}}}": 4.0}


def test_without_a_recorder_what_is_left_is_nobodys():
    set_active_recorder(None)
    processor = CountingBatchSpanProcessor(CountingSpanExporter(Hangs()))
    processor.shutdown()

    assert len(processor._waiting) == 0
