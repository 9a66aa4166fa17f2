"""How flows and their components behaved in some time, kept in a file to compare later runs with.

The file is JSON. ``format`` is ``langflow-otel baseline`` and ``version`` is 1; a later version that reads differently
has another number. An entry is a flow (``component_id`` is null) or a component of a flow, with figures over all its
executions and a sample of at most 2,000 of them, chosen at random: ``columns`` has a list for each thing that was
measured, in the order of time, null where it is not known, and ``groups`` has the same number for executions of the
same session, or of the same run where there is no session. From a Prometheus there are no samples but ``histogram``,
cumulative counts by upper bounds in seconds, and ``outcomes``, the failed and all ended ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from langflow_otel.insights._statistics.significance import Sample
from langflow_otel.insights.figures import COMPONENT, FLOW, Measured, Value
from langflow_otel.insights.selection import EVERY_RUN, Selection, ask, rows
from langflow_otel.version import __version__

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORMAT: Final = "langflow-otel baseline"
VERSION: Final = 1
SAMPLE_SIZE: Final = 2000
"""Executions of one flow or component that are kept."""

DURATION: Final = "duration"
FAILED: Final = "failed"
INPUT_TOKENS: Final = "input_tokens"
OUTPUT_TOKENS: Final = "output_tokens"
COST: Final = "cost."
"""Before the currency."""

DAY: Final = "day"
VERSION_OF_FLOW: Final = "version"

TRACES: Final = "traces"
PROMETHEUS: Final = "prometheus"

_DAY_NS: Final = 86_400 * 10**9
_NEWEST_TRACES: Final = 50
_MADE_BY: Final = f"langflow-otel {__version__}"
_PERCENTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))


class BaselineError(ValueError):
    """A file is no baseline, or none of this version; the message says what is wrong."""


@dataclass(frozen=True)
class Entry:
    """A flow, or a component of it.

    Attributes:
        component_id: None for the flow itself. The name where each run has components with new ids, as flows that a
            program builds; from a Prometheus the component's type.
        count: Executions, those that failed included, answers from the cache not.
        figures: Over all of them, for readers: ``duration.p95`` in seconds, ``error_rate`` (0 to 1) and means.
        groups: Numbers, the same for executions that depend on each other; empty from a Prometheus.
        columns: The sample: what was measured, by name.
        histogram: Upper bounds in seconds, and how many executions took at most so long.
        outcomes: Failed ones, and those that failed or were ok.
    """

    flow: str
    component_id: str | None
    name: str
    component_type: str | None
    count: int
    versions: tuple[str, ...] = ()
    code_hashes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[int, ...] = ()
    columns: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    histogram: tuple[tuple[float, float], ...] = ()
    outcomes: tuple[int, int] | None = None

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of what there are observations of."""
        from_histogram = (DURATION,) * bool(self.histogram) + (FAILED,) * bool(self.outcomes)
        found = (name for name, values in self.columns.items() if any(each is not None for each in values))
        return (*found, *from_histogram)

    def sample(self, name: str) -> Sample:
        """The observations of one of :attr:`measured`; those of a histogram lie evenly within its buckets."""
        if name in self.columns:
            known = [(value, group) for value, group in zip(self.columns[name], self.groups, strict=True)]
            kept = [(value, group) for value, group in known if value is not None]
            return Sample([value for value, _ in kept], [group for _, group in kept])
        if name == FAILED and self.outcomes:
            failed, ended = self.outcomes
            size = min(ended, SAMPLE_SIZE)
            ones = round(failed / ended * size)
            return Sample([1.0] * ones + [0.0] * (size - ones))
        return Sample(_spread(self.histogram))

    def bucket(self, value_s: float) -> tuple[float, float] | None:
        """The bucket of the histogram in which a duration lies, its last bound infinite; None without a histogram."""
        bounds = [0.0, *(bound for bound, _ in self.histogram)]
        for low, high in pairwise(bounds):
            if value_s <= high:
                return low, high
        return None


