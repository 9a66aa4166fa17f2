"""A user in front of the real user interface: builds a flow, writes a component in the code editor, presses run.

All of it twice, once without us: the interface shows the same. LangFlow's own telemetry is on both times.
"""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langflow", reason="this test drives LangFlow's user interface: pip install langflow-base")
pytest.importorskip("playwright", reason="this test drives a browser: pip install playwright")

import paths
from browser import CHROMIUM, Node, Ui, browser
from langflow_server import Server, langflow_server, langflow_version


def _interface() -> Path:
    spec = importlib.util.find_spec("langflow")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "frontend", "index.html")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(CHROMIUM is None, reason="this test drives a browser: no chromium is installed"),
    pytest.mark.skipif(not _interface().exists(), reason="this langflow has no user interface in it"),
    pytest.mark.skipif(langflow_version() < (1, 13), reason="the interface is driven as that of LangFlow 1.13"),
]

SCORES = Path(__file__).parent.joinpath("server_nodes", "scores.py").read_text(encoding="utf-8")
OTHER_SPAN = SCORES.replace('span("lookup"', 'span("search"')
FAILING = SCORES.replace("return Message(text=str(self.value))", 'raise LookupError("no such order")')
FLOWS = ("ok", "failing", "streaming", "outer", "scored")


@dataclass
class Look:
    """What the user sees after a step."""

    messages: list[str]
    nodes: list[Node]
    complains: bool


@dataclass
class Impressions:
    """All that a user sees of a server.

    Attributes:
        complaint: What is shown of the run that fails.
        components: The list of components.
        editor: What the code editor makes of a component.
        builds: Flow and way in: the events of a run, and each key in them with the type of its values.
        trees: Of the runs in the browser.
    """

    looks: dict[str, Look] = field(default_factory=dict)
    complaint: str = ""
    refused: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    components: Any = None
    editor: Any = None
    builds: dict[str, list[str]] = field(default_factory=dict)
    trees: list[str] = field(default_factory=list)
    trace_ids: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def without_us() -> Impressions:
    return impressions("false", runs=0)


@pytest.fixture(scope="module")
def with_us() -> Impressions:
    return impressions("true", runs=4)


def impressions(enabled: str, runs: int) -> Impressions:
    found = Impressions()
    environment = {"LANGFLOW_OTEL_ENABLED": enabled, "LANGFLOW_OTEL_DB_SPANS": "false"}
    with langflow_server(arguments=(), environment=environment) as server:
        with browser(server.url) as ui:
            use(ui, found)
        roots = server.traces(runs)
        found.trees = server.trees(runs, "langflow.entry_point", "error.type")
        found.trace_ids = {root.trace_id for root in roots}
        ask(server, found)
    return found


def use(ui: Ui, found: Impressions) -> None:
    """An author's first quarter of an hour."""

    def look(step: str) -> None:
        found.looks[step] = Look(ui.messages(), ui.nodes(), ui.complains())

    ui.new_flow()
    ui.drag_in("Chat Input", 60)
    ui.drag_in("Chat Output", 900)
    ui.new_component(SCORES)
    ui.connect("handle-chatinput-noshownode-chat message-source", "handle-scores-shownode-value-left")
    ui.connect("handle-scores-shownode-out-right", "handle-chatoutput-noshownode-inputs-target")
    look("built")
    ui.open_playground()
    ui.send("weigh this")
    look("sent")
    ui.close_playground()
    ui.press_run("Scores")
    look("pressed run")
    ui.write_code("Scores", OTHER_SPAN)
    ui.open_playground()
    ui.send("and this")
    look("sent again")
    ui.close_playground()
    ui.write_code("Scores", FAILING)
    ui.open_playground()
    ui.send("and that")
    found.complaint = ui.complaint()
    look("failed")
    found.refused, found.errors = ui.refused, ui.errors


def ask(server: Server, found: Impressions) -> None:
    """What the interface asks the server for, beside the screen."""
    found.components = in_order(server.browser.get("/api/v1/all").json())
    answer = server.browser.post("/api/v1/custom_component", json={"code": SCORES})
    assert answer.status_code == 200, answer.text
    found.editor = answer.json()
    for flow in FLOWS:
        for delivery in ("streaming", "direct"):
            text = paths.playground(server, flow, delivery=delivery).text
            found.builds[f"{flow}, v1, {delivery}"] = shape(text)
        found.builds[f"{flow}, v2"] = shape(workflow(server, flow))


