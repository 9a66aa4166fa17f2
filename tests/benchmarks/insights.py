"""How long reading a trace file takes: this library, DuckDB's own JSON reader, pandas, and Python's JSON module.

    python tests/benchmarks/insights.py --spans 500000             # every arm, each in a process of its own
    python tests/benchmarks/insights.py --spans 5000000 --arms report,report-again,tree --memory-gb 2

``report`` is ``langflow-otel report`` on a file that was not read before, ``report-again`` the next one, ``tree`` is
``langflow-otel tree last``. The other arms answer one question, the P95 of the duration of each component, and the
answers are compared: ``ours`` on a file that was not read before, ``again`` from the cache, and three other readers.
CPU time is that of all threads, user and system.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ARMS = ("report", "report-again", "tree", "ours", "again", "duckdb", "pandas", "python")
RUNS_A_LINE = 36
COMPONENTS = (
    ("Chat Input", "input", 2),
    ("Prompt", "prompt", 3),
    ("Retriever", "retriever", 120),
    ("Router", "logic", 2),
)
MODELS = (("Language Model", "llm", 900), ("Agent", "agent", 1500))
START_NS = 1_790_000_000_000_000_000


def attribute(key: str, value: Any) -> dict[str, Any]:
    kind = {bool: "boolValue", int: "intValue", float: "doubleValue", str: "stringValue"}.get(type(value))
    if kind is None:
        return {"key": key, "value": {"arrayValue": {"values": [{"stringValue": each} for each in value]}}}
    return {"key": key, "value": {kind: str(value) if kind == "intValue" else value}}


def span(name: str, start_ns: int, duration_ms: float, ids: tuple[str, str, str], **attributes: Any) -> dict[str, Any]:
    """As ``LANGFLOW_OTEL_TRACE_FILE`` writes one."""
    trace_id, span_id, parent_id = ids
    error = attributes.get("langflow.status") == "error"
    return {
        "traceId": trace_id,
        "spanId": span_id,
        **({"parentSpanId": parent_id} if parent_id else {}),
        "flags": 256,
        "name": name,
        "kind": 3 if name.startswith("chat") else 1,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + int(duration_ms * 1e6)),
        "attributes": [attribute(key, value) for key, value in attributes.items()],
        "status": {"code": 2} if error else {},
    }


def run(chance: random.Random, start_ns: int) -> list[dict[str, Any]]:
    """The spans of one run, in the order in which they end."""
    trace_id = f"{chance.getrandbits(128):032x}"
    flow_id = f"{chance.getrandbits(64):016x}"
    flow = {
        "langflow.flow.name": f"flow {chance.randrange(20)}",
        "langflow.flow.id": "5b1f1a04-ef4e-4a0b-b3d8-6d2e1fd6ea71",
    }
    spans = []
    at_ns = start_ns
    for display_name, kind, typical_ms in (*COMPONENTS, *MODELS):
        duration_ms = chance.lognormvariate(0, 0.5) * typical_ms
        component_id = f"{chance.getrandbits(64):016x}"
        failed = chance.random() < 0.01
        if kind in ("llm", "agent"):
            facts = {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "gpt-4o-mini",
                "gen_ai.provider.name": "openai",
                "gen_ai.usage.input_tokens": chance.randrange(50, 4000),
                "gen_ai.usage.output_tokens": chance.randrange(10, 900),
                "gen_ai.response.finish_reasons": ["stop"],
                "langflow.cost.amount": chance.random() / 100,
                "langflow.cost.currency": "USD",
                "langflow.status": "ok",
            }
            ids = (trace_id, f"{chance.getrandbits(64):016x}", component_id)
            spans.append(span("chat gpt-4o-mini", at_ns, duration_ms * 0.9, ids, **flow, **facts))
        facts = {
            "langflow.component.id": f"{display_name.replace(' ', '')}-x1y2z",
            "langflow.component.display_name": display_name,
            "langflow.component.kind": kind,
            "langflow.status": "error" if failed else "ok",
            **({"error.type": "TimeoutError", "langflow.error.category": "timeout"} if failed else {}),
        }
        name = f"{'invoke_agent' if kind == 'agent' else 'component'} {display_name}"
        spans.append(span(name, at_ns, duration_ms, (trace_id, component_id, flow_id), **flow, **facts))
        at_ns += int(duration_ms * 1e6)
    facts = {
        "gen_ai.operation.name": "invoke_workflow",
        "langflow.run.id": f"{chance.getrandbits(64):016x}",
        "langflow.entry_point": "api",
        "session.id": f"session {chance.randrange(5000)}",
        "langflow.flow.version": "0a1b2c3d4e5f",
        "langflow.status": "ok",
    }
    name = f"invoke_workflow {flow['langflow.flow.name']}"
    spans.append(span(name, start_ns, (at_ns - start_ns) / 1e6, (trace_id, flow_id, ""), **flow, **facts))
    return spans


class Template:
    """A line, of which copies have other ids and later times."""

    def __init__(self, line: str, spans: int) -> None:
        self.spans = spans
        self._parts = _CHANGING.split(line)
        self._ids = {each: number for number, each in enumerate(dict.fromkeys(self._parts[1::3])) if each}

    def copy(self, chance: random.Random, later_ns: int) -> str:
        fresh = {each: f"{chance.getrandbits(4 * len(each)):0{len(each)}x}" for each in self._ids}
        parts = iter(self._parts)
        text = [next(parts)]
        for an_id, time_ns, following in zip(parts, parts, parts, strict=True):
            text += (fresh[an_id] if an_id else str(int(time_ns) + later_ns), following)
        return "".join(text)


_CHANGING = re.compile(r'(?<=Id":")([0-9a-f]+)(?=")|(?<=TimeUnixNano":")(\d+)(?=")')
TEMPLATES = 40


def write(path: Path, spans: int) -> None:
    """A file of this many spans. Only its first lines are made span by span."""
    chance = random.Random(1)
    templates = [_template(chance) for _ in range(min(TEMPLATES, 1 + spans // 300))]
    written = 0
    with path.open("w") as file:
        while written < spans:
            template = chance.choice(templates)
            file.write(template.copy(chance, written * 20_000_000))
            written += template.spans


def _template(chance: random.Random) -> Template:
    resource_attributes = {
        "service.name": "langflow",
        "service.instance.id": "0b4c1f7e-8a57-4c1e-9d1c-0f6a2f3b7c11",
        "host.name": "shop-1",
        "telemetry.sdk.version": "1.45.2",
    }
    made = [each for run_spans in _runs(chance) for each in run_spans]
    scopes = [{"scope": {"name": "langflow_otel", "version": "1.0"}, "spans": made}]
    attributes = [attribute(*each) for each in resource_attributes.items()]
    line = {"resourceSpans": [{"resource": {"attributes": attributes}, "scopeSpans": scopes}]}
    return Template(json.dumps(line, separators=(",", ":")) + "\n", len(made))


def _runs(chance: random.Random) -> Iterator[list[dict[str, Any]]]:
    for number in range(RUNS_A_LINE):
        yield run(chance, START_NS + number * 20_000_000)


QUERY = """
    SELECT component_name, quantile_cont(duration_ns, 0.95) / 1e6 FROM spans
    WHERE component_kind IS NOT NULL GROUP BY 1 ORDER BY 1
