"""Load on a real LangFlow server: is each accepted request one complete trace, counted once, and what does it cost?

    python tests/benchmarks/load.py [--seconds 300] [--clients 50] [--workers 1] [--json]

Needs langflow or langflow-base. Two servers, one with this library and one without (LANGFLOW_OTEL_ENABLED=false),
take the same load in turns: 85 % of the requests run a flow of three components, 10 % one that fails, 5 % are left
by their client half way. Each request brings a trace id of its own, so that its spans are found again. LangFlow's
own telemetry is on in both, without its SQL spans.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import socket
import statistics
import sys
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "server"), str(TESTS)]

from langflow_server import Server, langflow_server  # noqa: E402
from received import ReceivedSpan, received_spans  # noqa: E402
from server_flows import line  # noqa: E402

TURN_S = 15.0
WARM_UP_S = 5.0
PATIENCE_S = 30.0
"""So long a client waits; then it goes, as a user does."""
COMPONENTS = {"ok": 3, "failing": 2}
EXPECTED_STATUS = {"ok": 200, "failing": 500}


@dataclass
class Request:
    """One request as its client saw it."""

    trace_id: str
    kind: str
    status: int = 0
    seconds: float = 0.0


@dataclass
class Arm:
    """One of the two servers."""

    server: Server
    requests: list[Request] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)

    def weigh(self) -> None:
        """Resident memory of all its processes."""
        processes = [psutil.Process(pid) for pid in self.server.process_ids()]
        self.resident_mb.append(sum(each.memory_info().rss for each in processes) / 2**20)


def kind_of(draw: float) -> str:
    if draw < 0.05:
        return "gone"
    return "failing" if draw < 0.15 else "ok"


async def client(arm: Arm, http: httpx.AsyncClient, until_s: float, rng: random.Random) -> None:
    while time.monotonic() < until_s:
        request = Request(f"{rng.getrandbits(128):032x}", kind_of(rng.random()))
        headers = {"traceparent": f"00-{request.trace_id}-{rng.getrandbits(64):016x}-01"}
        body = {"input_value": "hi", "session_id": request.trace_id}
        started_s = time.perf_counter()
        try:
            if request.kind == "gone":
                async with http.stream("POST", "/api/v1/run/pause?stream=true", json=body, headers=headers) as response:
                    request.status = response.status_code
                    await asyncio.sleep(rng.random() * 0.3)
            else:
                response = await http.post(f"/api/v1/run/{request.kind}", json=body, headers=headers)
                request.status = response.status_code
        except httpx.HTTPError as exc:
            print(f"a request failed: {exc!r}", file=sys.stderr)
        request.seconds = time.perf_counter() - started_s
        arm.requests.append(request)


async def load(arm: Arm, clients: int, seconds: float, rng: random.Random) -> None:
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    headers = dict(arm.server.client.headers)
    async with httpx.AsyncClient(base_url=arm.server.url, timeout=PATIENCE_S, limits=limits, headers=headers) as http:
        until_s = time.monotonic() + seconds
        await asyncio.gather(*(client(arm, http, until_s, rng) for _ in range(clients)))


def make_flows(server: Server) -> None:
    from server_nodes.broken import Broken
    from server_nodes.echo import Echo
    from server_nodes.pause import Pause

    for name, cls in (("ok", Echo), ("failing", Broken), ("pause", Pause)):
        server.create_flow(line(cls(_id=f"{cls.__name__}-1")), name)


def problems_of(arm: Arm) -> list[str]:
    """What is wrong with the traces: by request, by its expected tree."""
    by_trace: dict[str, list[ReceivedSpan]] = {}
    for span in received_spans(arm.server.receiver):
        by_trace.setdefault(span.trace_id, []).append(span)
    found: list[str] = []
    for request in arm.requests:
        if request.status:
            spans = by_trace.get(request.trace_id, [])
            found += [f"{request.kind} {request.status}: {problem}" for problem in problems_in(request, spans)]
    return found


def problems_in(request: Request, spans: list[ReceivedSpan]) -> list[str]:
    flows = [span for span in spans if span.name.startswith("invoke_workflow ")]
    components = [span for span in spans if span.name.startswith("component ")]
    # LangFlow may refuse (its database is locked), and a client may have gone, before the flow is run.
    may_not_run = request.kind == "gone" or request.status != EXPECTED_STATUS[request.kind]
    if len(flows) != 1:
        return [] if not flows and may_not_run else [f"{len(flows)} runs"]
    ids = {span.span_id for span in spans}
    orphans = [span.name for span in spans if span.scope == "langflow_otel" and span.parent_id not in ids]
    if orphans:
        return [f"without their parent: {sorted(set(orphans))}"]
    status = flows[0].attributes["langflow.status"]
    if may_not_run:
        return []
    if len(components) != COMPONENTS[request.kind]:
        return [f"{len(components)} components"]
    return [] if (status == "error") == (request.kind == "failing") else [f"the run is {status}"]


def scraped(url: str) -> dict[str, float]:
    """Runs by status, as the scrape counts them."""
    with urllib.request.urlopen(url, timeout=10) as response:
        lines = response.read().decode().splitlines()
    runs: Counter[str] = Counter()
    for line_ in lines:
        if line_.startswith("langflow_flow_duration_seconds_count"):
            runs[line_.partition('status="')[2].partition('"')[0]] += float(line_.rpartition(" ")[2])
    return dict(runs)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def quantiles(arm: Arm) -> dict[str, float]:
    seconds = sorted(request.seconds for request in arm.requests if request.kind != "gone" and request.status)
    if len(seconds) < 2:
        return {"p50_ms": math.nan, "p99_ms": math.nan, "requests": len(seconds)}
    cuts = statistics.quantiles(seconds, n=100)
    return {"p50_ms": cuts[49] * 1000, "p99_ms": cuts[98] * 1000, "requests": len(seconds)}


def measure(seconds: float, clients: int, workers: int, *, compare: bool = True) -> dict[str, Any]:
    """With this library and, to compare, without, in turns after a warm-up; else in one go of at most 15 s."""
    scrape_port = str(free_port())
    common = {"LANGFLOW_OTEL_DB_SPANS": "false"}
    with ExitStack() as stack:
        start = {"with": {"OTEL_METRICS_EXPORTER": "otlp,prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": scrape_port}}
        if compare:
            start["without"] = {"LANGFLOW_OTEL_ENABLED": "false"}
        arms = {
            name: Arm(stack.enter_context(langflow_server(workers=workers, environment=common | environment)))
            for name, environment in start.items()
        }
        rng = random.Random(5)
        for arm in arms.values():
            make_flows(arm.server)
            if compare:
                asyncio.run(load(arm, clients, WARM_UP_S, rng))
            arm.weigh()
        # The warm-up counts for the traces, not for the latency.
        warm = {name: len(arm.requests) for name, arm in arms.items()}
        for _ in range(max(round(seconds / TURN_S), 2) if compare else 1):
            for arm in arms.values():
                asyncio.run(load(arm, clients, min(TURN_S, seconds), rng))
                arm.weigh()
        time.sleep(8)  # The longest delay of an export, and of a run that nobody waits for.
        runs = scraped(f"http://localhost:{scrape_port}/metrics")
        result: dict[str, Any] = {"workers": workers, "clients": clients}
        problems = problems_of(arms["with"])
        flows = [
            span for span in received_spans(arms["with"].server.receiver) if span.name.startswith("invoke_workflow ")
        ]
        for name, arm in arms.items():
            statuses = Counter(f"{request.kind} {request.status}" for request in arm.requests)
            result[name] = {"statuses": dict(sorted(statuses.items())), "resident_mb": arm.resident_mb}
            arm.requests = arm.requests[warm[name] :]
            result[name] |= quantiles(arm)
        result["problems"] = dict(Counter(problems))
        result["flow_spans"] = dict(Counter(str(span.attributes["langflow.status"]) for span in flows))
        result["scraped"] = runs
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300.0, help="of load on each server")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.seconds, options.clients, options.workers)
    if options.json:
        print(json.dumps(result))
        return
    for name in ("with", "without"):
        arm = result[name]
        first, last = arm["resident_mb"][0], arm["resident_mb"][-1]
        print(f"{name:8} p50 {arm['p50_ms']:.0f} ms, p99 {arm['p99_ms']:.0f} ms, {arm['requests']} requests, ", end="")
        print(f"memory {first:.0f} -> {last:.0f} MB  {arm['statuses']}")
    print("runs as spans:", result["flow_spans"], " as scraped:", result["scraped"])
    print("problems:", result["problems"] or "none: each accepted request is one complete trace")


if __name__ == "__main__":
    main()
