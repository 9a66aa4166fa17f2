"""What happens to the process: on and off a thousand times, in the middle of a run, from several threads, forked,
killed, ended.

``LONG_TESTS=1`` makes 1,000 times of the 60, and starts one more server.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from flows import INPUT, chat_input, context_unchanged, line
from lfx.events.event_manager import create_default_event_manager
from lfx.graph import Graph
from lfx.schema.message import Message
from nodes import basic, streams
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from otlp_receiver import Receiver, otlp_receiver
from test_hooks import IMPORTABLE, _current
from waiting import wait_until

from langflow_otel import LangflowInstrumentor, instrument, uninstrument
from langflow_otel import _guard as guard
from langflow_otel._runs.recorder import active_recorder
from langflow_otel.testing import Telemetry, capture_telemetry
from tests.support.broken_collectors import silent

LONG = bool(os.environ.get("LONG_TESTS"))
TIMES = 1000 if LONG else 60
SERVER = Path(__file__).parents[1] / "server"
NEEDS_FORK = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")


async def runs(times: int = 1) -> None:
    for _ in range(times):
        await line(basic.Echo).arun(INPUT, session_id="s1")


@pytest.fixture(autouse=True)
def _off_afterwards() -> Iterator[None]:
    yield
    if LangflowInstrumentor().is_instrumented_by_opentelemetry:
        uninstrument()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver("http/protobuf") as receiver:
        yield receiver


# On and off


def functions() -> dict[str, object]:
    for hook in IMPORTABLE:
        importlib.import_module(hook.module)
    return {hook.name: _current(hook) for hook in IMPORTABLE}


def ours() -> Counter[str]:
    """Objects of this library's classes, and how many there are of all others together."""
    gc.collect()
    found = Counter(
        type(each).__qualname__ for each in gc.get_objects() if str(type(each).__module__).startswith("langflow_otel")
    )
    found["others"] = len(gc.get_objects()) - found.total()
    return found


def threads_there_are() -> int:
    """Without those of the event loop."""
    return sum(not each.name.startswith("asyncio_") for each in threading.enumerate())


def open_files() -> int:
    return psutil.Process().num_fds() if os.name == "posix" else 0


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.timeout(900)
async def test_on_and_off_many_times(monkeypatch, tmp_path):
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "spans.jsonl"))
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    monkeypatch.setattr("langflow_otel._metrics.endpoint._PAUSE_S", 0.002)
    originals = functions()

    async def once(number: int) -> None:
        instrument()
        assert active_recorder() is not None
        if number % 10 == 0:
            await runs()
        uninstrument()
        assert functions() == originals

    for number in range(20):
        await once(number)
    await asyncio.sleep(2.5)  # What watches the event loop sees at its next turn that nobody is interested any more.
    before, files, threads = ours(), open_files(), threads_there_are()
    for number in range(TIMES):
        await once(number)
    await asyncio.sleep(2.5)
    after = ours()

    assert all(now is originals[name] for name, now in functions().items())
    # The SDK registers functions for forks, and cannot take them back.
    assert after.pop("others") - before.pop("others") < 40 * TIMES
    # Less is what tests before this one had left.
    assert after - before == Counter()
    assert open_files() <= files
    assert threads_there_are() <= threads
    assert not guard.faults
    spans = (tmp_path / "spans.jsonl").read_text().count('"spanId"')
    assert spans == 4 * (2 + TIMES // 10)


@pytest.mark.slow
async def test_from_many_threads_at_once(monkeypatch, tmp_path):
    """LangFlow's plugin, the user's own call and a test's: what is there at the end is whole, or gone."""
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "spans.jsonl"))
    originals, threads = functions(), threads_there_are()
    for _ in range(5):
        together = threading.Barrier(6)

        def switch(number: int, together: threading.Barrier = together) -> None:
            together.wait(30)
            for step in range(4):
                (instrument if (number + step) % 3 else uninstrument)()

        switching = [threading.Thread(target=switch, args=(number,)) for number in range(6)]
        for thread in switching:
            thread.start()
        for thread in switching:
            await asyncio.to_thread(thread.join)
        instrument()
        (tmp_path / "spans.jsonl").unlink(missing_ok=True)
        await runs()
        uninstrument()

        assert (tmp_path / "spans.jsonl").read_text().count('"spanId"') == 4
        assert functions() == originals
        assert active_recorder() is None
        wait_until(lambda: threads_there_are() <= threads)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk here")
