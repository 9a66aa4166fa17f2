"""The text that Prometheus scrapes, in its own format and in OpenMetrics.

Rendering is ours because ``prometheus_client`` takes 100 ms for 10,000 series and holds the interpreter all
the while, which the event loop feels. Here the part of a line before its value is made once for each series,
and the lines come in slices between which other threads may run.
Formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and OpenMetrics 1.0.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from langflow_otel._metrics.catalogue import Metric
from langflow_otel._metrics.store import Exemplar

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_LINES_IN_A_SLICE = 250

_Prefixes = dict[tuple[Metric, tuple[str, ...], int | None], list[str]]


@dataclass
class Row:
    """One series, over all workers or of one.

    Attributes:
        metric: Like that of its family; the labels may be others.
        labels: Values of the metric's labels.
        values: Its cells; see :attr:`Metric.cells`.
        worker: Adds the label ``worker``.
        exemplars: One place for each bucket.
        created_s: Unix time at which all of it was 0, for counters and histograms; shown in OpenMetrics.
    """

    metric: Metric
    labels: tuple[str, ...]
    values: Sequence[float]
    worker: int | None = None
    exemplars: Sequence[Exemplar | None] | None = None
    created_s: float | None = None


@dataclass
class Family:
    """A metric and its series."""

    metric: Metric
    rows: list[Row] = field(default_factory=list)


class Renderer:
    """Makes the text of a scrape; remembers what does not change from one scrape to the next."""

    def __init__(self) -> None:
        self._prefixes: _Prefixes = {}

    def slices(self, families: Sequence[Family], *, openmetrics: bool, more: Iterable[str] = ()) -> Iterator[str]:
        """The text, in parts of a few hundred lines.

        Args:
            more: Text of other families, in the same format.
        """
        lines: list[str] = []
        used: _Prefixes = {}
        for family in families:
            if not family.rows:
                continue
            lines.append(_header(family.metric, openmetrics))
            for row in family.rows:
                _render(row, self._prefixes_of(row, used), lines, openmetrics)
                if len(lines) >= _LINES_IN_A_SLICE:
                    yield "".join(lines)
                    lines.clear()
        yield "".join(lines)
        yield from more
        if openmetrics:
            yield "# EOF\n"
        # Only those of series that are still there: workers come and go, each with a label of its own.
        self._prefixes = used

    def _prefixes_of(self, row: Row, used: _Prefixes) -> list[str]:
        key = (row.metric, row.labels, row.worker)
        found = used[key] = self._prefixes.get(key) or _prefixes(row)
        return found


def _render(row: Row, prefixes: Sequence[str], lines: list[str], openmetrics: bool) -> None:
    # The last of the prefixes is that of the creation.
    created = f"{prefixes[-1]}{row.created_s:.3f}\n" if openmetrics and row.created_s is not None else ""
    if row.metric.kind != "histogram":
        lines.append(f"{prefixes[0]}{_number(row.values[0])}\n{created}")
        return
    total = 0.0
    exemplars = row.exemplars if openmetrics else None
    # The last of the values is the sum; the two prefixes before the last are those of sum and count.
    for index in range(len(row.values) - 1):
        total += row.values[index]
        found = None if exemplars is None else exemplars[index]
        lines.append(f"{prefixes[index]}{total!r}{'' if found is None else _exemplar(found)}\n")
    lines.append(f"{prefixes[-3]}{_number(row.values[-1])}\n{prefixes[-2]}{total!r}\n{created}")


def _prefixes(row: Row) -> list[str]:
    metric, name = row.metric, row.metric.prometheus_name
    pairs = [f'{label}="{_escaped(value)}"' for label, value in metric.shown_labels(row.labels, scraped=True)]
    if row.worker is not None:
        pairs.append(f'worker="{row.worker}"')
    created = f"{name.removesuffix('_total')}_created{_braces(pairs)} "
    if metric.kind != "histogram":
        return [f"{name}{_braces(pairs)} ", created]
    buckets = [f"{name}_bucket{_braces([*pairs, f'le={chr(34)}{bound}{chr(34)}'])} " for bound in bounds(metric)]
    return [*buckets, f"{name}_sum{_braces(pairs)} ", f"{name}_count{_braces(pairs)} ", created]


def bounds(metric: Metric) -> list[str]:
    """The label ``le`` of each bucket of a histogram."""
    return [*map(_number, metric.buckets), "+Inf"]


def _braces(pairs: Sequence[str]) -> str:
    return f"{{{','.join(pairs)}}}" if pairs else ""


KINDS: Final = {"counter": "counter", "histogram": "histogram", "gauge": "gauge", "up_down_counter": "gauge"}
"""What Prometheus calls the kinds of metrics."""


def _header(metric: Metric, openmetrics: bool) -> str:
    name, kind = metric.prometheus_name, KINDS[metric.kind]
    if openmetrics and kind == "counter":
        name = name.removesuffix("_total")
    description = metric.description.replace("\\", "\\\\").replace("\n", "\\n")
    if openmetrics:
        description = description.replace('"', '\\"')
    return f"# HELP {name} {description}\n# TYPE {name} {kind}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else ("+Inf" if value > 0 else "-Inf")


def _exemplar(found: Exemplar) -> str:
    return (
        f' # {{trace_id="{found.trace_id:032x}",span_id="{found.span_id:016x}"}} '
        f"{_number(found.value)} {found.time_s:.3f}"
    )
