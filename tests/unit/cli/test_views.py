"""Trees and tables as they stand in a terminal, and the page that a table is made of."""

from __future__ import annotations

import io
import json
import logging
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from typer.testing import CliRunner

from langflow_otel._metrics import catalogue
from langflow_otel._metrics.endpoint import ScrapeEndpoint
from langflow_otel._metrics.exposition import Renderer
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._settings.settings import ScrapeSettings
from langflow_otel.cli.console import Warnings, in_bytes, in_percent, in_words
from langflow_otel.cli.demo.report import Figures, metrics_view, stats_view
from langflow_otel.cli.main import app
from langflow_otel.cli.scraping import ScrapedPage, Scraper, scrape_config, with_free_port
from langflow_otel.cli.trace_input import bytes_bar, steps_bar
from langflow_otel.cli.tree import tree_view
from langflow_otel.insights.components import shares_in_trees
from langflow_otel.insights.trace import SpanEvent, TraceSpan

MS = 1_000_000


def span(name: str, start_ms: float, end_ms: float, *children: TraceSpan, **attributes: object) -> TraceSpan:
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    start_ns, end_ns = int(start_ms * MS), int(end_ms * MS)
    return TraceSpan(name, "t", name, None, start_ns, end_ns, named, scope="langflow_otel", children=list(children))


def run() -> TraceSpan:
    lookup = span("component Lookup", 0, 500, span("query", 100, 200, table="orders"))
    lookup.attributes.update({"langflow.component.kind": "other", "langflow.component.id": "Lookup-1"})
    model = span(
        "component Model",
        500,
        1500,
        langflow__component__kind="llm",
        langflow__component__id="Model-1",
        langflow__status="error",
        error__type="TimeoutError",
        gen_ai__usage__input_tokens=3,
        gen_ai__usage__output_tokens=5,
        langflow__stream__chunk_count=7,
        langflow__stream__time_to_first_chunk=0.0204,
    )
    for component in (lookup, model):
        component.attributes["langflow.component.display_name"] = component.name.split()[1]
    model.events = [SpanEvent("exception", 0, {"exception.message": "too late\nreally"})]
    root = span("invoke_workflow demo", 0, 2000, lookup, model, langflow__flow__name="demo", langflow__status="error")
    root.attributes["error.type"] = "TimeoutError"
    skipped = {"langflow.component.id": "B-1", "langflow.component.display_name": "Branch"}
    root.events = [SpanEvent("component.skipped", 490 * MS, skipped)]
    return root


def shown(width: int, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding, write_through=True), width=width)
    console.print(tree_view(run(), console))
    return [line.rstrip() for line in raw.getvalue().decode(encoding).splitlines()]


def test_a_tree_with_its_waterfall():
    assert shown(84) == [
        "✗ invoke_workflow demo  TimeoutError                2.00 s  ━━━━━━━━━━━━━━━━━━━━━━━━",
        "├─ ✓ component Lookup                               500 ms  ━━━━━━",
        "│  └─ ✓ query  table=orders                         100 ms   ━╸",
        "├─ ○ component Branch  skipped",
        "└─ ✗ component Model                                1.00 s        ━━━━━━━━━━━━",
        "      TimeoutError: too late · tokens 3 in, 5 out · 7 chunks, first after 20 ms",
    ]


def test_facts_stand_beside_the_name_where_there_is_room():
    facts = "TimeoutError: too late · tokens 3 in, 5 out · 7 chunks, first after 20 ms"

    assert f"└─ ✗ component Model  {facts}" in "\n".join(shown(160))


def test_the_cost_stands_beside_the_tokens():
    tokens = {"langflow__usage__input_tokens": 3, "langflow__usage__output_tokens": 5}
    cost = {"langflow__cost__amount": 1.25e-05, "langflow__cost__currency": "USD"}
    console = Console(file=io.StringIO(), width=160)
    call = span("chat gpt", 0, 1, gen_ai__usage__input_tokens=3, **cost)
    flow = span("invoke_workflow demo", 0, 1, call, **tokens, **cost, langflow__cost__unpriced_calls=2)
    console.print(tree_view(flow, console))

    first, second, *_ = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "demo  tokens 3 in, 5 out · 0.0000125 USD, 2 calls without a price  " in first
    assert "gpt  tokens 3 in · 0.0000125 USD  " in second


def test_an_agent_that_was_stopped_is_told_from_one_that_answered():
    console = Console(file=io.StringIO(), width=160)
    console.print(tree_view(span("invoke_agent Agent", 0, 1, langflow__agent__stop_reason="iteration_limit"), console))

    assert "✓ invoke_agent Agent  stopped by iteration limit  " in console.file.getvalue()  # type: ignore[attr-defined]


