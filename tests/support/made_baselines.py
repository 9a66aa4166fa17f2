"""Baselines as they come from runs whose distributions are known."""

from __future__ import annotations

import random
from collections import defaultdict

from langflow_otel.insights._baselines.baselines import Baseline, Entry

MEANS_S = {"Prompt-1": 0.01, "LLM-1": 1.2, "Tool-1": 0.3, "Parser-1": 0.05}


def made_baseline(
    rand: random.Random,
    runs: int,
    *,
    flow: str = "shop",
    slow: dict[str, float] | None = None,
    fails: float = 0.03,
    tokens: float = 1.0,
    session_runs: int = 1,
    session_effect: float = 0.0,
    loops: int = 1,
) -> Baseline:
    """A flow of four components; the tool runs in a loop.

    Args:
        slow: By how much longer components take, by id.
        fails: Share of runs that fail.
        tokens: By how much more tokens there are.
        session_runs: Runs of a session, which are all slow or all fast.
        session_effect: How much, as the deviation of a logarithm.
        loops: Executions of the tool in a run, which resemble each other.
    """
    values: dict[str | None, list[dict[str, float | None]]] = defaultdict(list)
    for run in range(runs):
        if run % session_runs == 0:
            effect = rand.lognormvariate(0, session_effect)
        failed = float(rand.random() < fails)
        used = int(tokens * 800 * rand.lognormvariate(0, 0.5))
        total_s = 0.0
        for component, mean_s in MEANS_S.items():
            in_run = rand.lognormvariate(0, 0.2)
            for _ in range(loops if component == "Tool-1" else 1):
                took_s = mean_s * (slow or {}).get(component, 1) * effect * in_run * rand.lognormvariate(0, 0.3)
                total_s += took_s
                is_model = component == "LLM-1"
                row = {"duration": took_s, "failed": failed if is_model else 0.0, "group": run // session_runs}
                values[component].append({**row, "input_tokens": used, "output_tokens": used // 7} if is_model else row)
        row = {"duration": total_s, "failed": failed, "input_tokens": used, "output_tokens": used // 7}
        values[None].append({**row, "group": run // session_runs})
    entries = tuple(_entry(flow, component, rows) for component, rows in values.items())
    return Baseline("traces", 0, runs * 10**9, entries, made_at="2026-01-01T00:00:00Z", made_by="test")


def _entry(flow: str, component: str | None, rows: list[dict[str, float | None]]) -> Entry:
    return Entry(
        flow=flow,
        component_id=component,
        name=(component or flow).partition("-")[0],
        component_type=None if component is None else component.partition("-")[0],
        count=len(rows),
        groups=tuple(int(row["group"] or 0) for row in rows),
        columns={name: tuple(row[name] for row in rows) for name in rows[0] if name != "group"},
    )
