"""``langflow-otel demo`` in a process of its own, with a receiver of OTLP beside it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from otlp_receiver import Receiver, otlp_receiver

from langflow_otel._metrics.catalogue import CATALOGUE
from langflow_otel.cli.demo.command import FAILING_RUN, Outcomes, order_of, run_all
from langflow_otel.cli.demo.report import _programs, _questions
from langflow_otel.cli.main import app
from langflow_otel.insights.trace import TraceSpan, build_trees, from_file, without_scope

GOOD_RUN = [
    *["chat scripted-1"] * 3,
    "component Answer Model",
    "component Chat Input",
    "component Chat Output",
    "component Escalate  skipped",
    "component If-Else",
    "component Order Lookup",
    "component Policy Search",
    "component Prompt Template",
    "component Track Parcel",
    "execute_tool track_parcel",
    "invoke_agent Parcel Agent",
    "invoke_workflow support desk",
    "parse question  characters=20",
    "query orders  table=orders · rows=1",
    "search index  index=policies · top_k=3",
]
FAILED_RUN = [
    *["✓ chat scripted-1"] * 2,
    "✓ component Chat Input",
    "✓ component If-Else",
    "✓ component Order Lookup",
    "✓ component Track Parcel",
    "✓ execute_tool track_parcel",
    "✓ invoke_agent Parcel Agent",
    "✓ parse question  characters=20",
    "✓ query orders  table=orders · rows=1",
    "✗ component Policy Search  ConnectionError",
    "✗ invoke_workflow support desk  ConnectionError",
    "✗ search index  ConnectionError · index=policies · top_k=3",
    "○ component Escalate  skipped",
]


def pushed_runs(receiver: Receiver) -> dict[str, int]:
    """Flow runs by status, as the last push has them."""
    counts = Counter[str]()
    for point in receiver.metrics()["langflow.flow.duration"].histogram.data_points:
        counts[next(each.value.string_value for each in point.attributes if each.key == "status")] += point.count
    return dict(counts)


@dataclass
class Demo:
    code: int
    lines: list[str]
    stderr: str
    first_line_s: float
    total_s: float
    trace_file: Path
    picture: Path
    receiver: Receiver
    taken_port: int

    def block(self, title: str) -> list[str]:
        """The lines below a heading, up to the next empty one."""
        start = next(number for number, line in enumerate(self.lines) if line.startswith(title))
        below = self.lines[start + 1 :]
        return below[: below.index("")]

    def roots(self) -> list[TraceSpan]:
        return build_trees(without_scope(from_file(self.trace_file), "langflow.observability"))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    with otlp_receiver("http/protobuf") as receiver, socket.create_server(("127.0.0.1", 0)) as holder:
        yield _run_demo(folder, receiver, holder.getsockname()[1])


def environment(**variables: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if "OTEL" not in name}
    return env | {"PYTHONIOENCODING": "utf-8", **variables}


COMMAND = [sys.executable, "-c", "from langflow_otel.cli.main import main; main()", "demo"]


def _run_demo(folder: Path, receiver: Receiver, taken_port: int) -> Demo:
    trace_file, picture = folder / "new" / "traces.jsonl", folder / "good.svg"
    env = environment(
        LANGFLOW_OTEL_TRACE_FILE=str(trace_file),
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"http://{receiver.address}/v1/traces",
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"http://{receiver.address}/v1/metrics",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(taken_port),
    )
    started_s = time.monotonic()
    process = subprocess.Popen(
        [*COMMAND, "--svg", str(picture)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=env,
        cwd=folder,
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    first_line_s = time.monotonic() - started_s
    stdout, stderr = process.communicate(timeout=90)
    return Demo(
        process.returncode,
        [line.rstrip() for line in (first + stdout).splitlines()],
        stderr,
        first_line_s,
        time.monotonic() - started_s,
        trace_file,
        picture,
        receiver,
        taken_port,
    )


def without_times(lines: list[str]) -> list[str]:
    """A tree's lines without guides, durations and bars; facts that stand on a line of their own are left out."""
    labels = [re.sub(r"^[│├└─ ]*", "", line) for line in lines]
    return sorted(re.sub(r"\s{2,}[<\d.]+ m?s(\s.*)?$", "", label) for label in labels if label[0] in "✓✗○")


