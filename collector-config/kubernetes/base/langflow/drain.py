"""Waits until this pod's flow runs have ended: the container's preStop hook, before SIGTERM is sent.

It asks the library's own scrape endpoint, at the address and with the token that the container's variables name.
Needs nothing but Python, and always exits 0: after a hook that fails the container is stopped at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import urllib.request
from contextlib import nullcontext
from http.client import HTTPException
from pathlib import Path

WORK = ("langflow_flow_active", "langflow_queue_depth")
"""Runs that go on, and background jobs that wait in this pod."""

UNREADABLE_AT_MOST = 3


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--at-most", type=float, default=600.0, help="seconds, the settling among them")
    arguments.add_argument("--settle", type=float, default=10.0, help="seconds until no new request comes in")
    arguments.add_argument("--every", type=float, default=2.0, help="seconds between two looks")
    arguments.add_argument("--log", type=Path, help="file to say in why the wait is over; stderr otherwise")
    given = arguments.parse_args()

    deadline = time.monotonic() + given.at_most
    # The Service stops sending requests here while this hook runs, not before.
    time.sleep(min(given.settle, given.at_most))
    say(drain(deadline, given.every), given.log)


def drain(deadline: float, every_s: float) -> str:
    """Why the wait is over."""
    unreadable = 0
    while time.monotonic() < deadline:
        try:
            left = work_left(scrape())
            unreadable = 0
        except (OSError, HTTPException, ValueError) as error:
            unreadable += 1
            if unreadable >= UNREADABLE_AT_MOST:
                return f"the scrape endpoint does not answer: {error}"
        else:
            if left == 0:
                return "no flow run is going on"
        time.sleep(max(min(every_s, deadline - time.monotonic()), 0))
    return "the time is up"


def scrape() -> str:
    port = os.environ.get("OTEL_EXPORTER_PROMETHEUS_PORT", "9464")
    request = urllib.request.Request(f"http://localhost:{port}/metrics")
    if token_file := os.environ.get("LANGFLOW_OTEL_SCRAPE_TOKEN_FILE"):
        request.add_header("Authorization", f"Bearer {Path(token_file).read_text().strip()}")
    # A proxy that the container's variables name is not for this.
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with directly.open(request, timeout=5) as response:
        return response.read().decode()


def work_left(metrics: str) -> float:
    samples = (line for line in metrics.splitlines() if line.startswith(WORK))
    # {labels} value, with neither timestamp nor exemplar in the text format; a label may hold spaces.
    return sum(float(sample.rpartition(" ")[2]) for sample in samples)


def say(message: str, log: Path | None) -> None:
    text = f"langflow-drain: {message}\n"
    try:
        with log.open("w") if log else nullcontext(sys.stderr) as out:
            out.write(text)
    except OSError as error:
        sys.stderr.write(f"{text}langflow-drain: {error}\n")


if __name__ == "__main__":
    main()
