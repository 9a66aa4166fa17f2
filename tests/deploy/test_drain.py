"""The container's preStop hook waits for real flow runs, and for nothing longer than it is told."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from overlays import KUBERNETES

pytest.importorskip("lfx", reason="these are flows on LangFlow's engine: pip install 'langflow-otel[lfx]'")

from lfx.components.input_output import ChatOutput
from lfx.custom.custom_component.component import Component
from lfx.graph import Graph
from lfx.io import Output
from lfx.schema.message import Message

from langflow_otel import LangflowInstrumentor

pytestmark = pytest.mark.slow

DRAIN = KUBERNETES / "base" / "langflow" / "drain.py"
RUN_S = 6


class Sleeps(Component):
    name = "Sleeps"
    outputs = [Output(name="out", display_name="Out", method="sleep")]

    async def sleep(self) -> Message:
        await asyncio.sleep(RUN_S)
        return Message(text="done")


async def run_flow() -> None:
    sleeps = Sleeps(_id="Sleeps-1")
    end = ChatOutput(_id="ChatOutput-1").set(input_value=sleeps.sleep, should_store_message=False)
    async for _ in Graph(sleeps, end, flow_name="slow").async_start():
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def scraped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The library with a scrape endpoint that wants a token, as in the manifest."""
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "prometheus")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", str(free_port()))
    monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_TOKEN_FILE", str(tmp_path / "token"))
    # Not to be used for this.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    instrumentor = LangflowInstrumentor()
    instrumentor.instrument()
    yield
    instrumentor.uninstrument()


def start_drain(*arguments: str) -> subprocess.Popen[str]:
    # By the interpreter alone: in the image it has only what LangFlow brings.
    return subprocess.Popen(
        [sys.executable, "-I", DRAIN, "--settle", "0", "--every", "0.2", *arguments], stderr=subprocess.PIPE, text=True
    )


async def end_of(drain: subprocess.Popen[str]) -> tuple[int, str, float]:
    started = time.monotonic()
    _, said = await asyncio.to_thread(drain.communicate, timeout=30)
    return drain.returncode, said, time.monotonic() - started


@pytest.mark.usefixtures("scraped")
async def test_it_waits_until_the_run_has_ended() -> None:
    running = asyncio.create_task(run_flow())
    await asyncio.sleep(0.5)

    code, said, _ = await end_of(start_drain("--at-most", "60"))

    assert running.done()
    assert (code, said) == (0, "langflow-drain: no flow run is going on\n")


@pytest.mark.usefixtures("scraped")
async def test_it_gives_up_when_the_time_is_up() -> None:
    running = asyncio.create_task(run_flow())
    await asyncio.sleep(0.5)

    code, said, took_s = await end_of(start_drain("--at-most", "1"))

    assert not running.done()
    assert (code, said) == (0, "langflow-drain: the time is up\n")
    assert took_s < RUN_S - 1
    await running


@pytest.mark.usefixtures("scraped")
async def test_it_ends_at_once_when_nothing_runs(tmp_path: Path) -> None:
    code, _, took_s = await end_of(start_drain("--at-most", "60", "--log", str(tmp_path / "log")))

    assert code == 0
    assert took_s < 20
    assert (tmp_path / "log").read_text() == "langflow-drain: no flow run is going on\n"


async def test_it_does_not_wait_for_a_server_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", str(free_port()))

    code, said, took_s = await end_of(start_drain("--at-most", "60"))

    assert code == 0
    assert "does not answer" in said
    assert took_s < 30
