"""Made runs, and what is to be in a database of them, counted without the code that is tested."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from made_traces import NOW_S, made_lines, write

from langflow_otel.insights._store.database import Database
from langflow_otel.insights._store.storing import Storing

KINDS = ("runs", "components", "model_calls", "retries", "errors")


def never(_: float) -> bool:
    return False


def storing_into(
    database: Any, *, now_s: float = NOW_S + 60, problems: list[str] | None = None, **more: Any
) -> Storing:
    """By a clock at which made runs are new."""
    lines: list[str] = [] if problems is None else problems
    return Storing(database, **{"wait": never, "on_problem": lines.append, "clock": lambda: now_s, **more})


def store(address: str, path: Path | Sequence[Path], **more: Any) -> Storing:
    database = Database(address)
    try:
        storing = storing_into(database, **more)
        storing.store([path] if isinstance(path, Path) else path)
    finally:
        database.close()
    return storing


def made_file(folder: Path, runs: int = 300) -> Path:
    return write(folder / "spans.jsonl", made_lines(runs))


def spans_of(path: Path) -> list[dict[str, Any]]:
    """Each with its attributes as a dictionary."""
    found = []
    for line in path.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                found += [{**each, "attributes": _plain(each["attributes"])} for each in scope["spans"]]
    return found


def _plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    found = {each["key"]: next(iter(each["value"].values())) for each in attributes}
    return {name: value for name, value in found.items() if not isinstance(value, dict)}


class Expected:
    """What the database is to say of a trace file, by plain Python."""

    def __init__(self, path: Path) -> None:
        self.spans = spans_of(path)
        operation = [each["attributes"].get("gen_ai.operation.name") for each in self.spans]
        self.runs = self._with(operation, lambda name, _: name == "invoke_workflow")
        self.components = self._with(operation, lambda name, attributes: "langflow.component.kind" in attributes)
        self.calls = self._with(operation, lambda name, _: name in ("chat", "embeddings"))
        self.errors = [each for each in self.spans if each["attributes"].get("langflow.status") == "error"]

    def _with(
        self, operations: list[str | None], matches: Callable[[Any, dict[str, Any]], bool]
    ) -> list[dict[str, Any]]:
        pairs = zip(operations, self.spans, strict=True)
        return [span for name, span in pairs if matches(name, span["attributes"])]

    @property
    def retries(self) -> int:
        """Those of components, and of calls."""
        of_calls = sum(int(each["attributes"].get("langflow.model.retries", 0)) for each in self.calls)
        return of_calls + sum(
            event["name"] == "component.retry" for each in self.spans for event in each.get("events", [])
        )

    @property
    def counts(self) -> dict[str, int]:
        return {
            "runs": len(self.runs),
            "components": len(self.components),
            "model_calls": len(self.calls),
            "retries": self.retries,
            "errors": len(self.errors),
        }

    def tasks_per_minute(self) -> Counter[tuple[datetime, str]]:
        found = (
            (_start(each).replace(second=0, microsecond=0), each["attributes"]["langflow.flow.name"])
            for each in self._last_day(self.runs)
        )
        return Counter(found)

    def failures_by_type(self) -> dict[str, tuple[int, int]]:
        """Executions, and those that failed."""
        found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for each in self._last_day(self.components):
            executions, failed = found[each["attributes"]["langflow.component.type"]]
            is_error = each["attributes"]["langflow.status"] == "error"
            found[each["attributes"]["langflow.component.type"]] = executions + 1, failed + is_error
        return dict(found)

    def latencies(self) -> dict[str, tuple[float, float]]:
        """Of each flow the median and the 95th percentile of the last day."""
        return {
            flow: (place(values, 50), place(values, 95)) for flow, values in self._durations(self._last_day(self.runs))
        }

    def daily_runs(self) -> dict[tuple[str, str], tuple[int, float]]:
        """Of each day and flow the number of runs and the 95th percentile."""
        days: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for each in self.runs:
            days[str(_start(each).date())].append(each)
        return {
            (day, flow): (len(values), place(values, 95))
            for day, runs in days.items()
            for flow, values in self._durations(runs)
        }

    def model_usage(self) -> dict[tuple[str, str], tuple[int, int, float]]:
        """Of each day and model the number of calls, tokens, cost."""
        found: dict[tuple[str, str], tuple[int, int, float]] = defaultdict(lambda: (0, 0, 0.0))
        for each in self.calls:
            values = each["attributes"]
            key = str(_start(each).date()), values["gen_ai.request.model"]
            calls, tokens, cost = found[key]
            more = [int(values.get(f"gen_ai.usage.{name}_tokens", 0)) for name in ("input", "output")]
            found[key] = calls + 1, tokens + sum(more), cost + values.get("langflow.cost.amount", 0)
        return {key: (calls, tokens, round(cost, 6)) for key, (calls, tokens, cost) in found.items()}

    def _last_day(self, spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
        since = max(map(_start, self.runs)) - timedelta(days=1)
        return [each for each in spans if _start(each) > since]

    def _durations(self, spans: list[dict[str, Any]]) -> list[tuple[str, list[float]]]:
        found: dict[str, list[float]] = defaultdict(list)
        for each in spans:
            duration_ns = int(each["endTimeUnixNano"]) - int(each["startTimeUnixNano"])
            found[each["attributes"]["langflow.flow.name"]].append(duration_ns / 1e9)
        return list(found.items())


def place(values: list[float], percent: int) -> float:
    """The smallest that so many of a hundred do not exceed."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def _start(span: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(int(span["startTimeUnixNano"]) // 1000 / 1e6, timezone.utc)


def utc(value: Any) -> datetime:
    """As a driver gives a time."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def check_all(ask: Callable[[str], list[tuple[Any, ...]]], expected: Expected) -> None:
    """All tables and views of a database against what is expected."""
    counted = {name: ask(f"SELECT count(*) FROM {name}")[0][0] for name in KINDS if name != "retries"}
    counted["retries"] = int(ask("SELECT sum(count) FROM retries")[0][0])
    assert counted == expected.counts
    per_minute = ask("SELECT minute, flow_name, tasks FROM tasks_per_minute")
    assert {(utc(minute), flow): tasks for minute, flow, tasks in per_minute} == expected.tasks_per_minute()
    by_type = ask("SELECT component_type, executions, failed, failure_rate FROM failure_rate_by_type")
    assert {row[0]: row[1:3] for row in by_type} == expected.failures_by_type()
    assert all(math.isclose(rate, failed / executions) for _, executions, failed, rate in by_type)
    latency = ask("SELECT flow_name, p50_s, p95_s FROM flow_latency")
    assert {row[0]: row[1:] for row in latency} == expected.latencies()
    runs = ask("SELECT day, flow_name, executions, p95_s FROM daily WHERE kind = 'run'")
    assert {(str(day), flow): rest for day, flow, *rest in runs} == {
        key: list(each) for key, each in expected.daily_runs().items()
    }
    usage = ask("SELECT day, model, calls, input_tokens + output_tokens, cost, currency FROM model_usage_by_day")
    assert {(str(row[0]), row[1]): (row[2], row[3], round(row[4], 6)) for row in usage} == expected.model_usage()
    assert {row[5] for row in usage} == {"USD"}
    slowest = ask("SELECT component_name, total_s FROM slowest_components")
    assert [row[1] for row in slowest] == sorted((row[1] for row in slowest), reverse=True)
    causes = ask("SELECT name, component_name, errors FROM error_causes")
    assert causes
    assert not [row for row in causes if row[0].startswith(("invoke_workflow", "invoke_agent"))]
    # A call fails within the component that makes it.
    assert all(row[1] for row in causes)
