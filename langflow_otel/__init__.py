"""OpenTelemetry for LangFlow: every flow run is a trace.

Example::

    from langflow_otel import instrument

    instrument()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langflow_otel import metrics
from langflow_otel._authoring import record_retry, set_attributes, span, traced
from langflow_otel.version import __version__

if TYPE_CHECKING:
    from langflow_otel.instrumentor import LangflowInstrumentor, instrument, uninstrument

__all__ = [
    "LangflowInstrumentor",
    "__version__",
    "instrument",
    "metrics",
    "record_retry",
    "set_attributes",
    "span",
    "traced",
    "uninstrument",
]


def __getattr__(name: str) -> Any:
    # A component that says `from langflow_otel import traced` need not pay for the SDK.
    if name in ("LangflowInstrumentor", "instrument", "uninstrument"):
        from langflow_otel import instrumentor

        return getattr(instrumentor, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
