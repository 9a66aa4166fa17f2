"""Content of components and tools: what may be exported, without what LangFlow marks as a secret.

By class of the input, and not only by its name: what is a text, a number, a choice or a value of another component may
leave; dictionaries, tables, files, code, connections and models may not, for headers and keys are in them.

A component keeps what it is called with as a tool, too. In a conversation with a model a tool has only its name: which
names those are is found by the tools that the caller of the model has.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel._content.gate import ContentGate, SpanContent
from langflow_otel._content.limits import chosen
from langflow_otel._content.plain_values import MAX_ITEMS
from langflow_otel._guard import Guard
from langflow_otel._hooks.facts import component_info
from langflow_otel._runs.component import ComponentRun
from langflow_otel._runs.facts import ComponentInfo
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.recorder import Recorder
from langflow_otel._runs.run import Run
from langflow_otel._runs.tool import ToolRun
from langflow_otel.redaction.known_secrets import remember_secrets
from langflow_otel.redaction.secret_names import is_secret_name

OPT_OUT = "langflow_otel_content"
"""A component class, or a method with ``@traced(content=False)``, for which this is False keeps its content."""

_INPUTS = frozenset(
    [
        "BoolInput",
        "DataFrameInput",
        "DataInput",
        "DropdownInput",
        "FloatInput",
        "HandleInput",
        "IntInput",
        "JSONInput",
        "MessageInput",
        "MessageTextInput",
        "MultilineInput",
        "MultiselectInput",
        "MustachePromptInput",
        "PromptInput",
        "QueryInput",
        "SliderInput",
        "StrInput",
        "TabInput",
    ]
)
# Types in a flow's JSON; what is not there is not asked for.
_FIELD_TYPES = frozenset(["str", "int", "float", "bool", "prompt", "mustache", "query", "slider", "tab", "other", ""])
_ROWS = 20
# A shorter one would be found everywhere.
_SHORTEST_SECRET = 8
_LONGEST_SECRET = 4096

# Names of the inputs that best describe what a component got.
_MAIN = frozenset({"input_value", "message", "text", "query", "search_query", "question"})
_OPTIONS = frozenset(
    ["BoolInput", "DropdownInput", "FloatInput", "IntInput", "MultiselectInput", "SliderInput", "TabInput"]
)

_NEVER = 3
_CONTAINERS = frozenset({list, tuple, dict, set})

OWNER: Final = "langflow_otel_owner"
"""On the function of a tool: the component that it runs."""
_FUNCTIONS: Final = ("coroutine", "func")

_MAX_WITHHELD = 200
_ENDS_OF_FLOW = frozenset({"input", "output"})

_CONTENT = Guard("content.take")

_PROMPTS = ("input_value", "prompt", "query", "search_query")
_SYSTEM_PROMPTS = ("system_message", "system_prompt")


def judge_component(gate: ContentGate, run: ComponentRun, component: Any) -> None:
    """Decide whether content of a component is denied, and keep which tools it may call."""
    # In this order: what fails to be judged is not exported.
    run.denied = True
    run.denied = is_denied_component(gate, run.info, component)
    take_tools(run, gate, component)


def take_inputs(recorder: Recorder, run: ComponentRun, component: Any) -> None:
    """Keep the inputs of a component that is about to run, where they may leave; its secrets are remembered first."""
    withheld = set() if run.flow is None else run.flow.withheld
    if len(withheld) < _MAX_WITHHELD:
        secrets = list(secrets_of(component))
        withheld.update(secrets)
        remember_secrets(secrets)
    if recorder.content is None or not (run.span is not None or _is_of_flow(run)) or _is_denied_outside(run.flow):
        return
    run.content = component_content(recorder.content, run.info, component, withheld)


def _is_of_flow(run: ComponentRun) -> bool:
    """True if what it lets through is on the flow's span."""
    span = None if run.flow is None else run.flow.span
    return run.info.kind in _ENDS_OF_FLOW and span is not None and span.is_recording()


def _is_denied_outside(flow: FlowRun | None) -> bool:
    """True in a flow that is run by a component or a tool of which content is denied: its inputs are theirs."""
    return flow is not None and flow.outer is not None and not may_leave_whole(flow.outer)


