"""The model calls below a flow or a component, and the sums of what they used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import Span

from langflow_otel._guard import Guard
from langflow_otel._runs.facts import CANCELLED, Costs, ModelUsage
from langflow_otel._runs.run import Run, adding
from langflow_otel._settings.settings import Settings

if TYPE_CHECKING:
    from langflow_otel._runs.flow import FlowRun
    from langflow_otel._runs.model_call import ModelRun

_OPEN_CALLS = Guard("model.end_with_run")


class CallsBelow:
    """The model calls below a run.

    Attributes:
        open: Those that go on.
        traced: True if they have spans, and the tokens on them.
        model: Of the last one that named it.
        provider: The same.
        input_tokens: Of all that are over; None as long as none is known.
        output_tokens: The same.
        amounts: What they cost, by currency; None without prices.
        unpriced_calls: How many of them have no price.
    """

    __slots__ = (
        *("amounts", "input_tokens", "model", "open", "output_tokens", "provider", "traced", "unpriced_calls"),
    )

    def __init__(self) -> None:
        self.open: set[ModelRun] = set()
        self.traced = False
        self.model: str | None = None
        self.provider: str | None = None
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.amounts: dict[str, float] | None = None
        self.unpriced_calls = 0

    def count(self, usage: ModelUsage) -> None:
        """Add what one of them, or several together, used."""
        with adding:
            self.add(usage.model, usage.provider, usage.input_tokens, usage.output_tokens, usage.costs)

    def add(
        self,
        model: str | None,
        provider: str | None,
        input_tokens: int | None,
        output_tokens: int | None,
        costs: Costs | None,
    ) -> None:
        """The same, for a caller that holds ``adding``."""
        self.model = model or self.model
        self.provider = provider or self.provider
        if input_tokens is not None:
            self.input_tokens = (self.input_tokens or 0) + input_tokens
        if output_tokens is not None:
            self.output_tokens = (self.output_tokens or 0) + output_tokens
        if costs is not None:
            self._count_costs(costs)

    def _count_costs(self, costs: Costs) -> None:
        if self.amounts is None:
            self.amounts = {}
        for currency, amount in costs.amounts.items():
            self.amounts[currency] = self.amounts.get(currency, 0.0) + amount
        self.unpriced_calls += costs.unpriced_calls

    @property
    def costs(self) -> Costs | None:
        return None if self.amounts is None else Costs(self.amounts, self.unpriced_calls)

    @property
    def usage(self) -> ModelUsage:
        return ModelUsage(self.model, self.provider, self.input_tokens, self.output_tokens, self.costs)

    def end_open(self) -> None:
        """End those whose end is not reported: LangChain reports none for a call that was cancelled."""
        for call in tuple(self.open):
            with _OPEN_CALLS:
                call.end(CANCELLED)


class RunAboveCalls(Run):
    """A flow or a component.

    Attributes:
        calls: The model calls below; None as long as there was none.
    """

    __slots__ = ("calls",)

    def __init__(self, span: Span | None, context: Context, flow: FlowRun | None, settings: Settings) -> None:
        super().__init__(span, context, flow, settings)
        self.calls: CallsBelow | None = None

    @property
    def calls_below(self) -> CallsBelow:
        if self.calls is None:
            with adding:
                # Another thread may have been here meanwhile.
                self.calls = self.calls or CallsBelow()
        return self.calls
