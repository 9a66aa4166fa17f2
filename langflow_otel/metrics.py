"""Business metrics of a flow's author, in the same scrape and the same OTLP push as the library's own.

Example::

    from langflow_otel import metrics

    orders_scored = metrics.counter("orders_scored", "Orders scored", labels=["region"])
    orders_scored.add(1, region="eu")

Define them at the top of a module or inside a component: the same definition gives the same instrument.
While instrumentation is off they do nothing. A wrong label or value is logged once and counted, and never
reaches the flow; a wrong definition raises at once.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeVar

from langflow_otel import _guard as guard
from langflow_otel._content.limits import cut
from langflow_otel._guard import Guard
from langflow_otel._metrics.catalogue import CATALOGUE, COMPONENT_WINDOW, FLOW_WINDOW, OTHER, SECONDS, Kind, Metric
from langflow_otel._metrics.instruments import Recording
from langflow_otel._metrics.labels import Cap
from langflow_otel._runs.measuring import RunMetrics
from langflow_otel._runs.recorder import nearest_context, process_recorder
from langflow_otel.redaction.known_secrets import without_secrets

__all__ = ["MAX_SERIES", "Counter", "Gauge", "Histogram", "counter", "gauge", "histogram"]

logger = logging.getLogger("langflow_otel")

MAX_SERIES: Final = 500
"""Label combinations of one instrument with series of their own; further ones are counted as ``other``."""

_DEFAULT_BUCKETS = (0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1e3, 2.5e3, 5e3, 7.5e3, 1e4)
_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_.]{0,254}")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
# The last three are names of arguments: a label is given as one.
_RESERVED_LABELS = frozenset({"le", "worker", "quantile", "self", "amount", "value"})
_MAX_UNIT = 63


class _Instrument:
    """An author's instrument. Its series are looked up in whatever metrics are active."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self._names = frozenset(metric.labels)
        self._guard = Guard(f"metrics.author.{metric.name}")
        self._kept: _Kept | None = None

    def _recording(self, labels: dict[str, str]) -> Recording | None:
        recorder = process_recorder()
        owner = None if recorder is None else recorder.metrics
        if owner is None:
            return None
        kept = self._kept
        if kept is None or kept.owner is not owner:
            kept = self._kept = _Kept(owner, Cap(f"label combinations of {self.metric.name}", MAX_SERIES))
        if labels.keys() != self._names:
            self._refuse(f"it has the labels {list(self.metric.labels)}, not {sorted(labels)}")
        values = tuple([cut(str(labels[name])) for name in self.metric.labels])
        found = kept.series.get(values)
        if found is None:
            if not kept.cap.has_room(values):
                values = tuple(OTHER for _ in values)
            known = [without_secrets(value) for value in values]
            found = kept.series.setdefault(values, owner.instruments.recording(self.metric, *known))
        return found

    def _refuse(self, why: str) -> NoReturn:
        # Said by itself: the guard tells nobody what an error's message says.
        if not guard.faults[self._guard.step]:
            logger.warning("The metric %s left out what it was given: %s.", self.metric.name, why)
        raise ValueError(f"{self.metric.name}: {why}")


@dataclass(frozen=True)
class _Kept:
    """The series of one instrument, while these metrics are active."""

    owner: RunMetrics
    cap: Cap
    series: dict[tuple[str, ...], Recording] = field(default_factory=dict)


class Counter(_Instrument):
    """Only goes up."""

    def add(self, amount: float = 1, **labels: str) -> None:
        """Add a number that is not negative. All labels of the definition must be given."""
        if process_recorder() is not None:
            with self._guard:
                if not 0 <= amount < math.inf:
                    self._refuse(f"it cannot go up by {amount}")
                recording = self._recording(labels)
                if recording is not None:
                    recording.add(amount)


class Gauge(_Instrument):
    """Has the value that was set last. In a scrape of several workers each has its own, with its process id
    as the label ``worker``."""

    def set(self, value: float, **labels: str) -> None:
        """Set a finite value. All labels of the definition must be given."""
        if process_recorder() is not None:
            with self._guard:
                if not math.isfinite(value):
                    self._refuse(f"it cannot be set to {value}")
                recording = self._recording(labels)
                if recording is not None:
                    recording.set(float(value))


class Histogram(_Instrument):
    """Counts values in buckets."""

    def record(self, value: float, **labels: str) -> None:
        """Record one finite value that is not negative, in the unit of the definition. All its labels must be
        given."""
        if process_recorder() is not None:
            with self._guard:
                # OpenTelemetry takes no other values, and the scrape must say the same.
                if not 0 <= value < math.inf:
                    self._refuse(f"it cannot record {value}")
                recording = self._recording(labels)
                if recording is not None:
                    recording.record(value, nearest_context())


