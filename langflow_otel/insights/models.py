"""What models were called, how fast they were, and what was used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from langflow_otel.insights.selection import EVERY_RUN, Selection, ask

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["ModelUse", "model_use"]

# Where calls have no spans, the model is on the component that made them, with the sum of their tokens.
_MODELS = """
    , calls AS (
        SELECT * REPLACE (coalesce(model, 'unknown') AS model), greatest(0, duration_ns) / 1e9 AS seconds
        FROM chosen_spans WHERE model IS NOT NULL AND what NOT IN ('flow', 'agent') OR what IN ('model', 'embeddings')
    ),
    costs AS (
        SELECT model, provider, map_from_entries(list((currency, amount) ORDER BY currency)) AS cost
        FROM (SELECT model, provider, currency, sum(cost) AS amount FROM calls WHERE currency IS NOT NULL GROUP BY ALL)
        GROUP BY ALL
    )
    SELECT calls.model, coalesce(calls.provider, 'unknown') AS provider, count(*) AS calls,
        count(DISTINCT run_span_id) AS runs, count(*) FILTER (status = 'error') AS errors,
        coalesce(sum(retries), 0)::BIGINT AS retries,
        sum(input_tokens)::BIGINT AS input_tokens, sum(output_tokens)::BIGINT AS output_tokens,
        sum(cached_tokens)::BIGINT AS cached_tokens, sum(reasoning_tokens)::BIGINT AS reasoning_tokens,
        any_value(costs.cost) AS cost,
        count(*) FILTER (input_tokens IS NULL AND output_tokens IS NULL) AS calls_without_tokens,
        coalesce(quantile_cont(seconds, 0.50), 0) AS p50_s, coalesce(quantile_cont(seconds, 0.95), 0) AS p95_s,
        quantile_cont(time_to_first_chunk, 0.50) AS first_chunk_p50_s
    FROM calls LEFT JOIN costs ON costs.model = calls.model AND costs.provider IS NOT DISTINCT FROM calls.provider
    GROUP BY calls.model, calls.provider ORDER BY sum(seconds) DESC, calls.model
"""


@dataclass(frozen=True)
class ModelUse:
    """The calls of one model. Times are seconds.

    Attributes:
        model, provider: ``unknown`` for calls that do not say which, as in the metrics.
        calls: Spans of calls; a component whose calls have no spans counts as one.
        runs: Runs that called it.
        retries: Requests that the provider's library sent again.
        input_tokens, output_tokens, cached_tokens, reasoning_tokens: Sums over the calls that have them; None if none
            has. Cached ones are part of the input, those of reasoning of the output.
        cost: By currency; empty without a list of prices.
        calls_without_tokens: Calls of which no tokens are known, and whose cost is not in ``cost``.
        first_chunk_p50_s: Median time to the first chunk of streamed answers; None without any.
    """

    model: str
    provider: str
    calls: int
    runs: int
    errors: int
    retries: int
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None
    cost: dict[str, float]
    calls_without_tokens: int
    p50_s: float
    p95_s: float
    first_chunk_p50_s: float | None


def model_use(connection: DuckDBPyConnection, selection: Selection = EVERY_RUN) -> list[ModelUse]:
    """The models that these runs called, that with the most time first."""
    return [ModelUse(**{**row, "cost": row["cost"] or {}}) for row in ask(connection, selection, _MODELS)]
