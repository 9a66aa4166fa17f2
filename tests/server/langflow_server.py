"""A real ``langflow run`` or ``lfx serve``, as a user starts it, and a real OTLP receiver that it sends to.

Example::

    with langflow_server() as server:
        server.client.post("/api/v1/run/ok", json={"input_value": "hi"})   # or a function of paths.py
        assert server.trees(runs=1) == ["POST /api/v1/run/{flow_id_or_name}", "  invoke_workflow ok", ...]

A first start with an empty folder takes longer, and with several workers LangFlow's own set-up of its database
races. So one worker makes the folder with database, API key and flows once; each server begins with a copy.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from otlp_receiver import Receiver, otlp_receiver
from received import ReceivedSpan, misses_parent, received_spans, render, runs_below, without_chatter

from langflow_otel.insights.trace import TraceSpan, build_trees, from_file

if importlib.util.find_spec("langflow") is None:
    pytest.skip("these tests start LangFlow's server: pip install langflow-base", allow_module_level=True)

START_S = 300.0
"""How long a server may take to answer: 15 s on two idle cores."""
QUIET_S = 0.5
"""So long nothing may come in until all is there: several times the delay of an export."""
PARENTS_S = 5.0
"""How long a span waits for its parent in the same process."""
TRACE_FILE = "spans.jsonl"
"""Where a server that is given this as LANGFLOW_OTEL_TRACE_FILE writes: its working folder is its own."""

_SPEED = {
    "OTEL_BSP_SCHEDULE_DELAY": "50",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    "LANGFLOW_CREATE_STARTER_PROJECTS": "false",
    # LangFlow 1.13 makes a TraceloopTracer for each run, which flushes the global provider when the garbage collector
    # finds it. In the thread that exports LangFlow's own spans that thread waits for itself, and they stop for good.
    "LANGFLOW_DEACTIVATE_TRACING": "true",
    # An error takes LangFlow up to 20 s otherwise: it draws the traceback.
    "LANGFLOW_LOG_LEVEL": "CRITICAL",
}


def langflow_version() -> tuple[int, int]:
    """That of the installed langflow-base: 0.7 is LangFlow 1.7, and so on; since 1.10 they are the same."""
    major, minor = metadata.version("langflow-base").split(".")[:2]
    return max(int(major), 1), int(minor)


@dataclass
class Server:
    """A running server.

    Attributes:
        url: Without a slash at the end.
        receiver: What it sent, where its environment names it as the endpoint.
        folder: Its configuration and database; the components' ``TEST_FOLDER``.
        client: Speaks to it as a program does, with an API key.
        browser: Speaks to it as the user's browser does, with the token of a session.
        flows: Identifiers by name.
    """

    url: str
    process: subprocess.Popen[bytes]
    receiver: Receiver
    folder: Path
    client: httpx.Client
    browser: httpx.Client
    token: str = ""
    flows: dict[str, str] = field(default_factory=dict)
    version: tuple[int, int] = field(default_factory=langflow_version)

    def create_flow(self, graph_dump: Mapping[str, Any], name: str, *, webhook: bool = True) -> str:
        """Make a flow through the API; its id. Its endpoint name is its name."""
        body = {"name": name, "data": graph_dump["data"], "endpoint_name": name, "webhook": webhook}
        # Before 1.9 a dump may hold times.
        text = json.dumps(body, default=str)
        response = self.browser.post("/api/v1/flows/", content=text, headers={"Content-Type": "application/json"})
        assert response.status_code == 201, response.text
        self.flows[name] = response.json()["id"]
        return self.flows[name]

    def process_ids(self) -> list[int]:
        """Of the server and all processes below it."""
        parent = psutil.Process(self.process.pid)
        return [parent.pid, *(child.pid for child in parent.children(recursive=True))]

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 30.0) -> float:
        """Send a signal to the process that the user started, wait for its end; how long that took, in seconds.

        Raises:
            subprocess.TimeoutExpired: It goes on.
        """
        started_s = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout_s)
        return time.monotonic() - started_s

    def output(self) -> str:
        """What it wrote to standard output and error."""
        return _log_of(self.folder).read_text(encoding="utf-8", errors="replace")

    def forget(self) -> None:
        """What came in so far. Waits only for what may still be coming in."""
        received = self.receiver.requests
        if not received or time.monotonic() - received[-1].received_s < QUIET_S:
            self.wait_until_quiet()
        self.receiver.requests.clear()
        self.receiver.log_requests.clear()

    def spans(self) -> list[TraceSpan]:
        """What was received, and what is in the trace file; without what only says how the host works."""
        written = self.folder / TRACE_FILE
        return without_chatter([*received_spans(self.receiver), *(from_file(written) if written.exists() else [])])

    def traces(self, runs: int, timeout_s: float = 90.0) -> list[TraceSpan]:
        """The trees that have flow runs in them, once so many are there and no more spans come.

        Raises:
            AssertionError: There are fewer or more runs. Runs by other runs do not count.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            self.wait_until_quiet()
            roots = [root for root in build_trees(self.spans()) if runs_below(root)]
            found = sum(len(runs_below(root)) for root in roots)
            if found >= runs:
                # The request around a run ends after it; on a busy machine, much later.
                deadline_s = min(deadline_s, time.monotonic() + PARENTS_S * any(map(misses_parent, roots)))
            if time.monotonic() >= deadline_s:
                break
        said = f"{self.output()[-3000:]}\n{found} runs, not {runs}: {render(build_trees(self.spans()))}"
        assert found == runs, said
        return roots

    def trees(self, runs: int, *attributes: str) -> list[str]:
        """The same as indented names, with ``[status]`` where it is not ok, and these attributes where there."""
        return render(self.traces(runs), *attributes)

    def run(self) -> ReceivedSpan:
        """The one flow run that came in."""
        (root,) = self.traces(runs=1)
        (run,) = runs_below(root)
        assert isinstance(run, ReceivedSpan)
        return run

    def wait_until_quiet(self) -> None:
        """Until no spans come in any more."""
        seen, since_s = -1, 0.0
        while seen != len(self.receiver.requests) or time.monotonic() - since_s < QUIET_S:
            if seen != len(self.receiver.requests):
                seen, since_s = len(self.receiver.requests), time.monotonic()
            time.sleep(0.02)


