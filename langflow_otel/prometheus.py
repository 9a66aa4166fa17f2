"""The metrics of this library in a registry of ``prometheus_client``: for an application that serves one already.

Example::

    from prometheus_client import REGISTRY
    from langflow_otel.prometheus import LangflowCollector

    REGISTRY.register(LangflowCollector())

From then on they are where the registry is shown: ``make_asgi_app()``, ``make_wsgi_app()``, ``start_http_server()``,
LangFlow's own port (``LANGFLOW_PROMETHEUS_ENABLED=true``). The numbers are those of the library's own page, which takes
a tenth of the time. With ``OTEL_METRICS_EXPORTER=prometheus`` they are the totals over all workers, whichever of them
answers; else those of the answering process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import prometheus_client
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as PrometheusExemplar

from langflow_otel._guard import Guard
from langflow_otel._hooks.native import requests_are_in_default_registry
from langflow_otel._metrics.catalogue import CATALOGUE, HTTP_REQUEST_DURATION, Metric
from langflow_otel._metrics.default_registry import family_name, page_is_made_here
from langflow_otel._metrics.exposition import KINDS, Family, Row, bounds
from langflow_otel._metrics.store import Exemplar
from langflow_otel.instrumentor import LangflowInstrumentor

__all__ = ["LangflowCollector"]

_COLLECT = Guard("metrics.collector")
_PROCESS = ("process_", "target_info")


class LangflowCollector(Collector):
    """Shows every series of the scrape to a registry.

    While instrumentation is off it shows none. On our own page it does not show them a second time. Registered twice,
    or beside a metric of one of our names, it raises ``ValueError`` at its registration, as any collector does.

    Args:
        with_process: Also ``process_*`` and ``target_info``, for a registry without a ``ProcessCollector``, which the
            default registry has; and the durations of requests where LangFlow puts its own into the default registry
            (1.12 and later).
    """

    def __init__(self, *, with_process: bool = False) -> None:
        self._with_process = with_process

    def describe(self) -> Iterable[prometheus_client.Metric]:
        """The families of the catalogue, without samples: their names are taken."""
        return [_empty(metric) for metric in CATALOGUE if self._shows(metric)]

    def collect(self) -> Iterator[prometheus_client.Metric]:
        """The families that have series at this moment. An error of ours is contained and counted."""
        found: list[prometheus_client.Metric] = []
        if not page_is_made_here():
            with _COLLECT:
                found = self._collect()
        yield from found

    def _collect(self) -> list[prometheus_client.Metric]:
        scrape = LangflowInstrumentor().scrape
        families = [] if scrape is None else scrape.families()
        return [_converted(family) for family in families if family.rows and self._shows(family.metric)]

    def _shows(self, metric: Metric) -> bool:
        if self._with_process:
            return True
        if metric.name == HTTP_REQUEST_DURATION.name and requests_are_in_default_registry():
            return False
        return not metric.prometheus_name.startswith(_PROCESS)


def _empty(metric: Metric) -> prometheus_client.Metric:
    return prometheus_client.Metric(family_name(metric), metric.description, KINDS[metric.kind])


def _converted(family: Family) -> prometheus_client.Metric:
    found = _empty(family.metric)
    # As prometheus_client has it for its own.
    creations = getattr(prometheus_client.metrics, "_use_created", True)
    for row in family.rows:
        labels = dict(row.metric.shown_labels(row.labels, scraped=True))
        if row.worker is not None:
            labels["worker"] = str(row.worker)
        if row.metric.kind == "histogram":
            _add_histogram(found, row, labels)
        else:
            found.add_sample(row.metric.prometheus_name, labels, float(row.values[0]))
        if creations and row.created_s is not None:
            found.add_sample(f"{found.name}_created", labels, round(row.created_s, 3))
    return found


def _add_histogram(found: prometheus_client.Metric, row: Row, labels: dict[str, str]) -> None:
    name, total = found.name, 0.0
    *counts, value_sum = row.values
    exemplars: Sequence[Exemplar | None] = row.exemplars or [None] * len(counts)
    for bound, count, exemplar in zip(bounds(row.metric), counts, exemplars, strict=True):
        total += count
        shown: Any = None if exemplar is None else _exemplar(exemplar)
        found.add_sample(f"{name}_bucket", {**labels, "le": bound}, total, exemplar=shown)
    found.add_sample(f"{name}_sum", labels, value_sum)
    found.add_sample(f"{name}_count", labels, total)


def _exemplar(found: Exemplar) -> PrometheusExemplar:
    ids = {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}
    return PrometheusExemplar(ids, found.value, round(found.time_s, 3))
