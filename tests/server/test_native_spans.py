"""A real server whose own spans go to the same receiver as ours: which of them arrive."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("langflow") is None:
    pytest.skip("these tests start LangFlow's server: pip install langflow-base", allow_module_level=True)

import paths
from langflow_server import Server, langflow_server
from received import received_spans, render, runs_below
from ways import API, BUILD, NATIVE, OK

from langflow_otel.insights.trace import build_trees

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not NATIVE, reason="LangFlow 1.12 and later has spans of its own"),
]

PAGES = ("/api/v1/flows/", "/api/v1/version", "/api/v1/users/whoami", "/api/v1/config", "/health")
"""With all of its spans, each has some six."""


def run_three_among_pages(server: Server) -> None:
    """What has arrived afterwards is of these alone."""
    server.forget()
    for path in PAGES * 4:
        assert server.browser.get(path).status_code == 200
    for _ in range(2):
        paths.api_run(server, "ok")
    paths.playground(server, "ok")
    server.traces(runs=3)


def test_two_workers_send_only_spans_of_traces_with_a_flow():
    with langflow_server(workers=2, environment={"LANGFLOW_OTEL_NATIVE_SPANS": "flows"}) as server:
        run_three_among_pages(server)
        roots = build_trees(received_spans(server.receiver))

    assert sorted(root.name for root in roots) == [BUILD, API, API]
    assert [len(runs_below(root)) for root in roots] == [1, 1, 1]
    names = [{span.name.split(" ")[0] for span in root.walk()} for root in roots]
    assert all({"SELECT", "connect", "flow.execute"} <= found for found in names)


def test_two_workers_send_none_of_them_and_each_run_is_a_trace():
    with langflow_server(workers=2, environment={"LANGFLOW_OTEL_NATIVE_SPANS": "none"}) as server:
        run_three_among_pages(server)
        found = received_spans(server.receiver)

    assert {span.scope for span in found} == {"langflow_otel"}
    assert render(build_trees(found)) == [*(["invoke_workflow ok", *(f"  {each}" for each in OK)] * 3)]