@contextmanager
def langflow_server(
    *,
    workers: int = 1,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    endpoint: bool = True,
    arguments: Sequence[str] = ("--backend-only",),
) -> Iterator[Server]:
    """``langflow run`` with the flows of ``server_flows.py``; at the end no process of it is left.

    Args:
        workers: Processes that answer requests.
        prefix: What stands before ``langflow``, such as ``["opentelemetry-instrument"]``.
        environment: Further variables; they win.
        endpoint: Whether the environment names the receiver as OTEL_EXPORTER_OTLP_ENDPOINT.
        arguments: Of ``langflow run``.

    Raises:
        AssertionError: It ended, or did not answer in time; with the end of what it wrote.
    """
    source = prepared_home()
    with otlp_receiver("http/protobuf") as receiver, tempfile.TemporaryDirectory(prefix="langflow-") as folder:
        home = Path(folder, "home")
        shutil.copytree(source, home)
        port = _free_port()
        command = _langflow_run(port, workers, prefix, arguments)
        further = {**_endpoint(receiver, endpoint), **(environment or {})}
        with _started(command, port, home, further, receiver, workers) as server:
            _sign_in(server)
            server.flows = json.loads((home / "flows.json").read_text(encoding="utf-8"))
            yield server


@contextmanager
def lfx_server(flow: str, *, prefix: Sequence[str], endpoint: bool = True) -> Iterator[Server]:
    """``lfx serve`` with one flow as LangFlow exports it; its API key is ``key``. Raises as :func:`langflow_server`."""
    stored = prepared_home() / f"{flow}.json"
    with otlp_receiver("http/protobuf") as receiver, tempfile.TemporaryDirectory(prefix="lfx-") as folder:
        home = Path(folder)
        port = _free_port()
        command = [*_scripts(prefix, "lfx"), "serve", str(stored)]
        command += ["--host", "127.0.0.1", "--port", str(port)]
        further = {**_endpoint(receiver, endpoint), "LANGFLOW_API_KEY": "key"}
        with _started(command, port, home, further, receiver) as server:
            server.client.headers["x-api-key"] = "key"
            yield server