def test_control_codes_in_names_do_not_reach_the_terminal():
    console = Console(file=io.StringIO(), width=84)
    console.print(tree_view(span("a\x1b[2Jb\nc", 0, 1, note="x\ny"), console))

    assert console.file.getvalue().startswith("✓ a [2Jb c  note=x y  ")  # type: ignore[attr-defined]


def test_what_does_not_fit_is_cut():
    assert shown(60)[-1] == "      TimeoutError: too late · tokens 3 in, 5 out · 7 chunk…"
    assert shown(60, "ascii")[-1].endswith("...")


def test_a_narrow_terminal_is_never_overrun():
    for width in (40, 60, 100):
        assert max(map(len, shown(width))) <= width


def test_a_terminal_without_unicode_gets_other_signs():
    assert shown(84, "ascii")[:4] == [
        "x invoke_workflow demo  TimeoutError                2.00 s  ========================",
        "|- + component Lookup                               500 ms  ======",
        "|  `- + query  table=orders                         100 ms   ==",
        "|- o component Branch  skipped",
    ]


def test_the_table_of_components():
    console = Console(file=io.StringIO(), width=100)
    console.print(stats_view(shares_in_trees([run()]), console))
    lines = [line.strip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]

    assert lines[1:-1] == [
        "Component   Runs   Errors   Skipped      P50      P95   Share of time",
        "─────────────────────────────────────────────────────────────────────",
        "Model          1        1             1.00 s   1.00 s    67% ━━━━━━━━",
        "Lookup         1        0             500 ms   500 ms    33% ━━━━",
        "Branch         0        0         1        -        -     0%",
    ]


def test_durations_in_words():
    told = [in_words(seconds) for seconds in (None, 0, 0.00009, 0.0004, 0.00994, 0.087, 0.9994, 1.234, 75)]

    assert told == ["-", "<0.1 ms", "<0.1 ms", "0.4 ms", "9.9 ms", "87 ms", "999 ms", "1.23 s", "75.00 s"]


def test_each_kind_of_warning_is_written_once_and_short():
    written: list[str] = []
    handler = Warnings(written.append)
    exporter = {"name": "opentelemetry.exporter", "levelno": logging.WARNING, "msg": "retrying in %s"}
    for wait_s in (1, 2):
        handler.handle(logging.makeLogRecord({**exporter, "args": (wait_s,)}))
    for text in ("a", "b", "b", "x" * 900):
        handler.handle(logging.makeLogRecord({"name": "langflow_otel", "msg": "%s", "args": (text,)}))

    assert written[:3] == ["warning: retrying in 1\n", "warning: a\n", "warning: b\n"]
    assert len(written) == 4
    assert len(written[3]) == len("warning: \n") + 240


def test_percents_and_sizes_in_words():
    percents = [in_percent(value) for value in (0, 0.04, 0.1, 5, 9.94, 9.96, 33.3, 100)]
    sizes = [in_bytes(size) for size in (0, 1023, 1024, 1536, 240_000_000, 5.5e9, 3e13)]

    assert percents == ["0 %", "<0.1 %", "0.1 %", "5.0 %", "9.9 %", "10 %", "33 %", "100 %"]
    assert sizes == ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "229 MiB", "5.1 GiB", "27940 GiB"]


LONG = 'b "c" with a name that is long'
PAGE = """# HELP langflow_flow_duration_seconds Duration
# TYPE langflow_flow_duration_seconds histogram
langflow_flow_duration_seconds_count{flow="a",status="ok",entry_point="cli"} 1400.0
langflow_flow_duration_seconds_count{flow="b",status="ok",entry_point="cli"} 4.0
langflow_flow_duration_seconds_count{flow="b",status="error",entry_point="cli"} 2.0
langflow_throughput 0.0833333
langflow_error_rate 40.0
langflow_flow_duration_ema_seconds{flow="a"} 0.0871
langflow_flow_duration_ema_seconds{flow="b \\"c\\" with a name that is long"} 1.5
langflow_component_failure_ratio{component_type="Model"} 0.0
langflow_component_failure_ratio{component_type="Search"} 0.02
langflow_component_failure_ratio{component_type="Agent"} 0.5
gen_ai_client_inference_usage_input_tokens_total{gen_ai_request_model="x"} 1000.0
gen_ai_client_inference_usage_input_tokens_total{gen_ai_request_model="y"} 234.0
process_memory_usage_bytes 240000000.0
"""


