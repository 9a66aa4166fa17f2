"""What the hooks learn about a flow run, as plain facts: no LangFlow object, no span."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from langflow_otel._content.limits import MAX_NAME, chosen

Status = Literal["ok", "error", "cancelled", "paused", "cached"]
"""How a run ended. ``paused`` (waiting for a person) and ``cancelled`` are not errors."""

ComponentKind = Literal[
    "llm",
    "agent",
    "embedding",
    "retriever",
    "vector_store",
    "tool",
    "prompt",
    "input",
    "output",
    "logic",
    "data",
    "other",
]


def _cut(info: Any, names: tuple[str, ...]) -> None:
    """What others choose leaves as :func:`chosen` has it, wherever it goes."""
    for name in names:
        text = getattr(info, name)
        if isinstance(text, str) and (len(text) > MAX_NAME or not text.isascii()):
            object.__setattr__(info, name, chosen(text))


@dataclass(frozen=True)
class FlowInfo:
    """Identity of one flow run. Names and ids are cut.

    Attributes:
        name: The flow's name; the span is called ``invoke_workflow {name}``.
        entry_point: Where the run came in: api, playground, webhook, mcp, job, serve, a2a, voice,
            cli, sdk, or flow for a flow that another flow runs.
        flow_id: LangFlow's id of the flow; absent for a flow that was never stored.
        run_id: LangFlow's id of this run; LangFlow assigns it after the start.
        session_id: The conversation that the run belongs to.
        user_id: Who runs it. Recorded only when ``LANGFLOW_OTEL_USER_ID`` is true.
        component_count: Number of components in the flow's graph.
        version: Short hash of the graph's definition, the same over runs and processes.
    """

    name: str
    entry_point: str = "sdk"
    flow_id: str | None = None
    run_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    component_count: int | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        _cut(self, ("name", "flow_id", "run_id", "session_id", "user_id"))


@dataclass(frozen=True)
class ComponentInfo:
    """Identity of one component execution. Names and ids are cut.

    Attributes:
        component_id: LangFlow's vertex id, such as ``ChatInput-x1y2z``.
        component_type: LangFlow's registry type, such as ``ChatInput``; few distinct values.
        display_name: The name on the canvas, editable by the flow's author.
        kind: What the component does.
        code_hash: LangFlow's hash of the component's code, where it has one.
        loop_index: Which iteration of the enclosing loop this is, from 0; absent outside a loop.
    """

    component_id: str
    component_type: str
    display_name: str
    kind: ComponentKind = "other"
    code_hash: str | None = None
    loop_index: int | None = None

    def __post_init__(self) -> None:
        _cut(self, ("component_id", "component_type", "display_name", "code_hash"))


@dataclass(frozen=True)
class ToolInfo:
    """Identity of one tool call. Names and ids are cut."""

    name: str
    call_id: str | None = None
    component_id: str | None = None

    def __post_init__(self) -> None:
        _cut(self, ("name", "call_id", "component_id"))


class Costs(NamedTuple):
    """What model calls cost, by the user's list of prices.

    Attributes:
        amounts: By currency, its ISO 4217 code.
        unpriced_calls: Calls for whose model the list has no price.
    """

    amounts: Mapping[str, float]
    unpriced_calls: int = 0


@dataclass
class ModelUsage:
    """What a component's own model call used, as far as LangFlow knows it. Names are cut.

    Not to be changed. It is not frozen, for that takes four times as long to make, which each model call would feel.

    Attributes:
        costs: What that costs; None without prices.
    """

    model: str | None = None
    provider: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    costs: Costs | None = None

    def __post_init__(self) -> None:
        if self.model is not None:
            self.model = chosen(self.model)
        if self.provider is not None:
            self.provider = chosen(self.provider)


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """One call of a model, as it is asked for: shared by all calls that ask for the same. Names are cut.

    Attributes:
        operation: As the GenAI conventions call it; the first word of the span's name.
        model: The model that is asked for; None if it is not known.
        provider: See :func:`~langflow_otel._runs.model_providers.provider_name`; None if it is not known.
        parameters: Temperature and the like, by the attributes' names.
    """

    operation: Literal["chat", "text_completion", "embeddings"]
    model: str | None = None
    provider: str | None = None
    parameters: Mapping[str, str | bool | int | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _cut(self, ("model", "provider"))


_MOST_TOKENS: Final = 10**12
"""Of one call. More is a fault of the server's, and sums would outgrow what can be sent: 64 bits."""


def token_count(reported: object) -> int | None:
    """A number of tokens, as a provider or a library reports it; None for what cannot be one."""
    return reported if type(reported) is int and 0 <= reported <= _MOST_TOKENS else None


class ModelResponse(NamedTuple):
    """What a model has answered, without the text. Names are to be cut; what is not known is None.

    Attributes:
        input_tokens: Of the whole input, cached ones included.
        output_tokens: Of the whole output, reasoning included.
    """

    model: str | None = None
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


UNNAMED: Final = "unnamed"
"""Name of a flow as long as no better one is known."""


class Interrupted(SystemExit):
    """A signal asks this process to end: what it runs is cancelled."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: See :data:`Status`.
        error: The exception of the failing code itself, without LangFlow's wrappers.
        ended_ns: When the failing code ended, in nanoseconds since the epoch; absent means now.
    """

    status: Status
    error: BaseException | None = None
    ended_ns: int | None = None

    @classmethod
    def of(cls, exc: BaseException) -> Outcome:
        """Cancelled if the exception means so, else an error."""
        if isinstance(exc, (asyncio.CancelledError, GeneratorExit, Interrupted)):
            return CANCELLED
        return cls("error", exc)


OK: Final = Outcome("ok")
CANCELLED: Final = Outcome("cancelled")
CACHED: Final = Outcome("cached")