def component_content(
    gate: ContentGate, info: ComponentInfo, component: Any, withheld: Collection[str] = ()
) -> SpanContent | None:
    """The inputs of a component that is about to run; None if its content stays here."""
    if gate.denies(info.component_id, info.component_type, info.display_name) or opts_out(component):
        return None
    content = SpanContent(gate, open_object, withheld)
    names = (*(component.__dict__.get("_attributes") or ()), *(str(output.name) for output in component.outputs))
    content.is_partial = gate.denies(*names)
    # Not `in (None, "")`: a value's comparison is its author's code.
    given = [
        (name, value)
        for name, value in _inputs_of(component)
        if not (gate.denies(name) or value is None or (type(value) is str and not value))
    ]
    if gate.openinference:
        best = _main_input(component, (name for name, _ in given))
        content.main_input = None if best is None else chosen(f"{semconv.COMPONENT_INPUT}{best}")
    for name, value in given:
        is_first = semconv.GEN_AI_INPUT_MESSAGES not in content.attributes
        if info.kind in ("llm", "agent") and name in _PROMPTS and is_first:
            content.add_input_message(text_or_value(value))
        elif info.kind in ("llm", "agent") and name in _SYSTEM_PROMPTS:
            content.add(semconv.GEN_AI_SYSTEM_INSTRUCTIONS, [{"type": "text", "content": text_or_value(value)}])
        else:
            content.add(f"{semconv.COMPONENT_INPUT}{name}", text_or_value(value))
    return content


def add_output(content: SpanContent, info: ComponentInfo, name: str, result: Any) -> None:
    """What one output method has returned."""
    if content.gate.denies(name):
        return
    value = text_or_value(result)
    if info.kind in ("llm", "agent") and isinstance(value, str):
        content.add_output_message(value)
    else:
        content.add(f"{semconv.COMPONENT_OUTPUT}{name}", value)


def leave_to_flow(content: SpanContent, run: ComponentRun) -> None:
    """At the end of an input or output component, its content is the flow's, too."""
    with _CONTENT:
        flow = run.flow
        if flow is not None and flow.span is not None and run.info.kind in _ENDS_OF_FLOW:
            _pass_on(content, run.info.kind, flow)
    if run.span is None:
        run.content = None  # it is the flow's alone


def _pass_on(content: SpanContent, kind: str, flow: FlowRun) -> None:
    """What an input or output component has let through is the flow's own."""
    if flow.content is None:
        flow.content = SpanContent(content.gate, open_object, flow.withheld)
    text = next((text for name, text in content.attributes.items() if name.startswith(semconv.COMPONENT_OUTPUT)), None)
    if kind == "input":
        if semconv.GEN_AI_INPUT_MESSAGES in flow.content.attributes:
            return  # The first input is the flow's, and the last output.
        flow.content.add_input_message(text)
    else:
        flow.content.add_output_message(text)


def secrets_of(component: Any) -> Iterator[str]:
    """The values of a component's secret inputs, so that they can be told wherever they turn up."""
    inputs = component.__dict__.get("_inputs") or {}
    template: dict[str, Any] | None = None
    for name, value in (component.__dict__.get("_attributes") or {}).items():
        # First what costs least: most values are no texts, or too short.
        secret = _secret_text(value)
        if secret is None or (field := inputs.get(name)) is None:
            continue
        template = _template_of(component) if template is None else template
        if _is_secret(field, template.get(name)):
            yield secret


def _secret_text(value: Any) -> str | None:
    """The text that a secret input with this value would have; None if it could have none."""
    if type(value) is not str:
        if not hasattr(type(value), "get_secret_value") or not any(
            cls.__name__ == "SecretStr" for cls in type(value).__mro__
        ):
            return None
        value = value.get_secret_value()
    # A text that is long is not copied.
    if type(value) is not str or len(value) > 2 * _LONGEST_SECRET:
        return None
    # Space around a value is taken off where it is used.
    secret = value.strip()
    return secret if _SHORTEST_SECRET <= len(secret) <= _LONGEST_SECRET else None


def may_leave_whole(within: Run) -> bool:
    """True where nothing of the component, and of the tool in it, stays here by its name: then what their code hands
    to models, or gets from vector stores, may leave."""
    holders = [each.content for each in (within.component, within.tool) if each is not None]
    return all(each is not None and not each.is_partial for each in holders)


def text_or_value(value: Any) -> Any:
    """The text of a message; any other value as it is."""
    opened = open_object(value)
    return opened if isinstance(opened, str) else value


