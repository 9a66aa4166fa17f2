"""Figures of counters and histograms, from scraped pages; and ``langflow-otel top``, which shows them."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from rich.console import Console

from langflow_otel._settings.settings import ScrapeSettings
from langflow_otel.cli import top, top_source
from langflow_otel.cli.main import app
from langflow_otel.cli.scraping import ScrapedPage, Scraper
from langflow_otel.cli.top_source import FromScrape, measured_between
from langflow_otel.cli.top_view import top_view
from langflow_otel.insights.figures import Figures, Percentiles, Value, figures_of, percentiles

FLOW = "langflow_flow_duration_seconds"
COMPONENT = "langflow_component_duration_seconds"


def histogram(name: str, labels: str, buckets: dict[str, float], total_s: float = 0.0) -> str:
    lines = [f'{name}_bucket{{{labels},le="{bound}"}} {count}' for bound, count in buckets.items()]
    count = list(buckets.values())[-1]
    return "\n".join([*lines, f"{name}_count{{{labels}}} {count}", f"{name}_sum{{{labels}}} {total_s}"])


def page(*parts: str) -> ScrapedPage:
    return ScrapedPage("\n".join([*parts, ""]))


def runs(ok: int, failed: int = 0, flow: str = "shop", started_s: float = 1000.0) -> str:
    """Half of the runs within 1 s, the rest within 2 s."""
    parts = [f"langflow_otel_start_time_seconds {started_s}"]
    for status, count in (("ok", ok), ("error", failed)):
        labels = f'flow="{flow}",status="{status}",entry_point="api"'
        parts.append(histogram(FLOW, labels, {"1.0": count / 2, "2.0": count, "+Inf": count}))
    return "\n".join(parts)


def figures(before: ScrapedPage | None, after: ScrapedPage, seconds: float = 60.0) -> Figures:
    return figures_of(measured_between(before, after, seconds))


# Percentiles


def test_percentiles_are_interpolated_within_their_bucket():
    found = percentiles([Value({"le": bound}, count) for bound, count in (("1", 10), ("2", 90), ("+Inf", 100))])

    assert found == Percentiles(1.5, 2.0, 2.0)


def test_buckets_of_several_series_are_added_up():
    series = [
        Value({"le": bound}, count) for bound, count in (("1.0", 5), ("+Inf", 5), ("1.0", 0), ("2.0", 5), ("+Inf", 5))
    ]

    assert percentiles(series).p50_s == 1.0


@pytest.mark.parametrize("counts", [[], [("1", 0), ("+Inf", 0)]])
def test_without_observations_there_are_no_percentiles(counts: list[tuple[str, float]]):
    assert percentiles([Value({"le": bound}, count) for bound, count in counts]) == Percentiles(None, None, None)


def test_empty_buckets_before_the_first_count_do_not_matter():
    counts = (("0.1", 0), ("1", 0), ("2", 4), ("+Inf", 4))

    assert percentiles([Value({"le": bound}, count) for bound, count in counts]).p50_s == 1.5


# Growth


def test_figures_are_of_what_grew_between_two_pages():
    found = figures(page(runs(10)), page(runs(16, 2)), seconds=4.0)

    assert (found.runs, found.failed, found.error_percent, found.throughput) == (8, 2, 25.0, 2.0)
    assert found.durations.p50_s == 1.0
    assert [(flow.flow, flow.runs) for flow in found.flows] == [("shop", 8)]


def test_without_a_page_before_all_since_the_start_counts():
    assert figures(None, page(runs(10, 10))).error_percent == 50.0


def test_a_counter_that_began_anew_counts_from_nothing():
    assert figures(page(runs(100)), page(runs(3))).runs == 3


def test_a_flow_that_is_new_counts_from_nothing():
    found = figures(page(runs(5)), page(runs(5), runs(2, flow="chat")))

    assert {flow.flow: flow.runs for flow in found.flows} == {"shop": 0, "chat": 2}


def test_cancelled_runs_are_runs_and_neither_well_nor_failed():
    labels = 'flow="shop",status="cancelled",entry_point="api"'
    found = figures(None, page(runs(1, 1), histogram(FLOW, labels, {"+Inf": 8})))

    assert (found.runs, found.error_percent) == (10, 50.0)


def test_components_come_by_their_share_of_the_time():
    fast, slow = (f'flow="shop",component_type="{name}",status="ok"' for name in ("Fast", "Slow"))
    found = figures(
        None, page(histogram(COMPONENT, fast, {"+Inf": 9}, 1.0), histogram(COMPONENT, slow, {"+Inf": 1}, 3.0))
    )

    assert [(each.component_type, each.share) for each in found.components] == [("Slow", 0.75), ("Fast", 0.25)]


def test_workers_queue_and_machine_are_in_it():
    text = """