@pytest.mark.slow
class TestDemo:
    def test_it_ends_well_and_in_time(self, demo: Demo) -> None:
        assert (demo.code, demo.stderr) == (0, "")
        assert demo.lines[0] == "langflow-otel 0.1.0: 20 runs of a real flow, no network, no key"
        assert demo.first_line_s < demo.total_s / 2
        assert demo.total_s < 60

    def test_a_pipe_gets_plain_text(self, demo: Demo) -> None:
        text = "\n".join(demo.lines)
        assert "\x1b" not in text
        assert "\r" not in text

    def test_it_says_how_the_runs_ended(self, demo: Demo) -> None:
        assert re.fullmatch(
            r"20 runs of 'support desk', up to 4 at once: 19 good, 1 failed on purpose, [\d.]+ s", demo.lines[3]
        )

    def test_the_tree_of_a_good_run(self, demo: Demo) -> None:
        block = demo.block("A good run")
        named = [re.sub(r"  (tokens|\d+ chunks)\b.*", "", line[2:]) for line in without_times(block)]

        assert sorted(named) == GOOD_RUN
        assert all(re.search(r" (<0\.1|\d+(\.\d+)?) m?s  +[━╺╸]+$", line) for line in block if "✓" in line)

    def test_the_tree_tells_of_the_stream(self, demo: Demo) -> None:
        block = "\n".join(demo.block("A good run"))

        assert re.search(r"1[56] chunks, first after \d+ ms", block)
        assert "invoke_agent Parcel Agent  tokens 83 in, 17 out" in block
        assert "tokens 118 in, 15 out" in block
        assert "tokens 201 in, 32 out" in block

    def test_the_tree_of_the_failed_run(self, demo: Demo) -> None:
        lines = without_times(demo.block("The failed run"))
        named = [re.sub(r"(  | · )tokens [^·]*(?<! )", "", line) for line in lines]

        assert named == sorted(FAILED_RUN)

    def test_the_table_of_components(self, demo: Demo) -> None:
        start = demo.lines.index("Components  all 20 runs")
        header, rule, *rows = demo.lines[start + 2 : start + 14]
        cells = [re.split(r"\s{2,}", row.strip()) for row in rows]

        assert header.split() == ["Component", "Runs", "Errors", "Skipped", "P50", "P95", "Share", "of", "time"]
        assert set(rule.strip()) == {"─"}
        shares = [int(share) for share in re.findall(r"(\d+)%", "\n".join(rows))]
        assert shares == sorted(shares, reverse=True)
        # The one that is slowed down; on a busy machine others may take more time in all.
        assert "Order Lookup" in {row[0] for row in cells[:4]}
        assert {row[0]: row[1:3] for row in cells} == {
            "Policy Search": ["20", "1"],
            "Parcel Agent": ["20", "0"],
            "Answer Model": ["19", "0"],
            "Order Lookup": ["20", "0"],
            "If-Else": ["20", "0"],
            "Track Parcel": ["20", "0"],
            "Chat Input": ["20", "0"],
            "Chat Output": ["19", "0"],
            "Prompt Template": ["19", "0"],
            "Escalate": ["0", "0"],
        }
        assert cells[-1] == ["Escalate", "0", "0", "20", "-", "-", "0%"]

    def test_the_trace_file_holds_every_run(self, demo: Demo) -> None:
        roots = demo.roots()

        assert Counter(root.status for root in roots) == {"ok": 19, "error": 1}
        assert {root.name for root in roots} == {"invoke_workflow support desk"}
        assert {root.attributes["langflow.entry_point"] for root in roots} == {"cli"}
        assert len({root.trace_id for root in roots}) == 20

    def test_runs_at_once_do_not_mix(self, demo: Demo) -> None:
        for root in demo.roots():
            calls = ["chat scripted-1"] * (3 if root.status == "ok" else 2)
            names = [span.name for span in root.walk()]
            assert names.count("chat scripted-1") == len(calls)
            assert len(names) - len(calls) == len({*names} - {*calls}) == (14 if root.status == "ok" else 11)

    def test_the_same_spans_are_sent(self, demo: Demo) -> None:
        sent = [
            span.name
            for request in demo.receiver.requests
            for resource_spans in request.message.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]
        assert sorted(sent) == sorted(span.name for span in from_file(demo.trace_file))

    def test_the_table_of_metrics(self, demo: Demo) -> None:
        start = demo.lines.index("Metrics  as Prometheus reads them")
        header, rule, *lines = demo.lines[start + 2 : demo.lines.index("", start + 4)]
        rows = {cells[0]: cells[1:] for cells in (re.split(r"\s{2,}", line.strip()) for line in lines)}
        tokens = ["Tokens in", "Tokens out"]

        assert header.split("  ")[0].strip() == "Metric"
        assert set(rule.strip()) == {"─"}
        assert list(rows) == [
            "Flow runs",
            "Flow runs that failed",
            "Throughput, last 60 s",
            "Error rate, last 60 s",
            "Run time, support desk",
            "Failures, PolicySearch",
            "CPU saturation, highest",
            *tokens,
            "Memory",
            "Heap held but unused",
        ]
        assert rows["Flow runs"] == ["20", "langflow_flow_duration_seconds_count"]
        assert rows["Flow runs that failed"] == ["1", 'langflow_flow_duration_seconds_count{status="error"}']
        assert rows["Throughput, last 60 s"] == ["0.33 runs/s", "langflow_throughput"]
        assert rows["Error rate, last 60 s"] == ["5.0 %", "langflow_error_rate"]
        assert rows["Failures, PolicySearch"][0] == "5.0 %"
        assert re.fullmatch(r"[\d.]+ (ms|s) avg", rows["Run time, support desk"][0])
        assert float(rows["CPU saturation, highest"][0].split()[0]) > 0
        assert [rows[each][0] for each in tokens] == ["3,902", "625"][: len(tokens)]
        assert re.fullmatch(r"\d+ MiB", rows["Memory"][0])
        named = {re.sub(r"(_count|_sum)?(\{.*)?$", "", row[-1]) for row in rows.values()}
        assert named <= {metric.prometheus_name for metric in CATALOGUE}

    def test_a_port_that_is_taken_is_left_alone(self, demo: Demo) -> None:
        told = [line for line in demo.lines if line.startswith("  read from ")]

        assert len(told) == 1
        address = re.fullmatch(r"  read from http://localhost:(\d+)/metrics, which closed with the demo", told[0])
        assert address is not None
        assert int(address[1]) not in (0, demo.taken_port)

    def test_the_same_metrics_are_pushed(self, demo: Demo) -> None:
        assert f"  OTLP (http/protobuf): http://{demo.receiver.address}/v1/metrics" in demo.lines
        assert pushed_runs(demo.receiver) == {"ok": 19, "error": 1}

    def test_it_says_where_the_traces_are_and_what_to_do_next(self, demo: Demo) -> None:
        spans = sum(1 for _ in from_file(demo.trace_file))
        assert f"Traces  20 of them, {spans} spans, OTLP JSON lines" in demo.lines
        assert f"  trace file: {demo.trace_file}" in demo.lines
        assert demo.lines[demo.lines.index("Next") + 1 :][:5] == [
            "  send it to a collector    OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4318 langflow-otel demo",
            "  watch it in Prometheus    langflow-otel demo --serve",
            "  trace your own server     the variable above, and: langflow run",
            "  scrape your own server    OTEL_METRICS_EXPORTER=prometheus langflow run",
            "  see inside your own node  from langflow_otel import traced, then @traced above any method",
        ]

    def test_one_component_is_slow_in_some_runs(self, demo: Demo) -> None:
        slow = {
            span.attributes["rows"]: root.attributes["session.id"]
            for root in demo.roots()
            for span in root.walk()
            if span.name == "query orders" and span.duration_s > 0.9
        }
        took_s = [span.duration_s for root in demo.roots() for span in root.walk() if span.name == "query orders"]

        assert set(slow) == {300}
        assert sum(1 for each in took_s if each > 0.9) == 4
        # tests/unit/insights/test_why.py rests on it.
        assert min(each for each in took_s if each > 0.9) >= 3.6

    def test_its_last_lines_are_commands_that_find_it(self, demo: Demo) -> None:
        *_, heading, report, why, picture = demo.lines
        told = [heading, report, why]

        assert picture == f"picture saved: {demo.picture}"
        assert told == [
            "Find out  one component is slow in some of these runs, on purpose: which, and why?",
            f"  all runs, in the browser  langflow-otel report {demo.trace_file} --open",
            f"  why the slowest was slow  langflow-otel why slowest {demo.trace_file}",
        ]

    def test_the_picture_shows_the_good_run(self, demo: Demo) -> None:
        picture = demo.picture.read_text(encoding="utf-8")

        assert picture.startswith("<svg")
        assert "support&#160;desk" in picture


