"""Propagator that writes, below a run, the nearest span that this library's backend receives.

Other instrumentors of HTTP clients, gRPC and so on write the span that is current, which is their own and may be sent
elsewhere; the called service's spans would be below one that our backend never gets.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Setter, TextMapPropagator, default_getter, default_setter

from langflow_otel._guard import Guard
from langflow_otel._runs.recorder import nearest_context
from langflow_otel._runs.run import current_run

_INJECT = Guard("propagation.inject")


class BelowRunsPropagator(TextMapPropagator):
    """Wraps a propagator; below a run it writes the nearest span that the library's backend receives.

    Args:
        otherwise: The process's own.

    Attributes:
        on: False to hand everything through.
    """

    def __init__(self, otherwise: TextMapPropagator) -> None:
        self.otherwise = otherwise
        self.on = True

    def inject(self, carrier: Any, context: Context | None = None, setter: Setter[Any] = default_setter) -> None:
        # A context that the caller names is left alone.
        if self.on and context is None:
            with _INJECT:
                if current_run() is not None:
                    context = nearest_context()
        self.otherwise.inject(carrier, context, setter)

    def extract(self, carrier: Any, context: Context | None = None, getter: Any = default_getter) -> Context:
        return self.otherwise.extract(carrier, context, getter)

    @property
    def fields(self) -> set[str]:
        return self.otherwise.fields

    def __getattr__(self, name: str) -> Any:
        # A host may ask its own propagator more than the base class has.
        return getattr(self.otherwise, name)


_installed: list[BelowRunsPropagator] = []


def inject_nearest_spans() -> None:
    """Wrap the process's propagator, once."""
    if not _installed:
        _installed.append(BelowRunsPropagator(propagate.get_global_textmap()))
        propagate.set_global_textmap(_installed[0])


def inject_current_spans() -> None:
    """Undo :func:`inject_nearest_spans`. One that was set meanwhile, and may have ours inside, stays."""
    while _installed:
        installed = _installed.pop()
        installed.on = False
        if propagate.get_global_textmap() is installed:
            propagate.set_global_textmap(installed.otherwise)
