"""What happened to runs becomes measurements. Every run counts, sampled or not."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.trace import Span

from langflow_otel import _semconv as semconv
from langflow_otel._content.error_texts import error_type
from langflow_otel._metrics import catalogue, window
from langflow_otel._metrics.catalogue import Cells, Metric, Reading
from langflow_otel._metrics.derived import NESTED, derived_readings, next_average
from langflow_otel._metrics.event_loop import EventLoopProbe
from langflow_otel._metrics.instruments import Instruments, Recording
from langflow_otel._metrics.labels import Cap
from langflow_otel._runs.facts import ComponentInfo, FlowInfo, ModelInfo, ModelResponse, ModelUsage, Outcome
from langflow_otel._runs.model_measuring import CallMetrics, EmbeddingMetrics, ModelMetrics
from langflow_otel._settings.settings import Settings

UNNAMED: Final = FlowInfo("unnamed")
"""The flow of a component that is built without one."""

_MAX_COMPONENT_TYPES = 500
_MAX_ERROR_TYPES = 50
_MAX_MODELS = 100
_MAX_ROUTES = 500

_WINDOW_FIELDS = {"ok": window.OK, "error": window.FAILED}


class Finished(NamedTuple):
    """How a run ended, for measuring it.

    Attributes:
        duration_s: From its start until its own code ended.
        context: Where its span, or else the one around it, can be found, for exemplars.
        span: Its span, where the context does not hold it.
    """

    outcome: Outcome
    duration_s: float
    context: Context | None
    span: Span | None = None


class FlowMetrics:
    """The series of one flow. Looked up once for each run; its components find theirs by type and status."""

    def __init__(self, owner: RunMetrics, info: FlowInfo) -> None:
        self._owner = owner
        self._labels = owner.flow_labels(info)
        self.name = self._labels["flow"]
        self._durations: dict[tuple[str, str], Recording] = {}
        self._components: dict[tuple[str, str], Recording] = {}
        self._calls: dict[tuple[str | None, ...], CallMetrics] = {}
        self._costs: dict[tuple[str, str, str | None], Recording] = {}
        self._has_succeeded = False
        self._failing_since_s: float | None = None

    def expect_outcomes(self, entry_point: str) -> None:
        """Make the series of the outcomes ``ok`` and ``error`` together, at 0, before the first run ends.

        ``increase()`` sees a first failure only in a series that was there before it.
        """
        for status in _WINDOW_FIELDS:
            self._duration(status, entry_point)

    def active(self, entry_point: str) -> Recording:
        return self._owner.recording(catalogue.FLOW_ACTIVE, {**self._labels, "entry_point": entry_point})

    def ended(self, finished: Finished, entry_point: str) -> None:
        """One more run of this flow is over."""
        status = finished.outcome.status
        self._duration(status, entry_point).record(finished.duration_s, finished.context)
        if entry_point != NESTED:
            self._owner.count(self._cells(catalogue.FLOW_WINDOW), status)
        if status in _WINDOW_FIELDS:
            self._follow(finished)

    def _duration(self, status: str, entry_point: str) -> Recording:
        recording = self._durations.get((status, entry_point))
        if recording is None:
            labels = {**self._labels, "status": status, "entry_point": entry_point}
            recording = self._durations[status, entry_point] = self._owner.recording(catalogue.FLOW_DURATION, labels)
        return recording

    def _follow(self, finished: Finished) -> None:
        """The moving average, and the time to recovery: both depend on the order of the runs."""
        average = self._cells(catalogue.FLOW_DURATION_EMA)
        with self._owner.instruments.store.lock:
            # No run takes 0 s: that is the cell of a flow that has not run yet.
            average[0] = next_average(average[0] or None, finished.duration_s)
            now_s, failing_since_s = self._owner.clock(), self._failing_since_s
            if finished.outcome.status == "error":
                if self._has_succeeded and failing_since_s is None:
                    self._failing_since_s = now_s
                return
            self._has_succeeded, self._failing_since_s = True, None
        if failing_since_s is not None:
            recovery = self._owner.recording(catalogue.FLOW_RECOVERY_TIME, self._labels)
            recovery.record(now_s - failing_since_s)

    def _cells(self, metric: Metric) -> Cells:
        """Made with the first run that counts: a flow without any has neither rates nor an average."""
        return self._owner.instruments.store.series(metric, (self.name,)).cells

    def component_ended(self, info: ComponentInfo, finished: Finished) -> None:
        """One more execution of a component is over; a cached one did not run."""
        status = finished.outcome.status
        if status == "cached":
            self.bypassed(info, "cached")
            return
        component_type = self._owner.component_type(info.component_type)
        recording = self._components.get((component_type, status))
        if recording is None:
            recording = self._components[component_type, status] = self._component(
                catalogue.COMPONENT_DURATION, info, status=status
            )
        recording.record(finished.duration_s, finished.context)
        self._owner.count(self._owner.component_window(component_type), status)
        if status == "error":
            self._component(
                catalogue.COMPONENT_ERRORS, info, error_type=self._owner.error_type(finished.outcome.error)
            ).add()

    def bypassed(self, info: ComponentInfo, reason: str) -> None:
        self._component(catalogue.COMPONENT_BYPASSED, info, reason=reason).add()

    def retried(self, info: ComponentInfo) -> None:
        self._component(catalogue.COMPONENT_RETRIES, info).add()

    def first_chunk(self, info: ComponentInfo, seconds: float, context: Context | None) -> None:
        self._component(catalogue.COMPONENT_FIRST_CHUNK, info).record(seconds, context)

    def model_ended(
        self,
        info: ModelInfo,
        response: ModelResponse,
        finished: Finished,
        first_chunk_s: float | None = None,
        retries: int = 0,
    ) -> None:
        """One more call of a model is over."""
        calls = self._calls_of(info.operation, info.provider, info.model, response.model)
        calls.ended(response, finished, first_chunk_s, retries)

    def used_model(self, usage: ModelUsage) -> None:
        """A component used a model, in calls that no hook has seen: their number and duration are not known."""
        if usage.input_tokens is not None or usage.output_tokens is not None:
            calls = self._calls_of(semconv.CHAT, usage.provider, usage.model, None)
            calls.add_tokens(usage.input_tokens or 0, usage.output_tokens or 0)
        self.add_cost(usage)

    def _calls_of(self, operation: str, provider: str | None, asked: str | None, answered: str | None) -> CallMetrics:
        # A name that has series is its own label: the common case, without asking the caps.
        found = self._calls.get((operation, provider, asked, answered))
        if found is not None:
            return found
        owner = self._owner
        key = (operation, owner.model(provider), owner.model(asked), owner.answering_model(answered))
        found = self._calls.get(key)
        if found is None:
            labels = {**self._labels, **dict(zip(catalogue.MODEL_DURATION.labels, key, strict=False))}
            made = EmbeddingMetrics if operation == semconv.EMBEDDINGS else ModelMetrics
            found = self._calls[key] = made(owner, labels)
        return found

    def add_cost(self, usage: ModelUsage) -> None:
        """What that use of a model costs; nothing without prices."""
        costs = usage.costs
        if costs is None:
            return
        model, provider = self._owner.model(usage.model), self._owner.model(usage.provider)
        for currency, amount in costs.amounts.items():
            self._cost(model, provider, currency).add(amount)
        if costs.unpriced_calls:
            self._cost(model, provider, None).add(costs.unpriced_calls)

    def _cost(self, model: str, provider: str, currency: str | None) -> Recording:
        """Without a currency that of calls without a price."""
        key = (model, provider, currency)
        found = self._costs.get(key)
        if found is None:
            metric = catalogue.COST_UNPRICED_CALLS if currency is None else catalogue.COST
            labels = {**self._labels, "model": model, "provider": provider, "currency": currency or ""}
            found = self._costs[key] = self._owner.recording(metric, labels)
        return found

    def _component(self, metric: Metric, info: ComponentInfo, **labels: str) -> Recording:
        component_type = self._owner.component_type(info.component_type)
        return self._owner.recording(metric, {**self._labels, "component_type": component_type, **labels})


class RunMetrics:
    """Measures flow runs and component executions.

    Args:
        instruments: Where the measurements go.
        settings: Window, caps and labels.
        clock: Monotonic, in seconds; for the window and for recovery times.
    """

    def __init__(
        self, instruments: Instruments, settings: Settings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.instruments = instruments
        self.settings = settings
        self.clock = clock
        self._metrics = {metric.name: _with_labels(metric, settings.metric_labels) for metric in catalogue.RECORDED}
        self._flow_keys = tuple(label for label in ("flow_id", "flow_version") if label in settings.metric_labels)
        self._flows: dict[tuple[str, str | None, str | None], FlowMetrics] = {}
        self._flow_cap = Cap("flow names", settings.max_flows)
        self._types = Cap("component types", _MAX_COMPONENT_TYPES)
        self._errors = Cap("error types", _MAX_ERROR_TYPES)
        self._models = Cap("models and providers", _MAX_MODELS)
        self._answering = Cap("models that answer", _MAX_MODELS)
        self._routes = Cap("routes", _MAX_ROUTES)
        self._since_s: dict[object, tuple[str, float]] = {}
        self._aged: set[str] = set()
        self.probe = EventLoopProbe(instruments.recording(catalogue.EVENT_LOOP_DELAY).record)

    def flow(self, info: FlowInfo | None) -> FlowMetrics:
        """The series of a flow."""
        info = info or UNNAMED
        key = (info.name, info.flow_id, info.version) if self._flow_keys else (info.name, None, None)
        found = self._flows.get(key)
        if found is None:
            if not self._flow_cap.has_room(key):
                return self._other_flows
            found = self._flows.setdefault(key, FlowMetrics(self, info))
        return found

    @functools.cached_property
    def _other_flows(self) -> FlowMetrics:
        return FlowMetrics(self, FlowInfo(catalogue.OTHER, flow_id=catalogue.OTHER, version=catalogue.OTHER))

    def flow_labels(self, info: FlowInfo) -> dict[str, str]:
        ids = {"flow_id": info.flow_id or "", "flow_version": info.version or ""}
        return {"flow": info.name, **{label: ids[label] for label in self._flow_keys}}

    def goes_on(self, run: object, flow: FlowMetrics) -> None:
        """A run of that flow goes on, since the first of these calls."""
        _, since_s = self._since_s.get(run, ("", self.clock()))
        self._since_s[run] = flow.name, since_s

    def is_over(self, run: object) -> None:
        """It goes on no longer."""
        name_and_start = self._since_s.pop(run, None)
        if name_and_start is not None:
            self._aged.add(name_and_start[0])

    def oldest_ages(self) -> list[Reading]:
        """The age of each flow's oldest run; 0 for a flow that has none now, but had one before. From any thread."""
        now_s = self.clock()
        oldest = dict.fromkeys(tuple(self._aged), now_s)
        for name, since_s in tuple(self._since_s.values()):
            oldest[name] = min(oldest.get(name, now_s), since_s)
        self._aged.update(oldest)
        return [Reading(catalogue.FLOW_OLDEST_AGE, now_s - since_s, (name,)) for name, since_s in oldest.items()]

    def recording(self, metric: Metric, labels: dict[str, str], *, pushed: bool = True) -> Recording:
        """The series of a metric with those of the labels that it has; without ``pushed`` for the scrape alone."""
        wanted = self._metrics[metric.name]
        return self.instruments.recording(wanted, *(labels[label] for label in wanted.labels), pushed=pushed)

    def count(self, cells: Cells, status: str) -> None:
        with self.instruments.store.lock:
            window.count(cells, _WINDOW_FIELDS.get(status, window.OTHER), self.clock(), self.settings.window_s)

    def component_window(self, component_type: str) -> Cells:
        return self.instruments.store.series(catalogue.COMPONENT_WINDOW, (component_type,)).cells

    def component_type(self, name: str) -> str:
        return self._types.label(name)

    def error_type(self, error: BaseException | None) -> str:
        return "_OTHER" if error is None else self._errors.label(error_type(error))

    def model(self, name: str | None) -> str:
        return self._models.label(name) if name else "unknown"

    def answering_model(self, name: str | None) -> str:
        return self._answering.label(name) if name else ""

    def route(self, template: str | None) -> str:
        return self._routes.label(template) if template else "none"

    def dropped(self, signal: str, reason: str, items: int = 1) -> None:
        """Telemetry of ours was lost."""
        self.recording(catalogue.DROPPED, {"signal": signal, "reason": reason}).add(items)

    def derived(self, cores: float) -> list[Reading]:
        """The derived gauges of this process alone."""
        store = self.instruments.store
        values = [(series.metric, series.labels, store.read(series)) for series in store.all_series()]
        averages = [
            Reading(metric, cells[0], labels)
            for metric, labels, cells in values
            if metric.name == catalogue.FLOW_DURATION_EMA.name
        ]
        return derived_readings(values, self.clock(), self.settings.window_s, cores) + averages


def _with_labels(metric: Metric, kept: tuple[str, ...]) -> Metric:
    """The metric with the labels that ``LANGFLOW_OTEL_METRIC_LABELS`` asks for. It drops labels from the
    component instruments, and adds the flow's id and version to them and to the flow instruments."""
    if "flow" not in metric.labels:
        return metric
    labels = metric.labels
    if "component_type" in labels:
        labels = tuple(label for label in labels if label not in ("flow", "component_type") or label in kept)
    added = tuple(label for label in ("flow_id", "flow_version") if label in kept)
    return replace(metric, labels=added + labels) if added or labels != metric.labels else metric