def test_without_the_extra_the_last_lines_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    assert _questions(Path("a b.jsonl")) == (
        ("first, what these need", "pip install 'langflow-otel[insights]'"),
        ("all runs, in the browser", "langflow-otel report 'a b.jsonl' --open"),
        ("why the slowest was slow", "langflow-otel why slowest 'a b.jsonl'"),
    )


def test_a_command_that_is_not_on_the_path_is_named_with_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "langflow-otel"
    (tmp_path / "pip").touch()
    program.touch(mode=0o700)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert _programs() == (str(program), str(tmp_path / "pip"))

    monkeypatch.setenv("PATH", str(tmp_path))
    assert _programs() == ("langflow-otel", "pip")


def test_served_runs_leave_the_error_budget_alone() -> None:
    failing = [number for number in range(1, 4001) if order_of(number) == FAILING_RUN]

    assert failing[:2] == [FAILING_RUN, FAILING_RUN + 200]
    assert len([number for number in failing if number > 20]) == 19
    assert {order_of(number) for number in range(21, 4001)} == set(range(1, 21))


async def test_a_run_that_should_have_worked_is_a_surprise() -> None:
    async def run_one(number: int) -> None:
        if number in (5, FAILING_RUN):
            raise KeyError(number)

    shown: list[int] = []
    outcomes = await run_all(run_one, lambda now: shown.append(now.finished))

    assert (outcomes.finished, outcomes.failed) == (20, 2)
    assert [str(surprise) for surprise in outcomes.surprises] == ["5"]
    assert shown == list(range(1, 21))
    assert outcomes != Outcomes()


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, "OTEL_SDK_DISABLED=true switches every span off, so the demo has nothing"),
        ({"LANGFLOW_OTEL_TRACE_FILE": "/dev/null/traces"}, "LANGFLOW_OTEL_TRACE_FILE=/dev/null/traces cannot be"),
        (
            {"OTEL_EXPORTER_PROMETHEUS_HOST": "192.0.2.1"},
            "the scrape endpoint cannot listen on 192.0.2.1:9464: ",
        ),
        ({"OTEL_EXPORTER_PROMETHEUS_HOST": "a..b"}, "the scrape endpoint cannot listen on a..b:9464: "),
        ({"LANGFLOW_OTEL_SCRAPE_TOKEN_FILE": "/no/token"}, "/no/token cannot be read; the scrape endpoint needs"),
    ],
)
def test_without_a_place_for_traces_or_metrics_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], line: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        app(["demo"])

    stderr = capsys.readouterr().err.splitlines()
    assert end.value.code == 2
    assert len(stderr) == 1
    assert stderr[0].startswith(f"langflow-otel: {line}")


def test_without_langflow_it_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("langflow_otel.cli.demo.command.lfx_is_installed", lambda: False)
    with pytest.raises(SystemExit) as end:
        app(["demo"])

    assert end.value.code == 2
    assert capsys.readouterr().err == (
        "langflow-otel: LangFlow is not installed here. "
        "Install it with: pip install 'langflow-otel[lfx]' (or [langflow])\n"
    )
