"""``langflow-otel tree`` on files in every state."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from langflow_otel.cli.main import app
from langflow_otel.insights._reading import trace_search

S = 1_000_000_000
START_S = 1_790_000_000
HOSTILE = "<script>alert(1)</script>\x1b[31mred\x1b[0m\r\nnext [bold]x[/bold] \u202e \U0001f600"


def attribute(key: str, value: Any) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def span(name: str, number: int, parent: int | None, times_s: tuple[float, float], **attributes: str) -> dict[str, Any]:
    trace = number // 10
    return {
        "traceId": f"{trace + 1:032x}",
        "spanId": f"{number + 1:016x}",
        **({} if parent is None else {"parentSpanId": f"{parent + 1:016x}"}),
        "name": name,
        "startTimeUnixNano": str(int((START_S + times_s[0]) * S)),
        "endTimeUnixNano": str(int((START_S + times_s[1]) * S)),
        "attributes": [attribute(key.replace("__", "."), value) for key, value in attributes.items()],
    }


def run(
    trace: int, start_s: float, duration_s: float, *, status: str = "ok", entry: str = "api", name: str = "shop"
) -> str:
    """The line of a run with one component."""
    number, end_s = 10 * trace, start_s + duration_s
    facts = {"langflow__status": status, "langflow__flow__name": name}
    operation = {"gen_ai__operation__name": "invoke_workflow", "langflow__entry_point": entry}
    return line(
        span(f"component {name}", number + 1, number, (start_s, end_s), langflow__component__kind="other", **facts),
        span(f"invoke_workflow {name}", number, None, (start_s, end_s), **operation, **facts),
    )


def line(*spans: dict[str, Any], scope: str = "langflow_otel") -> str:
    scopes = [{"scope": {"name": scope}, "spans": list(spans)}]
    return json.dumps({"resourceSpans": [{"scopeSpans": scopes}]}) + "\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "spans.jsonl"
    path.write_text(
        run(1, 0, 2, status="error", name="failed") + run(2, 10, 9, name="slow") + run(3, 30, 1, name="new")
    )
    return path


def tree(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["tree", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def flow_of(result: Result) -> str:
    return next(row for row in result.stdout.splitlines() if "invoke_workflow" in row).split()[2]


@pytest.mark.parametrize(
    ("which", "flow"), [("last", "new"), ("slowest", "slow"), ("failed", "failed"), (f"{3:032X}", "slow")]
)
def test_the_trace_that_was_asked_for_is_shown(path, which: str, flow: str):
    result = tree(which, path)

    assert flow_of(result) == flow
    assert f"component {flow}" in result.stdout
    assert result.stderr == ""


def test_without_a_name_it_is_the_last_of_the_file_in_the_environment(path, monkeypatch):
    monkeypatch.setenv("LANGFLOW_OTEL_TRACE_FILE", str(path))

    assert flow_of(tree()) == "new"
    monkeypatch.delenv("LANGFLOW_OTEL_TRACE_FILE")
    assert flow_of(tree(path)) == "new"
    assert tree(code=2).stderr == ("langflow-otel: no trace files: name some, or set LANGFLOW_OTEL_TRACE_FILE\n")


def test_the_last_run_may_be_in_any_file(path):
    Path(f"{path}.1").write_text(run(4, 100, 1, name="other"))

    assert flow_of(tree("last", path)) == "other"


def test_a_run_that_a_flow_started_is_not_the_last(path):
    with path.open("a") as file:
        file.write(run(5, 100, 1, entry="flow", name="inner"))

    assert flow_of(tree("last", path)) == "new"


def test_a_trace_is_put_together_from_all_files(path):
    extra = span("chat m", 32, 31, (30, 30.5), gen_ai__operation__name="chat")
    with gzip.open(f"{path}.1.gz", "wt") as file:
        file.write(line(extra) + line(extra))

    result = tree("last", path)
    assert len([row for row in result.stdout.splitlines() if "chat m" in row]) == 1


def test_a_trace_without_its_root_is_shown(path):
    path.write_text(line(span("component a", 12, 10, (0, 1)), span("chat m", 13, 12, (0, 1))))

    result = tree("last", path)
    assert "chat m" in result.stdout
    assert result.stderr == "the span above component a is not in the files\n"


def test_json_has_the_whole_tree(path):
    (root,) = json.loads(tree("last", path, "--json").stdout)

    assert (root["name"], root["children"][0]["name"]) == ("invoke_workflow new", "component new")


@pytest.mark.parametrize("which", ["last", "slowest"])
def test_hostile_names_neither_colour_nor_move_anything(path, which: str):
    path.write_text(run(1, 0, 1, name=HOSTILE))

    shown = tree(which, path).stdout
    assert "<script>alert(1)</script> [31mred [0m  next [bold]x" in shown
    assert not {"\x1b", "\r", "\u202e"} & set(shown)


def test_long_names_are_cut_and_json_has_them_whole(path):
    name = "x" * 100_000
    path.write_text(line(span(name, 12, 10, (0, 1)), span(HOSTILE, 13, 12, (0, 1))))

    shown = tree("last", path)
    assert len(shown.stdout) + len(shown.stderr) < 2000
    as_data = tree("last", path, "--json").stdout
    assert as_data.isascii()
    assert [json.loads(as_data)[0]["name"], json.loads(as_data)[0]["children"][0]["name"]] == [name, HOSTILE]


def test_what_is_no_trace_is_not_repeated_at_length(path):
    assert len(tree("\x1b[31m" + "x" * 100_000, path, code=2).stderr) < 500


def test_without_a_failure_json_is_empty(path):
    path.write_text(run(1, 0, 1))

    assert json.loads(tree("failed", path, "--json").stdout) == []
    done = CliRunner().invoke(app, ["why", "failed", str(path), "--json"])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "null\n", "no run failed\n")
    done = CliRunner().invoke(app, ["why", "failed", str(path)])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "no run failed\n")


@pytest.mark.parametrize("which", ["last", "slowest"])
def test_lines_that_cannot_be_read_are_counted(path, which: str):
    with path.open("a") as file:
        file.write("hello\n{\n" + '{"resourceLogs": []}\n')

    errors = tree(which, path).stderr
    assert "2 lines not read: not JSON" in errors
    assert "1 line not read: metrics or log records" in errors


@pytest.mark.parametrize("which", ["last", "slowest", "failed", f"{9:032x}"])
@pytest.mark.parametrize("content", ["", "\n\n", "hello\n", "{}\n", '{"resourceLogs": []}\n', "\x00" * 1000])
def test_a_file_without_spans_is_one_line_and_code_2(path, which: str, content: str):
    path.write_text(content)

    errors = tree(which, path, code=2).stderr.splitlines()
    assert errors[-1].startswith(f"langflow-otel: {path}: ")


@pytest.mark.parametrize("which", ["last", "slowest"])
def test_a_file_that_is_not_there(tmp_path, which: str):
    errors = tree(which, tmp_path / "no.jsonl", code=2).stderr

    assert errors == f"langflow-otel: {tmp_path / 'no.jsonl'} cannot be read: No such file or directory\n"


def test_what_is_no_trace_is_said(path):
    assert tree("fastest", path, code=2).stderr == (
        "langflow-otel: fastest is no file, no trace id, and none of last, slowest, failed\n"
    )
    assert (
        tree("0000000000", path, code=2).stderr == "langflow-otel: 3 traces begin with 0000000000: give more digits\n"
    )
    assert tree(f"{9:032x}", path, code=2).stderr == f"langflow-otel: {path}: there is no trace {9:032x}\n"


def test_without_a_failure_that_is_said(path):
    path.write_text(run(1, 0, 1))

    assert tree("failed", path).stderr == "no run failed\n"
    path.write_text(line(span("GET /", 1, None, (0, 1)), scope="other"))
    assert tree("failed", path, code=2).stderr.endswith("there is no run of a flow in the files\n")
    assert "GET /" in tree("last", path).stdout


@pytest.mark.parametrize("which", ["last", f"{3:032x}"])
@pytest.mark.parametrize("name", ["spans.jsonl", "spans.jsonl.gz"])
def test_a_line_that_is_still_being_written_is_no_bad_one(tmp_path, which, name):
    # The id that is searched for is in what is unfinished as well.
    unfinished = run(3, 20, 21)[:-40].replace(f"{4:032x}", f"{3:032x}", 1)
    text = run(1, 0, 1) + run(2, 10, 12) + unfinished
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())

    assert tree(which, path).stderr == (
        "warning: 1 line not read: cut off at the end of the file, or still being written\n"
    )


@pytest.mark.parametrize("which", ["last", f"{3:032x}"])
def test_a_trace_in_a_very_long_line_is_shown(path, which, monkeypatch):
    path.write_text(run(1, 0, 1) + run(2, 10, 12))
    usual = tree(which, path).stdout
    monkeypatch.setattr(trace_search, "MAX_SLOW_BYTES", 100)

    assert tree(which, path).stdout == usual


WITHOUT_EXTRA = """
import sys
sys.modules["duckdb"] = sys.modules["pyarrow"] = None
from langflow_otel.cli.main import main
main()
"""


WITHOUT_PYARROW = WITHOUT_EXTRA.replace('sys.modules["duckdb"] = ', "")


def test_pyarrow_is_needed_for_what_was_not_read_before(path):
    def cli() -> Any:
        command = [sys.executable, "-c", WITHOUT_PYARROW, "tree", "slowest", str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    result = cli()
    assert result.returncode == 2
    assert result.stderr == (
        "langflow-otel: pyarrow is not installed; this needs: pip install 'langflow-otel[insights]'\n"
    )
    tree("slowest", path)
    assert "invoke_workflow slow" in cli().stdout


def test_without_the_extra_only_some_need_it(path):
    def cli(which: str) -> Any:
        command = [sys.executable, "-c", WITHOUT_EXTRA, "tree", which, str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert "invoke_workflow new" in cli("last").stdout
    result = cli("slowest")
    assert result.returncode == 2
    assert result.stderr == (
        "langflow-otel: duckdb is not installed; this needs: pip install 'langflow-otel[insights]'\n"
    )
