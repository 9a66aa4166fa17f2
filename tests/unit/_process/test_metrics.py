"""Everything that metrics need, in real processes: on, off, again, forked, killed."""

from __future__ import annotations

import errno
import gc
import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pytest
from otlp_receiver import Receiver, Request, otlp_receiver
from prometheus_client.parser import text_string_to_metric_families as parse_text
from waiting import wait_until

from langflow_otel import LangflowInstrumentor, instrument, instrumentor, uninstrument
from langflow_otel import _guard as guard
from langflow_otel._hooks.patching import Patches
from langflow_otel._metrics import endpoint, workers
from langflow_otel._metrics.shared_file import FileStore
from langflow_otel._process import conditions
from langflow_otel._process import metrics as pipeline
from langflow_otel._process.metrics import MetricsPipeline
from langflow_otel._runs.recorder import active_recorder, count_dropped
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import ScrapeSettings, Settings
from tests.support.processes import Start, processes
from tests.support.recording import FLOW, component, recorder

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

HOST = "127.0.0.1"
NEEDS_FORK = pytest.mark.skipif(os.name == "nt", reason="there is no fork there")


@pytest.fixture(autouse=True)
def _quick_and_without_langflow(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(pipeline, "_TICK_S", 0.02)
    monkeypatch.setattr(endpoint, "_PAUSE_S", 0.005)
    monkeypatch.setattr(instrumentor, "patches", Patches(()))
    monkeypatch.setattr(instrumentor, "lfx_is_installed", lambda: True)
    monkeypatch.setattr(LangflowInstrumentor, "_check_dependency_conflicts", lambda _: None)
    yield
    if LangflowInstrumentor().is_instrumented_by_opentelemetry:
        uninstrument()


@pytest.fixture
def start() -> Iterator[Start]:
    with processes() as start:
        yield start


@pytest.fixture
def free_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


def run_flows(times: int) -> None:
    for _ in range(times):
        flow = recorder().start_flow(FLOW)
        assert flow is not None
        recorder().start_component(component("a"), flow).finish()
        flow.finish()


def get(port: int, path: str = "/metrics") -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def samples(page: str, name: str) -> dict[tuple[str, ...], float]:
    """By the values of the labels."""
    return {
        tuple(sample.labels.values()): sample.value
        for family in parse_text(page)
        for sample in family.samples
        if sample.name == name
    }


def flows_at(port: int) -> float:
    """Flow runs that a scrape shows."""
    return sum(samples(get(port)[1], "langflow_flow_duration_seconds_count").values())


def workers_at(port: int) -> set[str]:
    return {labels[-1] for labels in samples(get(port)[1], "process_uptime_seconds") if labels}


def averages_at(port: int) -> set[str]:
    """Workers of which a gauge is shown that they wrote themselves."""
    return {labels[-1] for labels in samples(get(port)[1], "langflow_flow_duration_ema_seconds")}


def is_open(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=20).close()
    except ConnectionError:
        return False
    return True


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# On and off


def own_port() -> int:
    url = LangflowInstrumentor().scrape_url
    assert url is not None
    return int(url.rpartition(":")[2].partition("/")[0])


def test_with_prometheus_alone_metrics_are_scraped_and_spans_go_nowhere(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    instrument()
    run_flows(2)
    status, page = get(own_port())

    assert status == 200
    assert flows_at(own_port()) == 2.0
    assert samples(page, "langflow_component_duration_seconds_count") == {("demo", "a", "ok"): 2.0}
    assert samples(page, "target_info") == {("langflow",): 1.0}
    assert samples(page, "langflow_throughput") == {(): pytest.approx(2 / 60)}
    assert len(samples(page, "process_memory_usage_bytes")) == 1
    assert warnings(caplog) == []
    flow = recorder().start_flow(FLOW)
    assert flow is not None
    assert flow.span is None
    flow.finish()


def test_off_means_off(free_port):
    before = set(threading.enumerate())
    instrument(settings=Settings(scrape=ScrapeSettings(HOST, free_port)))
    assert is_open(free_port)
    uninstrument()

    assert not is_open(free_port)
    assert LangflowInstrumentor().scrape_url is None
    assert LangflowInstrumentor().scrape is None
    assert active_recorder() is None
    assert set(threading.enumerate()) <= before


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with otlp_receiver("http/protobuf") as receiver:
        yield receiver


def pushed_runs(receiver: Receiver) -> dict[str, float]:
    """The last count of flow runs of each instance that has pushed."""
    return {
        instance: float(sum(point.count for point in metrics["langflow.flow.duration"].histogram.data_points))
        for number, request in enumerate(tuple(receiver.metric_requests))
        if "langflow.flow.duration" in (metrics := receiver.metrics(number))
        for instance in instances_in(request)
    }


def instances(receiver: Receiver) -> set[str]:
    return {instance for request in tuple(receiver.metric_requests) for instance in instances_in(request)}


def instances_in(request: Request) -> set[str]:
    return {
        each.value.string_value
        for resource in request.message.resource_metrics
        for each in resource.resource.attributes
        if each.key == "service.instance.id"
    }


def test_a_list_of_exporters_gives_both(monkeypatch, receiver, caplog):
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp,prometheus")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.address}")
    instrument()
    run_flows(3)
    assert flows_at(own_port()) == 3.0
    uninstrument()

    assert list(pushed_runs(receiver).values()) == [3.0]
    assert warnings(caplog) == []


def open_files() -> Counter[str]:
    """What the process has open: files by name, and how many sockets and pipes."""
    gc.collect()
    found = Counter[str]()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # The folder's own.
            found[os.readlink(path).partition(":")[0]] += 1
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["alone", "a worker"])
def test_twenty_times_on_and_off_leave_nothing(monkeypatch, tmp_path, free_port, receiver, caplog, shared: bool):
    if shared:
        monkeypatch.setattr(pipeline, "common_process", os.getppid)
        monkeypatch.setattr(workers, "default_root", lambda: tmp_path / "root")
    target = OtlpTarget("http/protobuf", f"http://{receiver.address}/v1/metrics", insecure=True)
    settings = Settings(scrape=ScrapeSettings(HOST, free_port), metrics_otlp=target)

    def once() -> None:
        instrument(settings=settings)
        run_flows(1)
        assert flows_at(free_port) >= 1.0
        uninstrument()

    once()
    files, threads = open_files(), set(threading.enumerate())
    for _ in range(20):
        once()

    # The receiver may not have noticed yet that the last push has ended.
    wait_until(lambda: set(threading.enumerate()) <= threads)
    wait_until(lambda: open_files() <= files)
    assert not is_open(free_port)
    assert warnings(caplog) == []
    if shared:
        (group,) = (tmp_path / "root").iterdir()
        assert len(list(group.iterdir())) <= 4  # leader, fold, total and the last worker's