async def test_a_full_disk_does_not_keep_it_from_being_switched_off(monkeypatch):
    """Nor from being switched on again."""
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", "/dev/full")
    originals = functions()
    for _ in range(2):
        instrument()
        assert LangflowInstrumentor().is_instrumented_by_opentelemetry
        await runs()
        uninstrument()

        assert functions() == originals
        assert not LangflowInstrumentor().is_instrumented_by_opentelemetry


async def test_a_provider_that_cannot_be_shut_down_does_not_keep_it_on(monkeypatch, tmp_path):
    monkeypatch.setattr(guard, "strict", False)
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "spans.jsonl"))
    for number in range(2):
        instrument()
        await runs()
        with monkeypatch.context() as patch:
            patch.setattr(SdkTracerProvider, "shutdown", _raises)
            uninstrument()

        assert guard.faults["uninstrument"] == number + 1
        assert active_recorder() is None
        assert not LangflowInstrumentor().is_instrumented_by_opentelemetry


def _raises(*_: object) -> None:
    raise OSError("canary-7f3a")


# In the middle of a run


class Pauses(basic.Echo):
    """Tells that it has begun, and waits for the word to go on."""

    display_name = "Pauses"
    name = "Pauses"

    async def run_out(self) -> Message:
        basic.seen["paused"].set()
        await basic.seen["go on"].wait()
        return Message(text=f"{self.value}!")


class PausesAndFails(Pauses):
    display_name = "Pauses And Fails"
    name = "PausesAndFails"

    async def run_out(self) -> Message:
        await super().run_out()
        raise LookupError("canary-7f3a")


class PausesInTheStream(streams.Streams):
    display_name = "Pauses In The Stream"
    name = "PausesInTheStream"

    async def chunks(self) -> AsyncIterator[str]:
        yield "a"
        basic.seen["paused"].set()
        await basic.seen["go on"].wait()
        yield "b"
        yield "c"


def reading(producer: type) -> Graph:
    start = chat_input()
    made = producer(_id="Producer-p").set(value=start.message_response)
    return Graph(start, streams.Reads(_id="Reads-r").set(value=made.run_out), flow_name="demo")


GRAPHS: dict[str, Callable[[], Graph]] = {
    "plain": lambda: line(basic.Echo, Pauses, basic.Echo),
    "failing": lambda: line(Pauses, basic.Broken),
    "fails at that moment": lambda: line(PausesAndFails),
    "stream": lambda: reading(PausesInTheStream),
}


async def seen_around(graph: Graph, change: Callable[[], None], how: str) -> list[Any]:
    """What the caller of a run sees, in whose middle something changes."""
    paused = basic.seen["paused"] = asyncio.Event()
    going_on = basic.seen["go on"] = asyncio.Event()

    async def drive() -> list[Any]:
        if how == "arun":
            outputs = await graph.arun(INPUT, session_id="s1")
            results = [value for each in outputs[0].outputs if each for value in each.results.values()]
            return [value.text if isinstance(value.text, str) else type(value.text).__name__ for value in results]
        return [
            getattr(getattr(each, "vertex", None), "id", type(each).__name__) async for each in graph.async_start(INPUT)
        ]

    task = asyncio.ensure_future(drive())
    with context_unchanged():
        await paused.wait()
        change()
        if how == "cancelled":
            task.cancel()
        going_on.set()
        try:
            return ["returned", *await task]
        except BaseException as exc:
            return ["raised", type(exc).__name__, type(exc.__cause__).__name__]


@pytest.mark.parametrize("how", ["arun", "async_start", "cancelled"])
@pytest.mark.parametrize("name", GRAPHS)
async def test_switched_off_in_the_middle_of_a_run(name: str, how: str):
    plain = await seen_around(GRAPHS[name](), lambda: None, how)
    with capture_telemetry() as telemetry:
        seen = await seen_around(GRAPHS[name](), uninstrument, how)
        again = await seen_around(GRAPHS[name](), lambda: None, how)

    assert seen == again == plain
    # What had begun may end, and what comes after leaves nothing.
    assert [span.name for span in telemetry.spans].count("invoke_workflow demo") <= 1
    assert not guard.faults
    assert active_recorder() is None


