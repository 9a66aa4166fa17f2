"""Does the memory stay flat over many runs while the collector is down?

    python tests/benchmarks/memory.py [--runs 100000] [--json]

All signals are on and pushed to a port where nobody listens; the scrape endpoint is open. Prints the resident memory
of the process (MiB) after every tenth of the runs: the first tenth fills queues and caches, the others must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "lfx"))

import psutil
from flows import line
from lfx.log.logger import configure
from nodes import basic

from langflow_otel import instrument, uninstrument

PARTS = 10
TAKEN = socket.socket()
TAKEN.bind(("127.0.0.1", 0))  # and does not listen


async def run(times: int) -> None:
    for _ in range(times):
        await line(basic.Echo).arun([{"input_value": "hi"}], session_id="s1")


def resident_mib() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


async def measure(runs: int) -> list[float]:
    found = []
    for _ in range(PARTS):
        await run(runs // PARTS)
        found.append(resident_mib())
        print(f"{found[-1]:.1f} MiB", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    configure(log_level="CRITICAL")
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # It says each time that the collector is down.
    os.environ |= {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{TAKEN.getsockname()[1]}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "otlp,prometheus",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        "OTEL_METRIC_EXPORT_INTERVAL": "5000",
    }
    instrument()
    found = asyncio.run(measure(arguments.runs))
    uninstrument()
    if arguments.json:
        print(json.dumps(found))
        return
    print(
        f"{arguments.runs:,} runs with the collector down, MiB after each tenth: {' '.join(f'{m:.1f}' for m in found)}"
    )


if __name__ == "__main__":
    main()
