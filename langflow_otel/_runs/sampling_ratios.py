"""Which flows are sampled: a ratio per flow, the same answer for the same trace everywhere."""

from __future__ import annotations

import functools
from fnmatch import fnmatchcase

_BITS = (1 << 64) - 1


class FlowRatios:
    """Ratios per pattern of a flow's name or id; the first that matches counts.

    A trace is sampled if the lower 64 bits of its id are below the ratio's share of 2**64: the rule of
    OpenTelemetry's ``TraceIdRatioBased``, so that services with the same ratio decide alike.

    Args:
        rules: Patterns as of :mod:`fnmatch`, each with its ratio from 0 to 1. A flow that none matches is sampled.
    """

    def __init__(self, rules: tuple[tuple[str, float], ...]) -> None:
        self._rules = rules
        # The patterns are matched once for a flow, not once for a run.
        self._bound = functools.lru_cache(maxsize=4096)(self._find_bound)

    def samples(self, trace_id: int, name: str, flow_id: str | None = None) -> bool:
        """True if a run of this flow in this trace is sampled."""
        return trace_id & _BITS < self._bound(name, flow_id or "")

    def _find_bound(self, name: str, flow_id: str) -> int:
        for pattern, ratio in self._rules:
            if fnmatchcase(name, pattern) or fnmatchcase(flow_id, pattern):
                return round(ratio * (_BITS + 1))
        return _BITS + 1