def make(port: int = 0, **settings: Any) -> MetricsPipeline:
    return MetricsPipeline(Settings(scrape=ScrapeSettings(HOST, port), **settings), list, tuple)


def test_closing_twice_is_closing_once():
    made = make()
    made.close()
    made.close()


# What goes wrong around it


@pytest.fixture
def worker_of_the_parent(monkeypatch, tmp_path) -> Path:
    """This process is a worker; the folder that it shares with its siblings."""
    root = tmp_path / "root"
    monkeypatch.setattr(pipeline, "common_process", os.getppid)
    monkeypatch.setattr(workers, "default_root", lambda: root)
    return root


def test_workers_that_cannot_share_live_alone_with_one_warning(worker_of_the_parent, caplog):
    worker_of_the_parent.mkdir(mode=0o700)
    worker_of_the_parent.chmod(0o777)
    made = make()
    made.run_metrics.dropped("traces", "queue_full", 7)
    port = int(str(made.url).rpartition(":")[2].partition("/")[0])
    page = get(port)[1]
    made.close()

    assert samples(page, "langflow_otel_dropped_total") == {("traces", "queue_full"): 7.0}
    (line,) = warnings(caplog)
    assert line == (
        f"Metrics of this worker cannot be shared with its siblings' ({worker_of_the_parent} is not a folder that "
        "only this user can use): a scrape shows one."
    )
    assert list(worker_of_the_parent.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "error"),
    [("posix_fallocate", errno.ENOSPC), ("mkdir", errno.EROFS), ("open", errno.EMFILE)],
)
def test_a_worker_without_a_place_for_its_file_lives_alone(worker_of_the_parent, monkeypatch, caplog, name, error):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        if name == "posix_fallocate":
            patch.setattr(os, name, refuse)
        else:
            patch.setattr(Path, name, refuse)
        made = make()
    made.run_metrics.dropped("traces", "queue_full", 7)
    assert not isinstance(made.run_metrics.instruments.store, FileStore)
    assert made.url is not None
    made.close()

    (line,) = warnings(caplog)
    assert line.startswith("Metrics of this worker cannot be shared with its siblings'")


