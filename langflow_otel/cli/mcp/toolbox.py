"""The tools: each a question that the analysis of :mod:`langflow_otel.insights` answers.

A tool takes no path and writes nothing. Content is left out, unless the server was started to show it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from langflow_otel.cli.mcp.aggregate_tools import anomalies, components, critical_path, errors, models, used
from langflow_otel.cli.mcp.answers import AnswerError, cut, text_of
from langflow_otel.cli.mcp.comparison_tools import baseline_history, compare_baseline, compare_times, compare_versions
from langflow_otel.cli.mcp.context import NOTHING, Asked, Given, Source
from langflow_otel.cli.mcp.forecast_tools import estimate, forecast, risks, risks_of_metrics
from langflow_otel.cli.mcp.run_tools import overview, runs, show_run, show_span, why

_Function = Callable[..., dict[str, Any]]

_TOOLS: Final[Mapping[str, _Function]] = {
    "overview": overview,
    "runs": runs,
    "why": why,
    "show_run": show_run,
    "show_span": show_span,
    "components": components,
    "critical_path": critical_path,
    "errors": errors,
    "models": models,
    "usage": used,
    "compare_versions": compare_versions,
    "compare_times": compare_times,
    "anomalies": anomalies,
    "risks": risks,
    "forecast": forecast,
    "baseline_history": baseline_history,
}


def _tools_of(given: Given) -> Iterator[tuple[str, _Function]]:
    if given.baseline is not None:
        yield "compare_baseline", compare_baseline
    if given.flows:
        yield "estimate", estimate
    if given.prometheus is not None:
        yield "risks_of_metrics", risks_of_metrics


@dataclass(frozen=True)
class _Tool:
    name: str
    function: _Function
    model: type[BaseModel]


class Toolbox:
    """All tools, for these traces.

    Args:
        content: Whether content may be shown, where it was captured.
        given: What else there is; with each comes a tool more.
    """

    def __init__(self, source: Source, *, content: bool = False, given: Given = NOTHING) -> None:
        self._source = source
        self._content = content
        self._given = given
        functions = {**_TOOLS, **dict(_tools_of(given))}
        self._tools = {name: _Tool(name, each, arguments_model(each)) for name, each in functions.items()}

    def described(self) -> list[dict[str, Any]]:
        """Each tool as the protocol describes it."""
        hints = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}
        return [
            {
                "name": each.name,
                "description": " ".join((each.function.__doc__ or "").split()),
                "inputSchema": schema_of(each.model),
                "annotations": hints,
            }
            for each in self._tools.values()
        ]

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """The answer of a tool, as JSON.

        Raises:
            AnswerError: There is no such tool, an argument is not accepted, or there is no answer.
        """
        tool = self._tools.get(name)
        if tool is None:
            raise AnswerError(f"there is no tool {cut(name)}; there are {', '.join(self._tools)}")
        given = checked(tool.model, arguments)
        asked = Asked(self._source, self._content, self._given)
        return text_of(tool.function(asked, **given))


def arguments_model(function: Callable[..., object]) -> type[BaseModel]:
    """A model of the function's parameters after the first, which accepts no others."""
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    fields: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is inspect.Parameter.empty else each.default)
        for each in parameters
    }
    return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Its JSON schema, as short as it can be, since a model reads it: without titles, and without null where an
    argument may be left out."""
    schema: dict[str, Any] = _shorter(model.model_json_schema())
    return schema


def _shorter(value: Any) -> Any:
    if isinstance(value, list):
        return [_shorter(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _shorter(each) for name, each in value.items() if not (name == "title" and isinstance(each, str))}
    if kept.get("default", "") is None:
        del kept["default"]
        (given,) = (each for each in kept.pop("anyOf") if each != {"type": "null"})
        return {**given, **kept}
    return kept


def checked(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with their defaults.

    Raises:
        AnswerError: One of them is not accepted; the message names it, what is accepted, and what there is.
    """
    try:
        accepted = model.model_validate(dict(given))
    except ValidationError as exc:
        problems = [
            f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {_problem(each['type'], each['msg'])}"
            for each in exc.errors(include_url=False, include_context=False, include_input=False)
        ]
        names = ", ".join(model.model_fields) or "none"
        raise AnswerError(f"{cut('; '.join(problems[:5]), 500)}. Arguments of this tool: {names}") from None
    return {name: getattr(accepted, name) for name in model.model_fields}


def _problem(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such argument"
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
