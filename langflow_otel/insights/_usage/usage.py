"""What was used, and what it cost: by flow, model, provider, user, session, or any attribute of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel._runs.facts import ModelResponse
from langflow_otel.insights.selection import EVERY_RUN, WHOLE_RUNS, Selection, ask, rows

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from langflow_otel._runs.prices import PriceTable

TAG: Final = "tag:"
"""Before the name of an attribute of the run's span or of its resource."""

OF_RUNS: Final = {
    "flow": "coalesce(chosen.flow_name, chosen.flow_id, '')",
    "user": "coalesce(chosen.user_id, '')",
    "session": "coalesce(chosen.session_id, '')",
    TAG: "coalesce(chosen.attributes[$tag], chosen.resource[$tag], '')",
}
OF_CALLS: Final = {"model": "calls.model", "provider": "coalesce(calls.provider, '')"}

# Where calls have no spans of ours, the model is on the component that made them, with the sum of their tokens. Spans
# of another instrumentor below it, or below each other, are the same call. Prices are linear in the tokens of a period,
# once no part is larger than its whole.
_CALLS = f"""
    , every_call AS (
        SELECT * FROM whole_spans WHERE model IS NOT NULL AND what NOT IN ('flow', 'agent')
    ),
    climbing AS (
        SELECT run_span_id, span_id, parent_id AS above_id FROM every_call WHERE scope <> '{semconv.SCOPE}'
        UNION
        SELECT climbing.run_span_id, climbing.span_id, chosen_spans.parent_id
        FROM climbing JOIN chosen_spans
            ON chosen_spans.run_span_id = climbing.run_span_id AND chosen_spans.span_id = climbing.above_id
    ),
    repeated_calls AS (
        SELECT DISTINCT climbing.run_span_id, climbing.span_id FROM climbing JOIN every_call
            ON every_call.run_span_id = climbing.run_span_id AND every_call.span_id = climbing.above_id
    ),
    calls AS (
        SELECT every_call.*, greatest(0, duration_ns) / 1e9 AS seconds,
            attributes['{semconv.GEN_AI_RESPONSE_MODEL}'] AS response_model,
            least(coalesce(cached_tokens, 0), coalesce(input_tokens, 0)) AS cache_read,
            least(coalesce(TRY_CAST(attributes['{semconv.GEN_AI_USAGE_CACHE_WRITE}'] AS BIGINT), 0),
                greatest(0, coalesce(input_tokens, 0) - coalesce(cached_tokens, 0))) AS cache_write,
            least(coalesce(reasoning_tokens, 0), coalesce(output_tokens, 0)) AS reasoning,
            input_tokens IS NOT NULL OR output_tokens IS NOT NULL AS has_tokens
        FROM every_call ANTI JOIN repeated_calls USING (run_span_id, span_id)
    )
"""
_TOKENS = """
    SELECT {key} AS key, calls.model, response_model, calls.provider, calls.currency,
        len(list_filter($changes::DOUBLE[], lambda each: each <= calls.end_ns / 1e9)) AS period,
        max(calls.end_ns) AS at_ns, count(*) AS calls, count(*) FILTER (NOT has_tokens) AS without_tokens,
        count(*) FILTER (has_tokens AND calls.cost IS NULL) AS without_cost,
        coalesce(sum(calls.input_tokens), 0)::BIGINT AS input_tokens,
        coalesce(sum(calls.output_tokens), 0)::BIGINT AS output_tokens,
        coalesce(sum(cache_read), 0)::BIGINT AS cached_tokens, coalesce(sum(cache_write), 0)::BIGINT AS written_tokens,
        coalesce(sum(reasoning), 0)::BIGINT AS reasoning_tokens, coalesce(sum(calls.cost), 0) AS cost
    FROM calls JOIN ({chosen}) AS chosen ON chosen.trace_id = calls.trace_id AND chosen.span_id = calls.run_span_id
    GROUP BY ALL
"""
_USED_BY_CALLS = """
    SELECT {key} AS key, count(DISTINCT run_span_id) AS runs, count(*) FILTER (status = 'error') AS failed,
        sum(seconds) AS seconds, max(start_ns) AS last_ns
    FROM calls GROUP BY ALL
"""
_USED_BY_RUNS = """
    SELECT {key} AS key, count(*) AS runs, count(*) FILTER (status = 'error') AS failed,
        sum(greatest(0, duration_ns)) / 1e9 AS seconds, max(start_ns) AS last_ns
    FROM ({chosen}) AS chosen GROUP BY ALL
"""
_IDLE = """
    SELECT coalesce(flow_name, flow_id, '') AS flow, arg_max(flow_id, start_ns) AS flow_id, count(*) AS runs,
        max(start_ns) AS last_ns
    FROM run_rows GROUP BY ALL HAVING max(start_ns) < $before_ns ORDER BY last_ns, flow
"""


@dataclass
class Use:
    """What was used by one flow, model, user or other key.

    Attributes:
        key: Its name; empty for what has none.
        runs: Of a model or provider the runs that called it.
        failed: Runs that failed; of a model or provider its calls that failed.
        seconds: Sum of the runs' durations; of a model or provider of its calls'.
        last_ns: When the last of them started, nanoseconds since the epoch.
        calls: Calls of models and embeddings; a component whose calls have no spans counts as one.
        cached_tokens: Of the input, read from the provider's cache.
        reasoning_tokens: Of the output.
        cost: By currency.
        unpriced_calls: Calls with tokens that are in no cost.
        calls_without_tokens: Calls of which nothing is known to price.
    """

    key: str
    runs: int = 0
    failed: int = 0
    seconds: float = 0.0
    last_ns: int = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost: dict[str, float] = field(default_factory=dict)
    unpriced_calls: int = 0
    calls_without_tokens: int = 0


