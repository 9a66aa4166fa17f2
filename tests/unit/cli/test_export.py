"""``langflow-otel export``: what other programs get, without codes for terminals and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from langflow_otel.cli.main import app
from tests.unit.cli.test_tree import line, run, span

HOSTILE = '=HYPERLINK("http://x")\x1b[31m;\n<script>\x9b31m\u202e\u2066'
OPERATION = {"gen_ai__operation__name": "invoke_workflow", "langflow__entry_point": "api", "langflow__status": "ok"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A run of 10 s with two components at once, of 4 and 6 s, a call of 1 s in one of them; and another run."""
    path = tmp_path / "spans.jsonl"
    kind = {"langflow__component__kind": "other"}
    path.write_text(
        line(
            span("invoke_workflow shop", 10, None, (0, 10), langflow__flow__name="shop", **OPERATION),
            span("component a", 11, 10, (1, 5), **kind),
            span("component b", 12, 10, (2, 8), **kind),
            span("chat m", 13, 12, (3, 4), gen_ai__operation__name="chat"),
        )
        + run(2, 20, 3, name="other")
    )
    return path


def export(path: Path, output_format: str, *arguments: str, code: int = 0) -> Any:
    command = ["export", str(path), "--format", output_format, *arguments]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_collapsed_has_each_stack_with_its_own_microseconds(path):
    assert sorted(export(path, "collapsed", "--flow", "shop").stdout.splitlines()) == [
        "invoke_workflow shop 3000000",
        "invoke_workflow shop;component a 4000000",
        "invoke_workflow shop;component b 5000000",
        "invoke_workflow shop;component b;chat m 1000000",
    ]


def test_speedscope_has_the_same_stacks(path):
    data = json.loads(export(path, "speedscope", "--flow", "shop").stdout)
    (profile,) = data["profiles"]
    names = [each["name"] for each in data["shared"]["frames"]]

    stacks = {
        ";".join(names[number] for number in sample): us
        for sample, us in zip(profile["samples"], profile["weights"], strict=True)
    }
    assert stacks["invoke_workflow shop;component b;chat m"] == 1_000_000
    assert profile["endValue"] == sum(profile["weights"]) == 13_000_000
    assert data["$schema"] == "https://www.speedscope.app/file-format-schema.json"


def test_on_a_perfetto_track_only_a_parent_is_around_a_span(path):
    data = json.loads(export(path, "perfetto").stdout)
    spans = {each["name"]: each for each in data["traceEvents"] if each["ph"] == "X"}

    assert data["otherData"]["start_ns"] == "1790000000000000000"
    assert (spans["component b"]["ts"], spans["component b"]["dur"]) == (2_000_000, 6_000_000)
    assert spans["invoke_workflow shop"]["tid"] == spans["component a"]["tid"]
    assert spans["component b"]["tid"] == spans["chat m"]["tid"] != spans["component a"]["tid"]
    assert {each["pid"] for each in spans.values()} == {1, 2}


def test_csv_has_a_row_a_span(path):
    rows = list(csv.DictReader(io.StringIO(export(path, "csv").stdout)))

    assert sorted(row["name"] for row in rows) == [
        "chat m",
        "component a",
        "component b",
        "component other",
        "invoke_workflow other",
        "invoke_workflow shop",
    ]
    (call,) = (row for row in rows if row["what"] == "model")
    assert json.loads(call["attributes"]) == {"gen_ai.operation.name": "chat"}
    assert call["duration_ns"] == "1000000000"


def test_parquet_is_the_table(path, tmp_path):
    export(path, "parquet", "-o", str(tmp_path / "out.parquet"), "--newest", "1")

    assert sorted(pq.read_table(tmp_path / "out.parquet")["name"].to_pylist()) == [
        "component other",
        "invoke_workflow other",
    ]


def test_one_trace_may_be_chosen(path):
    assert export(path, "collapsed", "--trace", f"{3:032X}").stdout == "invoke_workflow other;component other 3000000\n"
    assert "other" in export(path, "collapsed", "--trace", "last").stdout
    assert export(path, "collapsed", "--trace", f"{9:032x}", code=2).stderr == (
        f"langflow-otel: no run of a flow has the trace id {9:032x}\n"
    )
    done = export(path, "csv", "--trace", "failed")
    assert (done.stdout, done.stderr) == ("", "no run failed\n")


def test_runs_of_a_time_or_a_flow_may_be_chosen(path):
    recent = export(path, "collapsed", "--since", "1s")
    assert recent.stdout == ""
    assert re.search(
        r"^no run started in the last 1s; the newest started 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC$", recent.stderr, re.M
    )
    assert export(path, "collapsed", "--since", "5200w").stderr == ""
    assert "shop" in export(path, "collapsed", "--since", "5200w").stdout
    assert export(path, "csv", "--flow", "none", code=2).stderr == (
        "langflow-otel: --flow none: no run of it is in these files; there are runs of other, shop\n"
    )
    assert "--since 1y: a number and one of" in export(path, "csv", "--since", "1y", code=2).stderr