def open_object(value: Any) -> Any:
    """Plain data for what LangFlow and LangChain hand around; None for anything else, secrets above all."""
    for cls in type(value).__mro__:
        opener = _OPENERS.get(cls.__name__)
        if opener is not None:
            return opener(value)
    return None


def _inputs_of(component: Any) -> Iterator[tuple[str, Any]]:
    values = component.__dict__.get("_attributes") or {}
    inputs = component.__dict__.get("_inputs") or {}
    template = _template_of(component)
    for name, value in values.items():
        field = inputs.get(name)
        if field is not None and _may_leave(name, field, template.get(name)):
            yield name, value


def _main_input(component: Any, given: Iterable[str]) -> str | None:
    """Of the inputs that may leave, the one that best describes what the component got: its text, else what another
    component has made, else what its author wrote; no flag and no option."""
    inputs, values = component.__dict__.get("_inputs") or {}, component.__dict__["_attributes"]
    wired = _wired_inputs(component)

    def rank(name: str) -> int:
        if name in _MAIN:
            return 0
        if name in wired:
            return 1
        field = inputs[name]
        is_option = any(cls.__name__ in _OPTIONS for cls in type(field).__mro__)
        return _NEVER if is_option or getattr(field, "advanced", False) else 2

    ranks = {name: rank(name) for name in given if _says_something(values[name])}
    best = min(ranks, key=ranks.__getitem__, default=None)
    return None if best is None or ranks[best] == _NEVER else best


def _says_something(value: Any) -> bool:
    """A text, or data that is not empty; no number, and no object of which only the class is known."""
    kind = type(value)
    if kind is str:
        return True
    if kind in _CONTAINERS:
        return bool(value)
    return any(cls.__name__ in _OPENERS for cls in kind.__mro__)


def _wired_inputs(component: Any) -> set[str | None]:
    try:
        edges = component.__dict__["_vertex"].incoming_edges
        return {getattr(edge, "target_param", None) for edge in edges}
    except Exception:  # noqa: BLE001 - a component that is built by itself has no edges
        return set()


def _template_of(component: Any) -> dict[str, Any]:
    vertex = component.__dict__.get("_vertex")
    data = getattr(vertex, "data", None)
    node = data.get("node") if isinstance(data, dict) else None
    template = node.get("template") if isinstance(node, dict) else None
    return template if isinstance(template, dict) else {}


def _may_leave(name: str, field: Any, in_flow: Any) -> bool:
    """By the input of the component's code, and by the field of the flow, which its author may have changed."""
    if not any(cls.__name__ in _INPUTS for cls in type(field).__mro__) or is_secret_name(name):
        return False
    if _is_secret(field, in_flow):
        return False
    return not isinstance(in_flow, dict) or str(in_flow.get("type") or "") in _FIELD_TYPES


def _is_secret(field: Any, in_flow: Any) -> bool:
    """By mark or class, in the code or in the flow. What is loaded from a global variable may be a credential."""
    kind: Any = type(field)
    if _has_secret_name(kind) or getattr(field, "password", False) or getattr(field, "load_from_db", False):
        return True
    if not isinstance(in_flow, dict):
        return False
    name = str(in_flow.get("_input_type") or "")
    return bool(in_flow.get("password") or in_flow.get("load_from_db")) or "Secret" in name or "Auth" in name


@functools.lru_cache(maxsize=256)
def _has_secret_name(kind: type) -> bool:
    return any("Secret" in cls.__name__ or "Auth" in cls.__name__ for cls in kind.__mro__)


def opts_out(component: Any) -> bool:
    """True where the author of a component keeps its content here."""
    if getattr(type(component), OPT_OUT, True) is False:
        return True
    methods = (getattr(type(component), str(output.method), None) for output in component.outputs)
    return any(getattr(method, OPT_OUT, True) is False for method in methods)


def tool_content(gate: ContentGate, within: Run, arguments: Any, withheld: Collection[str] = ()) -> SpanContent | None:
    """The arguments of a tool call that is not denied; None if they stay here all the same."""
    if not may_leave_whole(within):
        return None
    content = SpanContent(gate, open_object, withheld)
    content.add(semconv.GEN_AI_TOOL_CALL_ARGUMENTS, text_or_value(arguments))
    return content


def withheld_tools(within: Run) -> frozenset[str]:
    """Names of the tools at hand here whose arguments and results stay here."""
    holders = [each for each in (within.component, within.tool) if each is not None]
    return frozenset().union(*(each.denied_tools() for each in holders))


