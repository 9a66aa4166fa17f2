"""``langflow-otel demo --serve``: a load that goes on until somebody stops it."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from otlp_receiver import otlp_receiver
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from test_cli_demo import COMMAND, environment, pushed_runs

from langflow_otel.cli.demo import serve as module
from langflow_otel.cli.demo.serve import Stop, serve
from langflow_otel.cli.scraping import ScrapedPage
from langflow_otel.insights.trace import build_trees, from_file, without_scope

PAGE = (
    'langflow_flow_duration_seconds_count{flow="f",status="ok"} 1234.0\n'
    'langflow_flow_duration_seconds_count{flow="f",status="error"} 7.0\n'
    "langflow_throughput 0.987\nlangflow_error_rate 3.21\n"
)
LINE = "1,241 runs · 7 failed · 0.99/s · 3.2 % errors · http://localhost:1/metrics"


class Endpoint:
    """Stands in for a scraper."""

    url = "http://localhost:1/metrics"

    def __init__(self) -> None:
        self.is_up = True

    def read(self) -> ScrapedPage:
        if not self.is_up:
            raise OSError("nobody there")
        return ScrapedPage(PAGE)


@contextmanager
def signals(*after_s: float, number: int = signal.SIGTERM) -> Iterator[None]:
    """This process gets a signal, so many seconds from now."""
    timers = [threading.Timer(seconds, os.kill, (os.getpid(), number)) for seconds in after_s]
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()


def served(run_one: Callable, endpoint: Endpoint, *, terminal: bool = False) -> tuple[list[str], object]:
    """What was written, and the figures at the end."""
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal, highlight=False)
    with Stop() as stop:
        figures = serve(console, endpoint, run_one, stop, first=21, window_s=60)  # type: ignore[arg-type]
    return console.file.getvalue().splitlines(), figures  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.any_version
class TestLoad:
    @pytest.fixture(autouse=True)
    def _ten_times_as_fast(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("_LOOK_S", "_RUN_EVERY_S", "_PATIENCE_S", "_REFRESH_S"):
            monkeypatch.setattr(module, name, getattr(module, name) / 10)

    def test_one_run_a_second_whatever_becomes_of_them(self) -> None:
        starts: list[tuple[int, float]] = []

        async def run_one(number: int) -> None:
            starts.append((number, time.monotonic()))
            raise ConnectionError("as it may")

        with signals(1.05):
            lines, figures = served(run_one, Endpoint())

        assert [number for number, _ in starts] == list(range(21, 21 + len(starts)))
        # A busy machine starts some of them late, and the next in time.
        assert 2 <= len(starts) <= 12
        assert starts[-1][1] - starts[0][1] > (len(starts) - 2) * module._RUN_EVERY_S
        assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in lines] == [LINE]
        assert (figures.runs, figures.failed_runs) == (1241, 7)  # type: ignore[attr-defined]

    def test_slow_runs_do_not_pile_up_and_may_end(self) -> None:
        most, ended = 0, 0

        async def run_one(number: int) -> None:
            nonlocal most, ended
            most = max(most, number - 20 - ended)
            await asyncio.sleep(0.6)
            ended += 1

        with signals(0.5, number=signal.SIGINT):
            served(run_one, Endpoint())

        assert (most, ended) == (3, 3)

    def test_runs_that_do_not_end_are_not_waited_for(self) -> None:
        async def run_one(number: int) -> None:
            await asyncio.sleep(60)

        started_s = time.monotonic()
        with signals(0.2):
            served(run_one, Endpoint())

        assert time.monotonic() - started_s < 30

    def test_on_a_terminal_one_line_changes(self) -> None:
        async def run_one(number: int) -> None: ...

        with signals(0.5):
            lines, _ = served(run_one, Endpoint(), terminal=True)
        plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", "\n".join(lines))

        assert set(plain.replace("\r", "\n").split("\n")) <= {LINE, ""}
        assert plain.count(LINE) >= 2

    def test_a_page_that_cannot_be_read_ends_nothing(self) -> None:
        endpoint = Endpoint()
        runs = 0

        async def run_one(number: int) -> None:
            nonlocal runs
            runs += 1
            endpoint.is_up = False

        with signals(0.5):
            _, figures = served(run_one, endpoint)

        assert figures is None
        assert runs > 2

    def test_the_second_signal_ends_it_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_PATIENCE_S", 60)

        async def run_one(number: int) -> None:
            await asyncio.sleep(60)

        started_s = time.monotonic()
        with signals(0.2, 0.6), pytest.raises(KeyboardInterrupt):
            served(run_one, Endpoint())

        assert time.monotonic() - started_s < 30

    @pytest.mark.filterwarnings("error")
    @pytest.mark.usefixtures("_nothing_left_by_others")
    def test_a_signal_at_the_very_beginning_leaves_nothing_unawaited(self) -> None:
        async def awaits(inner: Awaitable[None]) -> None:
            await inner

        stop = Stop()
        with stop:
            with suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            with pytest.raises(KeyboardInterrupt):
                stop.run(awaits(asyncio.sleep(5)))
            gc.collect()

    @pytest.fixture
    def _nothing_left_by_others(self) -> None:
        """Before Python 3.11 pytest-asyncio may leave an event loop open, which goes when there is another one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asyncio.set_event_loop(None)
            gc.collect()

    def test_signals_mean_again_what_they_meant(self) -> None:
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        with Stop():
            assert signal.getsignal(signal.SIGINT) != before[0]

        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    def test_a_signal_before_the_load_ends_it_in_good_order_too(self) -> None:
        with Stop():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
            pytest.fail("it went on")

        with pytest.raises(KeyboardInterrupt), Stop():
            raise KeyboardInterrupt


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def start(folder: Path, port: int, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=folder,
        env=environment(
            LANGFLOW_OTEL_TRACE_FILE=str(folder / "traces.jsonl"), OTEL_EXPORTER_PROMETHEUS_PORT=str(port), **variables
        ),
    )


