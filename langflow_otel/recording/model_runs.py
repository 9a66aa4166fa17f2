"""Model calls: one run for each, below the component, agent or tool that made it."""

from __future__ import annotations

import time
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span

from langflow_otel.recording import prices, semconv, spans
from langflow_otel.recording.facts import OK, Costs, ModelInfo, ModelResponse, ModelUsage, Outcome
from langflow_otel.recording.guard import Guard
from langflow_otel.recording.parents import with_span
from langflow_otel.recording.run_metrics import Finished
from langflow_otel.recording.runs import Run
from langflow_otel.recording.sizes import chosen

if TYPE_CHECKING:
    from langflow_otel.recording.run_metrics import FlowMetrics
    from langflow_otel.settings import Settings

_NO_RESPONSE: Final = ModelResponse()

_MEASURE = Guard("metrics.record")
_LAST = Guard("model.last")

traced_by_others: set[object] = set()
"""Not empty while other instrumentors, loaded below our runs, make the spans of model calls: then none are ours."""

# Never reset: the end of a call is reported in another task than its start. It means nothing once the call is over.
_innermost: ContextVar[weakref.ref[ModelRun] | None] = ContextVar("langflow_otel_model_call", default=None)


class ModelRun(Run):
    """One call of a model. It is never current: where it starts, nobody says when its code is left.

    Its own HTTP requests are put below it by the gate before the HTTP clients, see :func:`calling_model`.

    Args:
        span: None where only measurements are wanted.
        above: The context in which the call was made.
        within: The innermost run there.
        info: The call.
        measures: Where its tokens are counted; None without metrics.
    """

    __slots__ = (
        *("_above", "_costs", "_counts_in", "_first_chunk_s", "_identity", "_info", "_measures", "_requests"),
        *("_response", "_started_s"),
    )

    def __init__(
        self,
        span: Span | None,
        above: Context,
        within: Run,
        settings: Settings,
        info: ModelInfo,
        measures: FlowMetrics | None,
    ) -> None:
        context = above if span is None else with_span(span, above)
        super().__init__(span, context, within.flow, settings)
        self.component = within.component
        self._above = above
        self._info = info
        self._measures = measures
        self._response: ModelResponse | None = None
        self._requests: dict[str, int] | None = None
        self._costs: Costs | None = None
        self._first_chunk_s: float | None = None
        self._counts_in = [run.calls_below for run in (self.component, self.flow) if run is not None]
        for calls in self._counts_in:
            calls.open.add(self)
            calls.traced |= span is not None
        self._identity = None if self.flow is None else self.flow.identity()
        if span is not None:
            _innermost.set(weakref.ref(self))
        self._started_s = time.perf_counter()

    @property
    def observed(self) -> bool:
        """True while somebody wants to know how it goes on."""
        return not self._ended

    @property
    def operation(self) -> str:
        """As the GenAI conventions call it."""
        return self._info.operation

    def first_chunk(self) -> None:
        """The first chunk of the answer is here."""
        if not self._ended:
            self._first_chunk_s = elapsed_s = time.perf_counter() - self._started_s
            self.add({semconv.GEN_AI_REQUEST_STREAM: True, semconv.GEN_AI_RESPONSE_FIRST_CHUNK: elapsed_s})

    def requested(self, url: str, host: str | None, port: int | None) -> None:
        """The call sends an HTTP request; the same again is a retry inside the provider's library.

        Args:
            url: Of the request; it is compared, and goes nowhere.
            host: Of the server; the first one's goes on the span.
            port: The same.
        """
        if self._requests is None:
            self._requests = {}
            if host:
                self.add({semconv.SERVER_ADDRESS: chosen(host)})
                if port:
                    self.add({semconv.SERVER_PORT: port})
        self._requests[url] = self._requests.get(url, 0) + 1

    def answered(self, response: ModelResponse) -> None:
        """What there is of an answer; before the end, of a call that failed too."""
        if not self._ended:
            self._response = response
            self.add(spans.response_attributes(response, self._settings))

    def end(self, outcome: Outcome = OK) -> None:
        if self._ended:
            return
        duration_s = time.perf_counter() - self._started_s
        try:
            self._add_what_is_known_now()
        except Exception as exc:  # noqa: BLE001
            _LAST.contain(exc)
        try:
            super().end(outcome)
        finally:
            self._count(Finished(outcome, duration_s, self.context))

    @property
    def _retries(self) -> int:
        return 0 if self._requests is None else max(self._requests.values()) - 1

    def _add_what_is_known_now(self) -> None:
        if self._requests is not None and (retries := self._retries):
            self._attributes[semconv.MODEL_RETRIES] = retries
        if self._response is not None:
            self._costs = prices.costs_of(self._response, self._info.model, self._info.provider)
            if self._costs is not None and self._costs.amounts:
                self._attributes.update(spans.cost_attributes(self._costs))
        if self.flow is not None and (identity := self.flow.identity()) != self._identity:
            self._attributes.update(identity)

    def _count(self, finished: Finished) -> None:
        info, response = self._info, self._response or _NO_RESPONSE
        usage = ModelUsage(info.model, info.provider, response.input_tokens, response.output_tokens, self._costs)
        for calls in self._counts_in:
            calls.open.discard(self)
            calls.count(usage)
        if self._measures is not None:
            try:
                self._measures.model_ended(info, response, finished, self._first_chunk_s, self._retries)
                self._measures.add_cost(usage)
            except Exception as exc:  # noqa: BLE001
                _MEASURE.contain(exc)


def calling_model() -> ModelRun | None:
    """The model call that the request about to be sent is a part of; None if it is of none, or if something else that
    the call does became current in between."""
    found = _innermost.get()
    run = None if found is None else found()
    if run is None or not run.recording or otel_context.get_current() is not run._above:
        return None
    return run
