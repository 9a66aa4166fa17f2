"""Why a run was slow or failed, on histories whose cause is known."""

from __future__ import annotations

import io
import json
import random
from typing import Any

import duckdb
import pytest
from rich.console import Console
from typer.testing import CliRunner

from langflow_otel.cli.main import app
from langflow_otel.cli.why import explanation_as_json, sentences, show_explanation
from langflow_otel.insights.selection import find_trace
from langflow_otel.insights.why import Explanation, explain, robust_z
from tests.support.made_spans import START_NS, MadeSpan, MadeTraces


class History:
    """Runs of a prompt, a model and an output, with the noise that real ones have."""

    def __init__(self, seed: int = 1) -> None:
        self.made = MadeTraces()
        self.chance = random.Random(seed)

    def run(self, *, llm_s: float = 1.0, attributes: dict[str, Any] | None = None, **columns: Any) -> MadeSpan:
        chance = self.chance
        prompt_s, out_s = 0.1 * chance.lognormvariate(0, 0.1), 0.05 * chance.lognormvariate(0, 0.1)
        llm_s *= chance.lognormvariate(0, 0.1)
        model = columns.pop("model", "gpt-a")
        call = columns.pop("call", {})
        columns = {"flow_version": "v1", "session_id": f"s{chance.randint(1, 12)}", **columns}
        noise = {f"noise.{each}": str(chance.randint(1, 4)) for each in range(8)}
        run = self.made.run(
            prompt_s + llm_s + out_s + 0.02,
            attributes={**noise, "langflow.flow.event_loop.delay.peak": "0.004", **(attributes or {})},
            **columns,
        )
        run.add("component Prompt", 0.01, prompt_s)
        llm = run.add("component LLM", 0.01 + prompt_s, llm_s)
        llm.add("chat", 0.02 + prompt_s, llm_s - 0.02, what="model", attributes={"gen_ai.request.model": model, **call})
        run.add("component Out", 0.01 + prompt_s + llm_s, out_s)
        return run

    def explain(self, run: MadeSpan) -> Explanation:
        return explain(self.made.connect(), run.trace_id)


def summary(explanation: Explanation) -> str:
    return " ".join(sentences(explanation))


def claims(explanation: Explanation) -> list[str]:
    assert explanation.differences is not None
    return [f"{each.name} {each.value}" for each in explanation.differences.found]


def test_slow_component_is_found_with_nothing_else():
    history = History()
    for _ in range(60):
        history.run()
    for _ in range(6):
        history.run(llm_s=4)
    run = history.run(llm_s=5)

    explanation = history.explain(run)

    first = explanation.components[0]
    assert explanation.verdict == "slow"
    assert explanation.history.faster_share > 0.95
    assert explanation.history.robust_z > 3.5
    assert (first.name, first.longest_span, explanation.like) == ("LLM", "chat", 6)
    assert first.share > 0.95
    assert first.usual_s == pytest.approx(1, rel=0.1)
    assert claims(explanation) == []
    assert "It was slow in LLM" in summary(explanation)
    assert "Nothing goes with slowness more often than chance allows" in summary(explanation)


CAUSES: dict[str, tuple[str, dict[str, Any]]] = {
    "version": ("langflow.flow.version v2", {"flow_version": "v2", "attributes": {"langflow.flow.version": "v2"}}),
    "model": ("LLM: gen_ai.request.model gpt-b", {"model": "gpt-b"}),
    "retries": ("LLM: langflow.model.retries at least 1.5", {"call": {"langflow.model.retries": "3"}}),
    "tokens": ("LLM: gen_ai.usage.input_tokens at least 4,", {"call": {"gen_ai.usage.input_tokens": "8000"}}),
    "worker": ("host.name worker-7", {"resource": {"host.name": "worker-7"}}),
    "cpu": ("CPU time in a second of the run at least", {"attributes": {"langflow.flow.process.cpu.time": "9"}}),
}


@pytest.mark.parametrize("cause", CAUSES)
def test_cause_of_slowness_is_found(cause):
    expected, columns = CAUSES[cause]
    usual = {
        "attributes": {"langflow.flow.version": "v1", "langflow.flow.process.cpu.time": "0.4"},
        "call": {"gen_ai.usage.input_tokens": "200"} if cause == "tokens" else {},
        "resource": {"host.name": "worker-1"},
    }
    history = History()
    for number in range(60):
        history.run(**(usual if number % 20 else {**usual, **columns}))
    for _ in range(8):
        history.run(llm_s=4, **{**usual, **columns})
    run = history.run(llm_s=4, **{**usual, **columns})

    explanation = history.explain(run)

    (found,) = claims(explanation)
    assert found.startswith(expected)
    assert explanation.differences.found[0].like_share == 1
    assert explanation.differences.found[0].rest_share <= 0.1
    assert f"What goes with slowness: {expected.partition(' at ')[0].rpartition(' ')[0]}" in summary(explanation)