"""


def ours(path: Path, cache: Path) -> Any:
    from langflow_otel.insights.traces import open_traces

    with open_traces([path], cache_dir=cache) as traces:
        return traces.connection.execute(QUERY).fetchall()


def command(*arguments: str | Path, cache: Path) -> None:
    """``langflow-otel`` with a cache folder of its own."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    subprocess.run([Path(sys.executable).with_name("langflow-otel"), *arguments], check=True, env=environment)


def report(path: Path, cache: Path) -> None:
    command("report", path, "-o", cache.parent / "report.html", cache=cache.parent / "of-report")


def tree(path: Path, cache: Path) -> None:
    command("tree", "last", path, cache=cache)


def with_duckdb(path: Path, cache: Path) -> Any:
    import duckdb

    value = 'STRUCT("stringValue" VARCHAR, "intValue" VARCHAR, "doubleValue" DOUBLE, "boolValue" BOOLEAN)'
    spans = (
        '"traceId" VARCHAR, "spanId" VARCHAR, "parentSpanId" VARCHAR, name VARCHAR, "startTimeUnixNano" BIGINT, '
        f'"endTimeUnixNano" BIGINT, attributes STRUCT("key" VARCHAR, "value" {value})[]'
    )
    columns = f"{{resourceSpans: 'STRUCT(\"scopeSpans\" STRUCT(spans STRUCT({spans})[])[])[]'}}"
    return duckdb.sql(f"""
        WITH spans AS (
            SELECT unnest(scopes.spans) AS span FROM (
                SELECT unnest(resources."scopeSpans") AS scopes FROM (
                    SELECT unnest("resourceSpans") AS resources
                    FROM read_json('{path}', columns = {columns}, maximum_object_size = 100000000)
                )
            )
        ),
        flat AS (
            SELECT span."endTimeUnixNano" - span."startTimeUnixNano" AS duration_ns,
                list_filter(
                    span.attributes, lambda a: a.key = 'langflow.component.display_name'
                )[1].value."stringValue" AS name
            FROM spans
        )
        SELECT name, quantile_cont(duration_ns, 0.95) / 1e6 FROM flat WHERE name IS NOT NULL GROUP BY 1 ORDER BY 1
    """).fetchall()


