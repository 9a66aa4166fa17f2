"""What metrics know, in the form of the report's data: as the page reads it, and in plain values."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from langflow_otel._metrics import catalogue
from langflow_otel.insights._report.build import COMPONENT_COLUMNS, ERROR_COLUMNS, MODEL_COLUMNS, Report
from langflow_otel.insights._report.figures import MAX_FLOWS
from langflow_otel.insights._report.tables import Strings, columns, significant
from langflow_otel.insights.components import ComponentShare, shares_of
from langflow_otel.insights.figures import (
    FLOW,
    LOOP,
    ComponentFigures,
    CostFigures,
    ErrorFigures,
    Figures,
    Measured,
    ModelFigures,
    Percentiles,
    Value,
    figures_of,
    of_flow,
    percentiles,
    quantile,
)
from langflow_otel.insights.prometheus_source import Curve
from langflow_otel.version import __version__

HIGHEST: Final = "highest"
MEDIAN: Final = "median"


@dataclass(frozen=True)
class Gauge:
    """A curve of resources: what is made of the series of all processes is their sum or the highest."""

    metric: catalogue.Metric
    together: Literal["sum", "max"]
    title: str
    hint: str
    unit: str


GAUGES: Final = (
    Gauge(catalogue.PROCESS_MEMORY_USAGE, "sum", "Memory", "of all processes together", "bytes"),
    Gauge(catalogue.PROCESS_CPU_UTILIZATION, "max", "CPU of a process", "of the busiest one", "share"),
    Gauge(catalogue.FLOW_ACTIVE, "sum", "Runs at once", "in all processes", "count"),
    Gauge(catalogue.SYSTEM_CPU_UTILIZATION, "max", "CPU of the machine", "of the busiest one", "share"),
    Gauge(catalogue.GPU_UTILIZATION, "max", "GPU", "the busiest one", "share"),
    Gauge(catalogue.GPU_MEMORY_UTILIZATION, "max", "GPU memory", "of the fullest one", "share"),
)

_MISSING: Final = (
    (
        "Single runs.",
        "Metrics count runs and list none of them: no list of runs, no waterfall, no flame graph, no critical path, no "
        "session, no content. The report of trace files has them (LANGFLOW_OTEL_TRACE_FILE).",
    ),
    (
        "Exact percentiles.",
        "They are interpolated within the buckets of histograms, and lie in the same bucket as the exact ones.",
    ),
    (
        "A component's own time.",
        "The time of a loop, or of a component that runs a flow, includes that of the components in it. Components of "
        "one type in one flow are counted together.",
    ),
    ("Versions, users, log lines.", "They are on spans and log records."),
)


@dataclass(frozen=True)
class Bins:
    """Equal steps of time; ``start_s`` is Unix time."""

    start_s: float
    width_s: int
    count: int

    def place(self, at_s: float) -> int:
        """The step that ends there."""
        return min(self.count - 1, max(0, round((at_s - self.start_s) / self.width_s) - 1))


@dataclass(frozen=True)
class Known:
    """All that was asked for.

    Attributes:
        url: Of the source.
        figures: Made of ``measured``.
        over: How counters grew in each step, by their names.
        gauges: Of :data:`GAUGES`, by their names and "highest" or "median".
    """

    url: str
    measured: Measured
    figures: Figures
    bins: Bins
    over: Mapping[str, Sequence[Curve]]
    gauges: Mapping[tuple[str, str], Sequence[Curve]]


def report_of(known: Known, described: str = "") -> Report:
    """The report. What metrics do not have is None."""
    strings, figures = Strings(), known.figures
    flows = {each.flow: figures_of(of_flow(known.measured, each.flow)) for each in figures.flows if round(each.runs)}
    shares = shares_of([_component(each) for each in figures.components])
    errors = [_error(each) for each in figures.errors if round(each.count)]
    uses = {flow: _uses(each) for flow, each in {"": figures, **(flows if len(flows) > 1 else {})}.items()}
    data: dict[str, Any] = {
        "source": "metrics",
        "made": {"version": __version__, "at_ms": time.time_ns() // 1_000_000, "selection": described},
        "reading": [["Asked", known.url]],
        "missing": list(_MISSING),
        "overview": _overview(known, flows, strings) if flows else {"all": None, "flows": []},
        "runs": None,
        "resources": list(_resources(known)),
        "workers": columns([asdict(each) for each in figures.workers], _WORKER_COLUMNS, strings),
        "flames": None,
        "components": columns([asdict(each) for each in shares], COMPONENT_COLUMNS, strings),
        "critical": None,
        "errors": {**columns(errors, ERROR_COLUMNS, strings), **{name: [None] * len(errors) for name in _OF_SAMPLES}},
        "models": [{"flow": strings.place(flow), "uses": _use_columns(each, strings)} for flow, each in uses.items()],
        "sessions": None,
        "details": None,
    }
    # Last: every text above is in it by now.
    data["strings"] = strings.all
    return Report(title="LangFlow runs", figures=_plain(figures, flows, shares, errors, uses[""]), data=data, traces=[])


def _plain(
    figures: Figures,
    flows: Mapping[str, Figures],
    shares: Sequence[ComponentShare],
    errors: Sequence[dict[str, Any]],
    uses: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    return {
        "source": "metrics",
        "all": _figures(figures) if flows else {"runs": 0},
        "flows": [{"flow": flow, **_figures(each)} for flow, each in flows.items()],
        "components": [asdict(each) for each in shares],
        "critical_path": None,
        "errors": errors,
        "models": uses,
        "sessions": None,
        "missing": [{"what": what, "why": why} for what, why in _MISSING],
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {
        "runs": round(figures.runs),
        "errors": round(figures.failed),
        "cancelled": round(figures.cancelled),
        **asdict(figures.durations),
        "input_tokens": round(sum(model.input_tokens for model in figures.models)),
        "output_tokens": round(sum(model.output_tokens for model in figures.models)),
        "cost": _cost(figures.costs),
    }


def _cost(costs: Iterable[CostFigures]) -> dict[str, float]:
    amounts: dict[str, float] = defaultdict(float)
    for each in costs:
        amounts[each.currency] += each.amount
    return {currency: amount for currency, amount in sorted(amounts.items()) if amount}


def _component(component: ComponentFigures) -> dict[str, Any]:
    return {
        "flow": component.flow,
        "component_id": "",
        "name": component.component_type,
        "kind": "",
        "count": round(component.executions),
        "runs": None,
        "errors": round(component.failed),
        "cached": round(component.cached),
        "skipped": round(component.skipped),
        **asdict(component.durations),
        "total_s": component.total_s,
    }


def _error(error: ErrorFigures) -> dict[str, Any]:
    known = {
        "error_type": error.error_type,
        "flow": error.flow,
        "component": error.component_type,
        "name": f"component {error.component_type}",
        "count": round(error.count),
    }
    return {**dict.fromkeys(ERROR_COLUMNS), **known}


def _uses(figures: Figures) -> list[dict[str, Any]]:
    return [_use(each, figures.costs) for each in figures.models if round(each.calls)]


def _use(model: ModelFigures, costs: Iterable[CostFigures]) -> dict[str, Any]:
    return {
        "model": model.model,
        "provider": model.provider,
        "calls": round(model.calls),
        "runs": None,
        "errors": round(model.failed),
        "retries": round(model.retries),
        "input_tokens": round(model.input_tokens),
        "output_tokens": round(model.output_tokens),
        "cached_tokens": round(model.cached_tokens),
        "reasoning_tokens": round(model.reasoning_tokens),
        "cost": _cost(each for each in costs if (each.provider, each.model) == (model.provider, model.model)),
        "calls_without_tokens": None,
        "p50_s": model.durations.p50_s,
        "p95_s": model.durations.p95_s,
        "first_chunk_p50_s": model.first_chunk.p50_s,
    }


def _use_columns(uses: Sequence[dict[str, Any]], strings: Strings) -> dict[str, Any]:
    return {**columns(uses, MODEL_COLUMNS, strings), "cost": [_amounts(each["cost"], strings) for each in uses]}


def _amounts(cost: Mapping[str, float], strings: Strings) -> list[tuple[int, float | None]]:
    return [(strings.place(currency), significant(amount)) for currency, amount in cost.items()]


_OF_SAMPLES: Final = ("first_ms", "last_ms", "sample_trace_id", "sample_span_id")
_WORKER_COLUMNS: Final = ("instance", "worker", "cpu_utilization", "memory_bytes")


def _overview(known: Known, flows: Mapping[str, Figures], strings: Strings) -> dict[str, Any]:
    bins = known.bins
    end_s = bins.start_s + bins.count * bins.width_s
    return {
        "start_s": bins.start_s,
        "width_s": bins.width_s,
        "bins": bins.count,
        "first_ms": round((end_s - known.figures.seconds) * 1000),
        "last_ms": round(end_s * 1000),
        "all": {**_page_figures(known.figures, strings), "over": _over(known, None, strings)},
        "flows": [
            {
                "flow": strings.place(flow),
                **_page_figures(each, strings),
                "over": _over(known, flow, strings) if place < MAX_FLOWS else None,
            }
            for place, (flow, each) in enumerate(flows.items())
        ],
    }


def _page_figures(figures: Figures, strings: Strings) -> dict[str, Any]:
    plain = _figures(figures)
    return {
        **{name: plain[name] for name in ("runs", "errors", "cancelled")},
        "input": plain["input_tokens"],
        "output": plain["output_tokens"],
        "percentiles": _milliseconds(figures.durations),
        "costs": _amounts(plain["cost"], strings),
    }


def _milliseconds(found: Percentiles) -> list[float | None]:
    return [None if each is None else significant(each * 1000) for each in (found.p50_s, found.p95_s, found.p99_s)]


def _over(known: Known, flow: str | None, strings: Strings) -> dict[str, Any]:
    """Sums are 0 where nothing ran, percentiles None."""
    counts = {status: _sums(known, f"{FLOW}_count", flow, status=status) for status in (None, "error", "cancelled")}
    durations = [_milliseconds(percentiles(each)) for each in _buckets(known, f"{FLOW}_bucket", flow)]
    tokens = {
        "input": _sums(known, catalogue.MODEL_INPUT_TOKENS.prometheus_name, flow),
        "output": _sums(known, catalogue.MODEL_OUTPUT_TOKENS.prometheus_name, flow),
    }
    cost = catalogue.COST.prometheus_name
    currencies = sorted({curve.labels.get("currency", "") for curve in _of(known, cost, flow)})
    return {
        "runs": counts[None],
        "errors": counts["error"],
        "cancelled": counts["cancelled"],
        **tokens,
        **{name: [each[place] for each in durations] for place, name in enumerate(("p50", "p95", "p99"))},
        "costs": [[strings.place(each), _sums(known, cost, flow, currency=each)] for each in currencies],
    }


def _of(known: Known, counter: str, flow: str | None) -> list[Curve]:
    return [each for each in known.over[counter] if flow is None or each.labels.get("flow", "") == flow]


def _sums(known: Known, counter: str, flow: str | None, **labels: str | None) -> list[float | None]:
    sums = [0.0] * known.bins.count
    for curve in _of(known, counter, flow):
        if all(value is None or curve.labels.get(name, "") == value for name, value in labels.items()):
            for at_s, value in curve.points:
                sums[known.bins.place(at_s)] += value
    return [significant(each) for each in sums]


def _buckets(known: Known, counter: str, flow: str | None) -> list[list[Value]]:
    found: list[list[Value]] = [[] for _ in range(known.bins.count)]
    for curve in _of(known, counter, flow):
        for at_s, value in curve.points:
            found[known.bins.place(at_s)].append(Value(curve.labels, value))
    return found


def _resources(known: Known) -> Iterator[dict[str, Any]]:
    for gauge in GAUGES:
        name = gauge.metric.prometheus_name
        over = {each: _values(known, known.gauges[name, each]) for each in (HIGHEST, MEDIAN)}
        if any(value is not None for value in over[HIGHEST]):
            yield {"name": name, "title": gauge.title, "hint": gauge.hint, "unit": gauge.unit, "over": over}
    delays = _buckets(known, f"{LOOP}_bucket", None)
    over = {each: [quantile(found, share) for found in delays] for each, share in ((HIGHEST, 1.0), (MEDIAN, 0.5))}
    if any(value is not None for value in over[HIGHEST]):
        yield {
            "name": LOOP,
            "title": "Event loop delay",
            "hint": "measured once a second",
            "unit": "seconds",
            "over": over,
        }


def _values(known: Known, curves: Iterable[Curve]) -> list[float | None]:
    values: list[float | None] = [None] * known.bins.count
    for curve in curves:
        for at_s, value in curve.points:
            values[known.bins.place(at_s)] = significant(value)
    return values
