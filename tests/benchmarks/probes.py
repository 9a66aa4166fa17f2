"""How long a real LangFlow server takes to answer the probes of collector-config/kubernetes under load.

    python tests/benchmarks/probes.py [--seconds 60] [--json]

Needs langflow or langflow-base. One worker, as in a pod. Each second /health and /health_check are asked, and each
answer is waited for up to 60 s: idle; busy with many short runs; busy with runs that each block the event loop for a
second, which goes on with others in between; blocked by one call that does not return. Then: how often would a
kubelet have restarted the first three, and how soon the last, with the committed probes and with others?
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

TESTS = Path(__file__).parent.parent
sys.path[:0] = [str(TESTS / "server"), str(TESTS)]

from langflow_server import Server, langflow_server  # noqa: E402
from server_flows import line  # noqa: E402

DEPLOYMENT = TESTS.parent / "collector-config/kubernetes/base/langflow/deployment.yaml"
PATHS = ("/health", "/health_check")
EVERY_S = 1.0
PATIENCE_S = 60.0

Load = Callable[[httpx.AsyncClient, float], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Probe:
    """Of a kubelet, in seconds."""

    period_s: float
    timeout_s: float
    failures: int

    def first_restart_s(self, asked: list[tuple[float, float]]) -> float | None:
        """When a container is restarted whose answers to requests at these times took so long; None if never."""
        failed, at_s = 0, 0.0
        while at_s <= asked[-1][0]:
            took_s = next(took for since, took in asked if since >= at_s)
            failed = failed + 1 if took_s > self.timeout_s else 0
            ended_s = at_s + min(took_s, self.timeout_s)
            if failed == self.failures:
                return ended_s
            # A probe that takes longer than its period skips the rounds that it misses.
            at_s = max(at_s + self.period_s, math.ceil(ended_s / self.period_s) * self.period_s)
        return None


def committed() -> Probe:
    """The Deployment's liveness probe."""
    (deployment,) = [d for d in yaml.safe_load_all(DEPLOYMENT.read_text()) if d["kind"] == "Deployment"]
    probe = deployment["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    return Probe(probe["periodSeconds"], probe["timeoutSeconds"], probe["failureThreshold"])


async def nothing(http: httpx.AsyncClient, until_s: float) -> None:
    await asyncio.sleep(max(until_s - time.monotonic(), 0))


def clients(count: int, flow: str, text: str) -> Load:
    async def one(http: httpx.AsyncClient, until_s: float) -> None:
        while time.monotonic() < until_s:
            with suppress(httpx.HTTPError):
                await http.post(f"/api/v1/run/{flow}", json={"input_value": text})

    async def load(http: httpx.AsyncClient, until_s: float) -> None:
        await asyncio.gather(*(one(http, until_s) for _ in range(count)))

    return load


async def ask(http: httpx.AsyncClient, path: str, until_s: float, asked: list[tuple[float, float]]) -> None:
    started_s = time.monotonic()
    asks: list[asyncio.Task[None]] = []

    async def once(at_s: float) -> None:
        took_s = math.inf
        with suppress(httpx.HTTPError):
            before_s = time.monotonic()
            if (await http.get(path)).status_code == 200:
                took_s = time.monotonic() - before_s
        asked.append((at_s, took_s))

    while time.monotonic() < until_s:
        asks.append(asyncio.create_task(once(time.monotonic() - started_s)))
        await asyncio.sleep(EVERY_S)
    await asyncio.gather(*asks)
    asked.sort()


async def measure(server: Server, load: Load, seconds: float) -> dict[str, list[tuple[float, float]]]:
    """When each path was asked, and how long it took; infinite where there was no answer."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=300)
    options: dict[str, Any] = {"base_url": server.url, "timeout": PATIENCE_S, "limits": limits}
    asked: dict[str, list[tuple[float, float]]] = {path: [] for path in PATHS}
    # Each with connections of its own: a probe does not wait for a free one.
    async with (
        httpx.AsyncClient(**options, headers=dict(server.client.headers)) as users,
        httpx.AsyncClient(**options) as kubelet,
    ):
        until_s = time.monotonic() + seconds
        await asyncio.gather(load(users, until_s), *(ask(kubelet, path, until_s, asked[path]) for path in PATHS))
    return asked


def figures(asked: list[tuple[float, float]], probes: dict[str, Probe]) -> dict[str, Any]:
    took = sorted(took_s for _, took_s in asked)
    answered = [took_s for took_s in took if took_s < math.inf]
    return {
        "asked": len(took),
        "median_s": round(took[len(took) // 2], 2),
        "longest_s": round(max(answered, default=math.inf), 2),
        "over_5_s": sum(took_s > 5 for took_s in took),
        "unanswered": len(took) - len(answered),
        "restarted_after_s": {name: probe.first_restart_s(asked) for name, probe in probes.items()},
    }


def processor_s(server: Server) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in server.process_ids()]
    return sum(each.user + each.system for each in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    probes = {"committed": committed(), "15 s x 4, timeout 5 s": Probe(15, 5, 4)}
    loads = {
        "idle": nothing,
        "50 clients, short runs": clients(50, "ok", "hi"),
        "300 clients, short runs": clients(300, "ok", "hi"),
        "20 clients, each run blocks the loop for 1 s": clients(20, "blocks", "1"),
        "one call that does not return": clients(1, "blocks", "3600"),
    }
    result: dict[str, dict[str, Any]] = {}
    from server_nodes.blocks import Blocks

    with langflow_server() as server:
        server.create_flow(line(Blocks(_id="Blocks-1")), "blocks")
        for name, load in loads.items():
            before_s, began_s = processor_s(server), time.monotonic()
            asked = asyncio.run(measure(server, load, given.seconds))
            share = (processor_s(server) - before_s) / (time.monotonic() - began_s)
            result[name] = {path: figures(times, probes) for path, times in asked.items()}
            result[name]["processors"] = round(share, 2)
            print(name, json.dumps(result[name]), file=sys.stderr)
    if given.json:
        print(json.dumps(result))
        return
    for name, figures_of in result.items():
        print(f"{name}: {figures_of['processors']} processors")
        for path in PATHS:
            print(f"  {path:14} {figures_of[path]}")


if __name__ == "__main__":
    main()