process_cpu_utilization_ratio{worker="7"} 0.5
process_cpu_utilization_ratio{worker="8"} 0.25
process_memory_usage_bytes{worker="7"} 100
langflow_queue_depth{queue="jobs"} 3
langflow_queue_running{queue="jobs"} 1
langflow_flow_active{flow="shop",entry_point="api"} 2
langflow_flow_active{flow="shop",entry_point="mcp"} 1
system_cpu_utilization_ratio 0.9
hw_gpu_utilization_ratio{hw_id="a",hw_name="x"} 0.1
hw_gpu_utilization_ratio{hw_id="b",hw_name="x"} 0.7
"""
    found = figures(None, page(text))

    assert [(each.worker, each.cpu_utilization, each.memory_bytes) for each in found.workers] == [
        ("7", 0.5, 100.0),
        ("8", 0.25, None),
    ]
    assert (found.waiting, found.running, found.active) == (3, 1, 3)
    assert (found.system_cpu_utilization, found.gpu_utilization) == (0.9, 0.7)


def test_models_and_costs_are_in_it():
    labels = 'gen_ai_provider_name="openai",gen_ai_request_model="m"'
    text = f"""
gen_ai_client_inference_usage_input_tokens_total{{{labels}}} 70
gen_ai_client_inference_usage_output_tokens_total{{{labels}}} 30
langflow_cost_total{{flow="shop",model="m",provider="openai",currency="EUR"}} 1.5
gen_ai_client_inference_duration_seconds_count{{{labels}}} 3
gen_ai_client_inference_duration_seconds_count{{{labels},error_type="Timeout"}} 1
"""
    found = figures(None, page(text))
    (model,), (cost,) = found.models, found.costs

    assert (model.model, model.calls, model.failed, model.input_tokens, model.output_tokens) == ("m", 4, 1, 70, 30)
    assert (cost.flow, cost.amount, cost.currency) == ("shop", 1.5, "EUR")


class Pages:
    """An endpoint: each reading gives the next page, or fails with the error that stands in its place; the last one
    stays."""

    url = "http://x/metrics"

    def __init__(self, *found: str | OSError) -> None:
        self.found = list(found)

    def read(self) -> ScrapedPage:
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, OSError):
            raise found
        return page(found)


def test_the_window_moves_and_a_new_start_begins_it_anew():
    now_s = 1060.0
    pages = Pages(runs(10), runs(12), runs(15), runs(20), runs(1, started_s=1200.0), runs(4, started_s=1200.0))
    source = FromScrape(pages, window_s=20.0, clock=lambda: now_s)  # type: ignore[arg-type]
    seen = []
    for _ in range(4):
        found = source.read()
        seen.append((found.seconds, found.runs))
        now_s += 15.0
    now_s = 1210.0
    for _ in range(2):
        found = source.read()
        seen.append((found.seconds, found.runs))
        now_s += 15.0

    assert seen == [(60.0, 10), (15.0, 2), (30.0, 5), (30.0, 8), (10.0, 1), (15.0, 3)]


# What is shown


def shown(found: Figures, width: int, **kwargs: object) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=30, color_system=None)
    console.print(top_view(found, console, url="http://localhost:9464/metrics", **kwargs))  # type: ignore[arg-type]
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def many(count: int) -> str:
    names = (f'flow="shop",component_type="Type{number}",status="ok"' for number in range(count))
    return "\n".join(histogram(COMPONENT, labels, {"0.1": 1, "+Inf": 1}, 0.1) for labels in names)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_no_line_is_wider_than_the_terminal(width: int):
    found = figures(None, page(runs(10, 3, flow="a flow with a very long name " * 4), many(3)))
    lines = shown(found, width, problem="no answer for 12 s: " + "x" * 200, keys="q quits")

    assert max(map(len, lines)) <= width
    assert any("P95" in line and "Active" in line for line in lines)
    assert ("P50" in next(line for line in lines if "Active" in line)) == (width >= 100)
    assert lines[-1] == "q quits"


@pytest.mark.parametrize("height", [20, 24, 50])
def test_a_small_terminal_shows_the_first_rows(height: int):
    flows = [runs(10 - number % 5, flow=f"flow {number}") for number in range(20)]
    lines = shown(figures(None, page(*flows, many(40))), 80, height=height, keys="q quits")

    assert len(lines) <= height
    assert any(line.strip().endswith("more") for line in lines)


def test_names_are_neither_markup_nor_escapes():
    found = figures(None, page(runs(1, flow="[red]<b>\\u001b[2J".replace("\\u001b", "\x1b"))))
    text = "\n".join(shown(found, 120))

    assert "\x1b" not in text
    assert "[red]<b>" in text


def test_a_long_name_is_cut():
    found = figures(None, page(runs(1, flow="\u202e" + "x" * 100_000), many(1)))
    lines = shown(found, 80)

    assert max(map(len, lines)) <= 80
    assert "\u202e" not in "".join(lines)


def test_without_any_run_it_says_so():
    assert sum("none yet" in line for line in shown(figures(None, page("")), 80)) == 2


# The command


@contextmanager
def endpoint(answer: Callable[[], tuple[int, str]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answer()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def command(*args: str) -> int:
    try:
        app(["top", *args])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.parametrize(("given", "seconds"), [("60", 60), ("90s", 90), ("15m", 900), ("1h", 3600), ("1d", 86_400)])
def test_window_is_a_duration_as_users_write_it(given, seconds):
    assert top.window_of(given, most_s=top.MOST_S) == seconds


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("long", "--window long: a number and one of s, m, h, d, w is accepted, such as 24h"),
        ("1s", "--window 1s: 5s to 1d are accepted"),
        ("7d", "--window 7d: 5s to 1d are accepted; --prometheus knows more"),
        ("nan", "--window nan: 5s to 1d are accepted"),
    ],
)
def test_other_windows_are_one_line(given, said, capsys):
    assert command("--window", given, "--once") == 2
    assert capsys.readouterr().err == f"langflow-otel: {said}\n"


def test_window_of_a_prometheus_may_be_weeks():
    assert top.window_of("2w", most_s=top.MOST_OF_PROMETHEUS_S) == 14 * 86_400


def test_once_prints_the_figures_since_the_start(capsys):
    with endpoint(lambda: (200, runs(18, 2))) as url:
        assert command("--url", url, "--once") == 0

    text = capsys.readouterr().out
    assert re.search(r"runs 20 .*errors 10 %", text)
    assert "\x1b" not in text


def test_json_is_one_object(capsys):
    with endpoint(lambda: (200, runs(18, 2))) as url:
        assert command("--url", url, "--once", "--json") == 0

    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert (said["runs"], said["failed"], said["error"]) == (20, 2, None)
    assert said["flows"][0]["durations"]["p50_s"] == 1.0


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ((401, "no"), "cannot be read: 401 Unauthorized"),
        ((200, "<html>"), "cannot be read: what it says are no metrics"),
    ],
)
def test_what_is_no_page_of_metrics_is_one_line(capsys, answer: tuple[int, str], problem: str):
    with endpoint(lambda: answer) as url:
        assert command("--url", url, "--once") == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [f"langflow-otel: {url}/metrics {problem}"]


def test_an_address_that_is_none_is_one_line(capsys):
    assert [command("--url", url, "--once") for url in ("ftp://x", "localhost:9464", "http://")] == [2, 2, 2]
    assert set(capsys.readouterr().err.splitlines()) == {
        "langflow-otel: --url is the address of a scrape endpoint, such as http://localhost:9464/metrics"
    }


def test_the_settings_say_where_the_endpoint_is(monkeypatch, tmp_path):
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_HOST", "::1")
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "9999")
    wanted = top_source.Wanted(None, None, None, None, 2.0, 60.0)
    assert top_source.source_of(wanted).url == "http://[::1]:9999/metrics"

    monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_CERT_FILE", str(tmp_path / "cert.pem"))
    assert top_source.source_of(wanted).url == "https://[::1]:9999/metrics"


def screen(pages: Pages, looks: int = 0, every_s: float = 0.0) -> str:
    """What is drawn until the last page is read, and the keyboard was looked at so often; then q is pressed."""
    console = Console(file=io.StringIO(), width=100, height=24, force_terminal=True, color_system=None)
    source = FromScrape(pages, window_s=60.0)  # type: ignore[arg-type]
    looked = 0

    def key(timeout_s: float) -> str:
        nonlocal looked
        looked += 1
        time.sleep(0.001)
        return "q" if looked > looks and len(pages.found) == 1 else ""

    top._Screen(console, source, every_s, key).show()
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_q_ends_the_screen_and_leaves_the_terminal_as_it_was():
    text = screen(Pages(runs(5)))

    assert "langflow-otel top" in text
    assert text.index("\x1b[?1049h") < text.rindex("\x1b[?1049l")


def test_a_target_that_is_gone_is_shown_with_its_last_figures():
    pages = Pages(runs(5), *[ConnectionRefusedError(111, "Connection refused")] * 2, *[runs(9)] * 4)
    text = screen(pages, looks=20)

    assert re.search(r"no answer for \d+ s: http://x/metrics cannot be read: Connection refused", text)
    *_, last = text.split("langflow-otel top")
    assert "no answer" not in last


def test_a_screen_is_drawn_only_when_there_is_something_new():
    text = screen(Pages(runs(5)), looks=20, every_s=3600.0)

    assert text.count("langflow-otel top") == 1


def test_scraper_knows_https_without_a_certificate_of_its_own():
    scraper = Scraper("https://langflow.example:443/metrics", ScrapeSettings())

    assert type(scraper._connection()).__name__ == "HTTPSConnection"
    assert top_source.FromScrape(scraper, 60.0).url == "https://langflow.example:443/metrics"