def metrics_shown(width: int, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding, write_through=True), width=width)
    console.print(metrics_view(Figures(ScrapedPage(PAGE), 1.25, 60.0), console))
    return [line.rstrip() for line in raw.getvalue().decode(encoding).splitlines() if line.strip()]


def test_the_table_of_metrics():
    header, rule, *lines = metrics_shown(140)

    assert header.split() == ["Metric", "Value", "In", "the", "scrape"]
    assert set(rule) == {" ", "─"}
    assert [tuple(re.split(r"\s{2,}", line.strip())) for line in lines] == [
        ("Flow runs", "1,406", "langflow_flow_duration_seconds_count"),
        ("Flow runs that failed", "2", 'langflow_flow_duration_seconds_count{status="error"}'),
        ("Throughput, last 60 s", "0.08 runs/s", "langflow_throughput"),
        ("Error rate, last 60 s", "40 %", "langflow_error_rate"),
        ("Run time, a", "87 ms avg", 'langflow_flow_duration_ema_seconds{flow="a"}'),
        (f"Run time, {LONG}", "1.50 s avg", f"langflow_flow_duration_ema_seconds{{flow={json.dumps(LONG)}}}"),
        ("Failures, Agent", "50 %", 'langflow_component_failure_ratio{component_type="Agent"}'),
        ("Failures, Search", "2.0 %", 'langflow_component_failure_ratio{component_type="Search"}'),
        ("CPU saturation, highest", "1.25 runs/core", "langflow_cpu_saturation_ratio"),
        ("Tokens in", "1,234", "gen_ai_client_inference_usage_input_tokens_total"),
        ("Memory", "229 MiB", "process_memory_usage_bytes"),
    ]


def test_a_table_of_metrics_where_there_is_less_room():
    assert metrics_shown(80)[2:8] == [
        " Flow runs                1,406            langflow_flow_duration_seconds_count",
        " Flow runs that failed        2            langflow_flow_duration_seconds_count",
        " Throughput, last 60 s     0.08 runs/s     langflow_throughput",
        " Error rate, last 60 s       40 %          langflow_error_rate",
        " Run time, a                 87 ms avg     langflow_flow_duration_ema_seconds",
        ' Run time, b "c" with a…   1.50 s avg      langflow_flow_duration_ema_seconds',
    ]
    assert metrics_shown(80)[-2:] == [
        " Tokens in                1,234",
        " Memory                     229 MiB        process_memory_usage_bytes",
    ]
    assert metrics_shown(50)[2:8] == [
        " Flow runs                      1,406",
        " Flow runs that failed              2",
        " Throughput, last 60 s           0.08 runs/s",
        " Error rate, last 60 s             40 %",
        " Run time, a                       87 ms avg",
        ' Run time, b "c" with a name …   1.50 s avg',
    ]
    for width in (40, 50, 60, 80, 100, 120):
        assert max(map(len, metrics_shown(width))) <= width


def test_a_table_of_metrics_without_unicode():
    assert all(line.isascii() for line in metrics_shown(80, "ascii"))


def test_a_page_without_runs_has_a_table():
    console = Console(file=io.StringIO(), width=100)
    console.print(metrics_view(Figures(ScrapedPage(""), None, 300.0), console))

    assert [line.split() for line in console.file.getvalue().splitlines() if "," in line] == [  # type: ignore[attr-defined]
        ["Throughput,", "last", "300", "s", "0.00", "runs/s", "langflow_throughput"],
        ["Error", "rate,", "last", "300", "s", "0", "%", "langflow_error_rate"],
    ]


def test_a_page_is_read_as_prometheus_reads_it():
    flows = ["plain", 'quote " end', "back\\slash", "new\nline", "brace} 1", 'comma,x="y"', "é"]
    store = MemoryStore()
    for number, flow in enumerate(flows):
        store.series(catalogue.FLOW_ACTIVE, (flow, "cli")).cells[0] = number
    text = "".join(Renderer().slices(scrape_of(store).families(), openmetrics=False))
    theirs = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }

    page = ScrapedPage(text)
    assert len(theirs) >= 8
    for (name, labels), value in theirs.items():
        assert [each.value for each in page.series(name) if each.labels == dict(labels)] == [value]
    assert page.total("langflow_flow_active") == 21
    assert page.total("langflow_flow_active", flow="new\nline") == 3
    assert page.total("langflow_flow_active", flow="none") is None


def scrape_of(store: MemoryStore) -> Scrape:
    return Scrape(store, own_pid=1, window_s=60, cores=1, read=lambda pids: [], info={"service_name": "s"})