@functools.cache
def prepared_home() -> Path:
    """LangFlow's folder with its database, an API key and the flows; one for all processes of a test run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    folder = Path(tempfile.gettempdir(), f"langflow-home-{run}")
    with open(f"{folder}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _make_home().rename(folder)
    return folder


def _make_home() -> Path:
    """Made by one worker of a server without instrumentation."""
    from server_flows import make_flows

    folder = Path(tempfile.mkdtemp(prefix="langflow-home-"))
    port = _free_port()
    with (
        otlp_receiver("http/protobuf") as receiver,
        _started(_langflow_run(port, 1, (), ("--backend-only",)), port, folder, {}, receiver) as server,
    ):
        _sign_in(server, with_key=False)
        make_flows(server)
        made = server.browser.post("/api/v1/api_key/", json={"name": "tests"})
        (folder / "api-key").write_text(made.json()["api_key"], encoding="utf-8")
        (folder / "flows.json").write_text(json.dumps(server.flows), encoding="utf-8")
        for name, flow_id in server.flows.items():
            (folder / f"{name}.json").write_text(server.browser.get(f"/api/v1/flows/{flow_id}").text, encoding="utf-8")
        server.stop(timeout_s=START_S)
    return folder


def _sign_in(server: Server, *, with_key: bool = True) -> None:
    server.token = server.browser.get("/api/v1/auto_login").json()["access_token"]
    server.browser.headers["Authorization"] = f"Bearer {server.token}"
    if with_key:
        server.client.headers["x-api-key"] = (server.folder / "api-key").read_text(encoding="utf-8")


@contextmanager
def _started(
    command: Sequence[str],
    port: int,
    folder: Path,
    environment: Mapping[str, str],
    receiver: Receiver,
    workers: int = 1,
) -> Iterator[Server]:
    # A group of its own: what it forked is found even if the first process is gone.
    with _log_of(folder).open("wb") as output:
        process = subprocess.Popen(
            command,
            env=_environment(folder, workers, environment),
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_the_tests,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        with _client(url) as client, _client(url) as browser:
            server = Server(url, process, receiver, folder, client, browser)
            _wait_for_answer(server)
            yield server
    finally:
        _end(process)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1


def _end_with_the_tests() -> None:
    """In the new process: also when the tests are killed, nobody is left."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _client(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=30, follow_redirects=True)


def _log_of(folder: Path) -> Path:
    return folder / "server.log"


def _langflow_run(port: int, workers: int, prefix: Sequence[str], arguments: Sequence[str]) -> list[str]:
    # The package without the user interface calls its script otherwise.
    name = "langflow" if (Path(sys.executable).parent / "langflow").exists() else "langflow-base"
    options = ["--host", "127.0.0.1", "--port", str(port), "--no-open-browser", "--workers", str(workers)]
    return [*_scripts(prefix, name), "run", *options, *arguments]


def _scripts(*parts: Sequence[str] | str) -> list[str]:
    """The same words; those that are scripts of this Python's environment with their folder."""
    folder = Path(sys.executable).parent
    words = [word for part in parts for word in ([part] if isinstance(part, str) else part)]
    return [str(folder / word) if (folder / word).is_file() else word for word in words]


def _endpoint(receiver: Receiver, wanted: bool) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}"} if wanted else {}


def _environment(folder: Path, workers: int, further: Mapping[str, str]) -> dict[str, str]:
    # Without what concerns the tests' own process: a user's shell has none of it.
    not_ours = ("OTEL_", "LANGFLOW_", "GRPC_", "PYTEST_", "PYTHON")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(not_ours)}
    return {
        **inherited,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}",
        "LANGFLOW_CONFIG_DIR": str(folder),
        "LANGFLOW_DATABASE_URL": f"sqlite:///{folder / 'langflow.db'}",
        "LANGFLOW_AUTO_LOGIN": "true",
        "LANGFLOW_SKIP_AUTH_AUTO_LOGIN": "true",
        "LANGFLOW_DEVELOPER_API_ENABLED": "true",  # the v2 workflows API of 1.8
        "LANGFLOW_DANGEROUSLY_ALLOW_MULTI_WORKER_WITHOUT_SHARED_QUEUE": str(workers > 1).lower(),
        "DO_NOT_TRACK": "true",
        "TEST_FOLDER": str(folder),
        **_SPEED,
        **further,
    }


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for_answer(server: Server) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        assert server.process.poll() is None, f"it ended:\n{server.output()[-4000:]}"
        assert time.monotonic() < deadline_s, f"no answer in {START_S:g} s:\n{server.output()[-4000:]}"
        with suppress(httpx.TransportError):
            if server.client.get("/health", timeout=2).status_code == 200:
                return
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number, patience_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