@dataclass(frozen=True)
class IdleFlow:
    """A flow without a run for some time; runs within other flows count as well."""

    flow: str
    flow_id: str | None
    runs: int
    last_ns: int


@dataclass(frozen=True)
class Usage:
    """Attributes:
    by: What the keys are: ``flow``, ``model``, ``provider``, ``user``, ``session`` or ``tag:NAME``.
    uses: The most expensive first; where costs cannot be compared that with the most tokens, then the longest.
    unpriced_models: Calls that have tokens and no price, by model.
    """

    by: str
    uses: tuple[Use, ...]
    unpriced_models: dict[str, int]

    @property
    def cost(self) -> dict[str, float]:
        """Of all together, by currency."""
        total: dict[str, float] = {}
        for use in self.uses:
            for currency, amount in use.cost.items():
                total[currency] = total.get(currency, 0.0) + amount
        return dict(sorted(total.items()))

    @property
    def has_prices(self) -> bool:
        """False if no call at all has a cost."""
        return any(use.cost for use in self.uses)


def usage(
    connection: DuckDBPyConnection, by: str, selection: Selection = EVERY_RUN, *, prices: PriceTable | None = None
) -> Usage:
    """What these runs used.

    Args:
        by: A key of :data:`OF_RUNS` or :data:`OF_CALLS`, or ``tag:`` and the name of an attribute.
        prices: All calls are priced by these, at the time of each; None for the costs that the spans have.

    Raises:
        ValueError: ``by`` is none of these.
    """
    key, parameters = _key(by)
    chosen = WHOLE_RUNS.format(runs="chosen")
    changes = list(prices.changes_s) if prices is not None else []
    groups = ask(connection, selection, _CALLS + _TOKENS.format(key=key, chosen=chosen), changes=changes, **parameters)
    uses = {row["key"]: Use(**row) for row in _used(connection, selection, by, key, parameters)}
    unpriced: dict[str, int] = {}
    for group in groups:
        _add(uses.setdefault(group["key"], Use(group["key"])), group, prices, unpriced)
    return Usage(by, tuple(_sorted(uses.values())), dict(sorted(unpriced.items(), key=lambda each: -each[1])))


def _key(by: str) -> tuple[str, dict[str, str]]:
    if by.startswith(TAG) and by != TAG:
        return OF_RUNS[TAG], {"tag": by.removeprefix(TAG)}
    key = None if by == TAG else OF_RUNS.get(by) or OF_CALLS.get(by)
    if key is None:
        accepted = ", ".join(each for each in (*OF_RUNS, *OF_CALLS) if each != TAG)
        raise ValueError(f"accepted are {accepted} and {TAG}NAME with the name of an attribute")
    return key, {}


def _used(
    connection: DuckDBPyConnection, selection: Selection, by: str, key: str, parameters: Mapping[str, str]
) -> list[dict[str, Any]]:
    if by in OF_CALLS:
        return ask(connection, selection, _CALLS + _USED_BY_CALLS.format(key=key))
    chosen, given = selection.chosen(whole=True)
    return rows(connection, _USED_BY_RUNS.format(key=key, chosen=chosen), {**given, **parameters})


def _add(use: Use, group: Mapping[str, Any], prices: PriceTable | None, unpriced: dict[str, int]) -> None:
    use.calls += group["calls"]
    use.calls_without_tokens += group["without_tokens"]
    for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
        setattr(use, name, getattr(use, name) + group[name])
    currency, amount, missing = _cost(group, prices)
    if currency is not None:
        use.cost[currency] = use.cost.get(currency, 0.0) + amount
    if missing:
        use.unpriced_calls += missing
        unpriced[group["model"]] = unpriced.get(group["model"], 0) + missing


def _cost(group: Mapping[str, Any], prices: PriceTable | None) -> tuple[str | None, float, int]:
    """Currency, amount, and how many calls have no price."""
    if prices is None:
        return group["currency"], group["cost"], group["without_cost"]
    with_tokens = group["calls"] - group["without_tokens"]
    if not with_tokens:
        return None, 0.0, 0
    rates = prices.rates(group["response_model"], group["model"], group["provider"], group["at_ns"] / 1e9)
    if rates is None:
        return None, 0.0, with_tokens
    tokens = ModelResponse(
        input_tokens=group["input_tokens"],
        output_tokens=group["output_tokens"],
        cache_read_tokens=group["cached_tokens"],
        cache_write_tokens=group["written_tokens"],
        reasoning_tokens=group["reasoning_tokens"],
    )
    return rates.currency, rates.cost(tokens), 0


def _sorted(uses: Iterable[Use]) -> list[Use]:
    found = list(uses)
    has_one_currency = len({currency for use in found for currency in use.cost}) == 1

    def rank(use: Use) -> tuple[float, float, float, str]:
        cost = sum(use.cost.values()) if has_one_currency else 0.0
        return -cost, -(use.input_tokens + use.output_tokens), -use.seconds, use.key

    return sorted(found, key=rank)


def idle_flows(connection: DuckDBPyConnection, before_ns: int) -> list[IdleFlow]:
    """Flows whose last run started before this time, that with the oldest first. Only flows that have ever run are
    known."""
    return [IdleFlow(**row) for row in rows(connection, _IDLE, {"before_ns": before_ns})]


def first_run_ns(connection: DuckDBPyConnection) -> int | None:
    """When the oldest run started, nanoseconds since the epoch; None without any."""
    found: int | None = rows(connection, "SELECT min(start_ns) AS first_ns FROM run_rows", {})[0]["first_ns"]
    return found
