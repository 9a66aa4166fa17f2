"""What tracing costs: this library, LangFlow's own telemetry, and the tracers that LangFlow brings along.

    python tests/benchmarks/compare.py [--rounds 5] [--json FILE] [--plot FILE]

Needs langflow or langflow-base (its tracers for Langfuse, Phoenix and Traceloop come with it), and matplotlib for the
plot. Each arm is a process of its own that runs the same flows in LangFlow's engine; they take turns, so that a
machine whose speed drifts hurts all alike. What an arm adds is its time less that of the arm without telemetry in the
same round: the figures are medians over the rounds, with the smallest and the largest. Every arm sends to a server on
127.0.0.1 that takes whatever comes. Takes about 15 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import compare_report  # noqa: E402
from compare_flows import FLOWS, Flow  # noqa: E402
from compare_report import NONE, OURS  # noqa: E402

ALL_SIGNALS = {
    "BENCHMARK_INSTRUMENT": "1",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_METRICS_EXPORTER": "otlp,prometheus",
    "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",
}
SPANS_ONLY = {**ALL_SIGNALS, "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
# LangFlow's tracers are off in these, as its documentation says: they would only cost.
UNTRACED = {"LANGFLOW_DEACTIVATE_TRACING": "true"}
ARMS: dict[str, Callable[[str], dict[str, str]]] = {
    NONE: lambda url: UNTRACED,
    OURS: lambda url: {**UNTRACED, **ALL_SIGNALS, "OTEL_EXPORTER_OTLP_ENDPOINT": url},
    f"{OURS}, spans only": lambda url: {**UNTRACED, **SPANS_ONLY, "OTEL_EXPORTER_OTLP_ENDPOINT": url},
    f"{OURS}, runs not sampled": lambda url: {
        **UNTRACED,
        **SPANS_ONLY,
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "LANGFLOW_OTEL_SAMPLING": "*=0",
    },
    "LangFlow's own telemetry": lambda url: {
        **UNTRACED,
        "BENCHMARK_NATIVE_TELEMETRY": "1",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
    },
    "Langfuse": lambda url: {
        "LANGFUSE_SECRET_KEY": "sk-lf-benchmark",
        "LANGFUSE_PUBLIC_KEY": "pk-lf-benchmark",
        "LANGFUSE_HOST": url,
    },
    "Phoenix": lambda url: {"PHOENIX_COLLECTOR_ENDPOINT": url},
    "Traceloop": lambda url: {"TRACELOOP_API_KEY": "benchmark", "TRACELOOP_BASE_URL": url},
}
COLLECTORS = ("fast", "slow", "hanging", "refusing", "down")
DELAY_S = 5.0
DELAY_FLOW = "5 x 10 ms"
DELAY_AT_ONCE = 10
BYTES_RUNS = 100
WARM_UP_RUNS = 5


@dataclass
class Arm:
    """A process that runs flows, and whoever it sends to."""

    process: subprocess.Popen[str]

    def ask(self, **wanted: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(wanted), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


@contextmanager
def sink(behaviour: str) -> Iterator[str]:
    """The address of a server that behaves so; of nobody if it is down."""
    if behaviour == "down":
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        return
    command = [sys.executable, str(HERE / "compare_sink.py"), behaviour]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@contextmanager
def arm(name: str, url: str, folder: str) -> Iterator[Arm]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "LANGF", "PHOENIX_"))}
    env = {**clean, **ARMS[name](url)}
    env |= {"LANGFLOW_CONFIG_DIR": folder, "LANGFLOW_NATIVE_TRACING": "false", "DO_NOT_TRACK": "true"}
    with (
        open(Path(folder) / f"{name}.log", "w") as log,
        subprocess.Popen(
            [sys.executable, str(HERE / "compare_arm.py")],
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            sys.exit(f"{name} does not start:\n{Path(log.name).read_text()[-2000:]}")
        try:
            yield Arm(process)
            process.stdin.close()
            process.wait(60)
        finally:
            process.kill()


def measured_flows(rounds: int, folder: str) -> dict[str, Any]:
    """Of each flow and arm: added seconds of a run, added processor seconds, and runs per second."""
    seen: dict[str, dict[str, list[dict[str, float]]]] = {flow.name: {name: [] for name in ARMS} for flow in FLOWS}
    floors: list[dict[str, float]] = []
    with ExitStack() as stack:
        url = stack.enter_context(sink("fast"))
        arms = {name: stack.enter_context(arm(name, url, folder)) for name in ARMS}
        for flow in FLOWS:
            for each in arms.values():
                each.ask(do="run", flow=flow.name, runs=min(WARM_UP_RUNS, flow.runs))
        names = list(ARMS)
        for turn in range(rounds):
            for flow in FLOWS:
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    seen[flow.name][name].append(of_one_run(flow, arms[name]))
                    progress(f"round {turn + 1} of {rounds}: {flow.name}, {name}")
            floors.append(arms[OURS].ask(do="floor"))
    return {
        "floor": {key: statistics.median(each[key] for each in floors) for key in floors[0]},
        "flows": {flow.name: compared(seen[flow.name], flow) for flow in FLOWS},
    }


def of_one_run(flow: Flow, process: Arm) -> dict[str, float]:
    measured = process.ask(do="run", flow=flow.name, runs=flow.runs)
    one = measured["whole"] / flow.runs if flow.at_once > 1 else statistics.median(measured["seconds"])
    return {"seconds": one, "cpu": measured["cpu"] / flow.runs, "rate": flow.runs / measured["whole"]}


def compared(by_arm: dict[str, list[dict[str, float]]], flow: Flow) -> dict[str, Any]:
    base = by_arm[NONE]
    result: dict[str, Any] = {}
    for name, rounds in by_arm.items():
        added = [mine["seconds"] - none["seconds"] for mine, none in zip(rounds, base, strict=True)]
        cpu = [mine["cpu"] - none["cpu"] for mine, none in zip(rounds, base, strict=True)]
        rate = [mine["rate"] / none["rate"] for mine, none in zip(rounds, base, strict=True)]
        result[name] = {
            "seconds": statistics.median(each["seconds"] for each in rounds),
            "added": spread(added),
            "added_per_component": statistics.median(added) / flow.components,
            "added_cpu": spread(cpu),
            "throughput": spread(rate),
        }
    return result


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, smallest, largest."""
    return statistics.median(values), min(values), max(values)