def test_concurrency_is_found():
    history = History()
    for number in range(60):
        history.run(at_s=100 * number)
    for batch in range(3):
        for number in range(10):
            run = history.run(llm_s=1 + number, at_s=10_000 + 100 * batch + number / 100)

    (found,) = claims(history.explain(run))

    assert found.startswith("runs going on at its start at least")


def test_first_run_of_a_process_is_found():
    history = History()
    for worker in range(8):
        for number in range(10):
            history.run(llm_s=1 if number else 4, instance=f"worker-{worker}")
    run = history.run(llm_s=4, instance="new")

    assert claims(history.explain(run)) == ["first run of its process true"]


def test_peaks_are_told_apart_from_causes():
    history = History()
    for _ in range(60):
        history.run()
    for _ in range(8):
        run = history.run(llm_s=4, attributes={"langflow.flow.event_loop.delay.peak": "2.5"})

    explanation = history.explain(run)

    assert claims(explanation) == []
    assert [each.name for each in explanation.peaks.found] == ["langflow.flow.event_loop.delay.peak"]
    assert "The process had higher peaks" in summary(explanation)
    assert "langflow.flow.event_loop.delay.peak at least 1.25 s" in summary(explanation)


PLANTED_S = 3.6
"""What the demo's component takes for one order in five; see tests/lfx/test_cli_demo.py."""


def demo_on_a_busy_machine(seed: int) -> Explanation:
    """The slowest of the demo's 20 runs, where each component may be held up, and the first run loads modules."""
    chance, made = random.Random(seed), MadeTraces()
    usual = {"Chat Input": 0.01, "If-Else": 0.01, "Policy Search": 0.1, "Parcel Agent": 0.4, "Answer Model": 0.6}
    for number in range(1, 21):
        delays = {name: 0.01 * chance.lognormvariate(0, 1) for name in ("Prompt Template", "Chat Output")}
        delays |= {name: took_s * chance.lognormvariate(0, 0.3) for name, took_s in usual.items()}
        rows = 300 if number % 5 == 0 else 1
        delays["Order Lookup"] = 0.03 + (PLANTED_S if rows > 1 else 0.0) + 0.01 * chance.lognormvariate(0, 1)
        for name in delays:
            if chance.random() < 0.1:
                delays[name] += chance.uniform(0, 1)
        if number == 1:
            delays["Prompt Template"] += chance.uniform(0.5, 2)
        failed = {"status": "error", "error_type": "ConnectionError"} if number == 13 else {}
        run = made.run(sum(delays.values()), flow="support desk", **failed)
        at_s = 0.0
        for name, took_s in delays.items():
            component = run.add(f"component {name}", at_s, took_s)
            if name == "Order Lookup":
                component.add("query orders", at_s, took_s, what="other", attributes={"rows": str(rows)})
            at_s += took_s
    connection = made.connect()
    return explain(connection, find_trace(connection, "slowest"))


@pytest.mark.parametrize("seed", range(20))
def test_demos_slow_component_is_named_on_a_busy_machine(seed):
    explanation = demo_on_a_busy_machine(seed)

    assert explanation.verdict == "slow"
    assert explanation.components[0].name == "Order Lookup"
    assert "It was slow in Order Lookup" in summary(explanation)
    assert claims(explanation)[0].startswith("Order Lookup: rows at least")


def test_usual_run_is_not_called_slow():
    history = History()
    for _ in range(60):
        run = history.run()

    explanation = history.explain(run)

    assert explanation.verdict == "usual"
    assert explanation.differences is None
    assert "which is not slow" in summary(explanation)


def test_share_of_runs_called_far_outside_is_small():
    """In 40 histories without a slow run, the slowest one: at most one in ten is far outside of what is usual."""
    outliers = 0
    for seed in range(40):
        chance = random.Random(seed)
        durations = [chance.lognormvariate(0, 0.5) for _ in range(100)]
        outliers += robust_z(max(durations), sorted(durations)[:-1]) > 3.5

    assert outliers <= 4


