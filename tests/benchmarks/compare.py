"""What tracing costs: this library, LangFlow's own telemetry, and the tracers that LangFlow brings along.

    python tests/benchmarks/compare.py [--rounds 3] [--json FILE] [--plot FILE]

Needs langflow or langflow-base (its tracers for Langfuse, Phoenix and Traceloop come with it), and matplotlib for the
plot. Each arm is a process of its own that runs the same flows in LangFlow's engine. They take turns run by run, since
the speed of a machine drifts: what an arm adds is its time less that of the arm without telemetry in the same turn. The
figures are medians with the quartiles. Every arm sends to a server on 127.0.0.1 that takes whatever comes. One arm has
in each component what one would write by hand, a bare SDK span with seven attributes. Takes about ten minutes a round.
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
from compare_flows import FLOWS  # noqa: E402
from compare_report import BY_HAND, NONE, OURS, PLOTTED  # noqa: E402

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
    BY_HAND: lambda url: {
        **UNTRACED,
        "BENCHMARK_BY_HAND": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
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
DELAY_AT_ONCE = 2
BYTES_RUNS = 20


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
    with ExitStack() as stack:
        url = stack.enter_context(sink("fast"))
        arms = {name: stack.enter_context(arm(name, url, folder)) for name in ARMS}
        for flow in FLOWS:
            for each in arms.values():
                each.ask(do="run", flow=flow.name)  # The first run of a flow in a process is like no other.
        names = list(ARMS)
        for turn in range(rounds):
            for flow in FLOWS:
                progress(f"round {turn + 1} of {rounds}: {flow.name}")
                for time in range(flow.times):
                    first = (turn + time) % len(names)
                    for name in names[first:] + names[:first]:
                        seen[flow.name][name].append(arms[name].ask(do="run", flow=flow.name))
    return {name: compared_with_none(by_arm) for name, by_arm in seen.items()}


def compared_with_none(by_arm: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    return {name: compared(measured, by_arm[NONE]) for name, measured in by_arm.items()}


def compared(mine: list[dict[str, float]], base: list[dict[str, float]]) -> dict[str, Any]:
    pairs = list(zip(mine, base, strict=True))
    return {
        "seconds": statistics.median(each["seconds"] for each in mine),
        "added": spread([one["seconds"] - none["seconds"] for one, none in pairs]),
        "added_cpu": spread([one["cpu"] - none["cpu"] for one, none in pairs]),
        "throughput": spread([none["whole"] / one["whole"] for one, none in pairs]),
    }


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return middle, low, high


def measured_delays(rounds: int, folder: str) -> dict[str, Any]:
    """How late the event loop is with each kind of collector: P99 and longest, of each round."""
    seen: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        arms = {NONE: stack.enter_context(arm(NONE, "", folder))}
        arms[BY_HAND] = stack.enter_context(arm(BY_HAND, stack.enter_context(sink("fast")), folder))
        for behaviour in COLLECTORS:
            arms[behaviour] = stack.enter_context(arm(OURS, stack.enter_context(sink(behaviour)), folder))
        for turn in range(rounds + 1):
            for name, process in arms.items():
                measured = process.ask(do="delays", flow=PLOTTED, seconds=DELAY_S, at_once=DELAY_AT_ONCE)
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
    flow = next(each for each in FLOWS if each.name == PLOTTED)
    runs = BYTES_RUNS * (1 + flow.warm_up)
    for name in ARMS:
        with sink("fast") as url:
            with arm(name, url, folder) as process:
                for _ in range(BYTES_RUNS):
                    process.ask(do="run", flow=flow.name)
            with urllib.request.urlopen(f"{url}/taken") as answer:
                sent[name] = json.load(answer)["bytes"] / runs
        progress(f"bytes: {name}")
    return sent


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
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
            "flows": measured_flows(arguments.rounds, folder),
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
