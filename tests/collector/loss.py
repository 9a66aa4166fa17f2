"""What is lost between LangFlow and the backend while collectors go away: spans counted one by one, by their ids.

Usage: python tests/collector/loss.py [--runs 2000] [--down 60]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from backends import arrived, tls_receiver
from certificates import TOKEN, write_tls_folder
from collector_flows import Sent, instrumented, run_flows
from collector_process import Collector, eventually
from otlp_receiver import Receiver, otlp_receiver
from prometheus_client.parser import text_string_to_metric_families

from langflow_otel import LangflowInstrumentor

PATIENCE_S = 120
QUICK = {
    "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
    "OTEL_METRICS_EXPORTER": "prometheus",
    "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
}

Disturb = Callable[[Collector, Collector], None]


@dataclass
class Count:
    """Spans.

    Attributes:
        sent: By the library, as its own trace file has them.
        arrived: Those of them that came to the backend.
        duplicates: How often one came once more.
        dropped: As the library counts, langflow_otel_dropped_total.
    """

    sent: int
    arrived: int
    duplicates: int
    dropped: int

    @property
    def lost(self) -> int:
        return self.sent - self.arrived

    def __str__(self) -> str:
        return (
            f"{self.sent} sent, {self.arrived} arrived, {self.lost} lost, {self.duplicates} duplicates, "
            f"{self.dropped} counted as dropped by the library"
        )


def count(sent: Sent, backend: Receiver, dropped: int) -> Count:
    every, wanted = arrived(backend), sent.span_ids
    return Count(len(wanted), len(wanted & set(every)), len(every) - len(set(every)), dropped)


def dropped_spans() -> int:
    """What this process's library counts, as a scrape has it."""
    scrape = LangflowInstrumentor().scrape
    assert scrape is not None
    page = scrape.page("", "").body.decode()
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "langflow_otel_dropped_total" and sample.labels["signal"] == "traces"
    )


@contextmanager
def handing_on(folder: Path) -> Iterator[tuple[Collector, Collector, Receiver]]:
    """An agent, a second collector that hands on what it gets (secure.yaml), a backend."""
    tls = write_tls_folder(folder / "tls")
    with (
        tls_receiver(tls) as backend,
        Collector("secure.yaml", folder, COLLECTOR_TLS=tls, GATEWAY_ENDPOINT=backend.address) as gateway,
        Collector(
            "agent.yaml",
            folder,
            GATEWAY_ENDPOINT=gateway.grpc,
            GATEWAY_INSECURE="false",
            GATEWAY_CA_FILE=tls / "ca.pem",
            GATEWAY_CERT_FILE=tls / "client.pem",
            GATEWAY_KEY_FILE=tls / "client-key.pem",
            GATEWAY_TOKEN=TOKEN,
        ) as agent,
    ):
        yield agent, gateway, backend


@contextmanager
def sampling(folder: Path, **environment: str) -> Iterator[tuple[Collector, Collector, Receiver]]:
    """An agent, a gateway that holds traces until it decides (to keep all of them), a backend."""
    with (
        otlp_receiver("http/protobuf") as backend,
        Collector(
            "gateway.yaml", folder, TRACES_ENDPOINT=f"http://{backend.address}", KEEP_PERCENT=100, **environment
        ) as gateway,
        Collector("agent.yaml", folder, GATEWAY_ENDPOINT=gateway.grpc) as agent,
    ):
        yield agent, gateway, backend


def killed_and_down(down_s: float) -> Disturb:
    """The gateway is killed with -9 and back at once, so is the agent; then the gateway is killed and stays away."""

    def disturb(agent: Collector, gateway: Collector) -> None:
        time.sleep(2)
        gateway.kill()
        gateway.start()
        time.sleep(2)
        agent.kill()
        agent.start()
        time.sleep(2)
        gateway.kill()
        time.sleep(down_s)
        gateway.start()

    return disturb


def restarted(agent: Collector, gateway: Collector) -> None:
    time.sleep(2)
    gateway.stop()
    gateway.start()


def killed(agent: Collector, gateway: Collector) -> None:
    time.sleep(2)
    gateway.kill()
    gateway.start()


def while_disturbed(folder: Path, runs: int, chain: Callable, disturb: Disturb, wait_s: float = PATIENCE_S) -> Count:
    """Runs of real flows, evenly over the disturbance, and as long after it as the backend gets something."""
    with chain(folder) as (agent, gateway, backend):
        with instrumented(folder, agent.http, **QUICK) as sent:
            trouble = threading.Thread(target=disturb, args=(agent, gateway))
            trouble.start()
            done = 0
            while trouble.is_alive() or done < runs:
                run_flows(*["ok"] * 9, "failing")
                done += 10
                if done >= runs / 2 and trouble.is_alive():
                    time.sleep(0.5)
            trouble.join()
            time.sleep(1)
            dropped = dropped_spans()
        wanted, deadline_s = sent.span_ids, time.monotonic() + wait_s
        while not wanted <= set(arrived(backend)) and time.monotonic() < deadline_s:
            time.sleep(0.2)
        return count(sent, backend, dropped)


def without_agent(folder: Path, runs: int) -> Count:
    """Half of the runs before the agent goes for good, half after."""
    with (
        otlp_receiver("grpc") as backend,
        Collector("agent.yaml", folder, GATEWAY_ENDPOINT=backend.address) as agent,
        instrumented(folder, agent.http, **QUICK) as sent,
    ):
        run_flows(*["ok"] * (runs // 2))
        eventually(lambda: sent.span_ids <= set(arrived(backend)))
        agent.kill()
        run_flows(*["ok"] * (runs - runs // 2))
        with_losses = lambda: count(sent, backend, dropped_spans())  # noqa: E731
        eventually(lambda: (found := with_losses()).lost == found.dropped > 0, seconds=PATIENCE_S)
        return with_losses()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--runs", type=int, default=2000)
    arguments.add_argument("--down", type=float, default=60, help="seconds")
    given = arguments.parse_args()
    trouble = killed_and_down(given.down)
    for title, measure in {
        f"killed and down for {given.down:.0f} s": lambda at: while_disturbed(at, given.runs, handing_on, trouble),
        "the sampling gateway restarted": lambda at: while_disturbed(at, given.runs // 4, sampling, restarted),
        "the sampling gateway killed": lambda at: while_disturbed(at, given.runs // 4, sampling, killed, wait_s=30),
        "the agent gone for good": lambda at: without_agent(at, given.runs // 4),
    }.items():
        with tempfile.TemporaryDirectory() as folder:
            print(f"{title}: {measure(Path(folder))}", flush=True)


if __name__ == "__main__":
    main()
