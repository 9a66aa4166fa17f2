"""Real servers with several workers: one scrape that is exact, whichever worker is killed and when."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from waiting import wait_until

pytest.importorskip("lfx", reason="these servers run flows on LangFlow's engine: pip install 'langflow-otel[lfx]'")

from langflow_otel._metrics.catalogue import Metric
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._metrics.workers import WorkerGroup

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
GUNICORN = ("-m", "gunicorn", "flow_app:app", "-k", "uvicorn.workers.UvicornWorker", "--workers", "2")
UVICORN = ("-m", "uvicorn", "flow_app:app", "--workers", "2")
WINDOW_S = 600
NODES = {"ok": "Echo", "frozen": "Echo", "failing": "Broken", "slow": "Slow"}

Samples = dict[str, float]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def get(port: int, path: str, timeout_s: float = 20.0) -> str:
    """The body of an answer 200; a connection of its own, so that any worker may answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read().decode()
        assert response.status == 200, body
        return body
    finally:
        connection.close()


BROKEN_CONNECTION = (OSError, http.client.HTTPException)


def samples_in(page: str) -> Samples:
    lines = (line.rpartition(" ") for line in page.splitlines() if line[0] != "#")
    return {name: float(value) for name, _, value in lines}


def counters_in(samples: Samples) -> Samples:
    """What may only go up, and what outlives the worker that counted it."""
    counted = re.compile(r"(langflow|gen_ai)\w*_(total|count|sum|bucket)(\{|$)")
    return {name: value for name, value in samples.items() if counted.match(name)}


def counts_of_runs(samples: Samples) -> Samples:
    """What requests count; a timer counts the delays of the event loops. Outcomes that no run has had are at 0."""
    return {
        name: value
        for name, value in counters_in(samples).items()
        if "event_loop" not in name and re.match(r"\w*_(total|count)(\{|$)", name)
        if value or not name.startswith("langflow_flow_duration")
    }


def samples_of(runs: Counter[str]) -> Counter[str]:
    """What a scrape has to say of these runs, by their lines in the app's file."""
    expected: Counter[str] = Counter()
    for line, count in runs.items():
        kind, status = line.split()
        flow, _, cached = kind.partition("-")
        labels = f'flow="{flow}",status="{status}",entry_point="sdk"'
        expected[f"langflow_flow_duration_seconds_count{{{labels}}}"] += count
        for node in ("ChatInput", *(["ChatOutput"] if status == "ok" else [])):
            expected[f'langflow_component_duration_seconds_count{{{_of(flow, node)},status="ok"}}'] += count
        node = _of(flow, NODES[flow])
        if cached:
            expected[f'langflow_component_bypassed_total{{{node},reason="cached"}}'] += count
        else:
            expected[f'langflow_component_duration_seconds_count{{{node},status="{status}"}}'] += count
        if status == "error":
            expected[f'langflow_component_errors_total{{{node},error_type="LookupError"}}'] += count
    return expected


def _of(flow: str, node: str) -> str:
    return f'flow="{flow}",component_type="{node}"'


class Watcher:
    """Scrapes all the time, from several threads at once, and keeps what must not happen.

    Attributes:
        falls: Samples that were less, or gone, in a later scrape.
        gaps_s: Times without an answer that a scraper can notice, from one scrape to the next.
        scrapes: How many were answered.
    """

    def __init__(self, port: int, threads: int = 2) -> None:
        self.falls: list[str] = []
        self.errors: list[str] = []
        self.gaps_s: list[float] = []
        self.scrapes = 0
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._watch) for _ in range(threads)]

    def __enter__(self) -> Watcher:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _watch(self) -> None:
        known: Samples = {}
        answered_s = time.monotonic()
        while not self._stop.wait(0.03):
            try:
                page = get(self._port, "/metrics", timeout_s=5.0)
            except BROKEN_CONNECTION:
                continue
            except AssertionError as exc:
                self.errors.append(f"no page: {exc}")
                continue
            now_s = time.monotonic()
            if now_s - answered_s > 0.2:
                self.gaps_s.append(now_s - answered_s)
            answered_s = now_s
            self.scrapes += 1
            found = counters_in(samples_in(page))
            for name, value in known.items():
                if found.get(name, -1.0) < value:
                    self.falls.append(f"{name} from {value!r} to {found.get(name)!r}")
            known = found


