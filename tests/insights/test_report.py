"""What the report's page holds, without a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_traces import HOSTILE, NOW_S, Run, S, as_line, hostile_lines, made_lines, write
from typer.testing import CliRunner

from langflow_otel import _semconv as semconv
from langflow_otel.cli.main import app
from langflow_otel.insights._report import Report, build_report, render
from langflow_otel.insights._report import details as report_details
from langflow_otel.insights._report import figures as report_figures
from langflow_otel.insights._report.page import as_json
from langflow_otel.insights.selection import Selection
from langflow_otel.insights.traces import Traces, open_traces

pytestmark = pytest.mark.slow

RUNS = 60


class Page(HTMLParser):
    """The elements of a page and what is in them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.append("")
        self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data

    def all(self, tag: str) -> Iterator[tuple[dict[str, str | None], str]]:
        for (name, attributes), text in zip(self.tags, self.texts, strict=True):
            if name == tag:
                yield attributes, text


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("report") / "traces.jsonl", made_lines(RUNS, days=2))


@pytest.fixture(scope="module")
def traces(path: Path) -> Iterator[Traces]:
    with open_traces([path]) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(traces: Traces) -> Report:
    return build_report(traces)


@pytest.fixture(scope="module")
def page(report: Report) -> Page:
    return Page(render(report))


@pytest.fixture(scope="module")
def roots(path: Path) -> list[dict[str, Any]]:
    """The span of each run, as it is in the file."""
    return [json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for line in path.read_text().splitlines()]


def value(span: dict[str, Any], key: str) -> Any:
    found = [each["value"] for each in span["attributes"] if each["key"] == key]
    return next(iter(found[0].values())) if found else None