def with_pandas(path: Path, cache: Path) -> Any:
    import pandas

    frames = []
    for chunk in pandas.read_json(path, lines=True, chunksize=20):
        spans = [
            each
            for resources in chunk["resourceSpans"]
            for resource_spans in resources
            for scopes in resource_spans["scopeSpans"]
            for each in scopes["spans"]
        ]
        frames.append(pandas.DataFrame.from_records(_named(spans), columns=["name", "duration_ms"]))
    found = pandas.concat(frames).groupby("name")["duration_ms"].quantile(0.95)
    return [(name, value) for name, value in sorted(found.items())]


def with_python(path: Path, cache: Path) -> Any:
    from langflow_otel.insights.components import percentile

    durations: dict[str, list[float]] = {}
    with path.open() as lines:
        for line in lines:
            for resource_spans in json.loads(line)["resourceSpans"]:
                for scopes in resource_spans["scopeSpans"]:
                    for name, duration_ms in _named(scopes["spans"]):
                        durations.setdefault(name, []).append(duration_ms)
    return [(name, percentile(values, 0.95)) for name, values in sorted(durations.items())]


def _named(spans: list[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    for each in spans:
        for entry in each["attributes"]:
            if entry["key"] == "langflow.component.display_name":
                duration_ns = int(each["endTimeUnixNano"]) - int(each["startTimeUnixNano"])
                yield entry["value"]["stringValue"], duration_ns / 1e6


FUNCTIONS = {
    "report": report,
    "report-again": report,
    "tree": tree,
    "ours": ours,
    "again": ours,
    "duckdb": with_duckdb,
    "pandas": with_pandas,
    "python": with_python,
}


def measure(arm: str, path: Path, cache: Path) -> None:
    """In a process of its own: time, memory and the answer, as one line of JSON."""
    start_s = time.perf_counter()
    answer = FUNCTIONS[arm](path, cache)
    wall_s = time.perf_counter() - start_s
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(each.ru_utime + each.ru_stime for each in used)
    result = {"wall_s": wall_s, "cpu_s": cpu_s, "rss_mb": max(each.ru_maxrss for each in used) / 1024, "answer": answer}
    sys.stderr.write(json.dumps(result) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--file", type=Path, help="keep the generated file here, and use it again")
    parser.add_argument("--memory-gb", type=float, help="limit of each arm's address space")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.file, options.cache)
        return
    folder = Path(tempfile.mkdtemp(prefix="insights-"))
    try:
        path = options.file or folder / "spans.jsonl"
        if not path.exists():
            write(path, options.spans)
        size = path.stat().st_size
        print(f"{size / 2**20:,.0f} MiB, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
        print(f"{'arm':12} {'wall s':>8} {'CPU s':>8} {'MiB':>7}")
        answers = {}
        for arm in options.arms.split(","):
            arguments = [
                sys.executable,
                __file__,
                "--measure",
                arm,
                "--file",
                str(path),
                "--cache",
                str(folder / "cache"),
            ]
            limit = None if options.memory_gb is None else int(options.memory_gb * 2**30)
            done = subprocess.run(
                arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=_limited(limit)
            )
            if done.returncode:
                print(f"{arm:12} failed: {done.stderr.strip().splitlines()[-1]}")
                continue
            found = json.loads(done.stderr.strip().splitlines()[-1])
            print(f"{arm:12} {found['wall_s']:8.1f} {found['cpu_s']:8.1f} {found['rss_mb']:7.0f}", flush=True)
            if found["answer"] is not None:
                answers[arm] = [[name, round(value, 3)] for name, value in found["answer"]]
        if len({json.dumps(each) for each in answers.values()}) > 1:
            sys.exit(f"the answers differ: {answers}")
    finally:
        shutil.rmtree(folder)


def _limited(limit: int | None) -> Any:
    return None if limit is None else lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main()
