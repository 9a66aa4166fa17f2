"""Processes that end in many ways with spans in the queue; started by test_process_faults.py.

It loads LangFlow once and forks itself for each way, so that each child is an interpreter that ends by itself.

    python exits.py FOLDER WAY=PROTOCOL=ADDRESS...
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from flows import line
from lfx.log.logger import configure
from nodes import basic

from langflow_otel import instrument

RUNS = 3


def run() -> None:
    instrument()

    async def runs() -> None:
        for _ in range(RUNS):
            await line(basic.Echo).arun([{"input_value": "hi"}], session_id="s1")

    asyncio.run(runs())


def end(way: str) -> None:
    """Returns, raises or exits."""
    if way == "exit":
        sys.exit(3)
    if way == "error":
        raise LookupError("the host's own")


def main() -> None:
    folder = Path(sys.argv[1])
    configure(log_level="CRITICAL")
    asyncio.run(line(basic.Echo).arun([{"input_value": "hi"}], session_id="s1"))  # loads the rest
    for each in sys.argv[2:]:
        way, protocol, address = each.split("=")
        child = os.fork()
        if child == 0:
            log = os.open(folder / f"{way}.log", os.O_WRONLY | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ["OTEL_SERVICE_NAME"] = way
            os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = protocol
            os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{address}"
            if way.startswith("hanging"):
                os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = "1"
            run()
            end(way)
            return
        started_s = time.monotonic()
        _, status = os.waitpid(child, 0)
        print(way, os.waitstatus_to_exitcode(status), time.monotonic() - started_s, flush=True)


if __name__ == "__main__":
    main()
