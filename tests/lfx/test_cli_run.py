"""``langflow-otel run``: the same result as ``lfx run``, and the trace beside it."""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flows import chat_input, chat_output
from lfx.graph import Graph

from langflow_otel._settings.settings import Settings
from langflow_otel.cli.demo.flow.order_lookup import OrderLookup
from langflow_otel.cli.main import app
from langflow_otel.cli.run import _no_trace, _Result
from langflow_otel.insights.trace import from_file

TREE = [
    "✓ invoke_workflow orders",
    "├─ ✓ component Chat Input",
    "├─ ✓ component Order Lookup",
    "│  ├─ ✓ parse question  characters=11",
    "│  └─ ✓ query orders  table=orders · rows=300",
    "└─ ✓ component Chat Output",
]
FAILED_TREE = [
    "✗ invoke_workflow orders  KeyError",
    "├─ ✓ component Chat Input",
    "└─ ✗ component Order Lookup  KeyError",
]

LFX = "from lfx.__main__ import main; main()"
OURS = "from langflow_otel.cli.main import main; main()"


@pytest.fixture
def flow_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a flow file; the order lookup's code may be changed."""

    def write(change_code: Callable[[str], str] = lambda code: code) -> Path:
        question = chat_input()
        order = OrderLookup(_id="OrderLookup-o").set(question=question.message_response)
        flow: dict[str, Any] = Graph(question, chat_output(order.find_order)).dump(name="orders")
        for node in flow["data"]["nodes"]:
            if node["id"] == "OrderLookup-o":
                code = node["data"]["node"]["template"]["code"]
                code["value"] = change_code(code["value"])
        path = tmp_path / "orders.json"
        path.write_text(json.dumps(flow, default=str))
        return path

    return write