def _spread(histogram: Sequence[tuple[float, float]]) -> list[float]:
    total = histogram[-1][1]
    size = min(round(total), SAMPLE_SIZE)
    values, place, low, below = [], 0, 0.0, 0.0
    for high, count in histogram:
        while place < size and (wanted := (place + 0.5) * total / size) <= count:
            inside = (wanted - below) / (count - below)
            values.append(low if math.isinf(high) else low + (high - low) * inside)
            place += 1
        low, below = high, count
    return values


@dataclass(frozen=True)
class Baseline:
    """What :func:`save` writes.

    Attributes:
        source: ``traces`` or ``prometheus``.
        first_ns, last_ns: When the first and the last run started, nanoseconds since the epoch; of a Prometheus the
            time that was asked for.
        newest_traces: Ids of the newest traces, by which it is seen that files hold the same runs.
    """

    source: str
    first_ns: int
    last_ns: int
    entries: tuple[Entry, ...]
    newest_traces: tuple[str, ...] = ()
    made_at: str = ""
    made_by: str = ""

    @property
    def flows(self) -> dict[str, Entry]:
        return {entry.flow: entry for entry in self.entries if entry.component_id is None}


# Where a flow is built by a program, each run has components with ids of its own: these go by their names.
_ENTRIES = """
    , executed AS (
        SELECT trace_id, span_id AS run_span_id, span_id, coalesce(flow_name, flow_id, '') AS flow,
            NULL::VARCHAR AS component_id, NULL::VARCHAR AS component_name, NULL::VARCHAR AS component_type,
            NULL::VARCHAR AS code_hash, NULL::VARCHAR AS model, flow_version,
            start_ns, duration_ns, status, input_tokens, output_tokens, cost, currency
        FROM chosen
        UNION ALL
        SELECT trace_id, run_span_id, span_id, coalesce(flow_name, flow_id, '') AS flow, component_id, component_name,
            component_type, code_hash, model, NULL,
            start_ns, duration_ns, status, input_tokens, output_tokens, cost, currency
        FROM chosen_spans
        WHERE what IN ('component', 'agent') AND component_id IS NOT NULL AND status <> 'cached'
    ),
    ids AS (
        SELECT flow, component_name, component_type,
            count(DISTINCT component_id) > greatest(3, count(DISTINCT run_span_id) / 2) AS are_new
        FROM executed WHERE component_id IS NOT NULL GROUP BY ALL
    ),
    executions AS (
        SELECT executed.* REPLACE (
            CASE WHEN are_new THEN coalesce(executed.component_name, executed.component_type, component_id)
                ELSE component_id END AS component_id)
        FROM executed LEFT JOIN ids ON ids.flow = executed.flow
            AND ids.component_name IS NOT DISTINCT FROM executed.component_name
            AND ids.component_type IS NOT DISTINCT FROM executed.component_type
    ),
    ranked AS (
        SELECT executions.*, {step} AS step, greatest(0, executions.duration_ns) / 1e9 AS seconds,
            coalesce(nullif(chosen.session_id, ''), chosen.trace_id) AS session,
            CASE executions.status WHEN 'error' THEN 1 WHEN 'ok' THEN 0 END AS failed,
            row_number() OVER (PARTITION BY {step}, executions.flow, executions.component_id
                ORDER BY hash(executions.trace_id, executions.span_id)) AS rank
        FROM executions JOIN chosen ON chosen.trace_id = executions.trace_id AND chosen.span_id = run_span_id
    )
    SELECT step, min(start_ns) AS first_ns, max(start_ns) AS last_ns, flow, component_id,
        coalesce(arg_max(component_name, start_ns), component_id, flow) AS name,
        arg_max(component_type, start_ns) AS component_type, count(*) AS count,
        list(DISTINCT flow_version ORDER BY flow_version) FILTER (flow_version IS NOT NULL) AS versions,
        list(DISTINCT code_hash ORDER BY code_hash) FILTER (code_hash IS NOT NULL) AS code_hashes,
        list(DISTINCT model ORDER BY model) FILTER (model IS NOT NULL) AS models,
        quantile_cont(seconds, [0.5, 0.95, 0.99]) AS durations, avg(failed) AS error_rate,
        avg(input_tokens) AS input_tokens, avg(output_tokens) AS output_tokens,
        list({{'session': session, 'duration': seconds, 'failed': failed, 'input_tokens': input_tokens,
            'output_tokens': output_tokens, 'cost': cost, 'currency': currency}} ORDER BY start_ns, span_id)
            FILTER (rank <= {sample_size}) AS sample
    FROM ranked WHERE step IS NOT NULL GROUP BY step, flow, component_id
    ORDER BY step, flow, component_id NULLS FIRST
"""
_STEPS: Final = {DAY: f"chosen.start_ns // {_DAY_NS}", VERSION_OF_FLOW: "chosen.flow_version"}