def take_tools(run: ComponentRun | ToolRun, gate: ContentGate, component: Any) -> None:
    """The component, whose run that is, may call its tools. Which it has shows only when it does: LangFlow renames
    those that have the same name."""
    run.denied_tools = functools.partial(_denied_tools, gate, component)


def is_denied_component(gate: ContentGate, info: ComponentInfo, component: Any) -> bool:
    """True where something of a component stays here by its name or by its author's word: its errors may quote it."""
    names = (info.component_id, info.component_type, info.display_name)
    return gate.denies(*names) or (component is not None and is_denied_as_tool(gate, component))


def is_denied_call(gate: ContentGate, tool: Any, within: Run) -> bool:
    """The same of a tool that is called there."""
    name = str(tool.name)
    owner = _owner_of(tool)
    if within.is_denied or gate.denies(name) or (owner is not None and is_denied_as_tool(gate, owner)):
        return True
    return name in withheld_tools(within)


def is_denied_as_tool(gate: ContentGate, component: Any) -> bool:
    """True where something of a component that is called as a tool stays here by its name: arguments and results name
    its fields, and are not separated by them."""
    names = (*(component.__dict__.get("_inputs") or ()), *(str(output.name) for output in component.outputs))
    kinds = (component.name, type(component).__name__, component.display_name)
    return gate.denies(str(component._id), *kinds, *names) or opts_out(component)


def _denied_tools(gate: ContentGate, component: Any) -> frozenset[str]:
    return frozenset(
        str(tool.name)
        for field, tool in _tools_of(component)
        if gate.denies(str(tool.name)) or _owner_is_denied(gate, component, field, tool)
    )


def _tools_of(component: Any) -> Iterator[tuple[str, Any]]:
    """Each tool that it has, by the field that it is in."""
    own = component.__dict__
    for field, value in (*(own.get("_attributes") or {}).items(), *tuple(own.items())):
        for each in value[:MAX_ITEMS] if type(value) in (list, tuple) else (value,):
            kind: Any = type(each)
            if _is_tool(kind):
                yield field, each


@functools.lru_cache(maxsize=256)
def _is_tool(kind: type) -> bool:
    return any(cls.__name__ == "BaseTool" for cls in kind.__mro__)


def _owner_is_denied(gate: ContentGate, component: Any, field: str, tool: Any) -> bool:
    owner = _owner_of(tool)
    if owner is not None:
        return is_denied_as_tool(gate, owner)
    # A tool of a component's own making: by the components that are wired to the field, and by any of them, since
    # the tools of several come in one list.
    return any(_is_denied_source(gate, source) for source in _sources(component, field))


def _owner_of(tool: Any) -> Any:
    """The component that a tool runs; None where the tool does not say."""
    own = getattr(tool, "__dict__", {})
    owners = (getattr(own.get(name), OWNER, None) for name in _FUNCTIONS)
    return next((owner for owner in owners if owner is not None), None)


def _sources(component: Any, field: str) -> Iterator[Any]:
    vertex = component.__dict__.get("_vertex")
    for edge in getattr(vertex, "incoming_edges", None) or ():
        if getattr(edge, "target_param", None) == field:
            yield vertex.graph.get_vertex(edge.source_id)


def _is_denied_source(gate: ContentGate, vertex: Any) -> bool:
    info = component_info(vertex.graph, vertex)
    if gate.denies(info.component_id, info.component_type, info.display_name):
        return True
    component = vertex.custom_component
    return component is not None and is_denied_as_tool(gate, component)


def _message(value: Any) -> Any:
    text = value.__dict__.get("text")
    if text is None:
        text = (value.__dict__.get("data") or {}).get("text")
    return text if isinstance(text, str) else None


def _data(value: Any) -> Any:
    data = value.__dict__.get("data")
    return data if type(data) is dict else None


def _data_frame(value: Any) -> Any:
    return {"rows": len(value), "first": value.head(_ROWS).to_dict("records")}


_OPENERS: dict[str, Callable[[Any], Any]] = {
    "Message": _message,
    "Data": _data,
    "JSON": _data,
    "DataFrame": _data_frame,
    "Document": lambda value: {"page_content": value.page_content, "metadata": value.metadata},
    "BaseMessage": lambda value: value.content,
    "ToolMessage": lambda value: value.content,
    "BaseTool": lambda value: value.name,
}
