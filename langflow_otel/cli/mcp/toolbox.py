"""The tools: each a question that the analysis of :mod:`langflow_otel.insights` answers.

A tool takes no path and writes nothing. Content is left out, unless the server was started to show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from langflow_otel.cli.mcp.answers import AnswerError, cut, text_of
from langflow_otel.cli.mcp.arguments import arguments_model, checked, schema_of
from langflow_otel.cli.mcp.asked import NOTHING, Asked, Given
from langflow_otel.cli.mcp.comparison_tools import baseline_history, compare_baseline, compare_times, compare_versions
from langflow_otel.cli.mcp.outlook_tools import estimate, forecast, risks, risks_of_metrics
from langflow_otel.cli.mcp.run_tools import overview, runs, show_run, show_span, why
from langflow_otel.cli.mcp.source import Source
from langflow_otel.cli.mcp.total_tools import anomalies, components, critical_path, errors, models, used

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