def measured_delays(rounds: int, folder: str) -> dict[str, Any]:
    """How late the event loop is with each kind of collector: P99 and longest, of each round."""
    seen: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        arms = {NONE: stack.enter_context(arm(NONE, "", folder))}
        for behaviour in COLLECTORS:
            arms[behaviour] = stack.enter_context(arm(OURS, stack.enter_context(sink(behaviour)), folder))
        for turn in range(rounds + 1):
            for name, process in arms.items():
                measured = process.ask(do="delays", flow=DELAY_FLOW, seconds=DELAY_S, at_once=DELAY_AT_ONCE)
                progress(f"event loop, round {turn} of {rounds}: {name}")
                if turn:  # The first one warms up.
                    delays = measured["delays"]
                    seen.setdefault(name, []).append(
                        {
                            "p99": delays[int(len(delays) * 0.99)],
                            "longest": delays[-1],
                            "rate": measured["runs"] / measured["seconds"],
                        }
                    )
    return {
        name: {key: spread([each[key] for each in each_round]) for key in ("p99", "longest", "rate")}
        for name, each_round in seen.items()
    }


def measured_bytes(folder: str) -> dict[str, float]:
    """Bytes sent for one run of 5 x 10 ms, as they go over the wire."""
    sent: dict[str, float] = {}
    for name in ARMS:
        with sink("fast") as url:
            with arm(name, url, folder) as process:
                process.ask(do="run", flow="5 x 10 ms", runs=BYTES_RUNS)
            with urllib.request.urlopen(f"{url}/taken") as answer:
                sent[name] = json.load(answer)["bytes"] / BYTES_RUNS
        progress(f"bytes: {name}")
    return sent


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    machine = (
        f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "machine": machine,
            "rounds": arguments.rounds,
            **measured_flows(arguments.rounds, folder),
            "delays": measured_delays(arguments.rounds, folder),
            "bytes": measured_bytes(folder),
        }
    progress("")
    print(compare_report.text(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1))
    if arguments.plot:
        compare_report.plot(result, arguments.plot)


if __name__ == "__main__":
    main()
