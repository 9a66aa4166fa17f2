"""Tool calls."""

from __future__ import annotations

from collections.abc import Callable, Collection

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span

from langflow_otel import _semconv as semconv
from langflow_otel._runs.facts import Outcome
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.run import Run
from langflow_otel._runs.span_attributes import Attributes
from langflow_otel._settings.settings import Settings


class ToolRun(Run):
    """One tool call, of the tool of this name.

    Attributes:
        denied: True if its arguments and results stay here by a name or by an author's word.
        denied_tools: Gives the names of tools that its code may call, and whose content stays here so.
        failure: Set where the host turns the tool's error into text.
    """

    _unknown_error = "tool"

    __slots__ = ("denied", "denied_tools", "failure", "name")

    def __init__(
        self, span: Span | None, context: Context, flow: FlowRun | None, settings: Settings, name: str
    ) -> None:
        super().__init__(span, context, flow, settings)
        self.tool = self
        self.name = name
        self.denied = False
        self.denied_tools: Callable[[], Collection[str]] = frozenset
        self.failure: Outcome | None = None

    @property
    def about_content(self) -> Attributes:
        return {semconv.GEN_AI_TOOL_NAME: self.name}

    def reported(self, theirs: Span | None) -> None:
        """LangChain has reported the call to its callback handlers; the tool's code comes next.

        Args:
            theirs: The span that another instrumentor has made of the call; None for none.
        """
        if self._put_off is None:
            return
        if theirs is None:
            self.begin()
        else:
            self.replace_by(theirs)
        self._context_token = otel_context.attach(self.context)
