"""The report as its reader sees it: in headless Chromium, opened as a file."""

from __future__ import annotations

import random
import shutil
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from made_traces import HOSTILE, NOW_S, Run, S, as_line, hostile_lines, made_lines, write

pytest.importorskip("playwright", reason="this test drives a browser: pip install playwright")
from playwright.sync_api import Browser, Page, sync_playwright

from langflow_otel.insights._report import Report, build_report, render
from langflow_otel.insights.traces import open_traces

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_PATIENCE_MS = 60_000
RUNS = 125
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
"""By how much the page is wider than the window."""
VIEWS = ("overview", "runs", "flame", "components", "critical", "errors", "models", "sessions", "data")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


def made_report(folder: Path, lines: Iterator[str]) -> Report:
    with open_traces([write(folder / "traces.jsonl", lines)]) as traces:
        return build_report(traces)


def page_of(report: Report, folder: Path) -> str:
    (folder / "report.html").write_text(render(report), "utf-8")
    return (folder / "report.html").as_uri()


def made_page(folder: Path, lines: Iterator[str]) -> str:
    return page_of(made_report(folder, lines), folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return made_report(tmp_path_factory.mktemp("report"), made_lines(RUNS, days=2))


@pytest.fixture(scope="module")
def url(report: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(report, tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window in which nothing may go wrong, and that may ask for nothing but the file."""
    yield from window(browser)


@pytest.fixture
def dark_page(browser: Browser) -> Iterator[Page]:
    yield from window(browser, color_scheme="dark")


@pytest.fixture
def narrow_page(browser: Browser) -> Iterator[Page]:
    yield from window(browser, viewport={"width": 400, "height": 800})


def window(browser: Browser, **options: Any) -> Iterator[Page]:
    context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}, **options})
    page = context.new_page()
    page.set_default_timeout(_PATIENCE_MS)
    problems: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    yield page
    assert problems == []
    assert [each for each in asked if not each.startswith(("file:", "data:"))] == []
    context.close()


def opened(page: Page, url: str, view: str = "overview") -> None:
    page.goto(f"{url}#/{view}")
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector(f"main.view-{view.split('?')[0].split('/')[0]}")


def cut_off(page: Page, selector: str) -> list[str]:
    """What is there, and does not fit."""
    assert page.locator(selector).count() > 0
    return page.evaluate(
        "(selector) => [...document.querySelectorAll(selector)].filter((each) => each.scrollWidth > each.clientWidth)"
        ".map((each) => each.textContent)",
        selector,
    )


def wait_until(page: Page, expression: str) -> None:
    """Playwright's own way needs eval, which the page does not allow."""
    deadline = time.monotonic() + _PATIENCE_MS / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)


def rows(page: Page) -> Any:
    return page.locator("main tbody tr.opens")


def test_every_view_is_shown(page: Page, url: str):
    for view in VIEWS:
        opened(page, url, view)
        assert page.locator("main h1").inner_text()
        assert page.locator("nav a[aria-current]").get_attribute("data-view") == view
        assert page.locator("main .panel, main table").count() >= 1, view
        assert page.evaluate(WIDER) <= 0, view


def test_views_are_reached_by_click_and_key(page: Page, url: str):
    opened(page, url)
    page.get_by_role("link", name="Components").first.click()
    page.wait_for_selector("main.view-components")
    page.keyboard.press("3")
    page.wait_for_selector("main.view-flame")
    page.go_back()

    page.wait_for_selector("main.view-components")


def test_runs_are_searched_and_filtered(page: Page, url: str):
    opened(page, url, "runs")
    assert f"{RUNS} runs" in page.locator(".found").inner_text()
    page.keyboard.press("/")
    page.keyboard.type("invoice extr")
    wait_until(page, "!document.querySelector('.found').textContent.startsWith('125 ')")
    flows = page.locator("main td.c-flow").all_inner_texts()
    assert set(flows) == {"Invoice Extraction"}
    page.get_by_label("Status").select_option("error")

    assert set(page.locator("main td.c-status").all_inner_texts()) <= {"✕failed", "✕\nfailed"}
    assert "q=invoice%20extr" in page.url
    assert "status=error" in page.url


def test_runs_are_sorted(page: Page, url: str):
    opened(page, url, "runs")
    page.get_by_role("button", name="Duration").click()
    bars = "document.querySelectorAll('main tr.opens .c-duration .share > span')"
    durations = page.evaluate(f"[...{bars}].map((bar) => parseFloat(bar.style.width))")

    assert len(durations) > 20
    assert durations == sorted(durations, reverse=True)
    assert page.locator("th.c-duration").get_attribute("aria-sort") == "descending"


def test_run_opens_by_keyboard_and_escape_leads_back(page: Page, url: str):
    opened(page, url, "runs")
    page.get_by_label("Search runs").press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("main.view-run")
    page.keyboard.press("Escape")
    page.wait_for_selector("main.view-runs")

    wait_until(page, "document.activeElement?.dataset.index === '1'")


def test_escape_does_not_leave_the_report(page: Page, url: str):
    a_run(page, url)
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector("main.view-run")
    page.keyboard.press("Escape")

    page.wait_for_selector("main.view-runs")


def test_click_on_a_chart_lists_the_runs_of_that_time(page: Page, url: str):
    opened(page, url)
    bars = page.locator("figure[aria-label^='Runs.'] .u-over")
    bars.wait_for()
    bars.click()
    page.wait_for_selector("main.view-runs")

    assert page.get_by_label("Remove the filter").count() == 1
    assert "from=" in page.url


def test_list_of_runs_reaches_its_end(page: Page, url: str):
    opened(page, url, "runs")
    page.get_by_label("Search runs").press("ArrowDown")
    page.keyboard.press("End")
    wait_until(page, "document.activeElement?.getAttribute('aria-rowindex') === '126'")

    page.keyboard.press("ArrowUp")
    wait_until(page, "document.activeElement?.getAttribute('aria-rowindex') === '125'")


def a_run(page: Page, url: str, flow: str = "Customer Support") -> None:
    opened(page, url, f"runs?q={flow.replace(' ', '%20')}&sort=duration")
    rows(page).first.click()
    page.wait_for_selector("main.view-run .row[role=treeitem]")


def test_span_of_a_run_shows_all_it_has(page: Page, url: str):
    a_run(page, url)
    page.locator(".row[role=treeitem]", has_text="gpt-4o-mini").first.click()
    details = page.get_by_label("The selected span")

    assert "chat gpt-4o-mini" in details.inner_text()
    assert "gen_ai.usage.input_tokens" in details.inner_text()
    assert "trace_id" in details.inner_text()
    assert page.locator(".row.chosen").count() == 1
    assert "span=" in page.url
    page.keyboard.press("Escape")
    details.wait_for(state="hidden")


def test_spans_are_reached_folded_and_zoomed_by_keys(page: Page, url: str):
    a_run(page, url)
    spans = page.locator(".row[role=treeitem]")
    before = spans.count()
    spans.first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    assert "Support Agent" in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("ArrowLeft")
    assert spans.count() < before
    page.keyboard.press("ArrowRight")
    assert spans.count() == before
    page.keyboard.press("ArrowRight")
    page.keyboard.press("z")
    page.get_by_role("button", name="Whole run").wait_for()
    spans.first.focus()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Whole run").wait_for(state="hidden")


def test_critical_path_leads_to_its_spans(page: Page, url: str):
    a_run(page, url)
    first = page.locator("ol.bars button.link").first
    name = first.inner_text()
    first.click()

    assert name in page.locator(".row.chosen").inner_text()


def test_names_are_cut_only_for_want_of_room(page: Page, url: str):
    a_run(page, url)
    page.locator("ol.bars .link").first.wait_for()

    assert cut_off(page, "ol.bars .words") == []


def test_moment_of_each_run_is_whole(browser: Browser, url: str):
    for width in (1400, 400):
        for page in window(browser, viewport={"width": width, "height": 900}):
            opened(page, url, "runs")
            assert cut_off(page, "td.c-start") == []


def test_marks_of_time_are_within_their_charts(page: Page, tmp_path: Path):
    runs = [Run(random.Random(second), (NOW_S + second) * S, "Short", "short") for second in range(0, 22, 2)]
    for run in runs:
        with run.span("invoke_workflow Short", gen_ai__operation__name="invoke_workflow"):
            run.model_call("gpt-4o-mini", 0.5, (10, 10))
    url = made_page(tmp_path, (as_line(run, "worker") for run in runs))
    page.add_init_script(
        """const draw = CanvasRenderingContext2D.prototype.fillText;
        window.beyond = [];
        CanvasRenderingContext2D.prototype.fillText = function (words, x, y, ...more) {
            const half = this.measureText(words).width / 2;
            if (this.textAlign === "center" && x + half > this.canvas.width) window.beyond.push(words);
            draw.call(this, words, x, y, ...more);
        };"""
    )
    opened(page, url)
    page.wait_for_selector("main canvas")

    assert page.evaluate("window.beyond") == []


def test_arrow_reaches_the_first_row_of_a_new_view(page: Page, url: str):
    opened(page, url, "runs")
    wait_until(page, "document.querySelector('main tbody tr.opens') !== null")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("main.view-run")
    page.keyboard.press("ArrowDown")

    assert page.evaluate("document.activeElement.getAttribute('role')") == "treeitem"


def test_label_of_a_span_holds_the_text_that_is_shown(page: Page, url: str):
    a_run(page, url)
    shown = page.evaluate(
        """[...document.querySelectorAll(".row[role=treeitem]")].map((row) => {
            const copy = row.cloneNode(true);
            for (const hidden of copy.querySelectorAll("[aria-hidden=true]")) hidden.remove();
            return [copy.textContent.replace(/\\s+/g, " ").trim(), row.getAttribute("aria-label")];
        })"""
    )

    assert len(shown) > 3
    assert [each for each in shown if not each[1].startswith(each[0])] == []


def test_link_to_a_span_opens_it(page: Page, url: str):
    a_run(page, url)
    page.locator(".row[role=treeitem]", has_text="Tone Check").first.click()
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    page.wait_for_selector(".row.chosen")

    assert "Tone Check" in page.get_by_label("The selected span").inner_text()


def test_error_leads_to_the_span_that_failed(page: Page, url: str):
    opened(page, url, "errors")
    rows(page).first.click()
    page.wait_for_selector(".error-box")

    assert "LANGFLOW_OTEL_ERROR_MESSAGES" in page.locator(".error-box").inner_text()
    assert page.locator(".row.chosen.failed").count() == 1


def test_flame_graph_is_zoomed_and_searched(page: Page, url: str):
    opened(page, url, "flame")
    frames = page.locator(".frame")
    agent = page.locator(".frame", has_text="Support Agent")
    narrow = agent.bounding_box()
    agent.click()
    wait_until(page, "document.querySelectorAll('.flame-crumbs button').length === 3")
    wide = page.locator(".frame", has_text="Support Agent").bounding_box()
    assert narrow is not None
    assert wide is not None
    assert wide["width"] > narrow["width"]
    frames.first.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("gpt-4o")
    page.wait_for_selector(".frame.match")
    assert "of the time is in frames that match" in page.locator(".found").inner_text()


def test_flame_graphs_of_two_versions_are_compared(page: Page, url: str):
    opened(page, url, "flame")
    options = page.get_by_label("Compare with").locator("option").all_inner_texts()
    new, old = [each for each in options if each.startswith("Customer Support, version")]
    page.get_by_label("Runs", exact=True).select_option(label=old)
    page.get_by_label("Compare with").select_option(label=new)
    page.wait_for_selector(".frame.diff")
    first = page.locator("ol.bars li").first.inner_text()

    assert "search_policies" in first
    assert "+" in first


def test_flow_is_chosen_for_every_view(page: Page, url: str):
    opened(page, url, "components")
    page.get_by_label("Flow", exact=True).select_option("Nightly Digest")
    wait_until(page, "location.hash.includes('Nightly')")
    assert "Support Agent" not in page.locator("main").inner_text()
    page.get_by_role("link", name="Overview").click()
    page.wait_for_selector("main.view-overview")

    assert page.locator("main h1").inner_text() == "Nightly Digest"


def test_session_shows_its_runs(page: Page, url: str):
    opened(page, url, "sessions")
    page.get_by_role("button", name="Runs", exact=True).click()
    rows(page).first.click()
    page.wait_for_selector(".conversation")

    assert page.locator(".conversation > li").count() > 1


def test_colours_follow_the_system_and_the_switch(dark_page: Page, url: str):
    opened(dark_page, url)
    shade = "getComputedStyle(document.body).backgroundColor"
    dark = dark_page.evaluate(shade)
    dark_page.get_by_role("button", name="Light or dark").click()
    light = dark_page.evaluate(shade)
    assert dark != light

    def after_reload() -> str:
        dark_page.reload()
        dark_page.wait_for_selector("html[data-ready]")
        return str(dark_page.evaluate(shade))

    # The browser stores the choice a moment later.
    deadline = time.monotonic() + _PATIENCE_MS / 1000
    while after_reload() != light:
        assert time.monotonic() < deadline


def test_narrow_window_shows_every_view(narrow_page: Page, url: str):
    for view in VIEWS:
        opened(narrow_page, url, view)
        assert narrow_page.evaluate(WIDER) <= 0, view


def test_narrow_window_shows_a_run(narrow_page: Page, url: str):
    a_run(narrow_page, url)
    narrow_page.locator(".row[role=treeitem]").nth(2).click()
    narrow_page.get_by_label("The selected span").wait_for()
    narrow_page.get_by_label("Close the details (Esc)").click()

    narrow_page.get_by_label("The selected span").wait_for(state="hidden")


def test_controls_have_names(page: Page, url: str):
    for view in VIEWS:
        opened(page, url, view)
        unnamed = page.evaluate(
            """[...document.querySelectorAll("button, a, input, select, [role=treeitem]")].filter((each) =>
                !each.closest("[aria-hidden=true]") && each.checkVisibility() && !each.getAttribute("aria-label")
                && !each.textContent.trim()).map((each) => each.outerHTML)"""
        )
        assert unnamed == [], view


def test_hostile_names_are_shown_as_text(browser: Browser, tmp_path: Path):
    url = made_page(tmp_path, hostile_lines())
    for page in window(browser):
        for view in VIEWS:
            opened(page, url, view)
            assert page.evaluate(WIDER) <= 0, view
        opened(page, url, "runs")
        assert "<script>window.hacked=1</script>" in page.locator("main td.c-flow").all_inner_texts()
        assert "␛[31mred␛[0m␇" in page.locator("main td.c-flow").all_inner_texts()
        for index in range(len(HOSTILE)):
            opened(page, url, "runs")
            rows(page).nth(index).click()
            page.wait_for_selector("main.view-run .row[role=treeitem]")
            page.locator(".row[role=treeitem]").last.click()
            page.wait_for_selector(".error-box")
            assert page.evaluate(WIDER) <= 0
        assert page.evaluate("[...document.links].every((each) => each.getAttribute('href').startsWith('#'))")
        assert page.evaluate("window.hacked === undefined && ({}).polluted === undefined")
        assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0


def test_policy_forbids_every_request(browser: Browser, url: str):
    """Whatever a script on the page tried, and without any script: nothing is asked of a server."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        there = f"http://127.0.0.1:{server.server_port}"
        context = browser.new_context()
        page = context.new_page()
        urllib.request.urlopen(f"{there}/of-the-test").close()
        opened(page, url)
        refused = page.evaluate(
            """async (there) => {
                const made = (tag, properties) => new Promise((done) => {
                    const told = { onload: () => done("loaded"), onerror: () => done("refused") };
                    document.head.append(Object.assign(document.createElement(tag), told, properties));
                });
                return Promise.all([
                    fetch(`${there}/fetch`).then(() => "loaded", () => "refused"),
                    made("img", { src: `${there}/image` }),
                    made("script", { src: `${there}/script` }),
                    made("link", { rel: "stylesheet", href: `${there}/style` }),
                ]);
            }""",
            there,
        )
        context.close()
        server.shutdown()

    assert refused == ["refused"] * 4
    assert asked == ["/of-the-test"]


def test_page_of_metrics_alone_has_no_views_of_runs(browser: Browser, report: Report, tmp_path: Path):
    """A part of the data that a source does not have is left out, with the links that lead to it."""
    lacking = dict.fromkeys(("runs", "flames", "critical", "sessions", "details"))
    errors = report.data["errors"]
    no_samples = {name: [None] * len(errors["name"]) for name in ("first_ms", "sample_trace_id", "sample_span_id")}
    workers = {"instance": [0], "worker": [-1], "cpu_utilization": [0.25], "memory_bytes": [2**28]}
    count = report.data["overview"]["bins"]
    curve = {**report.data["resources"][0], "over": {"highest": [2.0] * count, "median": [1.0] * count}}
    known = {"errors": {**errors, **no_samples}, "workers": workers}
    url = page_of(replace(report, data={**report.data, **lacking, "resources": [curve], **known}, traces=[]), tmp_path)
    for page in window(browser):
        opened(page, url)
        views = [each.get_attribute("data-view") for each in page.locator("nav.views a").all()]
        assert views == ["overview", "components", "errors", "models", "data"]
        for view in views:
            opened(page, url, str(view))
            assert page.locator("main a[href^='#/run'], main a[href^='#/flame']").count() == 0, view
        opened(page, url)
        page.wait_for_selector("main.view-overview .chart canvas")
        assert "256 MiB" in page.locator("main table").last.inner_text()


def test_deep_tree_keeps_its_names(browser: Browser, tmp_path: Path):
    run = Run(random.Random(1), NOW_S * S, "Deep", "deep")
    with ExitStack() as stack:
        stack.enter_context(run.span("invoke_workflow Deep", gen_ai__operation__name="invoke_workflow"))
        for depth in range(60):
            stack.enter_context(run.component(f"Component {depth}", "Nested", "other"))
        run.work(1)
    url = made_page(tmp_path, iter([as_line(run, "worker")]))
    for page in window(browser):
        a_run(page, url, "Deep")
        last = page.locator(".row[role=treeitem] .words").last.bounding_box()
        assert page.locator(".row[role=treeitem]").count() == 61
        assert last is not None
        assert last["width"] >= 40
        assert page.evaluate(WIDER) <= 0


def test_printed_page_is_light_and_has_no_controls(dark_page: Page, url: str):
    opened(dark_page, url, "runs")
    dark_page.emulate_media(media="print")

    assert dark_page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--panel')") == "#ffffff"
    assert not dark_page.locator("nav.views").is_visible()
    assert not dark_page.get_by_label("Search runs").is_visible()
    assert rows(dark_page).count() > 20


def test_ten_thousand_runs_open_quickly(browser: Browser, report: Report, tmp_path: Path):
    """The list and the dots of so many runs; what is asked of DuckDB for them is no part of the page."""
    times = 10_000 // RUNS
    columns = {name: column * times for name, column in report.data["runs"].items()}
    resources = [{**curve, "values": curve["values"] * times} for curve in report.data["resources"]]
    every = {**report.data["overview"]["all"], "runs": RUNS * times}
    data = {**report.data, "runs": columns, "resources": resources, "listed": RUNS * times}
    url = page_of(replace(report, data={**data, "overview": {**data["overview"], "all": every}}), tmp_path)
    for page in window(browser):
        start = time.monotonic()
        opened(page, url)
        page.wait_for_selector(".chart-box canvas")
        took_s = time.monotonic() - start
        opened(page, url, "runs")
        assert "10,000 runs" in page.locator(".found").inner_text()
        page.get_by_label("Search runs").fill("nightly")
        wait_until(page, "!document.querySelector('.found').textContent.startsWith('10,000 ')")

        # 3 s are promised on an idle machine.
        assert took_s < 30
