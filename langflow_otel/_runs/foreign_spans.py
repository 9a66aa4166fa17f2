"""Spans that other instrumentors make of a call that is a run of ours, and send where ours are sent: one of them takes
the place of ours, so that there is one span for each call, and its tokens are counted once.

Instrumentors of LangChain make theirs while LangChain reports the start of a call, before ours; those of the providers'
libraries make theirs while the call goes on.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, Final

from opentelemetry.trace import Span

from langflow_otel import _semconv as semconv

_reported: ContextVar[list[Span] | None] = ContextVar("langflow_otel_spans_of_others", default=None)

_MODEL_OPERATIONS: Final = frozenset({semconv.CHAT, semconv.TEXT_COMPLETION, semconv.EMBEDDINGS, "generate_content"})
_MODEL_KINDS: Final = frozenset({"LLM", "EMBEDDING"})
_CALLED_SERVICES: Final = ("http.request.method", "http.method", "db.system.name", "db.system", "rpc.system")


class ReportedSpans:
    """Context manager around LangChain's report of a call to its handlers.

    Attributes:
        spans: What other instrumentors started meanwhile, in this order.
    """

    __slots__ = ("_token", "spans")

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._token: Token[list[Span] | None] | None = None

    def __enter__(self) -> ReportedSpans:
        self._token = _reported.set(self.spans)
        return self

    def __exit__(self, *_: object) -> None:
        token = self._token
        if token is None:
            return
        try:
            _reported.reset(token)
        except ValueError:
            return  # A coroutine that was dropped half way is closed by the garbage collector, in another context.

    def of_call(self, index: int) -> Span | None:
        """That of one of the calls that are reported at once; None if there is none."""
        return self.spans[min(index, len(self.spans) - 1)] if self.spans else None


def spans_being_reported() -> list[Span] | None:
    """Where a span belongs that another instrumentor starts now; None outside of :class:`ReportedSpans`."""
    return _reported.get()


def is_of_a_service(span: Any) -> bool:
    """True for a request to a service, as the instrumentors of HTTP clients and databases make them."""
    attributes: Any = getattr(span, "attributes", None)
    return bool(attributes) and any(name in attributes for name in _CALLED_SERVICES)


def is_of_a_model(span: Any) -> bool:
    """True for a span of a model call, by the attributes that it has by now."""
    attributes: Any = getattr(span, "attributes", None)
    if not attributes:
        return False
    return (
        attributes.get(semconv.GEN_AI_OPERATION_NAME) in _MODEL_OPERATIONS
        or attributes.get(semconv.OPENINFERENCE_SPAN_KIND) in _MODEL_KINDS
        or "llm.request.type" in attributes
        or any(name in attributes for name in semconv.TOKENS_OF_OTHERS)
    )
