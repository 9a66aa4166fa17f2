"""The sampler and the id generator by which the SDK follows the recorder's decisions.

Works on a provider of our own. What the recorder has not decided, the standard variable's sampler decides.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from langflow_otel._guard import Guard
from langflow_otel._runs.buffered_spans import DECIDED, has_random_trace_id, preset_ids
from langflow_otel._sdk.versions import makes_random_trace_ids

_DECIDE = Guard("trace.decide")


def follows_recorder(provider: object) -> bool:
    """True for a provider that :func:`let_recorder_decide` was called with."""
    return isinstance(getattr(provider, "sampler", None), DecidedSampler)


def let_recorder_decide(provider: TracerProvider, *, per_flow: bool) -> None:
    """Make a provider follow the recorder's decisions; call it before the first tracer is made.

    Args:
        provider: One of our own.
        per_flow: True where flows have ratios of their own; what is below them follows then.
    """
    provider.sampler = DecidedSampler(provider.sampler, follows_parent=per_flow)
    provider.id_generator = PresetIds(provider.id_generator)  # type: ignore[assignment] # the default is not all that fits


class DecidedSampler(Sampler):
    """Samples each span that the recorder has decided on; another sampler decides for the rest.

    Args:
        otherwise: That of ``OTEL_TRACES_SAMPLER``.
        follows_parent: True to decide as was decided for the parent, if that is in this process.
    """

    def __init__(self, otherwise: Sampler, *, follows_parent: bool = False) -> None:
        self.otherwise = otherwise
        self.follows_parent = follows_parent

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        # The SDK would raise an error in the code that starts the span.
        with _DECIDE:
            parent = trace.get_current_span(parent_context).get_span_context()
            if parent_context is not None and parent_context.get(DECIDED):
                return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, parent.trace_state)
            if self.follows_parent and parent.is_valid and not parent.is_remote:
                decision = Decision.RECORD_AND_SAMPLE if parent.trace_flags.sampled else Decision.DROP
                return SamplingResult(decision, attributes, parent.trace_state)
        return self.otherwise.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return f"DecidedSampler({self.otherwise.get_description()})"


class PresetIds(IdGenerator):
    """Gives a span the ids that were preset for its run; another generator makes all others."""

    def __init__(self, otherwise: IdGenerator) -> None:
        self._otherwise = otherwise

    def generate_span_id(self) -> int:
        ids = preset_ids()
        return self._otherwise.generate_span_id() if ids is None else ids.span_id

    def generate_trace_id(self) -> int:
        ids = preset_ids()
        return self._otherwise.generate_trace_id() if ids is None else ids.trace_id

    def is_trace_id_random(self) -> bool:
        """Newer SDKs ask, and say so in ``traceparent`` (W3C Trace Context, level 2)."""
        with _DECIDE:
            ids = preset_ids()
            if ids is not None:
                return has_random_trace_id(ids)
            return makes_random_trace_ids(self._otherwise)
        return False
