"""Anomalies in growing trace files: appended spans are added to the windows of those already read."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from langflow_otel.insights._anomalies.episodes import Anomaly
from langflow_otel.insights._anomalies.search import STATUSES, UNKNOWN, Watch, executions, resources_around
from langflow_otel.insights._anomalies.windows import LATENESS_S, NS, Execution, Key, Panes
from langflow_otel.insights._reading.growing_files import GrowingFiles
from langflow_otel.insights.resources import ResourcePoint
from langflow_otel.insights.traces import NoSpansError, Traces, open_traces

FUTURE_S: Final = 60
"""What ended so much later than now has the time of a wrong clock, and is left out."""

_HISTORY_NS: Final = 25 * 3600 * NS
_RESOURCES_NS: Final = 3 * 3600 * NS
_MAX_IDS: Final = 200_000
_WATCHED: Final = ("flow", "component", "agent")
_COLUMNS: Final = (
    "trace_id", "span_id", "what", "status", "flow_name", "flow_id", "component_type", "component_name", "end_ns",
    "duration_ns",
)  # fmt: skip


class Following:
    """Looks at trace files again and again.

    Args:
        paths: Files and folders; what is in them is what is usual.
        watch: Finds the anomalies.
        flow: Name or id of the only flow to look at.
        clock: Unix time in seconds.

    Attributes:
        left_out: Executions that were not counted, by reason.

    Raises:
        OSError: A path cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        watch: Watch,
        *,
        flow: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.left_out: Counter[str] = Counter()
        self._watch = watch
        self._flow = flow
        self._clock = clock
        # Before the history is read: what is written meanwhile is in both, and known by its ids.
        self._files = GrowingFiles(paths)
        self._panes = Panes()
        self._ids: dict[tuple[str, str], None] = {}
        self._newest_ns = 0
        self._newest_seen_s = clock()
        self._unreadable: list[str] = []
        self._runs = duckdb.connect()
        self._runs.execute(
            "CREATE TABLE runs (instance VARCHAR, start_ns BIGINT, end_ns BIGINT, duration_ns BIGINT, "
            "attributes MAP(VARCHAR, VARCHAR))"
        )
        try:
            with open_traces(paths) as traces:
                self._learn(traces)
        except NoSpansError:
            # It is written from now on.
            pass

    @property
    def keys(self) -> int:
        """Flows, and types of components in each, that were seen."""
        return len(self._panes.keys)

    @property
    def learning(self) -> int:
        """Of these, those with too little history."""
        return len(self._watch.learning)

    def _learn(self, traces: Traces) -> None:
        """What is there already; anomalies in it are over, or go on."""
        newest = traces.connection.execute("SELECT max(end_ns) FROM spans WHERE end_ns <= ?", [self._future_ns()])
        newest_ns = newest.fetchall()[0][0] or 0
        counted = f"SELECT count(*) FROM spans WHERE what IN {_WATCHED} AND status IN {STATUSES} AND end_ns > ?"
        later = traces.connection.execute(counted, [self._future_ns()])
        self.left_out["in the future"] += later.fetchall()[0][0]
        for execution in executions(traces.connection, flow=self._flow, since_ns=newest_ns - _HISTORY_NS):
            if execution.end_ns <= newest_ns:
                self._add(execution)
        self._advance(0)
        known = "SELECT trace_id, span_id FROM spans WHERE what IN ('flow', 'component', 'agent') AND end_ns <= ? "
        found = traces.connection.execute(f"{known} ORDER BY end_ns DESC LIMIT {_MAX_IDS}", [newest_ns]).fetchall()
        self._ids.update(dict.fromkeys(reversed(found)))
        runs = traces.connection.execute(
            "SELECT instance, start_ns, end_ns, duration_ns, map_keys(attributes), map_values(attributes) "
            "FROM runs WHERE end_ns BETWEEN ? AND ?",
            [newest_ns - _RESOURCES_NS, newest_ns],
        ).fetchall()
        if runs:
            self._runs.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, map(?, ?))", runs)

    def look(self) -> list[Anomaly]:
        """Anomalies that began or ended since the last look."""
        self._unreadable = []
        try:
            for table in self._files.read():
                self._take(table)
        except OSError as exc:
            # While files are rotated, one is missing for a moment. What it holds is read at a later look.
            self._unreadable = [f"{exc.filename or 'a trace file'} not read: {exc.strerror or exc}"]
        # Nothing comes while nothing runs: then time goes on by the clock, so that silence is noticed.
        waited_s = self._clock() - self._newest_seen_s
        until_s = int(self._newest_ns // NS + waited_s) - 2 * LATENESS_S if self._newest_ns else 0
        return self._advance(until_s)

    def resources(self, start_s: int, end_s: int) -> list[ResourcePoint]:
        """Minute by minute, as far as runs say it; of the last three hours."""
        return resources_around(self._runs, start_s, end_s)

    def problems(self) -> list[str]:
        """What could not be read or was not counted so far, a line each."""
        found = self._files.problems
        lines = self._unreadable + [
            f"{_counted(count, 'line')} not read: {reason}" for reason, count in found.lines.items()
        ]
        lines += [f"{_counted(count, 'span')} left out: {reason}" for reason, count in found.spans.items()]
        counts = {**self.left_out, "late": self._panes.late, "without a duration": self._panes.unusable}
        return lines + [f"{_counted(count, 'execution')} left out: {why}" for why, count in counts.items() if count]

    def close(self) -> None:
        self._runs.close()

    def _take(self, table: pa.Table) -> None:
        for row in table.select(_COLUMNS).to_pylist():
            execution = self._execution(row)
            if execution is not None:
                self._add(execution)
        self._take_resources(table)

    def _take_resources(self, table: pa.Table) -> None:
        # DuckDB takes the table by its name.
        columns = ("what", "instance", "start_ns", "end_ns", "duration_ns", "attributes")
        new_spans = table.select(columns)
        self._runs.register("new_spans", new_spans)
        self._runs.execute("INSERT INTO runs SELECT * EXCLUDE (what) FROM new_spans WHERE what = 'flow'")
        self._runs.unregister("new_spans")
        self._runs.execute("DELETE FROM runs WHERE end_ns < ?", [self._newest_ns - _RESOURCES_NS])

    def _execution(self, row: dict[str, Any]) -> Execution | None:
        if row["what"] not in _WATCHED or row["status"] not in STATUSES:
            return None
        if self._flow is not None and self._flow not in (row["flow_name"], row["flow_id"]):
            return None
        if row["end_ns"] > self._future_ns():
            self.left_out["in the future"] += 1
            return None
        ids = (row["trace_id"], row["span_id"])
        if ids in self._ids:
            return None
        self._ids[ids] = None
        if len(self._ids) > _MAX_IDS:
            del self._ids[next(iter(self._ids))]
        is_flow = row["what"] == "flow"
        component_type = "" if is_flow else row["component_type"] or row["component_name"] or UNKNOWN
        key = Key(row["flow_name"] or row["flow_id"] or UNKNOWN, component_type)
        return Execution(key, row["end_ns"], row["duration_ns"] / NS, row["status"])

    def _add(self, execution: Execution) -> None:
        self._panes.add(execution)
        if execution.end_ns > self._newest_ns:
            self._newest_ns = execution.end_ns
            self._newest_seen_s = self._clock()

    def _advance(self, until_s: int) -> list[Anomaly]:
        news: list[Anomaly] = []
        for second in self._panes.complete(until_s):
            news += self._watch.advance(second)
        return news + self._watch.pass_time(max(until_s, self._newest_ns // NS - LATENESS_S))

    def _future_ns(self) -> int:
        return int((self._clock() + FUTURE_S) * NS)


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def state_of(news: Iterable[Anomaly]) -> list[tuple[str, Anomaly]]:
    """Each with ``began``, ``ended`` or ``became usual``; one that began and ended between two looks once."""
    named = {id(each): each for each in news}
    return [
        ("became usual" if each.is_lasting else "began" if each.until_s is None else "ended", each)
        for each in named.values()
    ]
