"""Runs: what is going on right now, from a flow down to one tool call.

A *run* is both the handle by which an end is reported and, through a context variable, the answer to
"what are we in?". Entering a run makes it current, leaving it makes its parent current again; both
must happen in the same task or thread. A span may outlive its context, a context token may not.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span

from langflow_otel import _semconv as semconv
from langflow_otel._content.error_texts import deny
from langflow_otel._guard import Guard
from langflow_otel._runs import span_attributes
from langflow_otel._runs.buffered_spans import end_span
from langflow_otel._runs.error_categories import Category, category_of
from langflow_otel._runs.facts import CANCELLED, OK, Outcome
from langflow_otel._runs.parent_context import with_span
from langflow_otel._runs.span_attributes import Attributes
from langflow_otel._settings.settings import Settings

if TYPE_CHECKING:
    from langflow_otel._content.gate import SpanContent
    from langflow_otel._runs.component import ComponentRun
    from langflow_otel._runs.flow import FlowRun
    from langflow_otel._runs.tool import ToolRun

innermost_run: ContextVar[Run | None] = ContextVar("langflow_otel_run", default=None)
"""The innermost run of a context, also one whose flow has ended: :func:`current_run` leaves those out."""

StepTokens = tuple[Token["Run | None"], Token[Context] | None]

_open_runs: weakref.WeakSet[Run] = weakref.WeakSet()
"""Runs whose spans have not ended, for the end of the process."""

any_stopped = False
"""True once a run was ended by the stop of the process, or of this library. Its code may go on."""

adding = threading.RLock()
"""Held while a number is added to a sum of a run: its code may run in several threads, and ``+=`` is several steps.
Reentrant, as the garbage collector may end a run in any of them."""

if hasattr(os, "register_at_fork"):
    # What another thread of the parent held, nothing would ever release in the child.
    os.register_at_fork(after_in_child=lambda: adding._at_fork_reinit())  # type: ignore[attr-defined]

_STOP = Guard("stop")
_CONTENT = Guard("content.leave")
_DENY = Guard("content.deny")


def current_run() -> Run | None:
    """The innermost run that the calling code is in, or None.

    A task may outlive the flow that it was made in; it is then in no run.
    """
    run = innermost_run.get()
    if run is None or (run.flow is not None and run.flow._ended):
        return None
    return run


def end_open_runs(reason: str) -> None:
    """End what is still going on, innermost first: the process stops, and would take the spans with it.

    What the code of these runs does from here on is not recorded: there is nothing left that it would be a part of.

    Args:
        reason: Why, for ``langflow.cancellation.reason``.
    """
    global any_stopped
    for run in tuple(_open_runs):
        with _STOP:
            run.begin()
    # A span's start tells the order: a child starts after its parent.
    for run in sorted(_open_runs, key=lambda run: getattr(run.span, "start_time", 0) or 0, reverse=True):
        with _STOP:
            if run.flow is not None:
                run.flow.stopped = any_stopped = True
            run.add({semconv.CANCELLATION_REASON: reason})
            run.end(CANCELLED)


def attach(context: Context) -> StepTokens:
    """Make an OpenTelemetry context current, in the same run; :func:`step_out` comes back."""
    return innermost_run.set(innermost_run.get()), otel_context.attach(context)


def step_out(tokens: StepTokens) -> None:
    """Make current again what was so before :meth:`Run.step_in`, :meth:`Run.enter` or :func:`attach`."""
    run_token, context_token = tokens
    try:
        innermost_run.reset(run_token)
    except ValueError:
        # A coroutine that was dropped half way is closed wherever the garbage collector runs. The
        # context it had is gone, and the one found there is not ours to change.
        return
    if context_token is not None:
        otel_context.detach(context_token)


def step_outside() -> StepTokens | None:
    """Leave all runs for a moment, for what the host does on its own account; :func:`step_out` comes back. A flow that
    is not sampled is then not the parent of other tracers' spans, which would not be sampled either.

    Returns:
        None outside of runs.
    """
    run = current_run()
    if run is None:
        return None
    token: Token[Context] | None = None
    if run.flow is not None and run.flow.span is not None and not run.flow.sampled:
        token = otel_context.attach(with_span(INVALID_SPAN, otel_context.get_current()))
    return innermost_run.set(None), token


class Run:
    """One span of ours that is going on. All methods may be called again after the end: no effect.

    Attributes:
        flow: The flow run that this belongs to; None for a component that is built without a flow.
        component: The component run that this belongs to, itself included; None above components.
        tool: The tool call that this belongs to, itself included; None outside of tools.
        content: Inputs and outputs that may leave with the span; None for none.
        loop_index: The iteration of the innermost enclosing loop, or None.
        context: The OpenTelemetry context in which this run's own code belongs.
    """

    _unknown_error: ClassVar[Category] = "code"
    """Category of an error that no other category fits."""

    __slots__ = (
        "__weakref__",
        "_attributes",
        "_context_token",
        "_ended",
        "_put_off",
        "_run_token",
        "_settings",
        "component",
        "content",
        "context",
        "flow",
        "loop_index",
        "span",
        "tool",
    )

    def __init__(self, span: Span | None, context: Context, flow: FlowRun | None, settings: Settings) -> None:
        self.span = span
        self.context = context
        self.flow = flow
        self.component: ComponentRun | None = None
        self.tool: ToolRun | None = None
        self.loop_index: int | None = None
        self.content: SpanContent | None = None
        self._settings = settings
        self._attributes: Attributes = {}
        self._ended = False
        self._put_off: Callable[[], Span] | None = None
        self._context_token: Token[Context] | None = None
        self._run_token: Token[Run | None] | None = None
        if span is not None:
            _open_runs.add(self)

    @property
    def is_denied(self) -> bool:
        """True where content stays here by name or by an author's word: that of its component, its tool, or the one
        that runs its flow. Then messages of errors do so as well."""
        component, tool = self.component, self.tool
        if (component is not None and component.denied) or (tool is not None and tool.denied):
            return True
        outer = None if self.flow is None else self.flow.outer
        return outer is not None and outer.is_denied

    @property
    def has_denied_tools(self) -> bool:
        """True if the code of its component, or of its tool, may call tools of which content is denied."""
        return any(each is not None and each.denied_tools() for each in (self.component, self.tool))

    @property
    def recording(self) -> bool:
        """True while attributes set here will be exported."""
        return (self.span is not None or self._put_off is not None) and not self._ended

    @property
    def nearest_span(self) -> Span | None:
        """Its span, or that of its flow; None without either."""
        if self.span is not None:
            return self.span
        return None if self.flow is None else self.flow.span

    def put_off(self, make_span: Callable[[], Span]) -> None:
        """Make the span when :meth:`begin` is called, at the latest at the end. As long as nothing is below it, the
        span of another instrumentor may take its place."""
        self._put_off = make_span
        _open_runs.add(self)

    def begin(self) -> None:
        """Make the span, if that was put off."""
        if self._put_off is not None:
            self._make_span(self._put_off)
            if self.span is not None:
                self.context = with_span(self.span, self.context)

    def _make_span(self, make_span: Callable[[], Span]) -> None:
        self._put_off = None
        self.span = make_span()

    def replace_by(self, span: Span) -> None:
        """The span of another instrumentor takes the place of the one that was put off."""
        self._put_off = None
        self.context = with_span(span, self.context)
        _open_runs.discard(self)

    def enter(self) -> None:
        """Make this run current for the code that follows in this task or thread."""
        self._run_token = innermost_run.set(self)
        if self.span is not None:
            self._context_token = otel_context.attach(self.context)

    def leave(self) -> None:
        """Make the run current that was so before :meth:`enter`; same task or thread."""
        if self._run_token is not None:
            tokens = self._run_token, self._context_token
            self._run_token = self._context_token = None
            step_out(tokens)

    def step_in(self) -> StepTokens:
        """Like :meth:`enter`, for one step of a generator. The tokens are the step's own, since another
        task may step meanwhile; hand them to :func:`step_out`."""
        return innermost_run.set(self), otel_context.attach(self.context)

    def add(self, attributes: Attributes) -> None:
        """Attributes that go on the span when it ends; one call to the SDK instead of many."""
        self._attributes.update(attributes)

    def searched(self, asked: int | None, found: int | None) -> None:
        """Code of this run searched for documents; of several searches the sums go on the span.

        Args:
            asked: How many it asked for; None if that is not known.
            found: How many it got; None if the search failed.
        """
        numbers = ((semconv.GEN_AI_RETRIEVAL_TOP_K, asked), (semconv.RETRIEVAL_DOCUMENT_COUNT, found))
        with adding:
            for name, number in numbers:
                if number is not None:
                    before: Any = self._attributes.get(name, 0)
                    self._attributes[name] = before + number

    def _rename(self, name: str, attributes: Attributes) -> None:
        if self.recording and self.span is not None:
            self.span.update_name(name)
            self.add(attributes)

    def end(self, outcome: Outcome = OK) -> None:
        """End the span with this outcome. Leaves the context alone: see :meth:`leave`."""
        if self._ended:
            return
        self._ended = True
        is_denied = True  # what fails to be judged stays here
        try:
            is_denied = self.is_denied
            if is_denied and outcome.error is not None:
                deny(outcome.error)
        except Exception as exc:  # noqa: BLE001
            _DENY.contain(exc)
        if self.content is not None:
            self.begin()
            with _CONTENT:
                self._emit(self.content)
        elif self._put_off is not None:
            self._make_span(self._put_off)  # Nothing is left that belongs in its context.
        span = self.span
        if span is None:
            return
        _open_runs.discard(self)
        try:
            self._attributes[semconv.STATUS] = outcome.status
            if self.content is not None:
                with _CONTENT:
                    self._attributes.update(self.content.for_span())
            if outcome is not OK:
                self._mark_unsuccessful(span, outcome)
            self._set_attributes(span)
        finally:
            end_span(span, outcome.ended_ns, is_denied=is_denied)

    def _mark_unsuccessful(self, span: Span, outcome: Outcome) -> None:
        category = category_of(outcome, unknown=self._unknown_error)
        if category is not None:
            self._attributes[semconv.ERROR_CATEGORY] = category
        if outcome.status == "error":
            self._attributes[semconv.ERROR_TYPE] = span_attributes.error_type_of(outcome)
            span_attributes.mark_error(
                span, outcome, self._settings, self.flow.withheld if self.flow is not None else ()
            )

    def _emit(self, content: SpanContent) -> None:
        """As an event of its own span, whatever is current where the run ends."""
        token = otel_context.attach(self.context)
        try:
            content.emit(self.about_content)
        finally:
            otel_context.detach(token)

    @property
    def about_content(self) -> Attributes:
        """What tells whose content an event has."""
        return {}

    def _set_attributes(self, span: Span) -> None:
        span.set_attributes(self._attributes)

    def finish(self, outcome: Outcome = OK) -> None:
        """End the span and leave its context."""
        try:
            self.end(outcome)
        finally:
            self.leave()
