"""What model calls become in the metrics of the GenAI conventions.

``gen_ai.client.inference.time_per_output_chunk`` is not among them: it needs a measurement at each chunk, and nothing
of ours runs there after the first one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langflow_otel import _semconv as semconv
from langflow_otel._metrics import catalogue
from langflow_otel._metrics.instruments import Amounts, write_together
from langflow_otel._runs.error_categories import category_of
from langflow_otel._runs.facts import ModelResponse

if TYPE_CHECKING:
    from langflow_otel._metrics.catalogue import Metric
    from langflow_otel._metrics.instruments import Recording
    from langflow_otel._runs.measuring import Finished, RunMetrics


class CallMetrics:
    """The series of the calls of one kind: of one flow, to one model, answered by one model.

    Those that each call of the kind has are looked up once, here; the others when a call first has them.

    Args:
        owner: Makes the series.
        labels: Of the flow and of the call; all but the error's.
        duration: The metric of their durations.
    """

    __slots__ = ("_duration", "_durations", "_labels", "_owner", "_retries", "_when_known")

    def __init__(self, owner: RunMetrics, labels: dict[str, str], duration: Metric) -> None:
        self._owner = owner
        self._labels = {**labels, "gen_ai.token.modality": "unknown"}
        self._duration = duration
        self._durations: dict[str, Recording] = {}
        self._retries = self._series(catalogue.MODEL_RETRIES)
        # At 0 from the first call on, so that a first retry is an increase.
        self._retries.add(0)
        self._when_known: dict[str, Recording] = {}

    def ended(self, response: ModelResponse, finished: Finished, first_chunk_s: float | None, retries: int) -> None:
        """One more call is over."""
        error = finished.outcome.error
        # As on the span: a call that was cancelled has none.
        failed = finished.outcome.status == "error"
        error_type = self._owner.error_type(error) if failed else ""
        self._duration_of(error_type).record(finished.duration_s, finished.context, finished.span)
        if first_chunk_s is not None:
            self._known(catalogue.MODEL_FIRST_CHUNK).record(first_chunk_s, finished.context, finished.span)
        if retries:
            self._retries.add(retries)
        if failed:
            category = category_of(finished.outcome) or ""
            self._owner.recording(catalogue.MODEL_ERRORS, {**self._labels, semconv.ERROR_CATEGORY: category}).add()
        self._count_tokens(response, failed=failed)

    def add_tokens(self, input_tokens: int, output_tokens: int) -> None:
        """So many more, of calls whose number is not known."""

    def _count_tokens(self, response: ModelResponse, *, failed: bool) -> None:
        """Of one call."""

    def _duration_of(self, error_type: str) -> Recording:
        found = self._durations.get(error_type)
        if found is None:
            labels = {**self._labels, "error.type": error_type}
            found = self._durations[error_type] = self._owner.recording(self._duration, labels)
        return found

    def _known(self, metric: Metric) -> Recording:
        """The series of what only some calls have."""
        found = self._when_known.get(metric.name)
        if found is None:
            found = self._when_known[metric.name] = self._series(metric)
        return found

    def _series(self, metric: Metric) -> Recording:
        return self._owner.recording(metric, self._labels)


class ModelMetrics(CallMetrics):
    """Of a model that writes."""

    __slots__ = ("_input", "_output")

    def __init__(self, owner: RunMetrics, labels: dict[str, str]) -> None:
        super().__init__(owner, labels, catalogue.MODEL_DURATION)
        self._input = self._series(catalogue.MODEL_INPUT_TOKENS)
        self._output = self._series(catalogue.MODEL_OUTPUT_TOKENS)

    def _count_tokens(self, response: ModelResponse, *, failed: bool) -> None:
        # The counters also of a call without an answer, the histograms only of those with one, as the conventions say.
        input_tokens, output_tokens = response.input_tokens, response.output_tokens
        added: Amounts = [(self._input, input_tokens or 0), (self._output, output_tokens or 0)]
        recorded: Amounts = []
        if not failed and input_tokens is not None:
            recorded.append((self._known(catalogue.MODEL_INPUT_TOKENS_EACH), input_tokens))
        if not failed and output_tokens is not None:
            recorded.append((self._known(catalogue.MODEL_OUTPUT_TOKENS_EACH), output_tokens))
        if response.cache_read_tokens:
            added.append((self._known(catalogue.MODEL_CACHE_READ_TOKENS), response.cache_read_tokens))
        if response.cache_write_tokens:
            added.append((self._known(catalogue.MODEL_CACHE_WRITE_TOKENS), response.cache_write_tokens))
        if response.reasoning_tokens:
            added.append((self._known(catalogue.MODEL_REASONING_TOKENS), response.reasoning_tokens))
        write_together(added, recorded)

    def add_tokens(self, input_tokens: int, output_tokens: int) -> None:
        self._input.add(input_tokens)
        self._output.add(output_tokens)


class EmbeddingMetrics(CallMetrics):
    """Of an embedding model."""

    __slots__ = ()

    def __init__(self, owner: RunMetrics, labels: dict[str, str]) -> None:
        super().__init__(owner, labels, catalogue.EMBEDDINGS_DURATION)

    def _count_tokens(self, response: ModelResponse, *, failed: bool) -> None:
        if response.input_tokens is not None:
            self._known(catalogue.EMBEDDINGS_INPUT_TOKENS).record(response.input_tokens)
