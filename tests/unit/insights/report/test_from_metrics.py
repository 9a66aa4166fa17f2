"""The report from metrics, without a server: what becomes of series, and of answers that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from langflow_otel._metrics import catalogue
from langflow_otel.cli.main import app
from langflow_otel.insights._report import Report, render, report_from_metrics
from langflow_otel.insights._report.from_metrics import bins_of
from langflow_otel.insights._report.metrics_data import Bins, Known, report_of
from langflow_otel.insights.figures import COMPONENT, FLOW, GROWN, LOOP, MODEL, Measured, Value, figures_of
from langflow_otel.insights.prometheus_source import Curve
from tests.unit.insights.test_prometheus_source import Server, result, serving

HOSTILE = "</script><script>alert(1)</script>\x1b[31m\u202e" + "x" * 100_000
ERRORS = catalogue.COMPONENT_ERRORS.prometheus_name
BYPASSED = catalogue.COMPONENT_BYPASSED.prometheus_name
INPUT, OUTPUT = catalogue.MODEL_INPUT_TOKENS.prometheus_name, catalogue.MODEL_OUTPUT_TOKENS.prometheus_name
COST = catalogue.COST.prometheus_name
MEMORY = catalogue.PROCESS_MEMORY_USAGE.prometheus_name


def value(number: float, **labels: str) -> Value:
    return Value(labels, number)


def model_labels(flow: str) -> dict[str, str]:
    return {"flow": flow, "gen_ai_provider_name": "openai", "gen_ai_request_model": "gpt-a"}


def grown(shop: str = "shop") -> dict[str, list[Value]]:
    """Ten runs of one flow, of which two failed and one was cancelled, and one of another."""
    calls, other = model_labels(shop), model_labels("chat")
    return {
        f"{FLOW}_count": [
            value(7, flow=shop, status="ok"),
            value(2, flow=shop, status="error"),
            value(1, flow=shop, status="cancelled"),
            value(1, flow="chat", status="ok"),
        ],
        f"{FLOW}_bucket": [
            value(10, flow=shop, le="1.0"),
            value(10, flow=shop, le="2.5"),
            value(10, flow=shop, le="+Inf"),
            value(0, flow="chat", le="1.0"),
            value(1, flow="chat", le="2.5"),
            value(1, flow="chat", le="+Inf"),
        ],
        f"{COMPONENT}_count": [
            value(8, flow=shop, component_type="Search", status="ok"),
            value(2, flow=shop, component_type="Search", status="error"),
        ],
        f"{COMPONENT}_sum": [value(6, flow=shop, component_type="Search")],
        f"{COMPONENT}_bucket": [
            value(10, flow=shop, component_type="Search", le="1.0"),
            value(10, flow=shop, component_type="Search", le="+Inf"),
        ],
        BYPASSED: [value(3, flow=shop, component_type="Branch", reason="skipped")],
        ERRORS: [value(2, flow=shop, component_type="Search", error_type="TimeoutError")],
        f"{MODEL}_count": [value(4, **calls), value(1, **calls, error_type="RateLimitError"), value(1, **other)],
        f"{MODEL}_bucket": [value(5, **calls, le="0.64"), value(5, **calls, le="+Inf")],
        INPUT: [value(500, **calls), value(100, **other)],
        OUTPUT: [value(50, **calls), value(10, **other)],
        COST: [
            value(0.25, flow=shop, model="gpt-a", provider="openai", currency="USD"),
            value(0.5, flow="chat", model="gpt-a", provider="openai", currency="USD"),
        ],
    }


def known(shop: str = "shop") -> Known:
    """An hour in four steps; all of the runs were in the third."""
    measured = Measured(3600, grown(shop), {MEMORY: [value(1000, instance="one", worker="7")]})
    bins = Bins(0, 900, 4)
    over = {
        name: [Curve(each.labels, [(2700.0, each.value)]) for each in measured.grown[name]]
        for name in (f"{FLOW}_count", f"{FLOW}_bucket", INPUT, OUTPUT, COST)
    }
    over[f"{LOOP}_bucket"] = [
        Curve({"le": "0.001"}, [(900.0, 5.0)]),
        Curve({"le": "0.005"}, [(900.0, 10.0)]),
        Curve({"le": "+Inf"}, [(900.0, 10.0)]),
    ]
    gauges: dict[tuple[str, str], list[Curve]] = {
        (gauge, each): []
        for gauge in (
            catalogue.PROCESS_CPU_UTILIZATION.prometheus_name,
            catalogue.FLOW_ACTIVE.prometheus_name,
            catalogue.SYSTEM_CPU_UTILIZATION.prometheus_name,
            catalogue.GPU_UTILIZATION.prometheus_name,
            catalogue.GPU_MEMORY_UTILIZATION.prometheus_name,
        )
        for each in ("highest", "median")
    }
    gauges[MEMORY, "highest"] = [Curve({}, [(900.0, 2000.0), (3600.0, 3000.0)])]
    gauges[MEMORY, "median"] = [Curve({}, [(900.0, 1000.0)])]
    return Known("http://prometheus", measured, figures_of(measured), bins, over, gauges)


@pytest.fixture(scope="module")
def report() -> Report:
    return report_of(known())


def test_plain_figures_are_those_of_the_series(report: Report):
    found = report.figures

    assert found["source"] == "metrics"
    assert found["all"] == {
        "runs": 11,
        "errors": 2,
        "cancelled": 1,
        "p50_s": pytest.approx(0.55),
        "p95_s": pytest.approx(1.675),
        "p99_s": pytest.approx(2.335),
        "input_tokens": 600,
        "output_tokens": 60,
        "cost": {"USD": 0.75},
    }
    shop, chat = found["flows"]
    assert (shop["flow"], shop["runs"], shop["input_tokens"], shop["cost"]) == ("shop", 10, 500, {"USD": 0.25})
    assert (chat["flow"], chat["runs"], chat["input_tokens"], chat["cost"]) == ("chat", 1, 100, {"USD": 0.5})
    (search, branch) = found["components"]
    assert (search["name"], search["count"], search["errors"], search["share"]) == ("Search", 10, 2, 1.0)
    assert (branch["name"], branch["count"], branch["skipped"], branch["p50_s"]) == ("Branch", 0, 3, None)
    (model,) = found["models"]
    assert (model["model"], model["calls"], model["errors"], model["cost"]) == ("gpt-a", 6, 1, {"USD": 0.75})
    (error,) = found["errors"]
    assert (error["error_type"], error["component"], error["count"]) == ("TimeoutError", "Search", 2)
    assert (found["critical_path"], found["sessions"]) == (None, None)


def test_figures_over_time_stand_in_their_step(report: Report):
    overview, strings = report.data["overview"], report.data["strings"]
    over = overview["all"]["over"]

    assert (overview["start_s"], overview["width_s"], overview["bins"]) == (0, 900, 4)
    assert over["runs"] == [0, 0, 11, 0]
    assert (over["errors"][2], over["cancelled"][2], over["input"][2]) == (2, 1, 600)
    assert over["p50"][:2] == [None, None]
    assert over["p50"][2] == pytest.approx(550)
    ((currency, amounts),) = over["costs"]
    assert (strings[currency], amounts) == ("USD", [0, 0, 0.75, 0])
    of_chat = next(each for each in overview["flows"] if strings[each["flow"]] == "chat")
    assert of_chat["over"]["runs"] == [0, 0, 1, 0]


def test_resources_are_curves_of_highest_and_median(report: Report):
    memory, loop = report.data["resources"]

    assert memory["over"] == {"highest": [2000, None, None, 3000], "median": [1000, None, None, None]}
    assert (loop["title"], loop["over"]["highest"][0], loop["over"]["median"][0]) == ("Event loop delay", 0.005, 0.001)


def test_models_of_each_flow_are_told_apart(report: Report):
    strings = report.data["strings"]
    calls = {each["flow"]: each["uses"]["calls"] for each in report.data["models"]}

    assert calls == {-1: [6], strings.index("shop"): [5], strings.index("chat"): [1]}


def test_what_needs_single_runs_is_not_there(report: Report):
    for part in ("runs", "flames", "critical", "sessions", "details"):
        assert report.data[part] is None
    assert report.data["missing"][0][0] == "Single runs."
    assert report.traces == []


def test_without_runs_there_are_no_figures():
    nothing = Known("http://p", Measured(60, {}, {}), figures_of(Measured(60, {}, {})), *_rest_of(known()))

    assert report_of(nothing).figures["all"] == {"runs": 0}
    assert report_of(nothing).data["overview"] == {"all": None, "flows": []}


def _rest_of(each: Known) -> tuple[Any, Any, Any]:
    return each.bins, each.over, each.gauges


def test_hostile_names_are_data_and_never_markup():
    made = report_of(known(HOSTILE))
    page = render(made)

    assert "<script>alert" not in page
    assert page.count("</script>") == render(report_of(known())).count("</script>")
    assert "\x1b" not in page
    assert HOSTILE in made.data["strings"]
    json.dumps(made.figures, allow_nan=False)


@pytest.mark.parametrize(
    ("seconds", "width_s", "count"),
    [(1, 15, 1), (50, 15, 4), (600, 15, 40), (3600, 30, 120), (86_400, 900, 96), (7 * 86_400, 10_800, 56)],
)
def test_steps_of_a_time_end_where_it_does(seconds: int, width_s: int, count: int):
    bins = bins_of(seconds, 1_000_000.0)

    assert (bins.width_s, bins.count) == (width_s, count)
    assert bins.start_s + bins.count * bins.width_s == 1_000_000.0
    assert [bins.place(bins.start_s + bins.width_s), bins.place(1_000_000.0)] == [0, count - 1]


class Source:
    """Answers from what is known."""

    url = "http://prometheus"

    def __init__(self) -> None:
        self.known = known()
        self.flows_asked: list[str | None] = []

    def measured(self, seconds: float, *, at_s: float, flow: str | None, details: bool) -> Measured:
        assert details
        return self.known.measured

    def flows(self, seconds: float, *, at_s: float) -> dict[str, float]:
        return {"chat": 1.0, "shop": 10.0, "idle": 0.0}

    def grown_over_time(
        self, counter: str, labels: Any, start_s: float, end_s: float, step_s: int, *, flow: str | None
    ) -> Any:
        self.flows_asked.append(flow)
        return self.known.over[counter]

    def gauge_over_time(
        self, gauge: str, over: str, together: str, start_s: float, end_s: float, step_s: int
    ) -> list[Curve]:
        return list(self.known.gauges[gauge, over])


def test_progress_reaches_the_end():
    seen: list[tuple[int, int]] = []
    report_from_metrics(Source(), 3600, on_progress=lambda done, total: seen.append((done, total)))  # type: ignore[arg-type]

    assert [done for done, _ in seen] == list(range(1, seen[0][1] + 1))


def test_flow_is_asked_for_where_the_counter_has_flows():
    source = Source()
    report_from_metrics(source, 3600, flow="shop")  # type: ignore[arg-type]

    assert source.flows_asked == ["shop"] * 5 + [None]


def command(*arguments: str, code: int = 2) -> Result:
    done = CliRunner().invoke(app, ["report", *arguments])
    assert done.exit_code == code, done.output
    return done


EMPTY = result()
MUCH = json.dumps({"status": "error", "error": "query processing would load too many samples into memory"})


@pytest.mark.parametrize(
    ("server", "line"),
    [
        (Server(401, "who are you"), "wants credentials (401)"),
        (Server(200, EMPTY), "has no series of langflow-otel in that time; is LangFlow scraped?"),
        (Server(200, "<html>hello"), "is no Prometheus API: what it answers is none of its results"),
        (Server(404, "not found"), "is no Prometheus API: it answers 404 Not Found"),
        (Server(422, MUCH), "too many samples into memory: ask for less time or one flow"),
        (Server(503, "later"), "it answers 503 Service Unavailable"),
    ],
)
def test_each_answer_that_is_none_is_one_line_and_code_2(server: Server, line: str, tmp_path: Path):
    output = tmp_path / "page.html"
    with serving(server):
        (said,) = command("--prometheus", server.url, "-o", str(output)).output.splitlines()

    assert said.startswith(f"langflow-otel: {server.url} ")
    assert said.endswith(line)
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--prometheus", "http://127.0.0.1:9"], "http://127.0.0.1:9 cannot be reached: nothing listens there"),
        (["--prometheus", "nothing"], "the address of a Prometheus is a URL such as http://localhost:9090"),
        (["--prometheus", "http://127.0.0.1:9", "--since", "0h"], "--since 0h: a number and one of s, m, h, d, w"),
        (["spans.jsonl", "--prometheus", "http://p"], "either trace files or --prometheus"),
        (
            ["--prometheus", "https://127.0.0.1:9", "--prometheus-ca-file", "/nowhere"],
            "/nowhere cannot be used as certificates to trust: No such file or directory",
        ),
        (
            ["--prometheus", "http://127.0.0.1:9", "--prometheus-token-file", "/nowhere"],
            "the file of the token cannot be read: No such file or directory",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_line(arguments: list[str], line: str):
    (said,) = command(*arguments).output.splitlines()

    assert said.startswith(f"langflow-otel: {line}")


def test_credentials_reach_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    server = Server(200, EMPTY)
    (tmp_path / "token").write_text("s3cr3t\n")
    with serving(server):
        done = command("--prometheus", server.url, "--prometheus-token-file", str(tmp_path / "token"))

    assert set(server.authorizations) == {"Bearer s3cr3t"}
    assert "s3cr3t" not in done.output


def test_more_is_asked_for_than_top_asks():
    """Each counter of figures is asked for once, and those of the details too."""
    server = Server(200, EMPTY)
    with serving(server):
        command("--prometheus", server.url, "--json")
    asked = " ".join(each["query"] for each in server.asked)

    for name in (*GROWN, ERRORS, BYPASSED):
        assert name in asked
