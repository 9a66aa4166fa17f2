"""Baselines of traces, and the file that keeps them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langflow_otel.insights._baselines import baselines
from langflow_otel.insights._baselines.baselines import (
    SAMPLE_SIZE,
    Baseline,
    BaselineError,
    Entry,
    baseline_of_traces,
    holds_runs_of,
    load,
    save,
)
from langflow_otel.insights.selection import Selection
from tests.support.made_spans import START_NS, MadeTraces


def two_sessions() -> MadeTraces:
    """Three runs of a flow in two sessions, the last of which fails; and one of another flow without a session."""
    made = MadeTraces()
    for number, session in enumerate(("one", "one", "two"), 1):
        used = {"input_tokens": 100 * number, "output_tokens": 10, "cost": 0.25 * number, "currency": "USD"}
        failed = {"status": "error"} if session == "two" else {}
        run = made.run(number, session_id=session, flow_version="v1", **used, **failed)
        for index in range(2):
            run.add(
                "component LLM", index / 2, number / 4, component_type="Model", code_hash="abc", model="gpt", **used
            )
        run.add("component Old", 0, 0.1, status="cached")
    made.run(9, flow="other")
    return made


def test_entries_are_flows_and_components():
    baseline = baseline_of_traces(two_sessions().connect())

    shape = [(each.flow, each.component_id, each.name, each.count) for each in baseline.entries]
    assert shape == [("other", None, "other", 1), ("shop", None, "shop", 3), ("shop", "LLM-1", "LLM", 6)]
    shop, llm = baseline.entries[1:]
    assert shop.columns == {
        "duration": (1, 2, 3),
        "failed": (0, 0, 1),
        "input_tokens": (100, 200, 300),
        "output_tokens": (10, 10, 10),
        "cost.USD": (0.25, 0.5, 0.75),
    }
    assert (shop.groups, llm.groups) == ((0, 0, 1), (0, 0, 0, 0, 1, 1))
    assert shop.figures["duration.p50"] == 2
    assert shop.figures["error_rate"] == pytest.approx(1 / 3)
    assert (shop.versions, llm.code_hashes, llm.models, llm.component_type) == (("v1",), ("abc",), ("gpt",), "Model")
    assert (baseline.first_ns, baseline.last_ns) == (START_NS, START_NS + 180 * 10**9)


def test_ids_that_are_new_in_each_run_are_names():
    made = MadeTraces()
    for number in range(10):
        run = made.run(1)
        run.add("component Prompt", 0, 0.1, component_id=f"Prompt-x{number}", component_type="Prompt")
        for index in (1, 2):
            run.add("component LLM", 0, 0.1, component_id=f"LLM-{index}")

    entries = baseline_of_traces(made.connect()).entries

    assert [(each.component_id, each.name, each.count) for each in entries] == [
        (None, "shop", 10),
        ("LLM-1", "LLM", 10),
        ("LLM-2", "LLM", 10),
        ("Prompt", "Prompt", 10),
    ]


def test_selection_is_kept():
    made = two_sessions()

    assert list(baseline_of_traces(made.connect(), Selection(flow="other")).flows) == ["other"]
    assert baseline_of_traces(made.connect(), Selection(version="v9")).entries == ()


def test_many_executions_are_sampled():
    made = MadeTraces()
    for number in range(SAMPLE_SIZE + 50):
        made.run(1 + number / 1000)

    (entry,) = baseline_of_traces(made.connect()).entries

    durations = entry.columns["duration"]
    assert (entry.count, len(durations), len(entry.groups)) == (SAMPLE_SIZE + 50, SAMPLE_SIZE, SAMPLE_SIZE)
    assert list(durations) == sorted(durations)
    assert max(durations) > 3


def test_sample_lacks_what_is_not_known():
    entry = Entry("shop", None, "shop", None, 3, groups=(7, 7, 8), columns={"failed": (0.0, None, 1.0)})

    assert entry.measured == ("failed",)
    assert (entry.sample("failed").values, entry.sample("failed").groups) == ([0, 1], [7, 8])


def test_histogram_becomes_as_many_durations():
    histogram = ((1.0, 10.0), (2.0, 30.0), (math.inf, 32.0))
    entry = Entry("shop", None, "shop", None, 32, histogram=histogram, outcomes=(8, 32))

    durations = entry.sample("duration").values
    assert len(durations) == 32
    assert [sum(each <= bound for each in durations) for bound, _ in histogram] == [10, 32, 32]
    assert durations[-2:] == [2.0, 2.0]
    assert sum(entry.sample("failed").values) == 8
    assert (entry.bucket(1.5), entry.bucket(5)) == ((1.0, 2.0), (2.0, math.inf))


def test_file_holds_the_whole_baseline(tmp_path):
    of_traces = baseline_of_traces(two_sessions().connect())
    histogram = Entry("shop", None, "shop", None, 3, histogram=((1.0, 2.5), (math.inf, 3.0)), outcomes=(1, 3))

    for baseline in (of_traces, Baseline("prometheus", 1, 2, (histogram,), made_at="now", made_by="us")):
        path = tmp_path / "baseline.json"
        save(baseline, path)
        assert load(path) == baseline
    assert [each.name for each in tmp_path.iterdir()] == ["baseline.json"]


def test_file_names_no_session_and_no_user(tmp_path):
    made = MadeTraces()
    made.run(1, session_id="secret-session", user_id="secret-user", attributes={"input.value": "secret-prompt"})
    save(baseline_of_traces(made.connect()), tmp_path / "baseline.json")

    assert "secret" not in (tmp_path / "baseline.json").read_text()


def test_runs_of_a_baseline_are_recognized():
    made = two_sessions()
    baseline = baseline_of_traces(made.connect())
    made.run(1)

    assert holds_runs_of(made.connect(), baseline)
    assert not holds_runs_of(made.connect(), replace(baseline, newest_traces=("0" * 32,)))
    assert not holds_runs_of(made.connect(), replace(baseline, newest_traces=()))


def damage(document: dict[str, Any], *place: Any, value: Any) -> dict[str, Any]:
    target: Any = document
    for each in place[:-1]:
        target = target[each]
    target[place[-1]] = value
    return document


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("format",), "other", "it is no baseline; make one with langflow-otel baseline save"),
        (("version",), 2, "it is a baseline of version 2, and this is for version 1: save it anew"),
        (("source",), "rumours", "source is neither"),
        (("entries",), {}, "entries is missing or of another type"),
        (("entries", 1), 3, r"entries\[1\].flow is missing"),
        (("entries", 1, "count"), None, r"entries\[1\].count is missing or of another type"),
        (("entries", 1, "columns", "duration"), [1.0], r"columns.duration has 1 values, and groups has 3"),
        (("entries", 1, "columns", "duration"), ["x"] * 3, r"entries\[1\].duration has something else than numbers"),
        (("entries", 1, "columns", "duration"), 3, "columns.duration is no list"),
        (("entries", 1, "groups"), [True, 0, 0], "groups has something else than numbers"),
        (("entries", 1, "histogram"), [[2, 1], [1, 1]], "histogram does not ascend"),
        (("entries", 1, "histogram"), [3], "histogram has something else than pairs"),
        (("entries", 1, "outcomes"), [5, 3], "outcomes are impossible"),
        (("entries", 1, "outcomes"), 5, "outcomes is no pair"),
        (("entries", 1, "versions"), [1], "versions has something else than texts"),
    ],
)
def test_damaged_file_says_where(tmp_path, place, value, said):
    path = tmp_path / "baseline.json"
    save(baseline_of_traces(two_sessions().connect()), path)
    path.write_text(json.dumps(damage(json.loads(path.read_text()), *place, value=value)))

    with pytest.raises(BaselineError, match=said):
        load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"resourceSpans": []}'])
def test_any_other_file_is_no_baseline(tmp_path, content):
    path = tmp_path / "baseline.json"
    path.write_bytes(content)

    with pytest.raises(BaselineError, match="it is no baseline"):
        load(path)


def test_nothing_is_left_where_it_cannot_be_written(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "baseline.json"
    path.write_text("old")
    monkeypatch.setattr(baselines.Path, "write_text", full)

    with pytest.raises(OSError, match="No space left"):
        save(Baseline("traces", 0, 0, ()), path)
    monkeypatch.undo()
    assert Path(path).read_text() == "old"
