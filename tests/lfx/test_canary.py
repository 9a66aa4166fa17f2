"""A secret in every place where there may be one: none leaves, in no mode, by no way; and content only where asked."""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lfx.components
import pytest
from canaries import Canaries, found_in
from everything_sent import LOGS, METRICS, SPANS, Protocol, belongs, capture_mode, everything_sent, may_be, table
from flows import chat_output
from lfx.components.input_output import ChatInput
from lfx.custom.custom_component.component import Component
from lfx.events.event_manager import create_default_event_manager
from lfx.graph import Graph
from lfx.inputs import inputs
from lfx.log.logger import configure
from nodes import canary

from langflow_otel._content.gate import ContentGate
from langflow_otel._hooks import logs
from langflow_otel._hooks.component_content import component_content, open_object
from langflow_otel._runs.facts import ComponentInfo, ComponentKind
from langflow_otel._settings.settings import Settings

BOTH = Settings(content_on_spans=True, content_in_events=True, content_length=100_000)
AT_LEAST = 100
"""Component classes that each LangFlow has, without the packages of any provider."""
SECRET_NAME = re.compile("api_?key|secret|token|password|header|credential|^key$", re.IGNORECASE)


left_out: list[str] = []
"""Modules of components for which an optional package is missing here."""


@pytest.fixture(scope="module")
def classes() -> Iterator[list[type[Component]]]:
    """Every component class that can be imported here."""
    before = set(sys.modules)
    found: dict[type[Component], None] = {}
    left_out.clear()
    for module in pkgutil.walk_packages(lfx.components.__path__, "lfx.components.", onerror=lambda _: None):
        try:
            members = vars(importlib.import_module(module.name))
        except Exception:  # Whatever a module raises that is not whole.
            left_out.append(module.name)
            continue
        for each in members.values():
            if isinstance(each, type) and issubclass(each, Component) and each.__module__ == module.name:
                found[each] = None
    yield list(found)
    # Whoever looks at all modules, as Hypothesis does, would ask each for what it imports when it is asked.
    for name in set(sys.modules) - before:
        if name.startswith("lfx.components."):
            del sys.modules[name]


def leaving(component: Component, kind: ComponentKind) -> set[int]:
    content = component_content(ContentGate(BOTH), ComponentInfo("X-1", "X", "X", kind), component)
    assert content is not None
    return found_in(repr(content.attributes).encode())


def planted_in(component: Component, canaries: Canaries) -> None:
    """A canary in each input that can hold a text."""
    for name, field in component._inputs.items():
        cls = type(field).__name__
        if cls in canary.NUMBERS:
            continue
        told = getattr(field, "password", False) or getattr(field, "load_from_db", False)
        harmless = cls in canary.TEXTS and not told and not SECRET_NAME.search(name)
        where = f"{type(component).__module__}.{type(component).__name__}.{name}, {cls}"
        component._attributes[name] = canary.shaped(cls, canaries.plant("content" if harmless else "secret", where))


def test_of_every_component_class_the_texts_leave_and_nothing_else(classes):
    canaries, found = Canaries(), set()
    for cls in classes:
        component = cls(_id="X-1")
        planted_in(component, canaries)
        found |= leaving(component, "component") | leaving(component, "llm")

    said = f"{len(classes)} classes, {len(canaries.planted)} inputs; {len(left_out)} modules left out"
    print(said)
    assert len(classes) >= AT_LEAST, said
    assert canaries.named(found & canaries.of("secret")) == [], said
    assert canaries.named(canaries.of("content") - found) == [], said
    assert len(canaries.of("secret")) > len(classes) / 4, said


def test_of_every_class_of_input_the_texts_leave_and_nothing_else():
    classes = [each for name, each in sorted(vars(inputs).items()) if name.endswith("Input")]
    canaries, component = Canaries(), canary.Echo(_id="X-1")
    vars(component)["_inputs"] = {f"x{number}": cls.model_construct() for number, cls in enumerate(classes)}
    planted_in(component, canaries)
    found = leaving(component, "component")

    assert len(classes) >= 30
    assert canaries.named(found - canaries.of("content")) == []
    assert canaries.named(canaries.of("content") - found) == []


@pytest.mark.parametrize("field", [{"password": True}, {"load_from_db": True}])
def test_what_the_flow_calls_a_secret_is_one(classes, field: dict[str, Any]):
    canaries, found = Canaries(), set()
    for cls in classes:
        component = cls(_id="X-1")
        planted_in(component, canaries)
        template = {name: {"type": "str", **field} for name in component._inputs}
        component._vertex = SimpleNamespace(data={"node": {"template": template}})
        found |= leaving(component, "component")

    assert canaries.named(found) == [], f"{len(classes)} classes, {len(canaries.planted)} inputs"