def test_a_leader_that_cannot_fold_still_answers(worker_of_the_parent, monkeypatch, caplog):
    def refuse(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workers.WorkerGroup, "fold", refuse)
    made = make()
    time.sleep(0.1)
    assert made.url is not None
    made.close()

    (line,) = warnings(caplog)
    assert "cannot be kept in order: [Errno 28] No space left on device" in line


@pytest.mark.usefixtures("lenient")
def test_a_fault_does_not_end_what_is_done_now_and_then(monkeypatch, caplog):
    called = 0

    def fail() -> int:
        nonlocal called
        called += 1
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(conditions, "resident_memory", fail)
        made = make()
        wait_until(lambda: called > 3)
        assert made.url is None
    wait_until(lambda: made.url is not None)
    made.close()

    assert guard.faults["metrics.keep"] == called
    assert len(warnings(caplog)) == 1


# Workers


def serving(pipe: Connection, port: int, root: Path, common_pid: int | None = None, **settings: Any) -> None:
    """An instrumented process that does what it is told."""
    workers.default_root = lambda: root
    if common_pid is not None:
        pipeline.common_process = lambda: common_pid
    else:
        pipeline.common_process = lambda: None
    _said.clear()
    logging.getLogger("langflow_otel").addHandler(_Said(logging.WARNING))
    instrument(settings=Settings(scrape=ScrapeSettings(HOST, port), **settings))
    pipe.send("ready")
    obey(pipe)


def obey(pipe: Connection) -> None:
    while True:
        command, *arguments = pipe.recv()
        pipe.send(COMMANDS[command](*arguments))


def fork(pipe: Connection) -> int:
    """The child does what it is told through this pipe."""
    child = os.fork()
    if child == 0:
        try:
            obey(pipe)
        finally:
            os._exit(1)
    return child


def fork_holding_the_lock(pipe: Connection) -> int:
    """As if another thread held all there are at that moment; the child ends a run that was going on."""
    flow = recorder().start_flow(FLOW)
    assert flow is not None
    locked, forked = threading.Event(), threading.Event()
    metrics = recorder().metrics
    assert metrics is not None

    process = LangflowInstrumentor()._process
    opened = None if process is None else process.metrics
    assert opened is not None

    def hold() -> None:
        with metrics.instruments.store.lock, opened._stopped._cond:
            locked.set()
            forked.wait()

    threading.Thread(target=hold).start()
    locked.wait()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(20)
            flow.finish()
            obey(pipe)
        finally:
            os._exit(1)
    forked.set()
    flow.finish()
    return child


def fork_making_a_page(pipe: Connection) -> int:
    """As if another thread did."""
    scrape = LangflowInstrumentor().scrape
    assert scrape is not None
    with scrape._one_at_a_time:
        return fork(pipe)


def page() -> str:
    scrape = LangflowInstrumentor().scrape
    assert scrape is not None
    return scrape.page("", "").body.decode()


_said: list[str] = []


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _said.append(record.getMessage())


def said() -> list[str]:
    """What the log of that process says."""
    return _said


def is_on() -> bool:
    return active_recorder() is not None