@pytest.mark.parametrize("how", ["arun", "async_start", "cancelled"])
@pytest.mark.parametrize("name", GRAPHS)
async def test_switched_on_in_the_middle_of_a_run(name: str, how: str):
    plain = await seen_around(GRAPHS[name](), lambda: None, how)
    with capture_telemetry(instrument=False) as telemetry:
        seen = await seen_around(GRAPHS[name](), lambda: on(telemetry), how)
        telemetry.clear()
        again = await seen_around(GRAPHS[name](), lambda: None, how)

    assert seen == again == plain
    assert not guard.faults
    (root,) = telemetry.roots()
    assert root.name == "invoke_workflow demo"


@pytest.mark.parametrize("name", GRAPHS)
async def test_off_and_on_again_in_the_middle_of_a_run(name: str):
    """The rest of it is recorded by another recorder than its beginning."""
    plain = await seen_around(GRAPHS[name](), lambda: None, "arun")
    with capture_telemetry() as telemetry:

        def again() -> None:
            uninstrument()
            on(telemetry)

        seen = await seen_around(GRAPHS[name](), again, "arun")

    assert seen == plain
    assert not guard.faults


def on(telemetry: Telemetry) -> None:
    instrument(tracer_provider=telemetry.provider, meter_provider=telemetry.meter_provider, skip_dep_check=True)


async def test_on_and_off_between_the_steps_of_a_run():
    """Steps are taken one by one by who calls them, and anything may happen in between."""
    plain = [item async for item in line(basic.Echo, basic.Left).async_start(INPUT)]
    with capture_telemetry(instrument=False) as telemetry:
        seen = []
        async for item in line(basic.Echo, basic.Left).async_start(INPUT):
            seen.append(item)
            if len(seen) % 2:
                on(telemetry)
            else:
                uninstrument()

    assert [type(each) for each in seen] == [type(each) for each in plain]
    assert not guard.faults


@pytest.mark.slow
async def test_other_runs_go_on_while_it_is_switched_on_and_off(tmp_path, monkeypatch):
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "spans.jsonl"))
    events = create_default_event_manager(asyncio.Queue())

    async def run(number: int) -> str:
        graph = line(basic.Echo, basic.Broken) if number % 5 == 0 else line(basic.Echo, basic.TracedOutput)
        try:
            outputs = await graph.arun([{"input_value": f"{number}"}], session_id="s1", event_manager=events)
        except ValueError:
            return "failed"
        return str(outputs[0].outputs[0].results["message"].text)

    going_on = [asyncio.ensure_future(run(number)) for number in range(30)]
    while not all(task.done() for task in going_on):
        (uninstrument if LangflowInstrumentor().is_instrumented_by_opentelemetry else instrument)()
        await asyncio.sleep(0.005)

    assert [task.result() for task in going_on] == [
        "failed" if number % 5 == 0 else str(number) for number in range(30)
    ]
    assert not guard.faults


# The end of the interpreter


WAYS = {"return": 0, "exit": 3, "error": 1}


def spans_by(name: str, receiver: Receiver) -> Counter[str]:
    """By the text of this attribute of the resource."""
    return Counter(
        str(getattr(attribute.value, attribute.value.WhichOneof("value")))
        for request in tuple(receiver.requests)
        for resource in request.message.resource_spans
        for attribute in resource.resource.attributes
        for scope in resource.scope_spans
        for _ in scope.spans
        if attribute.key == name
    )


@NEEDS_FORK
@pytest.mark.slow
def test_the_interpreter_ends_as_it_would_and_sends_what_is_queued(tmp_path, receiver):
    """In each way; and a collector that hangs keeps it for no longer than an export of each signal may take."""
    exits = Path(__file__).with_name("exits.py")
    env = {name: text for name, text in os.environ.items() if "OTEL" not in name} | {
        "OTEL_BSP_SCHEDULE_DELAY": "3600000",
        "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
    }
    with silent() as hanging:
        ways = [f"{way}=http/protobuf={receiver.address}" for way in WAYS]
        ways += [f"hanging-{protocol[:4]}={protocol}={hanging}" for protocol in ("http/protobuf", "grpc")]
        command = [sys.executable, str(exits), str(tmp_path), *ways]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    found = {way: (int(code), float(seconds)) for way, code, seconds in map(str.split, done.stdout.splitlines())}

    assert {way: code for way, (code, _) in found.items()} == WAYS | {"hanging-http": 0, "hanging-grpc": 0}
    assert spans_by("service.name", receiver) == dict.fromkeys(WAYS, 12)
    for way in found:
        said = (tmp_path / f"{way}.log").read_text()
        # The SDK of 2026-01 logs with a traceback that a collector hangs.
        assert way not in WAYS or said.count("Traceback") == (way == "error"), said
        assert "xception ignored" not in said
    # One second for each signal, and a busy machine.
    assert max(seconds for _, seconds in found.values()) < 40