def test_figures_are_those_of_the_runs(report: Report, roots: list[dict[str, Any]]):
    everything = report.figures["all"]

    assert everything["runs"] == RUNS
    assert everything["errors"] == sum(value(root, "langflow.status") == "error" for root in roots)
    assert everything["input_tokens"] == sum(int(value(root, "langflow.usage.input_tokens") or 0) for root in roots)
    cost = sum(value(root, "langflow.cost.amount") or 0 for root in roots)
    assert everything["cost"] == {"USD": pytest.approx(cost, rel=1e-4)}
    durations = sorted(int(root["endTimeUnixNano"]) - int(root["startTimeUnixNano"]) for root in roots)
    assert everything["p50_s"] == pytest.approx((durations[RUNS // 2 - 1] + durations[RUNS // 2]) / 2e9, rel=1e-3)
    assert sum(flow["runs"] for flow in report.figures["flows"]) == RUNS


def test_figures_over_time_add_up_to_the_whole(report: Report):
    everything = report.data["overview"]["all"]

    for name in ("runs", "errors", "cancelled", "input", "output"):
        assert sum(everything["over"][name]) == everything[name]
    assert len(everything["over"]["runs"]) == report.data["overview"]["bins"]


def test_runs_are_listed_newest_first(report: Report, roots: list[dict[str, Any]]):
    listed = report.data["runs"]

    assert listed["trace"] == [root["traceId"] for root in reversed(roots)]
    assert listed["span"] == [root["spanId"] for root in reversed(roots)]
    flow = report.data["strings"][listed["flow"][0]]
    assert flow == value(roots[-1], "langflow.flow.name")


def test_every_span_of_a_run_is_there(report: Report, path: Path):
    written = {each["id"]: each for each in report.traces}

    assert len(written) == RUNS
    for line in path.read_text().splitlines()[:10]:
        spans = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
        trace = written[spans[0]["traceId"]]
        assert sorted(trace["spans"]["id"]) == sorted(span["spanId"] for span in spans)
        (index,) = [place for place, each in enumerate(trace["spans"]["id"]) if each == spans[0]["spanId"]]
        flat = [trace["strings"][place] for place in trace["spans"]["attributes"][index]]
        assert dict(zip(flat[::2], flat[1::2], strict=True))["langflow.run.id"] == value(spans[0], "langflow.run.id")


def test_critical_path_covers_the_run(report: Report):
    for trace in report.traces:
        path = sum(until - start for _, start, until in trace["path"])
        assert path == pytest.approx(trace["spans"]["duration"][trace["root"]], abs=2 * len(trace["path"]) + 2)


def test_langflows_own_span_is_not_on_the_critical_path(tmp_path: Path):
    run = Run(random.Random(1), NOW_S * S, "Orders", "orders")
    root_span = run.span("invoke_workflow Orders", gen_ai__operation__name="invoke_workflow")
    with root_span, run.component("Lookup", "Lookup", "tool"):
        run.work(1)
    batch = json.loads(as_line(run, "worker"))
    (scope,) = batch["resourceSpans"][0]["scopeSpans"]
    root = scope["spans"][0]
    beside = {**root, "spanId": "f" * 16, "parentSpanId": root["spanId"], "name": "flow.execute", "attributes": []}
    batch["resourceSpans"][0]["scopeSpans"].append({"scope": {"name": semconv.LANGFLOW_SCOPE}, "spans": [beside]})
    with open_traces([write(tmp_path / "traces.jsonl", [json.dumps(batch)])]) as opened:
        (trace,) = build_report(opened).traces
    names = [trace["strings"][place] for place in trace["spans"]["name"]]

    assert "flow.execute" in names
    assert {names[index] for index, start, until in trace["path"] if until > start} == {"component Lookup"}


def test_spans_are_kept_of_so_many_runs(traces: Traces, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report_details, "MAX_SPANS", 100)
    small = build_report(traces)

    assert 0 < small.data["details"]["spans"] <= 100
    assert len(small.traces) == len(small.data["details"]["traces"]) < RUNS
    assert len(small.data["runs"]["trace"]) == RUNS


def test_of_very_many_runs_the_newest_are_looked_into(traces: Traces, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report_figures, "MAX_LOOKED_INTO", 20)
    made = build_report(traces)
    newest = set(made.data["runs"]["trace"][:20])

    assert made.figures["all"]["runs"] == len(made.data["runs"]["trace"]) == RUNS
    assert made.figures["critical_path"]["runs"] == 20
    assert sum(each["runs"] for each in made.figures["sessions"]) <= 20
    assert {each["id"] for each in made.traces} == newest
    assert made.data["missing"][0][0] == "Spans of older runs."
    assert "newest 20 of 60 runs" in made.data["missing"][0][1]
    slowest = dict(zip(made.data["runs"]["trace"], made.data["runs"]["slowest"], strict=True))
    assert {trace for trace, place in slowest.items() if place is not None} <= newest


def test_large_trace_keeps_longest_spans_and_those_around(traces: Traces, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report_details, "MAX_SPANS_OF_A_TRACE", 4)
    cut = [each for each in build_report(traces).traces if each["left_out"]]

    assert cut
    for trace in cut:
        assert len(trace["spans"]["id"]) <= 4
        assert trace["spans"]["parent"].count(-1) == 1


def test_very_long_value_is_cut(traces: Traces, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(report_details, "MAX_TEXT", 40)
    texts = {text for trace in build_report(traces).traces for text in trace["strings"]}

    question = '[{"role": "user", "parts": [{"type": "te... ('
    assert any(text.startswith(question) and text.endswith("all of them are in the trace file)") for text in texts)
    assert max(map(len, texts)) < 40 + 80


def test_progress_reaches_the_end(traces: Traces):
    seen: list[tuple[int, int]] = []
    build_report(traces, on_progress=lambda done, total: seen.append((done, total)))

    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))


def test_report_of_one_flow(traces: Traces, roots: list[dict[str, Any]]):
    name = value(roots[0], "langflow.flow.name")
    chosen = build_report(traces, Selection(flow=name))

    assert chosen.figures["all"]["runs"] == sum(value(root, "langflow.flow.name") == name for root in roots)
    assert [flow["flow"] for flow in chosen.figures["flows"]] == [name]


def test_report_without_runs_says_so(traces: Traces):
    nothing = build_report(traces, Selection(until_ns=1))

    assert nothing.figures["all"] == {"runs": 0}
    assert nothing.traces == []
    assert "No runs" in render(nothing)


def test_flame_graphs_of_versions_share_their_frames(report: Report):
    flames, strings = report.data["flames"], report.data["strings"]
    titles = [strings[each["title"]] for each in flames["sets"] if each["title"] >= 0]

    assert sum(title.startswith("version ") for title in titles) == 2
    assert all(parent < node for node, parent in enumerate(flames["nodes"]["parent"]))
    whole = flames["sets"][0]
    assert whole["runs"] == RUNS
    assert whole["frames"]["node"][0] == 0


def test_what_is_not_recorded_is_said(report: Report):
    missing = dict(report.data["missing"])

    assert set(missing) == {"Messages of errors.", "Log lines."}
    assert "LANGFLOW_OTEL_ERROR_MESSAGES" in missing["Messages of errors."]


def test_page_loads_nothing(page: Page):
    (policy,) = (each["content"] for each, _ in page.all("meta") if "content" in each and "http-equiv" in each)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    for tag, attributes in page.tags:
        assert "src" not in attributes, tag
        assert attributes.get("href", "data:,") == "data:,"
        assert not [name for name in attributes if name.startswith("on") or name == "style"]


def test_policy_names_every_script_and_the_style(page: Page):
    (policy,) = (each["content"] for each, _ in page.all("meta") if "http-equiv" in each)
    code = [text for attributes, text in page.all("script") if "type" not in attributes]

    assert len(code) == 2
    for text in [*code, *(text for _, text in page.all("style"))]:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in str(policy)


def test_page_without_data_is_small(report: Report):
    data = len(as_json(report.data)) + sum(len(as_json(each)) for each in report.traces)

    assert len(render(report)) - data < 1_500_000


def test_own_code_makes_no_markup_of_texts():
    folder = Path(report_details.__file__).parent / "static"
    code = "\n".join(each.read_text("utf-8") for each in folder.glob("*.js"))

    assert len(code) > 10_000
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser|srcdoc"
    assert re.findall(forbidden, code) == []


def test_names_are_never_markup(tmp_path: Path, page: Page):
    path = write(tmp_path / "hostile.jsonl", hostile_lines())
    with open_traces([path]) as opened:
        hostile = Page(render(build_report(opened)))

    def kinds(of: Page) -> list[str]:
        return [tag for tag, attributes in of.tags if "id" not in attributes]

    assert kinds(hostile) == kinds(page)
    for attributes, text in hostile.all("script"):
        if attributes.get("type") == "application/json":
            assert "<" not in text
    (data,) = [json.loads(text) for attributes, text in hostile.all("script") if attributes.get("id") == "data"]
    assert set(HOSTILE) <= set(data["strings"])


def test_figures_of_hostile_names_are_plain_json(tmp_path: Path):
    path = write(tmp_path / "hostile.jsonl", hostile_lines())
    result = CliRunner().invoke(app, ["report", str(path), "--json"])

    assert result.exit_code == 0, result.output
    assert result.output.isascii()
    assert set(HOSTILE) & {each["flow"] for each in json.loads(result.stdout)["flows"]}


def test_half_a_character_is_written_all_the_same():
    assert json.loads(as_json(["\ud800", "</script>"])) == ["?", "</script>"]


def test_command_writes_the_page_for_its_owner(path: Path, tmp_path: Path):
    output = tmp_path / "out.html"
    result = CliRunner().invoke(app, ["report", str(path), "-o", str(output)])

    assert result.exit_code == 0, result.output
    assert f"{RUNS} runs" in result.output
    assert output.read_text("utf-8").startswith("<!doctype html>")
    assert output.stat().st_mode & 0o077 == 0


def test_command_prints_the_figures_as_json(path: Path):
    result = CliRunner().invoke(app, ["report", str(path), "--json", "--flow", "Greeter"])

    assert result.exit_code == 0, result.output
    assert [flow["flow"] for flow in json.loads(result.stdout)["flows"]] == ["Greeter"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--flow", "nothing"], "--flow nothing: no run of it is in these files; there are runs of"),
        (["--since", "yesterday"], "--since yesterday: a number and one of s, m, h, d, w is accepted, such as 24h"),
        (["-o", "/nowhere/report.html"], "/nowhere/report.html cannot be written: No such file or directory"),
    ],
)
def test_command_says_what_is_wrong(path: Path, arguments: list[str], said: str):
    result = CliRunner().invoke(app, ["report", str(path), *arguments])

    assert result.exit_code == 2
    assert said in result.output


def test_command_since_counts_from_now(path: Path):
    result = CliRunner().invoke(app, ["report", str(path), "--json", "--since", "1s"])

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["all"] == {"runs": 0}