def baseline_of_traces(connection: DuckDBPyConnection, selection: Selection = EVERY_RUN) -> Baseline:
    """How these runs behaved; without entries if there are none."""
    chosen, given = selection.chosen()
    newest = f"SELECT trace_id, start_ns FROM ({chosen}) ORDER BY start_ns DESC, trace_id LIMIT {_NEWEST_TRACES}"
    traces = rows(connection, newest, given)
    bounds = rows(connection, f"SELECT min(start_ns) AS first_ns FROM ({chosen})", given)
    found = ask(connection, selection, _ENTRIES.format(step=0, sample_size=SAMPLE_SIZE))
    return Baseline(
        source=TRACES,
        first_ns=bounds[0]["first_ns"] or 0,
        last_ns=traces[0]["start_ns"] if traces else 0,
        entries=tuple(_entry_of_traces(row) for row in found),
        newest_traces=tuple(row["trace_id"] for row in traces),
        made_at=_now(),
        made_by=_MADE_BY,
    )


def baselines_of_steps(
    connection: DuckDBPyConnection, selection: Selection = EVERY_RUN, *, by: str = DAY
) -> list[tuple[str, Baseline]]:
    """One of each day (UTC) or version of a flow, without samples, in the order of their first runs.

    Args:
        by: ``day`` or ``version``; runs without a version are left out.

    Returns:
        Each with its name: ``2026-01-31``, or the version.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for row in ask(connection, selection, _ENTRIES.format(step=_STEPS[by], sample_size=0)):
        day = datetime.fromtimestamp(row["first_ns"] / 1e9, timezone.utc)
        found.setdefault(f"{day:%Y-%m-%d}" if by == DAY else row["step"], []).append(row)
    made = [
        (
            name,
            Baseline(
                source=TRACES,
                first_ns=min(row["first_ns"] for row in of_step),
                last_ns=max(row["last_ns"] for row in of_step),
                entries=tuple(_entry_of_traces(row) for row in of_step),
                made_by=_MADE_BY,
            ),
        )
        for name, of_step in found.items()
    ]
    return sorted(made, key=lambda each: each[1].first_ns)


def holds_runs_of(connection: DuckDBPyConnection, baseline: Baseline) -> bool:
    """True if traces of which the baseline was made are in these files."""
    query = "SELECT count(*) AS found FROM run_rows WHERE trace_id IN (SELECT unnest($ids::VARCHAR[]))"
    return bool(rows(connection, query, {"ids": list(baseline.newest_traces)})[0]["found"])


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _entry_of_traces(row: Mapping[str, Any]) -> Entry:
    sample = row["sample"] or ()
    numbers: dict[str, int] = {}
    columns = {
        DURATION: tuple(float(f"{each['duration']:.6g}") for each in sample),
        **{name: tuple(each[name] for each in sample) for name in (FAILED, INPUT_TOKENS, OUTPUT_TOKENS)},
    }
    for currency in sorted({each["currency"] for each in sample if each["currency"] and each["cost"] is not None}):
        columns[f"{COST}{currency}"] = tuple(each["cost"] if each["currency"] == currency else None for each in sample)
    figures = {f"{DURATION}.{name}": row["durations"][place] for place, (name, _) in enumerate(_PERCENTILES)}
    means = {"error_rate": row["error_rate"], INPUT_TOKENS: row[INPUT_TOKENS], OUTPUT_TOKENS: row[OUTPUT_TOKENS]}
    figures.update({name: value for name, value in means.items() if value is not None})
    return Entry(
        flow=row["flow"],
        component_id=row["component_id"],
        name=row["name"],
        component_type=row["component_type"],
        count=row["count"],
        versions=tuple(row["versions"] or ()),
        code_hashes=tuple(row["code_hashes"] or ()),
        models=tuple(row["models"] or ()),
        figures=figures,
        groups=tuple(numbers.setdefault(each["session"], len(numbers)) for each in sample),
        columns={name: values for name, values in columns.items() if any(each is not None for each in values)},
    )


def baseline_of_prometheus(measured: Measured, *, end_s: float) -> Baseline:
    """The same from histograms: durations and errors of flows and of their types of components.

    Args:
        measured: What the Prometheus has.
        end_s: When the time ends, seconds since the epoch.
    """
    entries = [
        *_entries_of_histograms(measured, FLOW, lambda labels: (labels.get("flow", ""), None)),
        *_entries_of_histograms(
            measured, COMPONENT, lambda labels: (labels.get("flow", ""), labels.get("component_type", ""))
        ),
    ]
    entries.sort(key=lambda entry: (entry.flow, entry.component_id or ""))
    end_ns = round(end_s * 1e9)
    first_ns = end_ns - round(measured.seconds * 1e9)
    return Baseline(PROMETHEUS, first_ns, end_ns, tuple(entries), made_at=_now(), made_by=_MADE_BY)


_Key = tuple[str, "str | None"]


def _entries_of_histograms(
    measured: Measured, metric: str, key_of: Callable[[Mapping[str, str]], _Key]
) -> Iterator[Entry]:
    buckets, counts = (_by(key_of, measured.grown.get(f"{metric}_{kind}", ())) for kind in ("bucket", "count"))
    for key, values in counts.items():
        histogram = _histogram(buckets.get(key, ()))
        if not histogram or histogram[-1][1] < 1:
            continue
        by_status = {status: round(_total(values, status)) for status in ("ok", "error")}
        ended = sum(by_status.values())
        yield Entry(
            flow=key[0],
            component_id=key[1],
            name=key[1] or key[0],
            component_type=key[1],
            count=round(sum(value.value for value in values)),
            figures={"error_rate": by_status["error"] / ended} if ended else {},
            histogram=histogram,
            outcomes=(by_status["error"], ended) if ended else None,
        )


def _by(key_of: Callable[[Mapping[str, str]], _Key], values: Sequence[Value]) -> dict[_Key, list[Value]]:
    found: dict[_Key, list[Value]] = {}
    for value in values:
        found.setdefault(key_of(value.labels), []).append(value)
    return found


def _total(values: Sequence[Value], status: str) -> float:
    return sum(value.value for value in values if value.labels.get("status") == status)


def _histogram(buckets: Sequence[Value]) -> tuple[tuple[float, float], ...]:
    """Cumulative, and never less than before: what a Prometheus extrapolates can be."""
    counts: dict[float, float] = {}
    for bucket in buckets:
        bound = float(bucket.labels.get("le") or "inf")
        counts[bound] = counts.get(bound, 0.0) + bucket.value
    reached, histogram = 0.0, []
    for bound, count in sorted(counts.items()):
        reached = max(reached, count)
        histogram.append((bound, reached))
    return tuple(histogram)


def save(baseline: Baseline, path: Path) -> None:
    """Write the file, in one step.

    Raises:
        OSError: It cannot be written.
    """
    document = {"format": FORMAT, "version": VERSION, **asdict(baseline)}
    for entry in document["entries"]:
        # JSON has no infinity.
        entry["histogram"] = [[None if math.isinf(bound) else bound, count] for bound, count in entry["histogram"]]
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(document, separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def is_baseline(path: Path) -> bool:
    """True for a file that begins as one that :func:`save` wrote does; it may be damaged, or of another version.

    Raises:
        OSError: It cannot be read.
    """
    if path.is_dir():
        return False
    with path.open("rb") as file:
        start = file.read(200)
    return b'"format"' in start and FORMAT.encode() in start


def load(path: Path) -> Baseline:
    """Read the file.

    Raises:
        OSError: It cannot be read.
        BaselineError: It is no baseline, is damaged, or is of another version.
    """
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise BaselineError("it is no baseline, or a damaged one: it is not JSON") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BaselineError("it is no baseline; make one with langflow-otel baseline save")
    if document.get("version") != VERSION:
        version = str(document.get("version"))[:20]
        raise BaselineError(f"it is a baseline of version {version}, and this is for version {VERSION}: save it anew")
    try:
        return _baseline(document)
    except _DamagedError as exc:
        raise BaselineError(f"it is damaged: {exc}; save it anew") from None


class _DamagedError(Exception):
    """What is wrong, and where."""


_T = TypeVar("_T")


def _baseline(document: Mapping[str, Any]) -> Baseline:
    source = _of(document, "source", str)
    if source not in (TRACES, PROMETHEUS):
        raise _DamagedError(f"source is neither {TRACES} nor {PROMETHEUS}")
    entries = []
    for number, given in enumerate(_of(document, "entries", list)):
        try:
            entries.append(_entry(given))
        except _DamagedError as exc:
            raise _DamagedError(f"entries[{number}].{exc}") from None
    return Baseline(
        source=source,
        first_ns=_of(document, "first_ns", int),
        last_ns=_of(document, "last_ns", int),
        entries=tuple(entries),
        newest_traces=_texts(document, "newest_traces"),
        made_at=_of(document, "made_at", str),
        made_by=_of(document, "made_by", str),
    )


def _entry(given: Any) -> Entry:
    if not isinstance(given, dict):
        raise _DamagedError("flow is missing")
    groups = tuple(_number(each, "groups") for each in _of(given, "groups", list))
    columns = {
        name: tuple(None if each is None else _number(each, name) for each in _list(values, name))
        for name, values in _of(given, "columns", dict).items()
    }
    for name, values in columns.items():
        if len(values) != len(groups):
            raise _DamagedError(f"columns.{name} has {len(values)} values, and groups has {len(groups)}")
    return Entry(
        flow=_of(given, "flow", str),
        component_id=_text_or_none(given, "component_id"),
        name=_of(given, "name", str),
        component_type=_text_or_none(given, "component_type"),
        count=_of(given, "count", int),
        versions=_texts(given, "versions"),
        code_hashes=_texts(given, "code_hashes"),
        models=_texts(given, "models"),
        figures={name: _number(value, "figures") for name, value in _of(given, "figures", dict).items()},
        groups=tuple(int(each) for each in groups),
        columns=columns,
        histogram=_read_histogram(_of(given, "histogram", list)),
        outcomes=_read_outcomes(given.get("outcomes")),
    )


def _of(given: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    value = given.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _DamagedError(f"{name} is missing or of another type")
    return value


def _text_or_none(given: Mapping[str, Any], name: str) -> str | None:
    return None if given.get(name) is None else _of(given, name, str)


def _texts(given: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = _of(given, name, list)
    if not all(isinstance(each, str) for each in values):
        raise _DamagedError(f"{name} has something else than texts")
    return tuple(values)


def _list(values: object, name: str) -> list[Any]:
    if not isinstance(values, list):
        raise _DamagedError(f"columns.{name} is no list")
    return values


def _number(value: object, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise _DamagedError(f"{name} has something else than numbers")
    return value


def _read_histogram(pairs: Sequence[Any]) -> tuple[tuple[float, float], ...]:
    found = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise _DamagedError("histogram has something else than pairs")
        bound = math.inf if pair[0] is None else _number(pair[0], "histogram")
        found.append((bound, _number(pair[1], "histogram")))
    if found != sorted(found) or any(late[1] < early[1] for early, late in pairwise(found)):
        raise _DamagedError("histogram does not ascend")
    return tuple(found)


def _read_outcomes(given: object) -> tuple[int, int] | None:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 2:
        raise _DamagedError("outcomes is no pair")
    failed, ended = (round(_number(each, "outcomes")) for each in given)
    if not 0 <= failed <= ended or not ended:
        raise _DamagedError("outcomes are impossible")
    return failed, ended