def in_order(value: Any) -> Any:
    """The same with every list sorted: LangFlow makes some of them out of sets."""
    if isinstance(value, dict):
        return {key: in_order(inner) for key, inner in value.items()}
    return sorted(map(in_order, value), key=repr) if isinstance(value, list) else value


def workflow(server: Server, flow: str) -> str:
    """The request by which the playground of 1.13 runs a flow."""
    body = {"flow_id": server.flows[flow], "input_value": "hi", "mode": "stream", "stream_protocol": "agui"}
    response = server.browser.post("/api/v2/workflows", json=body, headers={"X-Langflow-Client": "playground"})
    assert response.status_code == 200, response.text
    return response.text


_OF_THIS_RUN = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")


def shape(events: str) -> list[str]:
    """Each event's name, and each key in it with the type of its value; sorted, since parallel work may overtake."""
    lines = [line.removeprefix("data:").strip() for line in events.splitlines() if not line.startswith(("event", "id"))]
    found = [sorted(set(keys(json.loads(line)))) for line in lines if line.startswith("{")]
    assert found
    return sorted(map(str, found))


def keys(value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [each for key, inner in value.items() for each in keys(inner, f"{path}.{_OF_THIS_RUN.sub('*', key)}")]
    if isinstance(value, list):
        return [each for inner in value for each in keys(inner, f"{path}[]")] or [f"{path}: empty"]
    if path in (".event", ".type", ".name"):
        return [f"{path}: {value}"]
    return [f"{path}: {type(value).__name__}"]


def test_each_run_in_the_browser_is_one_trace(with_us):
    assert with_us.trees == [
        "POST /api/v2/workflows",
        "  invoke_workflow New Flow langflow.entry_point=playground",
        "    flow.execute",
        "    component Chat Input",
        "    component Scores",
        "      score",
        "        lookup",
        "          weigh",
        "    component Chat Output",
        # The button of one component: what stands before it runs too.
        "POST /api/v2/workflows",
        "  invoke_workflow New Flow langflow.entry_point=playground",
        "    flow.execute",
        "    component Chat Input",
        "    component Scores",
        "      score",
        "        lookup",
        "          weigh",
        # Its code was changed in the editor.
        "POST /api/v2/workflows",
        "  invoke_workflow New Flow langflow.entry_point=playground",
        "    flow.execute",
        "    component Chat Input",
        "    component Scores",
        "      score",
        "        search",
        "          weigh",
        "    component Chat Output",
        # LangFlow answers 200, and its own span names its wrapper of the error.
        "POST /api/v2/workflows",
        "  invoke_workflow New Flow [error] langflow.entry_point=playground error.type=LookupError",
        "    flow.execute [error] error.type=ComponentBuildError",
        "    component Chat Input",
        "    component Scores [error] error.type=LookupError",
        "      score [error] error.type=LookupError",
        "        lookup",
        "          weigh",
    ]
    assert len(with_us.trace_ids) == 4


def test_the_browser_shows_the_same_as_without_us(with_us, without_us):
    assert without_us.trees == []
    assert with_us.looks["sent"].messages == ["User-weigh this", "AI-weigh this"]
    assert all(node.is_timed for node in with_us.looks["sent"].nodes)
    assert [step for step, look in with_us.looks.items() if look.complains] == ["failed"]
    assert with_us.looks == without_us.looks
    assert with_us.refused == without_us.refused == []
    assert with_us.errors == without_us.errors == []


def test_an_error_is_shown_as_without_us(with_us, without_us):
    assert "no such order" in with_us.complaint
    assert with_us.complaint == without_us.complaint


def test_the_components_to_choose_from_are_the_same(with_us, without_us):
    assert len(with_us.components) > 5
    assert with_us.components == without_us.components
    assert with_us.editor["type"] == "Scores"
    assert with_us.editor == without_us.editor


def test_results_of_builds_have_the_same_shape(with_us, without_us):
    assert sorted(with_us.builds) == sorted(without_us.builds)
    for name, events in with_us.builds.items():
        assert events == without_us.builds[name], name