def _names_of(metric: Metric) -> set[str]:
    """Every name that it takes: in OpenTelemetry, where case does not count, and in the two formats of a
    scrape, where a.b and a_b are one."""
    name = metric.prometheus_name
    names = {metric.name.lower(), name}
    if metric.kind == "counter":
        family = name.removesuffix("_total")
        names |= {family, f"{family}_created"}
    if metric.kind == "histogram":
        names |= {f"{name}_{part}" for part in ("bucket", "count", "created", "sum")}
    return names


_taken_by_us = {"target_info"}.union(*map(_names_of, (*CATALOGUE, FLOW_WINDOW, COMPONENT_WINDOW)))
_defined: dict[str, _Instrument] = {}
"""Instruments by each of their names."""
_defining = threading.Lock()

InstrumentType = TypeVar("InstrumentType", bound=_Instrument)


def counter(name: str, description: str = "", unit: str = "", labels: Sequence[str] = ()) -> Counter:
    """A counter. Scraped as ``{name}_total``.

    Args:
        name: Letters, digits, ``_`` and ``.``; what it counts, without the unit.
        description: The help text.
        unit: UCUM; ``s`` and ``By`` become ``_seconds`` and ``_bytes`` in the scrape. Empty for plain counts.
        labels: Names of the labels. Keep their values few: at most 500 combinations have series of their own.

    Raises:
        ValueError: The name or a label cannot be used, or the name is defined already with another shape.
    """
    return _define(Counter, "counter", name, description, unit, labels)


def gauge(name: str, description: str = "", unit: str = "", labels: Sequence[str] = ()) -> Gauge:
    """A gauge; arguments and errors as for :func:`counter`. The unit ``1`` becomes ``_ratio``."""
    return _define(Gauge, "gauge", name, description, unit, labels)


def histogram(
    name: str,
    description: str = "",
    unit: str = "",
    labels: Sequence[str] = (),
    buckets: Sequence[float] | None = None,
) -> Histogram:
    """A histogram; arguments and errors as for :func:`counter`.

    Args:
        buckets: Upper bounds, rising, without infinity. Default: for the unit ``s`` those of the library's
            own durations (5 ms to 300 s), else OpenTelemetry's (0 to 10,000).
    """
    bounds = tuple(map(float, buckets)) if buckets is not None else (SECONDS if unit == "s" else _DEFAULT_BUCKETS)
    if not bounds or list(bounds) != sorted(set(bounds)) or not all(map(math.isfinite, bounds)):
        raise ValueError(f"{name}: buckets must be finite and rising, not {list(bounds)}")
    return _define(Histogram, "histogram", name, description, unit, labels, bounds)


def _define(
    make: Callable[[Metric], InstrumentType],
    kind: Kind,
    name: str,
    description: str,
    unit: str,
    labels: Sequence[str],
    buckets: tuple[float, ...] = (),
) -> InstrumentType:
    if isinstance(labels, str):
        raise ValueError(f"{name}: labels must be a list of names, not {labels!r}")
    metric = Metric(name, kind, unit, description, tuple(labels), buckets, per_worker=kind == "gauge")
    _check(metric)
    names = _names_of(metric)
    with _defining:
        for known in (_defined[taken] for taken in names if taken in _defined):
            if known.metric != metric:
                raise ValueError(f"{name} is defined already, and differently: {known.metric}, now {metric}")
            return known  # type: ignore[return-value]  # the same kind means the same class
        made = make(metric)
        _defined.update(dict.fromkeys(names, made))
    return made


def _check(metric: Metric) -> None:
    if not _NAME.fullmatch(metric.name):
        raise ValueError(f"{metric.name!r} is no name for a metric: letters, digits, '_' and '.', a letter first")
    if _names_of(metric) & _taken_by_us:
        raise ValueError(f"{metric.name} is a metric of langflow-otel itself")
    if len(metric.unit) > _MAX_UNIT or not metric.unit.isascii():
        raise ValueError(f"{metric.name}: {metric.unit!r} is no unit: at most {_MAX_UNIT} ASCII characters")
    for label in metric.labels:
        if not _LABEL.fullmatch(label) or label in _RESERVED_LABELS:
            raise ValueError(f"{metric.name}: {label!r} cannot be a label")
    if len(set(metric.labels)) != len(metric.labels):
        raise ValueError(f"{metric.name}: a label is named twice in {list(metric.labels)}")