COMMANDS: dict[str, Callable[..., Any]] = {
    "run": run_flows,
    "fork": fork,
    "fork holding the lock": fork_holding_the_lock,
    "fork making a page": fork_making_a_page,
    "page": page,
    "uninstrument": uninstrument,
    "url": lambda: LangflowInstrumentor().scrape_url,
    "is on": is_on,
    "said": said,
    "count": lambda: count_dropped("traces", "queue_full"),
}


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "root"


@NEEDS_FORK
def test_one_worker_answers_for_all_and_another_when_it_is_killed(start, free_port, root):
    crew = [start(serving, free_port, root, os.getpid()) for _ in range(3)]
    for number, worker in enumerate(crew, 1):
        worker.tell(("run", number))

    assert [worker.tell(("url",)) is not None for worker in crew] == [True, False, False]
    assert flows_at(free_port) == 6.0
    assert workers_at(free_port) == {str(worker.pid) for worker in crew}
    crew[0].kill()
    wait_until(lambda: is_open(free_port))
    assert flows_at(free_port) == 6.0
    assert workers_at(free_port) == {str(worker.pid) for worker in crew[1:]}
    assert sum(worker.tell(("url",)) is not None for worker in crew[1:]) == 1


@NEEDS_FORK
@pytest.mark.slow
def test_a_worker_that_is_switched_off_leaves_its_counts(start, free_port, root):
    crew = [start(serving, free_port, root, os.getpid()) for _ in range(2)]
    for worker in crew:
        worker.tell(("run", 5))
    crew[0].tell(("uninstrument",))
    wait_until(lambda: is_open(free_port))

    assert flows_at(free_port) == 10.0
    assert workers_at(free_port) == {str(crew[1].pid)}


# Fork


@dataclass
class Child:
    pid: int
    pipe: Connection

    def tell(self, *message: object) -> Any:
        self.pipe.send(message)
        assert self.pipe.poll(20), "no answer"
        return self.pipe.recv()

    def kill(self) -> None:
        """It is gone when this returns; nobody here can wait for a child of somebody else's."""
        os.kill(self.pid, signal.SIGKILL)
        with suppress(psutil.NoSuchProcess):
            wait_until(lambda: psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE)


@pytest.fixture
def parent_of(start, root) -> Iterator[Callable[..., Parent]]:
    """Starts an instrumented process that can fork children."""
    made: list[Parent] = []

    def parent_of(port: int, common_pid: int | None = None, **settings: Any) -> Parent:
        made.append(Parent(start, port, root, common_pid, settings))
        return made[-1]

    yield parent_of
    for parent in made:
        parent.end()


class Parent:
    """An instrumented process, and the children that it forks when it is told to."""

    def __init__(self, start: Start, port: int, root: Path, common_pid: int | None, settings: dict[str, Any]) -> None:
        self._pipes = [Pipe() for _ in range(3)]
        self.children: list[Child] = []
        theirs = [pipe for _, pipe in self._pipes]
        self.worker = start(forking, port, root, common_pid, settings, *theirs)
        for pipe in theirs:
            pipe.close()
        self.pid = self.worker.pid

    def tell(self, *message: object) -> Any:
        return self.worker.tell(message)

    def fork(self, how: str = "fork", forked_by: Child | None = None) -> Child:
        number = len(self.children)
        child = Child((forked_by or self).tell(how, number), self._pipes[number][0])
        self.children.append(child)
        return child

    def kill(self) -> None:
        self.worker.kill()

    def end(self) -> None:
        for child in self.children:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        for pipe, _ in self._pipes:
            pipe.close()


def forking(
    pipe: Connection, port: int, root: Path, common_pid: int | None, settings: dict[str, Any], *pipes: Connection
) -> None:
    for command in (fork, fork_holding_the_lock, fork_making_a_page):
        COMMANDS[command.__name__.replace("_", " ")] = lambda number, command=command: command(pipes[number])
    serving(pipe, port, root, common_pid, **settings)