def test_only_slow_run_says_that_nothing_can_be_told():
    history = History()
    for _ in range(30):
        history.run()
    run = history.run(llm_s=9, model="gpt-b")

    explanation = history.explain(run)

    assert claims(explanation) == []
    assert "LLM: gen_ai.request.model" in [each.name for each in explanation.differences.unproven]
    assert "No other run was about as slow" in summary(explanation)


@pytest.mark.parametrize(("others", "told"), [(0, "no other successful run"), (1, "only 1 other"), (9, "only 9 other")])
def test_too_few_runs_are_not_compared(others, told):
    history = History()
    for _ in range(others):
        history.run()
    run = history.run(llm_s=9)

    explanation = history.explain(run)

    assert (explanation.verdict, explanation.differences) == ("too_few_runs", None)
    assert (explanation.history.robust_z, explanation.components[0].usual_s) == (None, None)
    assert told in summary(explanation)
    assert "Most of its time went to LLM" in summary(explanation)


def failing(history: History, **columns: Any) -> MadeSpan:
    run = history.run(status="error", error_type="RateLimitError", **columns)
    for row in history.made.rows[-3:-1]:
        row.update(status="error", error_type="RateLimitError", error_category="rate_limit")
        row["attributes"] = {
            **row["attributes"],
            "error.type": "RateLimitError",
            "langflow.error.category": "rate_limit",
        }
    history.made.rows[-2]["events"] = [
        {"name": "exception", "time_ns": START_NS, "attributes": {"exception.message": "slow down"}}
    ]
    return run


def test_failed_run_is_explained_by_its_error():
    history = History()
    for _ in range(40):
        history.run()
    for _ in range(6):
        failing(history, model="gpt-b")
    run = failing(history, model="gpt-b")

    explanation = history.explain(run)

    failure = explanation.failure
    assert (explanation.verdict, failure.component, failure.name) == ("failed", "LLM", "chat")
    assert (failure.error_type, failure.category, failure.message) == ("RateLimitError", "rate_limit", "slow down")
    assert explanation.history.same_error == 6
    assert claims(explanation) == ["LLM: gen_ai.request.model gpt-b"]
    assert 'RateLimitError (rate_limit) in LLM, in its span "chat": "slow down".' in summary(explanation)
    assert "6 of 46 other runs of this flow failed with the same error." in summary(explanation)
    assert "What goes with this error: LLM: gen_ai.request.model = gpt-b" in summary(explanation)


def test_error_of_a_request_is_explained_by_its_call():
    history = History()
    run = failing(history)
    call = MadeSpan(history.made, history.made.rows[-2])
    refused = {"http.request.method": "POST", "error.type": "429"}
    call.add("POST", 0, 1, what="other", status="error", error_type="429", attributes=refused)

    failure = history.explain(run).failure

    assert (failure.error_type, failure.category, failure.name) == ("RateLimitError", "rate_limit", "chat")


def test_first_run_that_failed_is_explained():
    history = History()
    run = failing(history)

    explanation = history.explain(run)

    assert (explanation.verdict, explanation.differences) == ("failed", None)
    assert "No other run of this flow is in the files." in summary(explanation)


def test_attributes_of_runs_far_away_are_not_read():
    history = History()
    runs = [history.run() for _ in range(50)]
    connection = history.made.connect()
    newest = explain(connection, runs[-1].trace_id, max_runs=15)
    read = f"CASE WHEN start_ns < {runs[-30].row['start_ns']} THEN error('read') ELSE attributes END"
    connection.execute("ALTER TABLE spans RENAME TO every_row")
    connection.execute(f"CREATE VIEW spans AS SELECT * REPLACE ({read} AS attributes) FROM every_row")

    assert explain(connection, runs[-1].trace_id, max_runs=15) == newest
    assert (newest.history.runs, newest.history.available) == (15, 49)
    with pytest.raises(duckdb.Error, match="read"):
        explain(connection, runs[-1].trace_id, max_runs=30)


def test_runs_of_other_flows_are_no_history():
    history = History()
    for _ in range(20):
        history.run(flow="other")
    run = history.run()

    assert history.explain(run).history.available == 0


def test_median_and_mad_give_the_z_score():
    assert robust_z(8.0, [1.0, 2.0, 4.0]) == pytest.approx(0.6745 * 2)
    assert robust_z(2.0, [2.0] * 10) == 0
    assert robust_z(3.0, [2.0] * 10) == float("inf")
    assert robust_z(4.0, [2.0] * 9 + [4.0]) == pytest.approx(0.7979 * 10)