def lines_until(process: subprocess.Popen[str], pattern: str) -> list[str]:
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if re.search(pattern, line):
            return lines
    pytest.fail(f"{lines} {process.communicate()}")


def scraped_runs(port: int) -> Counter[str]:
    """Flow runs by status, as Prometheus' own parser reads the page."""
    with urllib.request.urlopen(f"http://localhost:{port}/metrics", timeout=10) as answer:
        families = {each.name: each for each in text_string_to_metric_families(answer.read().decode())}
    samples = families["langflow_flow_duration_seconds"].samples
    counts: Counter[str] = Counter()
    for sample in samples:
        if sample.name.endswith("_count"):
            counts[sample.labels["status"]] += int(sample.value)
    return counts


@pytest.mark.slow
@pytest.mark.any_version
class TestServe:
    def test_ctrl_c_after_a_while(self, tmp_path: Path) -> None:
        port = free_port()
        with otlp_receiver("http/protobuf") as receiver:
            metrics_url = f"http://{receiver.address}/v1/metrics"
            process = start(tmp_path, port, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=metrics_url)
            lines = lines_until(process, r"^\d\d:\d\d:\d\d  ")
            before = scraped_runs(port)
            later = lines_until(process, r"^\d\d:\d\d:\d\d  ")[-1]
            after = scraped_runs(port)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=30)

        assert (process.returncode, stderr) == (0, "")
        url = f"http://localhost:{port}/metrics"
        assert f"  scrape (while this runs): {url}" in lines
        assert "Next" not in lines
        start_of_yaml = lines.index("Prometheus  what belongs into its prometheus.yml") + 1
        assert lines[start_of_yaml : lines.index("", start_of_yaml)] == [
            "scrape_configs:",
            "  - job_name: langflow",
            "    scrape_interval: 5s",
            "    static_configs:",
            f'      - targets: ["localhost:{port}"]',
        ]
        told = re.fullmatch(rf"\S+  (\d+) runs · (\d+) failed · [\d.]+/s · [\d.]+ % errors · {url}", later)
        assert told is not None
        assert before["ok"] + before["error"] < int(told[1]) <= after["ok"] + after["error"]
        assert before["error"] <= int(told[2]) <= after["error"]
        self._check_the_end(stdout, tmp_path, pushed_runs(receiver))
        with socket.create_server(("127.0.0.1", port)):
            pass

    @staticmethod
    def _check_the_end(stdout: str, folder: Path, pushed: dict[str, int]) -> None:
        stopping, stopped = stdout.splitlines()[-2:]
        told = re.fullmatch(r"Stopped after (\d+) runs, (\d+) of them failed\.", stopped)
        assert stopping == "Stopping: what is left is sent ..."
        assert told is not None
        assert pushed == {"ok": int(told[1]) - int(told[2]), "error": int(told[2])}
        roots = build_trees(without_scope(from_file(folder / "traces.jsonl"), "langflow.observability"))
        assert Counter(root.status for root in roots) == pushed

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_while_it_loads(self, tmp_path: Path, number: signal.Signals) -> None:
        process = start(tmp_path, free_port())
        lines_until(process, "^Loading")
        time.sleep(1)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=30)

        # A module that is being imported may swallow the interrupt, and say so: then it is all loaded first.
        assert (process.returncode, stdout.splitlines()[-1]) == (0, "Stopped before the load began.")
        assert "langflow_otel" not in stderr

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no pseudo-terminal")
    def test_sigterm_on_a_terminal(self, tmp_path: Path) -> None:
        import pty

        port = free_port()
        theirs, ours = pty.openpty()
        env = environment(OTEL_EXPORTER_PROMETHEUS_PORT=str(port), TERM="xterm-256color", COLUMNS="100")
        process = subprocess.Popen([*COMMAND, "--serve"], stdout=ours, stderr=ours, cwd=tmp_path, env=env)
        os.close(ours)
        shown = _until(theirs, b"22 runs")
        process.terminate()
        shown += _until(theirs, None)

        assert process.wait(30) == 0
        text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.decode())
        assert f"/s · 5.0 % errors · http://localhost:{port}/metrics" in text
        assert text.splitlines()[-1].startswith("Stopped after 2")
        assert b"Traceback" not in shown
        assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l") > 0


def _until(terminal: int, text: bytes | None) -> bytes:
    """What is written to the terminal up to this text, or to its end."""
    shown = b""
    while text is None or text not in shown:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # as Linux tells that nobody writes any more
            part = b""
        if not part:
            break
        shown += part
    return shown