@NEEDS_FORK
def test_the_runs_of_a_forked_process_are_counted(parent_of, free_port):
    parent = parent_of(free_port)
    parent.tell("run", 2)
    child = parent.fork()
    # The child has its parent's memory; what the parent counted is not counted twice.
    assert flows_at(free_port) == 2.0
    assert workers_at(free_port) == {str(parent.pid)}
    child.tell("run", 3)

    assert flows_at(free_port) == 5.0
    assert workers_at(free_port) == {str(parent.pid), str(child.pid)}
    parent.tell("run", 10)
    child.tell("run", 20)
    assert flows_at(free_port) == 35.0
    assert child.tell("url") is None
    assert child.tell("said") == [] == parent.tell("said")


@NEEDS_FORK
def test_a_forked_process_without_runs_holds_nothing(parent_of, free_port):
    parent = parent_of(free_port)
    child = parent.fork()
    parent.kill()

    wait_until(lambda: not is_open(free_port))
    socket.create_server((HOST, free_port)).close()
    # Nobody has asked it to do anything, so it has not; with its first run it takes its parent's place.
    child.tell("run", 3)
    assert flows_at(free_port) == 3.0


@NEEDS_FORK
@pytest.mark.slow
def test_a_forked_process_takes_over_when_its_parent_is_killed(parent_of, free_port):
    parent = parent_of(free_port)
    children = [parent.fork(), parent.fork()]
    for child in children:
        child.tell("run", 3)
    assert flows_at(free_port) == 6.0
    parent.kill()
    wait_until(lambda: is_open(free_port))

    assert flows_at(free_port) == 6.0
    assert workers_at(free_port) == {str(child.pid) for child in children}
    assert [child.tell("said") for child in children] == [[], []]
    leader, other = sorted(children, key=lambda child: child.tell("url") is None)
    leader.kill()
    wait_until(lambda: other.tell("url") is not None)
    assert flows_at(free_port) == 6.0
    assert workers_at(free_port) == {str(other.pid)}


@NEEDS_FORK
@pytest.mark.slow
def test_the_child_of_a_worker_is_a_worker_of_the_same_group(parent_of, free_port):
    parent = parent_of(free_port, os.getpid())
    parent.tell("run", 2)
    child = parent.fork()
    # What it does outside of flows must not go into its parent's file, which it still has mapped.
    child.tell("count")
    assert "langflow_otel_dropped_total" not in get(free_port)[1]
    assert flows_at(free_port) == 2.0
    child.tell("run", 3)
    assert flows_at(free_port) == 5.0
    parent.kill()
    wait_until(lambda: is_open(free_port))

    assert flows_at(free_port) == 5.0
    # The child has its parent's file open and mapped, and yet the parent is dead.
    assert averages_at(free_port) == workers_at(free_port) == {str(child.pid)}


@NEEDS_FORK
@pytest.mark.slow
def test_a_child_of_a_child(parent_of, free_port):
    parent = parent_of(free_port)
    child = parent.fork()
    child.tell("run", 1)
    grandchild = parent.fork(forked_by=child)
    grandchild.tell("run", 5)

    assert flows_at(free_port) == 6.0
    grandchild.kill()
    assert flows_at(free_port) == 6.0
    assert workers_at(free_port) == {str(parent.pid), str(child.pid)}


@NEEDS_FORK
@pytest.mark.slow
def test_a_port_that_was_taken_at_the_fork_is_the_parents_all_the_same(parent_of, free_port):
    with socket.create_server((HOST, free_port)):
        parent = parent_of(free_port)
        child = parent.fork()
        parent.tell("run", 2)
        child.tell("run", 3)
    wait_until(lambda: parent.tell("url") is not None)

    assert child.tell("url") is None
    assert flows_at(free_port) == 5.0


@NEEDS_FORK
@pytest.mark.parametrize("command", ["run", "uninstrument"])
def test_a_fork_at_a_bad_moment_does_not_hang_the_child(parent_of, free_port, command: str):
    parent = parent_of(free_port)
    child = parent.fork("fork holding the lock")
    child.tell(*(("run", 3) if command == "run" else ("uninstrument",)))

    assert flows_at(free_port) == (4.0 if command == "run" else 1.0)