@dataclass
class Server:
    """A server that runs, and the truth about it."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    runs_file: Path
    broken: int = 0

    @property
    def runs(self) -> Counter[str]:
        return Counter(self.runs_file.read_text().splitlines() if self.runs_file.exists() else [])

    @property
    def workers(self) -> list[int]:
        """Processes that serve; not, for example, the tracker of resources that ``multiprocessing`` starts."""
        found = psutil.Process(self.process.pid).children()
        return sorted(each.pid for each in found if "resource_tracker" not in " ".join(_command(each)))

    @property
    def holder(self) -> int:
        """The process that has the metrics port."""
        wanted = (psutil.CONN_LISTEN, self.metrics_port)
        for pid in (self.process.pid, *self.workers):
            for each in _connections(pid):
                if (each.status, each.laddr.port) == wanted:
                    return pid
        return 0

    @property
    def folder(self) -> Path:
        [found] = shared_root().glob(f"{self.process.pid}-*")
        return found

    def run(self, kind: str) -> dict[str, Any]:
        return json.loads(get(self.port, f"/run?kind={kind}"))

    def scrape(self) -> Samples:
        """The first answer: there may be nobody to give it for a moment."""
        deadline_s = time.monotonic() + 5.0
        while True:
            try:
                return samples_in(get(self.metrics_port, "/metrics"))
            except BROKEN_CONNECTION:
                assert time.monotonic() < deadline_s, "nobody answers the scrape"
                time.sleep(0.02)

    def serve_from_both(self, kind: str = "ok") -> None:
        """Runs until each of two workers has answered."""
        answered: set[int] = set()

        def both() -> bool:
            try:
                answered.add(self.run(kind)["pid"])
            except BROKEN_CONNECTION:
                self.broken += 1
            return len(answered & set(self.workers)) == 2

        wait_until(both, "only one worker serves")

    def kill(self, pid: int) -> None:
        """A worker dies; returns when another one is in its place."""
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in self.workers and len(self.workers) == 2, f"{pid} is not replaced")

    def stop(self) -> None:
        """Gracefully. No process stays."""
        family = [self.process.pid, *(each.pid for each in psutil.Process(self.process.pid).children(recursive=True))]
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        wait_until(lambda: not any(map(_lives, family)), "a process goes on")
        with pytest.raises(OSError, match="refused"):
            get(self.metrics_port, "/metrics")


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _connections(pid: int) -> list[Any]:
    try:
        process = psutil.Process(pid)
        return (getattr(process, "net_connections", None) or process.connections)("tcp")
    except psutil.Error:
        return []


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def shared_root() -> Path:
    return Path("/dev/shm") / f"langflow-otel-{os.getuid()}"


@contextmanager
def server(folder: Path, command: tuple[str, ...], *, before_fork: bool = False) -> Iterator[Server]:
    port, metrics_port = free_port(), free_port()
    runs_file, log_file = folder / "runs", folder / "log"
    address = ("--bind", f"127.0.0.1:{port}") if "gunicorn" in command else ("--port", str(port))
    env = {
        **os.environ,
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "OTEL_EXPORTER_PROMETHEUS_PORT": str(metrics_port),
        "LANGFLOW_OTEL_WINDOW": str(WINDOW_S),
        "FLOW_APP_INSTRUMENT": "import" if before_fork else "lifespan",
        "FLOW_APP_RUNS": str(runs_file),
    }
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, *command, *address], cwd=HERE, env=env, stdout=log, stderr=log)
    found = Server(process, port, metrics_port, runs_file)
    shared = None
    try:
        wait_until(lambda: process.poll() is not None or _answers(found), "the server does not answer")
        found.broken = 0
        shared = found.folder
        yield found
        assert "inside langflow-otel" not in log_file.read_text()
    finally:
        print(log_file.read_text()[-5000:])  # pytest shows it when the test fails
        for each in [*_family(process.pid), process]:
            each.kill()
        process.wait()
        if shared is not None:
            shutil.rmtree(shared, ignore_errors=True)


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _answers(found: Server) -> bool:
    try:
        found.serve_from_both()
        get(found.metrics_port, "/metrics")
    except BROKEN_CONNECTION:
        return False
    return True


@contextmanager
def load(found: Server) -> Iterator[None]:
    """Requests all the time; connections may break."""
    stop = threading.Event()

    def drive(seed: int) -> None:
        choose = random.Random(seed).choice
        while not stop.is_set():
            try:
                found.run(choose(("ok", "ok", "slow", "frozen")))
            except BROKEN_CONNECTION:
                found.broken += 1

    threads = [threading.Thread(target=drive, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.3)
        yield
        time.sleep(0.3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_gunicorn_counts_over_both_workers_and_leaves_nothing_behind(tmp_path):
    with server(tmp_path, GUNICORN) as found:
        for kind in ("ok", "failing", "frozen", "slow", "failing", "frozen", "ok"):
            found.serve_from_both(kind)
        runs = found.runs
        samples = found.scrape()

        assert counts_of_runs(samples) == samples_of(runs)
        failed = runs["failing error"]
        assert failed >= 4
        assert samples["langflow_throughput"] * WINDOW_S == pytest.approx(runs.total())
        assert samples["langflow_error_rate"] == pytest.approx(100 * failed / runs.total())
        assert samples['langflow_component_failure_ratio{component_type="Broken"}'] == 1
        assert {value for name, value in samples.items() if name.startswith("langflow_flow_active")} == {0}
        workers = {name.partition('worker="')[2][:-2] for name in samples if name.startswith("process_uptime")}
        assert workers == set(map(str, found.workers))
        assert found.holder in found.workers

        found.stop()


@dataclass
class Kills:
    """What came of killing workers."""

    watcher: Watcher
    broken_requests: int
    uncertain_runs: int

    def __str__(self) -> str:
        gaps_s = ", ".join(f"{gap_s:.2f}" for gap_s in sorted(self.watcher.gaps_s, reverse=True)[:8])
        return (
            f"{self.watcher.scrapes} scrapes, longest times without an answer {gaps_s or 'below 0.2'} s, "
            f"{self.broken_requests} requests broken, {self.uncertain_runs} runs measured whose line was prevented"
        )


def kill_and_count(found: Server, kills: int, under_load: Callable[[int], bool] = lambda _: False) -> Kills:
    """Workers die one after the other, in turns the one that answers the scrape and another. After each the
    scrape is what the app's file says, and in between no number is ever less than before."""
    beyond: Samples = {}
    with Watcher(found.metrics_port) as watcher:
        for number in range(kills):
            before = counts_of_runs(found.scrape())
            victim = found.holder if number % 2 == 0 else None
            if victim not in found.workers:
                victim = random.Random(number).choice([pid for pid in found.workers if pid != found.holder])
            if under_load(number):
                with load(found):
                    found.kill(victim)
                    found.serve_from_both()
                now_beyond = difference(counts_of_runs(found.scrape()), samples_of(found.runs))
                assert_only_the_killed_differ(difference(now_beyond, beyond))
                beyond = now_beyond
            else:
                found.kill(victim)
                assert counts_of_runs(found.scrape()) == before
                found.run("failing" if number % 5 == 0 else "frozen")
                found.serve_from_both()
                assert difference(counts_of_runs(found.scrape()), samples_of(found.runs)) == beyond
            assert {value for name, value in found.scrape().items() if name.startswith("langflow_flow_active")} <= {0}
            wait_until(
                lambda: sorted(map(kind_of, found.folder.iterdir())) == FILES, "dead workers' files are not folded"
            )
        assert_as_a_whole(found.scrape(), found.runs, beyond)
    assert watcher.scrapes > kills
    assert not watcher.errors
    assert not watcher.falls
    assert max(watcher.gaps_s, default=0) < 5
    return Kills(watcher, found.broken, int(runs_in(beyond)))


