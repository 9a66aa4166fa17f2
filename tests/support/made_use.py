"""Runs of which it is known what they use."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from langflow_otel.insights._statistics.run_facts import RUNNING
from langflow_otel.insights._usage.resource_use import IN_SESSION, FoundRun

START_NS = 1_800_000_000_000_000_000
MIB = 2.0**20

Facts = dict[str, Any]


def nothing(_: Facts) -> float:
    return 0.0


def made_runs(
    seed: int,
    count: int,
    *,
    cpu_s: Callable[[Facts], float] = nothing,
    memory: Callable[[Facts], float] = nothing,
    time_s: Callable[[Facts], float] = nothing,
    at_once: float = 0.5,
    session_spread: float = 0.0,
    drift: float = 0.0,
    known: float = 1.0,
) -> list[FoundRun]:
    """Runs of one flow in two processes, with ten attributes; CPU and memory are shared by those at the same time.

    Args:
        cpu_s, memory, time_s: By how much more each uses, by its facts.
        at_once: How many run at the same time in a process, on average.
        session_spread: By how much sessions of about five runs differ from each other, in sizes of a run's own spread.
        drift: By how much the memory of a process wanders from run to run, MiB.
        known: Share of the runs that are in the files.
    """
    rand = random.Random(seed)
    users = [f"user {number}" for number in range(6)]
    started = {"one": 0.0, "two": 0.0}
    sessions = {name: rand.gauss(0, session_spread) for name in (f"s{number}" for number in range(count // 5))}
    running: list[dict[str, Any]] = []
    for number in range(count):
        instance = rand.choice(("one", "two"))
        session = rand.choice(list(sessions))
        facts: Facts = {
            "user.id": rand.choices(users, (4, 1, 1, 1, 1, 1))[0],
            "model": rand.choice("aaab"),
            "tenant": rand.choice("xyz"),
            "tier": rand.choice(("free", "free", "paid")),
            "old": "yes" if number >= count / 2 else "no",
            "documents": float(rand.randint(1, 20)),
            "tokens": rand.lognormvariate(6, 0.7),
            "retries": float(rand.random() < 0.1),
            "size": rand.gauss(10, 2),
            "host": instance,
        }
        own = sessions[session]
        duration_s = 2 + time_s(facts) + 0.3 * own + rand.expovariate(2)
        started[instance] += rand.expovariate(at_once / 2.5)
        running.append(
            {
                "instance": instance,
                "session": session,
                "facts": facts,
                "start_s": started[instance],
                "end_s": started[instance] + duration_s,
                "cpu_s": 0.5 + cpu_s(facts) + 0.1 * own + 0.1 * rand.expovariate(1),
                "memory": 50 * MIB + memory(facts) + 10 * MIB * (own + rand.gauss(0, 1)),
            }
        )
    running.sort(key=lambda each: each["start_s"])
    levels = {"one": 500 * MIB, "two": 700 * MIB}
    before: dict[str, int] = {}
    found = []
    for place, each in enumerate(running):
        levels[each["instance"]] += drift * MIB * rand.gauss(0, 1)
        at_once_now = [other for other in running[max(0, place - 60) : place + 60] if _overlap_s(each, other) > 0]
        cpu = sum(other["cpu_s"] * _overlap_s(each, other) / _length_s(other) for other in at_once_now)
        memory_peak = levels[each["instance"]] + sum(
            other["memory"] * _overlap_s(each, other) / min(_length_s(each), _length_s(other)) for other in at_once_now
        )
        at_start = sum(other["start_s"] <= each["start_s"] for other in at_once_now)
        highest = max(
            sum(_overlap_s(other, third) > 0 and third["start_s"] <= other["start_s"] for third in at_once_now)
            for other in at_once_now
            if other["start_s"] >= each["start_s"]
        )
        earlier = before[each["session"]] = before.get(each["session"], -1) + 1
        facts = {name: frozenset([fact]) if isinstance(fact, str) else fact for name, fact in each["facts"].items()}
        row = {
            "instance": each["instance"],
            "start_ns": START_NS + round(each["start_s"] * 1e9),
            "end_ns": START_NS + round(each["end_s"] * 1e9),
            "duration_ns": round(_length_s(each) * 1e9),
            "status": "ok",
            "flow_name": "shop",
            "session_id": each["session"],
            "user_id": each["facts"]["user.id"],
            "attributes": {
                "langflow.flow.process.cpu.time": str(cpu),
                "langflow.flow.process.memory.peak": str(memory_peak),
                "langflow.flow.active.peak": str(max(at_start, highest)),
            },
        }
        if rand.random() < known:
            found.append(FoundRun(row, {**facts, RUNNING: float(at_start), IN_SESSION: float(earlier)}))
    return found


def _length_s(run: dict[str, Any]) -> float:
    return run["end_s"] - run["start_s"]


def _overlap_s(one: dict[str, Any], other: dict[str, Any]) -> float:
    if one["instance"] != other["instance"]:
        return 0.0
    return max(0.0, min(one["end_s"], other["end_s"]) - max(one["start_s"], other["start_s"]))
