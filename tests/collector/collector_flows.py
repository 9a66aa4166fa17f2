"""Real flows on LangFlow's engine, whose telemetry goes to a collector."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "lfx"))
sys.path.insert(0, str(Path(__file__).parents[1] / "server"))

from flows import line
from lfx.log.logger import configure
from lfx.schema.message import Message
from nodes import basic, chatty

from langflow_otel import LangflowInstrumentor
from langflow_otel.insights.trace import TraceSpan, from_file

SECRET = "sk-proj-" + "Zq4x9Kd2" * 5


class Slow(basic.Echo):
    display_name = "Slow"
    name = "Slow"
    seconds = 0.5

    async def run_out(self) -> Message:
        await asyncio.sleep(self.seconds)
        return Message(text=str(self.value))


class Leaks(basic.Broken):
    """Fails with a message that quotes a key."""

    display_name = "Leaks"
    name = "Leaks"
    error = PermissionError(f"401 for {SECRET}")


class Medium(Slow):
    display_name = "Medium"
    name = "Medium"
    seconds = 0.2


NODES = {
    "ok": basic.Echo,
    "medium": Medium,
    "slow": Slow,
    "chatty": chatty.Chatty,
    "failing": basic.Broken,
    "leaking": Leaks,
}


@dataclass
class Sent:
    """What the library has sent, by its own trace file."""

    trace_file: Path

    @property
    def spans(self) -> list[TraceSpan]:
        return from_file(self.trace_file)

    @property
    def span_ids(self) -> set[str]:
        return {span.span_id for span in self.spans}

    def traces_of(self, flow: str) -> set[str]:
        return {span.trace_id for span in self.spans if span.attributes.get("langflow.flow.name") == flow}


@contextmanager
def instrumented(folder: Path, http: str, log_level: str = "CRITICAL", **environment: str) -> Iterator[Sent]:
    """LangFlow instrumented by the environment alone; all is sent when it ends."""
    trace_file = folder / "sent.jsonl"
    # Used once by an earlier test, a logger of LangFlow's keeps the level of that time.
    for logger in (sys.modules["lfx.log.logger"].logger, chatty.logger):
        vars(logger).pop("bind", None)
    configure(log_level=log_level, log_env="container_json", output_file=io.StringIO(), cache=False)
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{http}",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "LANGFLOW_OTEL_TRACE_FILE": str(trace_file),
        **environment,
    }
    with mock.patch.dict(os.environ, variables):
        instrumentor = LangflowInstrumentor()
        instrumentor.instrument()
        try:
            yield Sent(trace_file)
        finally:
            instrumentor.uninstrument()
            configure(log_level="CRITICAL", cache=False)


def run_flows(*kinds: str, name: str | None = None) -> None:
    """Runs a flow of each kind, called after it or so."""
    asyncio.run(_run_flows(kinds, name))


async def _run_flows(kinds: tuple[str, ...], name: str | None) -> None:
    for kind in kinds:
        try:
            await line(NODES[kind], name=name or kind).arun([{"input_value": "hi"}], session_id="s")
            failed = False
        except ValueError:
            failed = True
        assert failed == (kind in {"failing", "leaking"})


def main() -> None:
    """Runs a flow of each kind that is named, as the environment says."""
    configure()
    LangflowInstrumentor().instrument()
    run_flows(*sys.argv[1:])
    LangflowInstrumentor().uninstrument()


if __name__ == "__main__":
    main()
