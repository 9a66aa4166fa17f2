"""Whatever a flow, a component or an error is called: a scrape that the reference parsers and promtool can read.

``LONG_TESTS=1`` makes many more names, and other ones each time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from langflow_otel._metrics.endpoint import ScrapeEndpoint
from langflow_otel._metrics.instruments import Instruments
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import MemoryStore
from langflow_otel._metrics.workers import WorkerGroup
from langflow_otel._runs.facts import ComponentInfo, FlowInfo, Outcome
from langflow_otel._runs.measuring import RunMetrics
from langflow_otel._runs.recorder import Recorder, set_active_recorder
from langflow_otel._settings.settings import ScrapeSettings, Settings

LONG = bool(os.environ.get("LONG_TESTS"))

pytestmark = pytest.mark.timeout(3600 if LONG else 300)

LABELS = ("flow", "component_type", "flow_id", "flow_version")
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
LONGEST = 256
"""Characters of a name that a label keeps."""

NASTY = [
    "",
    " ",
    "\n",
    "\r\n",
    '"',
    "\\",
    '\\"',
    "\\n",
    "\\\\\n",
    '"} 1\n# EOF\n',
    '",flow="other"} 7\n',
    "# HELP x y",
    "# EOF",
    "}",
    "{",
    "\0\x01\x1f\x7f",
    "\x85\u2028\u2029",
    "日本 ü 🎈",
    "e\u0301",
    "\ufeff\ufffe\uffff",
    "\ud83c",
    "\udf88\ud83c half",
    os.fsdecode(b"caf\xe9 \xff"),
    "other",
    "x" * 10_000,
    "\n" * 10_000,
    '"' * 10_000,
    "\\" * 10_000,
    "🎈" * 3_000,
    "\ud83c" * 10_000,
]
TEXTS = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(), max_size=40),
    st.text(st.sampled_from('\n\r"\\{}#,= \0\u2028'), max_size=40),
    st.text(min_size=200, max_size=300),
    st.binary(max_size=40).map(os.fsdecode),
)
NAMES = st.lists(TEXTS, min_size=1, max_size=8)


def any_way(examples: int, long: int) -> Any:
    return hypothesis_settings(
        max_examples=long if LONG else examples,
        derandomize=not LONG,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def shown(text: str) -> str:
    """What a label says."""
    mark = f"... [cut, {len(text)} characters]"
    kept = text if len(text) <= LONGEST else text[: LONGEST - len(mark)] + mark
    return kept.encode("utf-8", "replace").decode()


@contextmanager
def scrape_of(store: MemoryStore, record: Callable[[Recorder], None]) -> Iterator[Scrape]:
    """After what was recorded into the store."""
    settings = Settings(metric_labels=LABELS, max_flows=100_000)
    recorder = Recorder(None, settings, RunMetrics(Instruments(store, None), settings))
    set_active_recorder(recorder)
    try:
        record(recorder)
        info = {"service.name": "shop"}
        yield Scrape(store, own_pid=os.getpid(), window_s=60, cores=1.0, read=lambda pids: [], info=info)
    finally:
        set_active_recorder(None)


def error_called(name: str) -> Exception:
    """Classes can be called anything, too, but not half of a surrogate pair."""
    return type(shown(name).replace("\0", "") or "E", (Exception,), {})()


def runs_called(names: Sequence[str]) -> Callable[[Recorder], None]:
    """One run for each name, which is that of all there is in it."""

    def record(recorder: Recorder) -> None:
        for name in names:
            failed = Outcome.of(error_called(name))
            flow = recorder.start_flow(FlowInfo(name, flow_id=name, version=name))
            assert flow is not None
            recorder.start_component(ComponentInfo(name, name, name), flow).finish(failed)
            flow.finish(failed)

    return record


def pages(scrape: Scrape) -> tuple[list[Any], list[Any]]:
    text, openmetrics = (scrape.page(accept, "").body.decode() for accept in ("", OPENMETRICS))
    return list(parse_text(text)), list(parse_openmetrics(openmetrics))


def values_of(families: list[Any], sample: str, label: str) -> set[str]:
    return {each.labels[label] for family in families for each in family.samples if each.name == sample}


def total(families: list[Any], sample: str) -> float:
    return sum(each.value for family in families for each in family.samples if each.name == sample)


def assert_all_there(scrape: Scrape, names: Sequence[str], times: int = 1) -> None:
    expected = {shown(name) for name in names}
    for families in pages(scrape):
        for label in ("flow", "flow_id", "flow_version"):
            assert values_of(families, "langflow_flow_duration_seconds_count", label) == expected
        for label in LABELS:
            assert values_of(families, "langflow_component_duration_seconds_count", label) == expected
        assert total(families, "langflow_flow_duration_seconds_count") == times * len(names)
        assert total(families, "langflow_component_errors_total") == times * len(names)


@any_way(12, 5_000)
@example(NASTY)
@given(NAMES)
def test_any_names_are_read_back(names: list[str]):
    with scrape_of(MemoryStore(), runs_called(names)) as scrape:
        assert_all_there(scrape, names)


@any_way(6, 1_000)
@example(NASTY)
@given(NAMES)
def test_any_names_of_workers_that_live_and_of_some_that_are_dead(tmp_path_factory, names: list[str]):
    group = WorkerGroup(os.getpid(), tmp_path_factory.mktemp("any") / "root", max_values=100_000)
    dead, alive = group.join(), group.join()
    with scrape_of(dead, runs_called(names)), scrape_of(alive, runs_called(names)) as scrape:
        scrape.group = group
        dead.close()
        assert group.lead()
        group.fold()
        try:
            assert_all_there(scrape, names, times=2)
        finally:
            alive.close()
            group.leave()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed: apt-get install prometheus")
@any_way(4, 300)
@example(NASTY)
@given(st.lists(TEXTS, min_size=20, max_size=40))
def test_promtool_has_nothing_to_complain_of(names: list[str]):
    with scrape_of(MemoryStore(), runs_called(names)) as scrape:
        page = scrape.page("", "").body
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)

    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_any_names_over_the_wire():
    with scrape_of(MemoryStore(), runs_called(NASTY)) as scrape:
        endpoint = ScrapeEndpoint(ScrapeSettings("127.0.0.1", 0), scrape)
        try:
            with urllib.request.urlopen(endpoint.url, timeout=20) as answer:
                length, body = int(answer.headers["Content-Length"]), answer.read()
        finally:
            endpoint.close()

    assert len(body) == length
    assert values_of(list(parse_text(body.decode())), "langflow_flow_duration_seconds_count", "flow") == {
        shown(name) for name in NASTY
    }


def test_a_page_does_not_grow_with_the_length_of_names():
    with scrape_of(MemoryStore(), runs_called(["x" * 1_000_000])) as scrape:
        long = len(scrape.page("", "").body)
    with scrape_of(MemoryStore(), runs_called(["x" * LONGEST])) as scrape:
        short = len(scrape.page("", "").body)

    assert abs(long - short) < 1000


def test_the_longest_name_is_what_the_store_says():
    store = Path(__file__).parents[3] / "langflow_otel" / "_metrics" / "store.py"

    assert f"_MAX_LABEL = {LONGEST}\n" in store.read_text()