def environment(**variables: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    return env | {"PYTHONIOENCODING": "utf-8", **variables}


def call(program: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env=environment(**variables),
        timeout=90,
        check=False,
    )


@pytest.fixture(scope="module")
def ours_forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """As ``call(OURS, ...)``, for what does not depend on how LangFlow is imported: see ``forked_commands.py``."""
    if not hasattr(os, "fork"):
        yield functools.partial(call, OURS)
        return
    files = [tmp_path_factory.mktemp("forked") / name for name in ("stdout", "stderr")]
    command = [sys.executable, str(Path(__file__).with_name("forked_commands.py"))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", env=environment()
    ) as process:

        def call_forked(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
            assert process.stdin is not None
            assert process.stdout is not None
            words = list(map(str, arguments))
            process.stdin.write(json.dumps([words, environment(**variables), list(map(str, files))]) + "\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
            return subprocess.CompletedProcess(words, code, *(file.read_text(encoding="utf-8") for file in files))

        yield call_forked


def without_times(stderr: str) -> list[str]:
    return [re.sub(r"\s{2,}[<\d.]+ m?s\s.*$", "", line) for line in stderr.splitlines()]


@pytest.mark.slow
class TestRun:
    def test_the_result_is_that_of_lfx_run_and_the_tree_goes_to_stderr(self, flow_file: Any) -> None:
        path = flow_file()
        theirs = call(LFX, "run", path, "Where is 5?")
        # No port is opened unless it is asked for: nothing is said of this one.
        with socket.create_server(("127.0.0.1", 0)) as holder:
            port = str(holder.getsockname()[1])
            ours = call(OURS, "run", path, "--input", "Where is 5?", OTEL_EXPORTER_PROMETHEUS_PORT=port)

        assert (ours.returncode, ours.stdout) == (0, theirs.stdout)
        assert json.loads(ours.stdout)["result"] == "Where is 5? (order 5: two lamps, paid, shipped)"
        assert without_times(ours.stderr) == TREE

    def test_options_of_lfx_run_are_handed_on(self, flow_file: Any, tmp_path: Path) -> None:
        trace_file = tmp_path / "traces.jsonl"
        ours = call(
            OURS,
            "run",
            flow_file(),
            "Where is 5?",
            "--format",
            "text",
            LANGFLOW_OTEL_TRACE_FILE=str(trace_file),
            LANGFLOW_OTEL_DETAIL="everything",
        )

        assert (ours.returncode, ours.stdout) == (0, "Where is 5? (order 5: two lamps, paid, shipped)\n")
        assert without_times(ours.stderr) == [
            "warning: LANGFLOW_OTEL_DETAIL='everything' is not accepted; use flow, component, model, output. "
            "Using 'model' instead.",
            *TREE,
            f"trace file: {trace_file}",
        ]
        flows = [span for span in from_file(trace_file) if span.name == "invoke_workflow orders"]
        assert [flow.attributes["langflow.entry_point"] for flow in flows] == ["cli"]

    def test_a_flow_that_fails_has_its_tree_and_one_line(self, flow_file: Any) -> None:
        path = flow_file(lambda code: code.replace("order_id = self.parse_question()", "raise KeyError('gone')"))
        theirs = call(LFX, "run", path, "Where is 5?")
        ours = call(OURS, "run", path, "Where is 5?")

        assert (ours.returncode, ours.stdout) == (1, theirs.stdout)
        assert without_times(ours.stderr) == [
            *FAILED_TREE,
            "langflow-otel: the flow failed: Error building Component Order Lookup: 'gone'",
        ]

    @pytest.mark.any_version
    def test_a_flow_that_fails_unsampled_has_failed_all_the_same(self, flow_file: Any, ours_forked: Any) -> None:
        path = flow_file(lambda code: code.replace("order_id = self.parse_question()", "raise KeyError('gone')"))
        ours = ours_forked("run", path, "Where is 5?", OTEL_TRACES_SAMPLER="always_off")

        assert ours.returncode == 1
        assert ours.stderr.splitlines() == [
            "no trace: this run is not sampled (OTEL_TRACES_SAMPLER=always_off)",
            "langflow-otel: the flow failed: Error building Component Order Lookup: 'gone'",
        ]

    @pytest.mark.any_version
    @pytest.mark.parametrize(
        ("variables", "reason"),
        [
            ({"OTEL_SDK_DISABLED": "true"}, "tracing is off (OTEL_SDK_DISABLED=true)"),
            ({"OTEL_TRACES_SAMPLER": "always_off"}, "this run is not sampled (OTEL_TRACES_SAMPLER=always_off)"),
            ({"LANGFLOW_OTEL_SAMPLING": "*=0"}, "this run is not sampled (LANGFLOW_OTEL_SAMPLING)"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_setting_that_leaves_no_tree_is_named(
        self, flow_file: Any, ours_forked: Any, variables: dict[str, str], reason: str
    ) -> None:
        ours = ours_forked("run", flow_file(), "Where is 5?", **variables)

        assert ours.returncode == 0
        assert json.loads(ours.stdout)["success"] is True
        assert ours.stderr == f"no trace: {reason}\n"

    @pytest.mark.skipif(sys.platform == "win32", reason="a program cannot be sent these signals there")
    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    @pytest.mark.parametrize(
        "wait",
        [
            "await asyncio.sleep(300)",
            pytest.param("await asyncio.to_thread(time.sleep, 300)", marks=pytest.mark.any_version),
        ],
    )
    def test_signal_cancels_the_flow_and_its_trace_is_kept(
        self, flow_file: Any, tmp_path: Path, number: signal.Signals, code: int, wait: str
    ) -> None:
        started, trace_file = tmp_path / "started", tmp_path / "traces.jsonl"
        here = f"import asyncio, time; open({str(started)!r}, 'w').close(); {wait}"
        path = flow_file(lambda code: code.replace("order_id = self.parse_question()", here))
        process = subprocess.Popen(
            [sys.executable, "-c", OURS, "run", str(path), "--input", "5"],
            env=environment(LANGFLOW_OTEL_TRACE_FILE=str(trace_file)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        deadline = time.monotonic() + 120
        while not started.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)

        assert (process.returncode, stdout) == (code, "")
        assert stderr.splitlines()[-1] == "langflow-otel: cancelled"
        # LangFlow 1.12 and later makes a span without this attribute, in the same file: in this process our provider is
        # the global one.
        status = {span.name: span.attributes.get("langflow.status") for span in from_file(trace_file)}
        assert status["invoke_workflow orders"] == status["component Order Lookup"] == "cancelled"

    def test_a_component_that_is_not_installed_is_named(self, flow_file: Any, ours_forked: Any) -> None:
        ours = ours_forked("run", flow_file(lambda code: "import not_there_at_all\n" + code), "hi")

        assert (ours.returncode, ours.stdout) == (2, "")
        assert re.fullmatch(r"langflow-otel: \S+orders\.json: .*not[-_]there[-_]at[-_]all.*\n", ours.stderr)

    @pytest.mark.any_version
    def test_telemetry_on_the_console_leaves_the_result_alone(self, flow_file: Any, ours_forked: Any) -> None:
        console = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "console"}
        ours = ours_forked("run", flow_file(), "Where is 5?", **console)

        assert ours.returncode == 0
        assert json.loads(ours.stdout)["success"] is True
        assert '"name": "component Order Lookup"' in ours.stderr
        assert '"name": "langflow.flow.duration"' in ours.stderr

    @pytest.mark.any_version
    def test_a_port_that_is_asked_for_may_be_taken(self, flow_file: Any, ours_forked: Any) -> None:
        path = flow_file()
        with socket.create_server(("127.0.0.1", 0)) as holder:
            port = str(holder.getsockname()[1])
            asked = {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": port}
            taken = ours_forked("run", path, "Where is 5?", **asked)
        free = ours_forked("run", path, "Where is 5?", **asked)

        assert [each.returncode for each in (taken, free)] == [0, 0]
        assert taken.stdout == free.stdout
        assert json.loads(free.stdout)["success"] is True
        warning, *rest = without_times(taken.stderr)
        assert warning.startswith(f"warning: The scrape endpoint cannot listen on localhost:{port}: something else")
        assert rest == TREE
        assert without_times(free.stderr) == [
            *TREE,
            f"metrics, scrape (while this runs): http://localhost:{port}/metrics",
        ]

    def test_a_wrong_option_is_a_wrong_option(self, flow_file: Any, ours_forked: Any) -> None:
        ours = ours_forked("run", flow_file(), "--no-such-option")

        assert (ours.returncode, ours.stdout) == (2, "")
        assert "--no-such-option" in ours.stderr


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "there is no such file"),
        ("{", "not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[1]", "JSON, but not a LangFlow flow: it has no data.nodes"),
        ('{"data": {"nodes": 3}}', "JSON, but not a LangFlow flow: it has no data.nodes"),
    ],
)
def test_what_is_no_flow_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, problem: str
) -> None:
    path = tmp_path / "flow.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit) as end:
        app(["run", str(path)])

    captured = capsys.readouterr()
    assert (end.value.code, captured.out) == (2, "")
    assert captured.err == f"langflow-otel: {path}: {problem}\n"


def test_without_langflow_it_says_how_to_install_it(
    flow_file: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("langflow_otel.cli.run.lfx_is_installed", lambda: False)
    with pytest.raises(SystemExit) as end:
        app(["run", str(flow_file())])

    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("langflow-otel: LangFlow is not installed here. Install it with: pip")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        app(["--version"])

    assert (end.value.code, capsys.readouterr().out) == (0, "langflow-otel 0.1.0\n")


def test_the_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        app(["--help"])
    shown = capsys.readouterr().out

    assert "OpenTelemetry for LangFlow: every flow run is a trace." in shown
    assert re.findall(r"^\W*(demo|run) +(.*?)\W*$", shown, re.MULTILINE) == [
        ("demo", "Run a sample flow 20 times and show its traces and metrics"),
        ("run", "Run a flow file once, as `lfx run` does, and show its trace"),
    ]


@pytest.mark.slow
def test_the_command_starts_without_langflow_and_the_sdk() -> None:
    imported = call("import sys, langflow_otel.cli.main; print(*sys.modules)").stdout.split()

    assert not {"lfx", "opentelemetry.sdk", "rich.console"} & set(imported)


def test_run_cancelled_before_its_flow_is_not_called_unsampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_on")
    cancelled = _Result(130, "", [], is_cancelled=True)

    assert list(_no_trace(cancelled, Settings())) == []
    assert list(_no_trace(cancelled, Settings(sdk_disabled=True))) == [
        "no trace: tracing is off (OTEL_SDK_DISABLED=true)"
    ]
