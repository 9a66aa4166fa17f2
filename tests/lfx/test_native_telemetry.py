"""Beside LangFlow's own telemetry (1.12 and later): our tree is the same, whoever exports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from flows import line, run
from lfx.graph import Graph
from nodes import basic
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from otlp_receiver import otlp_receiver

from langflow_otel.testing import capture_telemetry

HAS_OWN_SPANS = hasattr(Graph, "flow_execution_span")


@pytest.fixture
def langflows_own(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """LangFlow's tracer gets a provider of its own, as its bootstrap would install globally."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    if HAS_OWN_SPANS:
        module = __import__("lfx.graph.graph.base", fromlist=["otel_trace"])
        monkeypatch.setattr(module.otel_trace, "get_tracer", provider.get_tracer)
    return exporter


TREE = [
    "invoke_workflow demo",
    "  component Chat Input",
    "  component Echo",
    "  component Chat Output",
]


async def test_components_hang_below_our_flow_and_langflows_span_beside_them(telemetry, langflows_own):
    await run(line(basic.Echo))

    assert telemetry.tree() == TREE
    flow = telemetry.only_span("invoke_workflow demo")
    for own in langflows_own.get_finished_spans():
        assert own.name == "flow.execute"
        assert f"{own.parent.span_id:016x}" == flow.span_id
    assert len(langflows_own.get_finished_spans()) == (1 if HAS_OWN_SPANS else 0)


async def test_an_unsampled_flow_does_not_make_langflows_span_a_new_root(langflows_own):
    with capture_telemetry(sampler=ALWAYS_OFF) as telemetry:
        await run(line(basic.ReadsContext))

    assert telemetry.tree() == []
    # Its sampler follows the parent: flag 0 in, nothing out, and the same trace id further down.
    assert langflows_own.get_finished_spans() == ()
    assert basic.seen["span"].is_valid
    assert not basic.seen["span"].trace_flags.sampled
    assert trace.get_current_span() is trace.INVALID_SPAN


OWN_SPANS_OF_REQUESTS = """
import asyncio, dataclasses, json, sys
sys.path.append({folder!r})
from flows import line, run
from nodes import basic
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from langflow_otel import instrument, uninstrument
from langflow_otel._settings.settings import Settings
from lfx.observability import ApplicationOnlySpanProcessor, bootstrap_application_telemetry

telemetry = bootstrap_application_telemetry()
processor, = telemetry.tracer_provider._active_span_processor._span_processors
original = ApplicationOnlySpanProcessor.__dict__["on_end"]
others = InMemorySpanExporter()
telemetry.tracer_provider.add_span_processor(SimpleSpanProcessor(others))
http = trace.get_tracer("opentelemetry.instrumentation.fastapi")
sql = trace.get_tracer("opentelemetry.instrumentation.sqlalchemy")


async def requests(mode):
    with http.start_as_current_span(f"GET /{{mode}}/nothing"), sql.start_as_current_span(f"SELECT {{mode}} nothing"):
        pass
    with http.start_as_current_span(f"POST /{{mode}}/run"):
        with sql.start_as_current_span(f"SELECT {{mode}} user"):
            pass
        await run(line(basic.Echo, name=mode))
    with http.start_as_current_span(f"POST /{{mode}}/build") as answered:
        pass
    with trace.use_span(answered):
        await run(line(basic.Echo, name=mode))


got = []
for mode in ("keep", "flows", "none"):
    others.clear()
    instrument(settings=dataclasses.replace(Settings.from_env(), native_spans=mode))
    asyncio.run(requests(mode))
    uninstrument()
    assert ApplicationOnlySpanProcessor.__dict__["on_end"] is original
    assert processor._lineage == {{}}, mode
    got.append([span.name.replace(mode, "any") for span in others.get_finished_spans()])
    assert got[-1] == got[0], "another exporter of the same provider gets all of them in any mode"
    with http.start_as_current_span(f"GET /{{mode}}/off"):
        pass
telemetry.shutdown()
"""


@pytest.fixture(scope="module")
def trees_by_mode() -> dict[str, list[str]]:
    """What a collector gets in each mode: LangFlow's own bootstrap, its processor and exporter, and real flows."""
    sys.path.append(str(Path(__file__).parents[1] / "server"))
    from received import received_spans, render

    from langflow_otel.insights.trace import build_trees

    with otlp_receiver("http/protobuf") as receiver:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "LANGFLOW_"))}
        env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}", "LANGFLOW_LOG_LEVEL": "CRITICAL"}
        script = OWN_SPANS_OF_REQUESTS.format(folder=str(Path(__file__).parent))
        result = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=300, env=env, check=False
        )
        assert result.returncode == 0, result.stderr
        spans = received_spans(receiver)
    modes = ("keep", "flows", "none")
    trees = {
        mode: [root for root in build_trees(spans) if mode in root.name.split("/") + root.name.split()]
        for mode in modes
    }
    return {mode: render(sorted(roots, key=lambda root: root.start_ns)) for mode, roots in trees.items()}


COMPONENTS = ["component Chat Input", "component Echo", "component Chat Output"]


def own(mode: str, depth: int) -> list[str]:
    """A run of ours, with LangFlow's span of it."""
    below = ["flow.execute", *COMPONENTS] if mode != "none" else COMPONENTS
    return ["  " * depth + f"invoke_workflow {mode}", *("  " * (depth + 1) + name for name in below)]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_OWN_SPANS, reason="LangFlow 1.12 and later has spans of its own")
@pytest.mark.parametrize("mode", ["keep", "flows", "none"])
def test_which_of_langflows_own_spans_are_sent(trees_by_mode: dict[str, list[str]], mode: str):
    requests = {
        "keep": [
            "GET /keep/nothing",
            "  SELECT keep nothing",
            "POST /keep/run",
            "  SELECT keep user",
            *own("keep", 1),
            "POST /keep/build",
            *own("keep", 0),
        ],
        "flows": ["POST /flows/run", "  SELECT flows user", *own("flows", 1), "POST /flows/build", *own("flows", 0)],
        "none": [*own("none", 0), *own("none", 0)],
    }

    assert trees_by_mode[mode] == [*requests[mode], f"GET /{mode}/off"]