# Workers of a server


class Gunicorn:
    """Two workers with real flows, which send by OTLP and seldom."""

    def __init__(self, folder: Path, endpoint: str, **variables: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.log = folder / "log"
        env = {name: text for name, text in os.environ.items() if "OTEL" not in name} | {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "3600000",
            "OTEL_METRIC_EXPORT_INTERVAL": "3600000",
            "FLOW_APP_INSTRUMENT": "lifespan",
            "FLOW_APP_RUNS": str(folder / "runs"),
            **variables,
        }
        command = [
            "-m",
            "gunicorn",
            "flow_app:app",
            "-k",
            "uvicorn.workers.UvicornWorker",
            "--workers",
            "2",
            "--preload",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command, "--bind", f"127.0.0.1:{self.port}"],
                cwd=SERVER,
                env=env,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Gunicorn:
        wait_until(lambda: self.process.poll() is not None or self.run() is not None)
        assert self.process.poll() is None, self.log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        print(self.log.read_text()[-5000:])
        with contextlib.suppress(psutil.Error):
            for each in psutil.Process(self.process.pid).children(recursive=True):
                each.kill()
        self.process.kill()
        self.process.wait()

    @property
    def workers(self) -> set[int]:
        found = set()
        for each in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if each.status() != psutil.STATUS_ZOMBIE and "resource_tracker" not in " ".join(each.cmdline()):
                    found.add(each.pid)
        return found

    def run(self) -> int | None:
        """Which worker has run a flow; None if nobody is there."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/run?kind=ok", timeout=60) as answer:
                return int(answer.read().partition(b'"pid":')[2].partition(b",")[0])
        except OSError:
            return None

    def run_in_each(self, of: set[int]) -> Counter[int]:
        """Runs by their worker."""
        found: Counter[int] = Counter()

        def all_have_run() -> bool:
            worker = self.run()
            if worker is not None:
                found[worker] += 1
            return of <= set(found)

        wait_until(all_have_run)
        return found

    def stop(self) -> float:
        """Seconds until all have ended."""
        started_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(100)
        return time.monotonic() - started_s


@NEEDS_FORK
@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.parametrize("instrumented", ["import", "lifespan"])
def test_killed_workers_are_replaced_and_the_rest_is_sent_at_the_stop(tmp_path, receiver, instrumented):
    """What a worker had not sent when it was killed is lost, in any library; all else arrives, once."""
    with Gunicorn(tmp_path, f"http://{receiver.address}", FLOW_APP_INSTRUMENT=instrumented) as server:
        first = set(server.workers)
        server.run_in_each(first)
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in server.workers and len(server.workers) == 2)
        (survivor,), (successor,) = first - {victim}, server.workers - first
        assert not receiver.requests
        made = server.run_in_each({survivor, successor})
        seconds = server.stop()

    lines = Counter((tmp_path / "runs").read_text().splitlines())
    arrived = {int(pid): spans for pid, spans in spans_by("process.pid", receiver).items()}
    assert set(arrived) == {survivor, successor}
    assert arrived[successor] == 4 * made[successor]
    assert arrived[survivor] >= 4 * made[survivor]
    assert sum(arrived.values()) <= 4 * lines.total()
    ids = [span.span_id for request in receiver.requests for span in _spans(request.message)]
    assert len(set(ids)) == len(ids)
    # gunicorn kills who has not ended after 30 s.
    assert seconds < 30


def _spans(message: Any) -> list[Any]:
    return [span for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans]


@NEEDS_FORK
@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.skipif(not LONG, reason="of the long form: LONG_TESTS=1")
def test_a_hanging_collector_does_not_keep_the_server(tmp_path):
    with (
        silent() as address,
        Gunicorn(tmp_path, f"http://{address}", OTEL_EXPORTER_OTLP_TIMEOUT="1") as server,
    ):
        server.run_in_each(server.workers)
        assert server.stop() < 30
        assert server.process.returncode == 0