@contextmanager
def endpoint(**settings: Any) -> Iterator[Scraper]:
    given = ScrapeSettings(port=0, **settings)
    served = ScrapeEndpoint(given, scrape_of(MemoryStore()))
    try:
        yield Scraper(served.url, given)
    finally:
        served.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "0.0.0.0"])
def test_a_scraper_finds_its_endpoint(host: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:9")
    with endpoint(host=host) as scraper:
        assert scraper.read().total("target_info") == 1
        assert scraper.url.startswith("http://127.0.0.1:" if host == "0.0.0.0" else f"http://{host}:")
    with pytest.raises(OSError):
        scraper.read()


def test_a_scraper_brings_the_token(tmp_path: Path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with endpoint(token_file=token) as scraper:
        assert scraper.read().total("target_info") == 1
        scraper = Scraper(scraper.url, ScrapeSettings())
        with pytest.raises(OSError, match="401 Unauthorized"):
            scraper.read()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with the command openssl")
def test_a_scraper_trusts_the_endpoints_own_certificate(tmp_path: Path):
    certificate, other = (self_signed(tmp_path / name) for name in ("own", "other"))
    with endpoint(cert_file=certificate) as scraper:
        assert scraper.url.startswith("https://localhost:")
        assert scraper.read().total("target_info") == 1
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            Scraper(scraper.url, ScrapeSettings(cert_file=other)).read()


def top(url: str) -> Result:
    return CliRunner().invoke(app, ["top", "--url", url, "--once"])


def test_top_brings_the_token_and_shows_a_page_without_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    with endpoint(token_file=token) as scraper:
        refused = top(scraper.url)
        assert refused.exit_code == 2
        assert refused.stderr == f"langflow-otel: {scraper.url} cannot be read: 401 Unauthorized\n"
        monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_TOKEN_FILE", str(token))
        shown = top(scraper.url)

    assert shown.exit_code == 0, shown.output
    assert shown.stdout.count("none yet") == 2
    assert "s3cret" not in shown.output + refused.output


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with the command openssl")
def test_top_trusts_the_endpoints_own_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    certificate = self_signed(tmp_path / "own")
    with endpoint(cert_file=certificate) as scraper:
        refused = top(scraper.url)
        assert refused.exit_code == 2
        assert f"{scraper.url} cannot be read: its certificate is not trusted: self" in refused.stderr
        monkeypatch.setenv("LANGFLOW_OTEL_SCRAPE_CERT_FILE", str(certificate))
        assert top(scraper.url).exit_code == 0
    with endpoint() as scraper:
        secured = scraper.url.replace("http:", "https:")
        assert top(secured).stderr == (
            f"langflow-otel: {secured} cannot be read: it does not speak TLS: is it http:// ?\n"
        )


def self_signed(path: Path) -> Path:
    command = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN=elsewhere"
    key = path.with_suffix(".key")
    subprocess.run([*command.split(), "-keyout", key, "-out", path], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


@pytest.mark.parametrize("bar", [bytes_bar, steps_bar])
def test_a_progress_bar_is_for_terminals(bar: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with bar("reading") as on_progress:
        assert on_progress is None
    assert capsys.readouterr() == ("", "")

    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr("langflow_otel.cli.trace_input.make_console", lambda *, stderr: console)
    with bar("reading") as on_progress:
        on_progress(5, 10)
        on_progress(10, 10)
    assert "reading" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_port_that_is_taken_becomes_any_port():
    with socket.create_server(("127.0.0.1", 0)) as holder:
        wanted = ScrapeSettings("127.0.0.1", holder.getsockname()[1])
        assert with_free_port(wanted) == replace(wanted, port=0)
    assert with_free_port(wanted) == wanted
    with pytest.raises(OSError):
        with_free_port(ScrapeSettings("192.0.2.1"))


def test_what_prometheus_is_told():
    assert scrape_config(Scraper("http://localhost:9464/metrics", ScrapeSettings()), ScrapeSettings()).splitlines() == [
        "scrape_configs:",
        "  - job_name: langflow",
        "    scrape_interval: 5s",
        "    static_configs:",
        '      - targets: ["localhost:9464"]',
    ]


def test_what_prometheus_is_told_of_a_secured_endpoint_on_all_interfaces():
    settings = ScrapeSettings(token_file=Path("/etc/token"), cert_file=Path("/etc/cert.pem"))

    assert scrape_config(Scraper("https://[::]:9464/metrics", settings), settings).splitlines()[3:] == [
        "    scheme: https",
        "    tls_config: {ca_file: /etc/cert.pem}",
        "    authorization: {credentials_file: /etc/token}",
        "    static_configs:",
        f'      - targets: ["{socket.gethostname()}:9464"]',
    ]
