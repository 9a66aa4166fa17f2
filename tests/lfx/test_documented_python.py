"""The Python of the documentation runs, each block as a module of its own; that of docs/insights is in tests/unit."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import prometheus_client
import pytest
from documentation import ROOT, Block, blocks
from lfx.components.input_output import ChatInput, ChatOutput
from lfx.graph import Graph

import langflow_otel
from langflow_otel.testing import Telemetry

DOCS = ROOT / "docs"
BLOCKS = [
    block
    for block in blocks("python")
    if not block.not_run and not block.page.is_relative_to(DOCS / "insights") and block.page.parent.name != "reference"
]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Block], ModuleType]]:
    """Runs a block with a destination, the examples and a registry of the test's own."""
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(tmp_path / "spans.jsonl"))
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    monkeypatch.setattr(prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry())

    def load(block: Block) -> ModuleType:
        path = tmp_path / "documented.py"
        path.write_text(block.code, encoding="utf-8")
        spec = importlib.util.spec_from_file_location("documented", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "documented", module)
        spec.loader.exec_module(module)
        return module

    yield load
    langflow_otel.uninstrument()


@pytest.mark.parametrize("block", BLOCKS, ids=str)
async def test_python_block_runs(block: Block, load):
    """Its tests, too, if it defines any."""
    module = load(block)

    for name, test in inspect.getmembers(module, inspect.iscoroutinefunction):
        if name.startswith("test_"):
            await test()


async def test_decorated_component_has_the_spans_it_says(load, telemetry: Telemetry):
    block = next(block for block in BLOCKS if "class OrderLookup" in block.code)
    question = ChatInput().set(should_store_message=False)
    lookup = load(block).OrderLookup().set(question=question.message_response)
    flow = Graph(question, ChatOutput().set(input_value=lookup.answer, should_store_message=False), flow_name="orders")
    await flow.arun([{"input_value": "where is my order"}], session_id="s-1")

    assert telemetry.tree("index", "input_size", "table", "rows") == [
        "invoke_workflow orders",
        "  component Chat Input",
        "  component Order Lookup",
        "    rank index=orders input_size=4",
        "      lookup table=orders rows=4",
        "  component Chat Output",
    ]