def test_json_is_a_span_a_line(path):
    spans = [json.loads(each) for each in export(path, "json", "--flow", "shop").stdout.splitlines()]

    assert [each["name"] for each in spans if each["what"] == "model"] == ["chat m"]
    assert spans[0]["attributes"]["gen_ai.operation.name"]
    assert (
        export(path, "speedscope", "--json", "--flow", "shop").stdout == export(path, "json", "--flow", "shop").stdout
    )


def test_collapsed_is_what_flame_graphs_read(path):
    """As flamegraph.pl splits a line: the count after the last space, frames at semicolons, none of them empty."""
    names = ["", ";", " ", "a 12", "b;c", "d\ne", "f\t"]
    path.write_text(
        line(
            span("invoke_workflow shop", 10, None, (0, 10), langflow__flow__name="shop", **OPERATION),
            *(span(name, 11 + at, 10, (at, at + 1)) for at, name in enumerate(names)),
        )
    )
    for each in export(path, "collapsed").stdout.splitlines():
        stack, _, count = each.rpartition(" ")
        assert count.isdigit()
        assert len(stack.split(";")) <= 2
        assert all(frame.strip() for frame in stack.split(";"))


def test_speedscope_is_a_sampled_profile_of_its_schema(path):
    """What https://www.speedscope.app/file-format-schema.json wants of a sampled profile."""
    data = json.loads(export(path, "speedscope").stdout)
    (profile,) = data["profiles"]

    assert {"$schema", "shared", "profiles"} <= set(data)
    assert {"type", "name", "unit", "startValue", "endValue", "samples", "weights"} <= set(profile)
    assert (profile["type"], profile["unit"]) == ("sampled", "microseconds")
    assert len(profile["samples"]) == len(profile["weights"])
    frames = data["shared"]["frames"]
    assert all(isinstance(each["name"], str) for each in frames)
    assert {number for sample in profile["samples"] for number in sample} == set(range(len(frames)))


def test_perfetto_has_the_fields_of_trace_events(path):
    """What the trace event format wants of complete events and of metadata."""
    for event in json.loads(export(path, "perfetto").stdout)["traceEvents"]:
        assert event["ph"] in ("X", "M")
        assert isinstance(event["pid"], int)
        if event["ph"] == "X":
            assert isinstance(event["tid"], int)
            assert min(event["ts"], event["dur"]) >= 0
            assert isinstance(event["args"], dict)


FORMULAS = ("=1+1", "+1", "-1", "@x", " \t=1", "\uff1d1", "\x00=1", "=" + "9" * 100_000)


def test_no_cell_is_a_formula(path):
    path.write_text(
        line(
            *(
                span(name, 10 + at, None, (at, at + 1), langflow__flow__name=name, **OPERATION)
                for at, name in enumerate(FORMULAS)
            )
        )
    )
    csv.field_size_limit(10**6)
    rows = list(csv.DictReader(io.StringIO(export(path, "csv").stdout)))

    assert len(rows) == len(FORMULAS)
    for row in rows:
        assert row["name"].startswith("'")
        for cell in row.values():
            assert not cell.lstrip().startswith(("=", "+", "@", "\uff1d"))


@pytest.mark.parametrize("output_format", ["collapsed", "speedscope", "perfetto", "csv", "json"])
def test_names_are_neither_control_codes_nor_formulas(path, output_format: str):
    path.write_text(line(span(HOSTILE, 10, None, (0, 10), langflow__flow__name=HOSTILE, **OPERATION)))
    text = export(path, output_format).stdout

    assert not {"\x1b", "\x9b", "\u202e", "\u2066"} & set(text)
    if output_format == "csv":
        (row,) = csv.DictReader(io.StringIO(text))
        assert (
            row["name"]
            == row["flow_name"]
            == "'" + HOSTILE.translate(dict.fromkeys(map(ord, "\x1b\x9b\n\u202e\u2066"), " "))
        )
    if output_format == "collapsed":
        assert len(text.splitlines()) == 1
        assert text.count(";") == 0


def test_what_cannot_be_is_one_line(path, tmp_path):
    assert export(path, "svg", code=2).stderr == (
        "langflow-otel: --format svg: accepted are speedscope, collapsed, perfetto, csv, json, parquet\n"
    )
    target = tmp_path / "no" / "out"
    assert export(path, "csv", "-o", str(target), code=2).stderr == (
        f"langflow-otel: {target} cannot be written: No such file or directory\n"
    )