FILES = [".values", ".values", "fold", "leader", "total"]


def kind_of(path: Path) -> str:
    return path.suffix or path.name


def difference(more: Samples, less: Samples) -> Samples:
    both = {name: more.get(name, 0) - less.get(name, 0) for name in {*more, *less}}
    return {name: value for name, value in both.items() if value}


def runs_in(samples: Samples) -> float:
    return sum(value for name, value in samples.items() if name.startswith("langflow_flow_duration_seconds_count"))


def assert_only_the_killed_differ(beyond: Samples) -> None:
    """Of the runs that were going on in a killed worker, components may have ended; one of them may have been
    measured to its end when the kill prevented its line in the app's file."""
    assert runs_in(beyond) in (0, 1)
    for name, value in beyond.items():
        assert 0 < value <= 4, (name, beyond)
        assert 'status="error"' not in name, beyond


def assert_as_a_whole(samples: Samples, runs: Counter[str], beyond: Samples) -> None:
    """The gauges over living and dead workers: all runs are within the window."""
    ended, failed = runs.total() + runs_in(beyond), runs["failing error"]
    assert samples["langflow_throughput"] * WINDOW_S == pytest.approx(ended)
    assert samples["langflow_error_rate"] == pytest.approx(100 * failed / ended)


def test_a_sum_does_not_fall_when_a_dead_workers_share_is_folded(tmp_path):
    """A sum that falls by a rounding error looks like a restart: rates then count all of it once more."""
    group = WorkerGroup(os.getpid(), tmp_path / "root")
    scrape = Scrape(MemoryStore(), own_pid=0, window_s=60, cores=1, read=lambda _: [], info={})
    scrape.group = group
    choose = random.Random(1)
    costs = [Metric(f"cost_{number}", "counter", "", "") for number in range(50)]

    def worker() -> MemoryStore:
        store = group.join()
        instruments = Instruments(store, None)
        for metric in costs:
            instruments.recording(metric).add(choose.random())
        return store

    def shown() -> Samples:
        return samples_in(scrape.page("", "").body.decode())

    assert group.lead()
    alive = [worker(), worker()]
    fallen: dict[str, tuple[float, float]] = {}
    for _ in range(10):
        before = shown()
        alive.pop(choose.randrange(2)).close()
        group.fold()
        after = shown()
        fallen |= {
            name: (before[name], after[name]) for name in before if "cost" in name and after[name] < before[name]
        }
        alive.append(worker())
    group.leave()
    assert not fallen


def test_twenty_kills_lose_nothing(tmp_path):
    with server(tmp_path, (*GUNICORN, "--preload")) as found:
        came_of_it = kill_and_count(found, 20, under_load=lambda number: number % 4 >= 2)
        print(f"\n{came_of_it}\n{dict(found.runs)}")
        found.stop()


def test_workers_forked_from_an_instrumented_process_are_killed(tmp_path):
    with server(tmp_path, (*GUNICORN, "--preload"), before_fork=True) as found:
        assert found.holder == found.process.pid
        came_of_it = kill_and_count(found, 6, under_load=lambda number: number % 3 == 2)
        print(f"\n{came_of_it}\n{dict(found.runs)}")
        found.stop()


def test_spawned_workers_are_killed(tmp_path):
    with server(tmp_path, UVICORN) as found:
        came_of_it = kill_and_count(found, 2)
        print(f"\n{came_of_it}\n{dict(found.runs)}")
        found.stop()