@pytest.fixture(scope="module")
def trace_file(tmp_path_factory) -> Any:
    history = History()
    for _ in range(30):
        history.run()
    failing(history)
    for _ in range(4):
        history.run(llm_s=4, model="gpt-b[/red]\x1b[31m<script>")
    return history.made.write(tmp_path_factory.mktemp("why") / "spans.jsonl")


def why(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["why", *map(str, arguments)])


def test_command_explains_the_slowest_run(trace_file):
    result = why("slowest", trace_file)

    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    assert "It was slow in LLM" in words
    assert "Where the time went on the critical path" in words
    assert "gpt-b[/red] [31m<script>" in words
    assert "\x1b" not in result.stdout
    assert "Not in the data: user.id" in words


def test_command_prints_json(trace_file):
    result = why("failed", trace_file, "--json")

    data = json.loads(result.stdout)
    assert (data["verdict"], data["failure"]["error_type"]) == ("failed", "RateLimitError")
    assert data["summary"].startswith("This run failed after")
    assert {"found", "unproven", "compared", "level"} == set(data["differences"])


def test_command_takes_the_beginning_of_an_id(trace_file):
    first = f"{1:032x}"

    assert json.loads(why(first, trace_file, "--json").stdout)["trace_id"] == first
    assert why("0" * 30, trace_file).exit_code == 2
    assert "several traces begin with" in why("0" * 30, trace_file).output


def test_unknown_trace_is_one_line(trace_file):
    result = why("abc", trace_file)

    assert result.exit_code == 2
    assert result.output.strip() == "langflow-otel: no run of a flow has the trace id abc"


@pytest.mark.parametrize("width", [80, 140])
def test_lines_fit_the_terminal(width):
    history = History()
    for _ in range(30):
        history.run()
    for _ in range(6):
        run = history.run(llm_s=4, model="a-model-with-a-very-long-name-" * 6)
    console = Console(width=width, record=True, file=io.StringIO())

    show_explanation(history.explain(run), console)

    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert any("LLM" in line for line in lines)


HOSTILE = "<script>[red]\x1b[31m\x9b31m\u202e\n" + "x" * 100_000


def test_hostile_names_stay_text_and_short(tmp_path):
    history = History()
    for number in range(30):
        run = history.run(llm_s=1 if number < 25 else 5, model=HOSTILE if number >= 25 else "gpt-a", flow=HOSTILE)
    for row in history.made.rows:
        if row["component_name"] == "LLM":
            row["component_name"] = row["name"] = HOSTILE
    result = why(run.trace_id, history.made.write(tmp_path / "spans.jsonl"))

    assert result.exit_code == 0, result.output
    assert not {"\x1b", "\x9b", "\u202e"} & set(result.output)
    assert "<script>[red]" in result.output
    assert len(result.output) < 20_000
    as_data = why(run.trace_id, tmp_path / "spans.jsonl", "--json").stdout
    assert as_data.isascii()
    assert json.loads(as_data)["components"][0]["name"] == HOSTILE


@pytest.mark.parametrize(("components", "told"), [(8, None), (9, None), (10, "and 2 more")])
def test_no_line_hides_a_single_component(components, told):
    made = MadeTraces()
    for seconds in [0.125] * 12 + [0.25]:
        run = made.run(components * seconds)
        for number in range(components):
            run.add(f"component C{number}", number * seconds, seconds)
    console = Console(width=100, record=True, file=io.StringIO())

    show_explanation(explain(made.connect(), run.trace_id), console)

    text = console.export_text()
    assert ("more (--json has all)" in text) == (told is not None)
    assert told is None or told in text


def test_infinite_values_are_null_in_json():
    made = MadeTraces()
    for _ in range(12):
        made.run(1)
    run = made.run(2)

    data = explanation_as_json(explain(made.connect(), run.trace_id))

    assert data["history"]["robust_z"] is None
    json.dumps(data, allow_nan=False)


def test_last_and_slowest_are_found():
    made = MadeTraces()
    slow = made.run(5)
    last = made.run(1)
    connection = made.connect()

    assert find_trace(connection, "slowest") == slow.trace_id
    assert find_trace(connection, "last") == last.trace_id
    with pytest.raises(LookupError, match="no run failed"):
        find_trace(connection, "failed")