class Named(str, Enum):
    KEY = "api_key"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(lambda text: [{"key": "Authorization", "value": text}], id="rows of a table of headers"),
        pytest.param(lambda text: [("authorization", text)], id="pairs"),
        pytest.param(lambda text: {Named.KEY: text}, id="a key that is an enum's member"),
        pytest.param(lambda text: {b"authorization": text}, id="a key that is bytes"),
        pytest.param(lambda text: json.dumps({"headers": {"x-mine": text}}), id="json as a text"),
    ],
)
def test_secrets_by_their_names_in_other_shapes(value: Callable[[str], Any]):
    canaries = Canaries()
    left = ContentGate(BOTH).text(value(canaries.plant("secret", "value")), 10_000, open_object)
    assert left is not None
    assert canaries.named(found_in(left.encode())) == []


@pytest.mark.parametrize(
    "field_type", ["auth", "code", "connect", "dict", "file", "mcp", "NestedDict", "table", "tools"]
)
def test_what_the_flow_calls_no_text_is_none(field_type: str):
    canaries, component = Canaries(), canary.Echo(_id="X-1")
    planted_in(component, canaries)
    template = {name: {"type": field_type} for name in component._inputs}
    component._vertex = SimpleNamespace(data={"node": {"template": template}})
    assert canaries.named(leaving(component, "component")) == []


@pytest.fixture
def _langflow_logs() -> Iterator[None]:
    logs._chains.clear()
    # Used once by an earlier test, a logger of LangFlow's keeps the level of that time.
    vars(canary.logger).pop("bind", None)
    configure(log_level="INFO", log_env="container_json", output_file=io.StringIO(), cache=False)
    yield
    configure(log_level="CRITICAL", cache=False)


def talking() -> Graph:
    """chat input > all that hold canaries > chat output."""
    start = ChatInput(_id="ChatInput-in").set(should_store_message=False)
    previous = start.message_response
    chain = (
        canary.Inputs,
        canary.SaysMessage,
        canary.Traces,
        canary.Logs,
        canary.Nested,
        canary.SaysData,
        canary.SaysFrame,
        canary.TakesFrame,
    )
    for cls in chain:
        node = cls(_id=f"{cls.__name__}-1").set(value=previous)
        previous = getattr(node, node.outputs[0].method)
    agent = canary.Agent(_id="Agent-1").set(input_value=previous)
    model = canary.Streams(_id="Model-1").set(input_value=agent.message_response, stream=True)
    return Graph(start, chat_output(model.text_response), flow_name="demo", user_id=canary.USER)


def breaking() -> Graph:
    start = ChatInput(_id="ChatInput-in").set(should_store_message=False)
    node = canary.Breaks(_id="Breaks-1").set(value=start.message_response)
    return Graph(start, chat_output(node.run_out), flow_name="broken")


async def run_all(provider: Any) -> None:
    canary.tracers.makes_spans = canary.seen["provider"] = provider
    said = [{"input_value": canary.PROMPT}]
    graph = talking()
    graph.context = {"request_variables": {"x-langflow-global-var-x": canary.REQUEST_VARIABLE}}
    graph.get_vertex("Inputs-1").data["node"]["template"]["told"]["password"] = True
    events = create_default_event_manager(asyncio.Queue())
    await graph.arun(said, session_id=canary.SESSION, event_manager=events, fallback_to_env_vars=True)
    with pytest.raises(Exception, match="canary"):
        await breaking().arun(said, session_id=canary.SESSION)


@pytest.mark.usefixtures("_langflow_logs")
@pytest.mark.parametrize("error_messages", ["none", "redacted"])
@pytest.mark.parametrize("in_events", [False, True])
@pytest.mark.parametrize("on_spans", [False, True])
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_everything_leaves_where_it_may_and_nowhere_else(
    protocol: Protocol,
    on_spans: bool,
    in_events: bool,
    error_messages: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    settings = Settings(content_on_spans=on_spans, content_in_events=in_events, error_messages=error_messages)
    monkeypatch.setenv(canary.VARIABLE_NAME, canary.VARIABLE)

    sent = await everything_sent(settings, protocol, tmp_path, monkeypatch, run_all)

    planted = canary.canaries
    print(f"\n{protocol}, {capture_mode(settings)}, error messages {error_messages}:\n{table(planted, sent)}")
    assert sorted(sent) == sorted([*SPANS, *LOGS, *METRICS])
    too_much, too_little = {}, {}
    for place, said in sent.items():
        found = found_in(said)
        too_much[place] = planted.named(found - planted.of(*may_be(place, settings)))
        too_little[place] = planted.named(planted.of(*belongs(place, settings)) - found)
    assert {place: names for place, names in too_much.items() if names} == {}
    assert {place: names for place, names in too_little.items() if names} == {}
