"""The runs that are chosen, and their spans: the same whatever was asked before."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("duckdb")

from langflow_otel import _semconv as semconv
from langflow_otel.insights import selection as selections
from langflow_otel.insights.selection import EVERY_RUN, Selection, ask
from tests.support.made_spans import START_NS, MadeTraces


def _made() -> MadeTraces:
    """Runs of two flows and two versions; one runs the other flow, one has LangFlow's own span."""
    made = MadeTraces()
    for number in range(4):
        run = made.run(5, flow_version=f"v{number // 2}")
        native = run.add("native", 0, 5, what="other", scope=semconv.LANGFLOW_SCOPE)
        native.add("component Search", 1, 2)
        if number == 1:
            run.add("component Runs", 3, 2).add("invoke_workflow help", 3, 1, what="flow").add("component Ask", 3, 1)
        made.run(3, flow="help").add("component Ask", 0, 2)
    return made


SELECTIONS = (
    Selection(flow="shop"),
    Selection(flow="shop", version="v1"),
    Selection(flow="help"),
    Selection(newest=2),
    Selection(since_ns=START_NS + 200 * 10**9),
    Selection(until_ns=START_NS + 200 * 10**9),
    Selection(trace_ids=[]),
    Selection(flow="help", newest=3),
)
QUERY = "SELECT run_span_id, span_id, parent_id, name, flow_name FROM chosen_spans ORDER BY ALL"
RUNS = "SELECT span_id, flow_name, status, concurrent FROM chosen ORDER BY ALL"


def _answers(connection: Any, selection: Selection) -> list[Any]:
    return [ask(connection, selection, query) for query in (QUERY, RUNS)]


def test_an_answer_does_not_depend_on_what_was_asked_before():
    made = _made()
    each = (Selection(newest=1), *SELECTIONS, EVERY_RUN)
    alone = [_answers(made.connect(), selection) for selection in each]
    asked = made.connect()
    once = list(zip(each, alone, strict=True))
    for selection, expected in (*once, *once[1:-1], *reversed(once[1:-1]), once[-1]):
        assert _answers(asked, selection) == expected, selection


def test_a_part_of_what_was_asked_before_is_not_read_again(monkeypatch):
    connection = _made().connect()
    ask(connection, EVERY_RUN, QUERY)
    monkeypatch.setattr(selections, "_read_spans", None)

    shop = Selection(flow="shop")
    assert len(ask(connection, shop, QUERY)) == 11
    assert len(ask(connection, Selection(newest=2), QUERY)) == 4
    assert len(ask(connection, EVERY_RUN, QUERY)) == 19
    assert len(ask(connection, shop, QUERY)) == 11


def test_spans_below_langflows_own_one_are_those_of_the_run():
    connection = _made().connect()
    found = ask(connection, Selection(flow="shop", newest=1), QUERY)
    assert {row["name"]: row["parent_id"] == row["run_span_id"] for row in found} == {
        "invoke_workflow shop": False,
        "component Search": True,
    }
