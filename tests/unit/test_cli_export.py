"""``langflow-otel export``: what other programs get, without codes for terminals and spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from langflow_otel.cli.main import app

from .test_cli_tree import line, run, span

HOSTILE = '=HYPERLINK("http://x")\x1b[31m;\n<script>'
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
    assert export(path, "collapsed", "--trace", f"{9:032x}").stdout == ""


@pytest.mark.parametrize("output_format", ["collapsed", "speedscope", "perfetto", "csv"])
def test_names_are_neither_control_codes_nor_formulas(path, output_format: str):
    path.write_text(line(span(HOSTILE, 10, None, (0, 10), langflow__flow__name=HOSTILE, **OPERATION)))
    text = export(path, output_format).stdout

    assert "\x1b" not in text
    if output_format == "csv":
        (row,) = csv.DictReader(io.StringIO(text))
        assert row["name"] == row["flow_name"] == "'" + '=HYPERLINK("http://x") [31m;  <script>'.replace("  ", " ")
    if output_format == "collapsed":
        assert len(text.splitlines()) == 1
        assert text.count(";") == 0


def test_what_cannot_be_is_one_line(path, tmp_path):
    assert export(path, "svg", code=2).stderr == (
        "langflow-otel: --format svg: accepted are speedscope, collapsed, perfetto, csv, parquet\n"
    )
    target = tmp_path / "no" / "out"
    assert export(path, "csv", "-o", str(target), code=2).stderr == (
        f"langflow-otel: {target} cannot be written: No such file or directory\n"
    )
