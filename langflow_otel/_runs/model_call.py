"""Model calls: one run for each, below the component, agent or tool that made it."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import Span

from langflow_otel import _semconv as semconv
from langflow_otel._content.limits import chosen
from langflow_otel._guard import Guard
from langflow_otel._runs import prices, span_attributes
from langflow_otel._runs.buffered_spans import HeldSpan
from langflow_otel._runs.facts import OK, Costs, ModelInfo, ModelResponse, ModelUsage, Outcome
from langflow_otel._runs.foreign_spans import is_of_a_model
from langflow_otel._runs.measuring import Finished
from langflow_otel._runs.run import Run, adding
from langflow_otel._runs.span_attributes import Attributes

if TYPE_CHECKING:
    from langflow_otel._runs.measuring import FlowMetrics
    from langflow_otel._settings.settings import Settings

_NO_RESPONSE: Final = ModelResponse()

_MEASURE = Guard("metrics.record")
_LAST = Guard("model.last")

# Never reset: the end of a call is reported in another task than its start. It means nothing once the call is over.
_innermost: ContextVar[weakref.ref[ModelRun] | None] = ContextVar("langflow_otel_model_call", default=None)


class ModelRun(Run):
    """One call of a model. It is never current: where it starts, no hook reports when its code is left.

    Its own HTTP requests are put below it by the gate before the HTTP clients, see :func:`calling_model`.

    Its span is made with the first of them, or at the end: until then another instrumentor may make one of the call,
    around LangChain or around the provider's library, which is then used in its place.

    Args:
        make_span: None where only measurements are wanted.
        theirs: The span that another instrumentor has made of the call already.
        above: The context in which the call was made.
        within: The innermost run there.
        info: The call.
        measures: Where its tokens are counted; None without metrics.
        span_above: The nearest span in a context that goes where ours go.

    Attributes:
        has_span: False where only measurements are wanted.
        theirs: Spans of other instrumentors that started since, and may be of this call.
    """

    __slots__ = (
        *("_above", "_costs", "_counts_in", "_first_chunk_s", "_identity", "_info", "_measures", "_requests"),
        *("_response", "_span_above", "_started_s", "has_span", "theirs"),
    )

    def __init__(
        self,
        make_span: Callable[[], Span] | None,
        theirs: Span | None,
        above: Context,
        within: Run,
        settings: Settings,
        info: ModelInfo,
        measures: FlowMetrics | None,
        span_above: Callable[[Context], Span],
    ) -> None:
        super().__init__(None, above, within.flow, settings)
        self.component, self.tool = within.component, within.tool
        self.theirs: list[Span] = []
        self._above = above
        self._span_above = span_above
        self._info = info
        self._measures = measures
        self._response: ModelResponse | None = None
        self._requests: dict[str, int] | None = None
        self._costs: Costs | None = None
        self._first_chunk_s: float | None = None
        self._counts_in = [] if self.component is None else [self.component.calls_below]
        if self.flow is not None:
            self._counts_in.append(self.flow.calls_below)
        self.has_span = theirs is not None or make_span is not None
        for calls in self._counts_in:
            calls.open.add(self)
            if self.has_span:
                calls.traced = True
        self._identity = None if self.flow is None else self.flow.identity()
        if theirs is not None:
            self.replace_by(theirs)
        elif make_span is not None:
            self.put_off(make_span)
        # Its retries are counted without a span, too.
        _innermost.set(weakref.ref(self))
        self._started_s = time.perf_counter()

    @property
    def observed(self) -> bool:
        """True until the call has ended."""
        return not self._ended

    @property
    def about_content(self) -> Attributes:
        return {semconv.GEN_AI_OPERATION_NAME: self._info.operation}

    def first_chunk(self) -> None:
        """The first chunk of the answer is here."""
        if not self._ended:
            self._first_chunk_s = elapsed_s = time.perf_counter() - self._started_s
            attributes = self._attributes
            attributes[semconv.GEN_AI_REQUEST_STREAM] = True
            attributes[semconv.GEN_AI_RESPONSE_FIRST_CHUNK] = elapsed_s

    def requested(self, url: str, host: str | None, port: int | None) -> None:
        """The call sends an HTTP request; the same again is a retry inside the provider's library.

        Args:
            url: Of the request; it is compared, and not recorded.
            host: Of the server; the first one's goes on the span.
            port: The same.
        """
        with adding:
            if self._requests is None:
                self._requests = {}
                if host:
                    self.add({semconv.SERVER_ADDRESS: chosen(host)})
                    if port:
                        self.add({semconv.SERVER_PORT: port})
            self._requests[url] = self._requests.get(url, 0) + 1

    def settle(self) -> None:
        """Decide which span is the call's: another instrumentor's, if one has started by now, else ours, made now."""
        if self.theirs:
            self._take_theirs()
        self.begin()

    def _take_theirs(self) -> None:
        if self._put_off is not None:
            theirs = next((span for span in self.theirs if is_of_a_model(span)), None)
            if theirs is not None:
                self.replace_by(theirs)

    def _is_innermost_in(self, context: Context) -> bool:
        """True if no span that is sent where ours are became current since the call began."""
        return context is self._above or self._span_above(context) is self._span_above(self._above)

    def answered(self, response: ModelResponse) -> None:
        """What there is of an answer; before the end, of a call that failed too."""
        if not self._ended:
            self._response = response
            self.add(span_attributes.response_attributes(response, self._settings))

    def end(self, outcome: Outcome = OK) -> None:
        if self._ended:
            return
        duration_s = time.perf_counter() - self._started_s
        try:
            if self.theirs:
                self._take_theirs()
            self._add_what_is_known_now()
        except Exception as exc:  # noqa: BLE001
            _LAST.contain(exc)
        try:
            super().end(outcome)
        finally:
            self._count(Finished(outcome, duration_s, self.context, self.span))

    def _set_attributes(self, span: Span) -> None:
        # Content may be longer than what a span takes unseen.
        if isinstance(span, HeldSpan) and self.content is None:
            span.take(self._attributes)
        else:
            super()._set_attributes(span)

    @property
    def _retries(self) -> int:
        return 0 if self._requests is None else max(self._requests.values()) - 1

    def _add_what_is_known_now(self) -> None:
        if self._requests is not None and (retries := self._retries):
            self._attributes[semconv.MODEL_RETRIES] = retries
        if self._response is not None and prices.in_force is not None:
            self._costs = prices.costs_of(self._response, self._info.model, self._info.provider)
            if self._costs is not None and self._costs.amounts:
                self._attributes.update(span_attributes.cost_attributes(self._costs))
        if self.flow is not None and (identity := self.flow.identity()) is not self._identity:
            self._attributes.update(identity)

    def _count(self, finished: Finished) -> None:
        info, response, costs = self._info, self._response or _NO_RESPONSE, self._costs
        with adding:
            for calls in self._counts_in:
                calls.open.discard(self)
                calls.add(info.model, info.provider, response.input_tokens, response.output_tokens, costs)
        if self._measures is not None:
            try:
                self._measures.model_ended(info, response, finished, self._first_chunk_s, self._retries)
                if costs is not None:
                    self._measures.add_cost(ModelUsage(info.model, info.provider, costs=costs))
            except Exception as exc:  # noqa: BLE001
                _MEASURE.contain(exc)


def calling_model() -> ModelRun | None:
    """The model call that the request about to be sent is a part of; None if it is of none, or if something else that
    the call does became current in between."""
    run = _call_going_on()
    if run is None or not run._is_innermost_in(otel_context.get_current()):
        return None
    run.settle()
    return run


def call_awaiting_answer() -> ModelRun | None:
    """The innermost model call here of which nothing has come back yet: a span of another instrumentor that starts now
    may be of this call."""
    run = _call_going_on()
    return None if run is None or not run.has_span or run._first_chunk_s is not None else run


def _call_going_on() -> ModelRun | None:
    found = _innermost.get()
    run = None if found is None else found()
    return None if run is None or run._ended else run