@NEEDS_FORK
@pytest.mark.slow
@pytest.mark.parametrize("runs", [0, 2])
def test_off_in_a_child_is_not_off_in_the_parent(parent_of, free_port, runs: int):
    parent = parent_of(free_port)
    parent.tell("run", 1)
    child = parent.fork()
    if runs:
        child.tell("run", runs)
    child.tell("uninstrument")

    assert child.tell("is on") is False
    assert child.tell("said") == []
    assert parent.tell("is on") is True
    assert flows_at(free_port) == 1.0 + runs
    assert workers_at(free_port) == {str(parent.pid)}


@NEEDS_FORK
@pytest.mark.slow
def test_a_child_does_not_push_its_parents_numbers(parent_of, free_port, receiver, monkeypatch):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    target = OtlpTarget("http/protobuf", f"http://{receiver.address}/v1/metrics", insecure=True)
    parent = parent_of(free_port, metrics_otlp=target)
    parent.tell("run", 2)
    wait_until(lambda: list(pushed_runs(receiver).values()) == [2.0])
    (parents_id,) = instances(receiver)
    silent, running = parent.fork(), parent.fork()
    parent.kill()
    before = len(receiver.metric_requests)
    time.sleep(0.3)
    assert len(receiver.metric_requests) <= before + 1  # One may have been on its way.
    running.tell("run", 3)
    wait_until(lambda: len(pushed_runs(receiver)) == 2)
    before = len(receiver.metric_requests)
    wait_until(lambda: len(receiver.metric_requests) > before + 2)

    (childs_id,) = instances(receiver) - {parents_id}
    assert pushed_runs(receiver) == {parents_id: 2.0, childs_id: 3.0}
    assert silent.tell("is on") is True


@NEEDS_FORK
@pytest.mark.slow
def test_off_in_a_child_does_not_wait_for_its_parents_push(parent_of, free_port, monkeypatch):
    """The parent was in the middle of one when it forked: its lock is never released in the child."""
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")
    with socket.create_server((HOST, 0)) as deaf:
        target = OtlpTarget("http/protobuf", f"http://{HOST}:{deaf.getsockname()[1]}/v1/metrics", insecure=True)
        parent = parent_of(free_port, metrics_otlp=target)
        parent.tell("run", 1)
        deaf.accept()[0].recv(10)
        children = [parent.fork(), parent.fork()]
        children[1].tell("run", 1)
        children[0].tell("uninstrument")

        assert children[0].tell("is on") is False
        assert flows_at(free_port) == 2.0
        parent.kill()


ENDING = """
import os, signal, socket, sys, time
from langflow_otel._process.metrics import MetricsPipeline
from langflow_otel._settings.otlp_target import OtlpTarget
from langflow_otel._settings.settings import Settings
deaf = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1/metrics"
pipeline = MetricsPipeline(Settings(metrics_otlp=OtlpTarget("http/protobuf", url, insecure=True)), list, tuple)
deaf.accept()[0].recv(10)
child = os.fork()
if child == 0:
    sys.exit(0)
for _ in range(150):
    time.sleep(0.1)
    if os.waitpid(child, os.WNOHANG) != (0, 0):
        print("ended", flush=True)
        break
os.kill(child, signal.SIGKILL) if _ == 149 else None
os._exit(0)
"""


@NEEDS_FORK
@pytest.mark.slow
def test_a_child_can_end_while_its_parent_pushes():
    environment = {**os.environ, "OTEL_METRIC_EXPORT_INTERVAL": "20"}
    done = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=60, env=environment)

    assert done.stdout == "ended\n", done.stderr


@NEEDS_FORK
def test_a_page_made_in_a_child_that_has_not_run_yet(parent_of, free_port):
    """By the application's own route, say; another thread of the parent was making a page at the fork."""
    parent = parent_of(free_port)
    parent.tell("run", 2)
    running, silent = parent.fork(), parent.fork("fork making a page")
    running.tell("run", 3)

    assert sum(samples(silent.tell("page"), "langflow_flow_duration_seconds_count").values()) == 3.0
