"""The flows of the server's tests, made of real components by the installed version: what a user exports and
imports differs between versions."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langflow_server import Server


def make_flows(server: Server) -> None:
    """All of them, through the API."""
    from server_nodes.broken import Broken
    from server_nodes.calls import Calls
    from server_nodes.echo import Echo
    from server_nodes.keyed import Keyed
    from server_nodes.scores import Scores
    from server_nodes.slow import Slow

    for name, cls in (
        ("ok", Echo),
        ("failing", Broken),
        ("slow", Slow),
        ("scored", Scores),
        ("calling", Calls),
        ("keyed", Keyed),
    ):
        server.create_flow(line(cls(_id=f"{cls.__name__}-1")), name)
    server.create_flow(streaming(), "streaming")
    server.create_flow(hooked(), "hooked")
    server.create_flow(hooked(Broken(_id="Broken-1")), "hooked-failing")
    server.create_flow(run_flow(server, "ok"), "outer")


def line(node: Any) -> dict[str, Any]:
    """chat input > the component > chat output."""
    from lfx.components.input_output import ChatInput, ChatOutput
    from lfx.graph import Graph

    start = ChatInput(_id="ChatInput-in")
    node.set(value=start.message_response)
    end = ChatOutput(_id="ChatOutput-out").set(input_value=node.run_out)
    return dict(Graph(start, end).dump(name="flow"))


def streaming() -> dict[str, Any]:
    """chat input > a language model that streams > chat output."""
    from lfx.components.input_output import ChatInput, ChatOutput
    from lfx.graph import Graph
    from server_nodes.model import FakeModel

    start = ChatInput(_id="ChatInput-in")
    model = FakeModel(_id="FakeModel-1").set(input_value=start.message_response, stream=True)
    end = ChatOutput(_id="ChatOutput-out").set(input_value=model.text_response)
    return dict(Graph(start, end).dump(name="flow"))


def hooked(node: Any = None) -> dict[str, Any]:
    """webhook > the component, if there is one > chat output: LangFlow gives the request's body to the webhook."""
    from lfx.components.input_output import ChatOutput
    from lfx.graph import Graph

    try:
        from lfx.components.input_output import WebhookComponent
    except ImportError:
        from lfx.components.data import WebhookComponent

    start = WebhookComponent(_id="Webhook-in")
    end = ChatOutput(_id="ChatOutput-out")
    end.set(input_value=start.build_data if node is None else node.set(value=start.build_data).run_out)
    return dict(Graph(start, end).dump(name="flow"))


def run_flow(server: Server, name: str) -> dict[str, Any]:
    """chat input > Run Flow with this flow > chat output, as the UI makes it: choosing the flow gives the
    component the inputs and outputs of that flow, by a call to the server."""
    from server_nodes.echo import Echo

    dump = copy.deepcopy(line(Echo(_id="Echo-1")))
    nodes = {node["id"]: node for node in dump["data"]["nodes"]}
    chosen = _chosen_flow(server, name)
    nodes["Echo-1"]["id"] = "RunFlow-1"
    nodes["Echo-1"]["data"] = {"id": "RunFlow-1", "type": "RunFlow", "node": chosen}
    for edge in dump["data"]["edges"]:
        if edge["target"] == "Echo-1":
            field = "ChatInput-in~input_value"
            target = {"fieldName": field, "id": "RunFlow-1", "inputTypes": ["Message"], "type": "str"}
            _connect(edge, "target", target)
        else:
            source = {
                "dataType": "RunFlow",
                "id": "RunFlow-1",
                "name": chosen["outputs"][0]["name"],
                "output_types": ["Message"],
            }
            _connect(edge, "source", source)
    return dump


def _connect(edge: dict[str, Any], side: str, handle: dict[str, Any]) -> None:
    edge[side] = handle["id"]
    edge["data"][f"{side}Handle"] = handle
    # The UI's own form of JSON in an id.
    edge[f"{side}Handle"] = str(handle).replace("'", "œ").replace(" ", "")
    edge["id"] = f"{edge['source']}-{edge['target']}"


def _chosen_flow(server: Server, name: str) -> dict[str, Any]:
    """The Run Flow component once its user has chosen a flow."""
    from lfx.components.flow_controls import RunFlowComponent

    node = RunFlowComponent(_id="RunFlow-1").to_frontend_node()["data"]["node"]
    template = node["template"]
    stored = server.browser.get(f"/api/v1/flows/{server.flows[name]}").json()
    about = {"id": stored["id"], "updated_at": stored["updated_at"]}
    template["flow_name_selected"].update(value=name, options=[name], selected_metadata=about)
    response = server.browser.post(
        "/api/v1/custom_component/update",
        json={
            "code": template["code"]["value"],
            "template": template,
            "field": "flow_name_selected",
            "field_value": name,
            "tool_mode": False,
        },
    )
    assert response.status_code == 200, response.text
    chosen = response.json()
    chosen["template"]["flow_name_selected"].update(value=name, selected_metadata=about)
    chosen["template"]["flow_id_selected"]["value"] = stored["id"]
    return dict(chosen)
