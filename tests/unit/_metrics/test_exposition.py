"""The text of a scrape, read back by the parsers of prometheus_client."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from langflow_otel._metrics.catalogue import CATALOGUE, Metric, Reading
from langflow_otel._metrics.exposition import Family, Renderer, Row
from langflow_otel._metrics.scrape import Scrape
from langflow_otel._metrics.store import Exemplar, MemoryStore

COUNTER = Metric("orders.scored", "counter", "", "Orders scored.", ("region",))
GAUGE = Metric("pool.size", "gauge", "By", "Size.", ("pool.name",))
ACTIVE = Metric("runs.active", "up_down_counter", "{run}", "Going on.")
HISTOGRAM = Metric("wait", "histogram", "s", "Waiting.", ("queue",), (0.5, 1.0, 10.0))
BOTH = pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
ODD_LABELS = [
    "",
    " ",
    "a,b={}",
    'say "hi"',
    "back\\slash",
    "\\n",
    "\\\\n",
    "two\nlines",
    "\r\t\0",
    "日本 ü 🎈",
    "\u2028",
    "#",
]


def family(metric: Metric, *values: Sequence[float], labels: tuple[str, ...] | None = None, **row: Any) -> Family:
    labels = tuple("x" for _ in metric.labels) if labels is None else labels
    return Family(metric, [Row(metric, labels, each, **row) for each in values])


def text(*families: Family, openmetrics: bool = False, renderer: Renderer | None = None) -> str:
    return "".join((renderer or Renderer()).slices(families, openmetrics=openmetrics))


def parsed(*families: Family, openmetrics: bool) -> list[Any]:
    parse = parse_openmetrics if openmetrics else parse_text
    return list(parse(text(*families, openmetrics=openmetrics)))


def samples(*families: Family, openmetrics: bool) -> list[tuple[str, dict[str, str], float]]:
    return [
        (sample.name, sample.labels, sample.value)
        for each in parsed(*families, openmetrics=openmetrics)
        for sample in each.samples
    ]


@BOTH
def test_a_counter(openmetrics: bool):
    (found,) = parsed(family(COUNTER, [3.0]), openmetrics=openmetrics)

    assert (found.name, found.type, found.documentation) == ("orders_scored", "counter", "Orders scored.")
    assert [(each.name, each.labels, each.value) for each in found.samples] == [
        ("orders_scored_total", {"region": "x"}, 3.0)
    ]


def test_the_family_of_a_counter_has_total_in_its_name_in_text_only():
    assert text(family(COUNTER, [3.0])) == (
        "# HELP orders_scored_total Orders scored.\n"
        "# TYPE orders_scored_total counter\n"
        'orders_scored_total{region="x"} 3.0\n'
    )
    assert text(family(COUNTER, [3.0]), openmetrics=True) == (
        "# HELP orders_scored Orders scored.\n"
        "# TYPE orders_scored counter\n"
        'orders_scored_total{region="x"} 3.0\n'
        "# EOF\n"
    )


@pytest.mark.parametrize("name", ["hits", "hits.total", "hits_total"])
def test_total_is_never_said_twice(name: str):
    (found,) = parsed(family(Metric(name, "counter", "", ""), [1.0]), openmetrics=True)

    assert [found.name, found.samples[0].name] == ["hits", "hits_total"]


@BOTH
@pytest.mark.parametrize(
    ("metric", "name", "labels"),
    [(GAUGE, "pool_size_bytes", {"pool_name": "x"}), (ACTIVE, "runs_active", {})],
    ids=["gauge", "up-down counter"],
)
def test_gauges(openmetrics: bool, metric: Metric, name: str, labels: dict[str, str]):
    (found,) = parsed(family(metric, [-2.5]), openmetrics=openmetrics)

    assert (found.name, found.type) == (name, "gauge")
    assert [(each.name, each.labels, each.value) for each in found.samples] == [(name, labels, -2.5)]


@BOTH
def test_the_buckets_of_a_histogram_are_cumulative(openmetrics: bool):
    (found,) = parsed(family(HISTOGRAM, [2.0, 0.0, 3.0, 1.0, 47.5]), openmetrics=openmetrics)

    assert (found.name, found.type) == ("wait_seconds", "histogram")
    assert [(each.name, each.labels.get("le"), each.value) for each in found.samples] == [
        ("wait_seconds_bucket", "0.5", 2.0),
        ("wait_seconds_bucket", "1.0", 2.0),
        ("wait_seconds_bucket", "10.0", 5.0),
        ("wait_seconds_bucket", "+Inf", 6.0),
        ("wait_seconds_sum", None, 47.5),
        ("wait_seconds_count", None, 6.0),
    ]
    assert {each.labels["queue"] for each in found.samples} == {"x"}


@BOTH
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 0.0, -0.0, 1e300, 5e-324, 2.0**53, 0.1 + 0.2])
def test_any_number(openmetrics: bool, value: float):
    ((_, _, found),) = samples(family(GAUGE, [value]), openmetrics=openmetrics)

    assert found == value or (math.isnan(found) and math.isnan(value))


@BOTH
@pytest.mark.parametrize("value", ODD_LABELS)
def test_odd_labels(openmetrics: bool, value: str):
    for metric in (GAUGE, HISTOGRAM):
        cells = [1.0] * metric.cells
        found = samples(family(metric, cells, labels=(value,)), openmetrics=openmetrics)

        (label,) = metric.prometheus_labels
        assert {labels[label] for _, labels, _ in found} == {value}


@settings(deadline=None)
@given(values=st.tuples(st.text(), st.text()), openmetrics=st.booleans())
def test_any_label_survives(values: tuple[str, str], openmetrics: bool):
    metric = Metric("m", "gauge", "", "", ("a", "b"))

    assert samples(family(metric, [1.0], labels=values), openmetrics=openmetrics) == [
        ("m", {"a": values[0], "b": values[1]}, 1.0)
    ]


@BOTH
@pytest.mark.parametrize("description", ["", 'a "quoted" \\ word', "two\nlines", "日本"])
def test_odd_help_texts(openmetrics: bool, description: str):
    (found,) = parsed(family(replace(GAUGE, description=description), [1.0]), openmetrics=openmetrics)

    assert found.documentation == description


@BOTH
def test_the_worker_is_a_label_of_its_own(openmetrics: bool):
    found = samples(
        Family(ACTIVE, [Row(ACTIVE, (), [1.0], worker=7), Row(ACTIVE, (), [2.0], worker=8)]),
        family(HISTOGRAM, [1.0] * 5, worker=7),
        openmetrics=openmetrics,
    )

    assert found[:2] == [("runs_active", {"worker": "7"}, 1.0), ("runs_active", {"worker": "8"}, 2.0)]
    assert all(labels["worker"] == "7" and labels["queue"] == "x" for _, labels, _ in found[2:])


def test_exemplars_are_in_openmetrics_only():
    shown = Exemplar(0xABC, 0xDEF, 0.7, 1_700_000_000.1239)
    waiting = family(HISTOGRAM, [1.0, 2.0, 0.0, 0.0, 1.0], exemplars=[None, shown, None, None])

    assert "trace_id" not in text(waiting)
    (found,) = parsed(waiting, openmetrics=True)
    assert [each.exemplar for each in found.samples if each.labels.get("le") != "1.0"] == [None] * 5
    (exemplar,) = (each.exemplar for each in found.samples if each.labels.get("le") == "1.0")
    assert exemplar.labels == {"trace_id": f"{0xABC:032x}", "span_id": f"{0xDEF:016x}"}
    assert (exemplar.value, float(exemplar.timestamp)) == (0.7, 1_700_000_000.124)


def test_openmetrics_says_when_counts_began_and_text_does_not():
    families = (
        family(COUNTER, [1.0], created_s=1_700_000_000.1239),
        family(HISTOGRAM, [1.0, 0.0, 0.0, 0.0, 0.1], created_s=1_700_000_001.0),
    )

    assert "_created" not in text(*families)
    created = {
        sample.name: (sample.labels, sample.value)
        for each in parsed(*families, openmetrics=True)
        for sample in each.samples
        if sample.name.endswith("_created")
    }
    assert created == {
        "orders_scored_created": ({"region": "x"}, 1_700_000_000.124),
        "wait_seconds_created": ({"queue": "x"}, 1_700_000_001.0),
    }


def test_a_count_of_unknown_beginning_does_not_say_one():
    assert "_created" not in text(family(COUNTER, [1.0]), family(HISTOGRAM, [1.0] * 5), openmetrics=True)


def test_a_page_says_when_its_counts_began(monkeypatch):
    now_s = iter([100.0, 50.0, 300.0])
    monkeypatch.setattr("langflow_otel._metrics.store.time.time", lambda: next(now_s))
    store = MemoryStore()
    store.series(COUNTER, ("eu",))
    store.series(GAUGE, ("of no count",))
    store.series(HISTOGRAM, ("q",))
    # What the system counts has another beginning, or none that is known.
    disk = [Reading(Metric("system.disk.io", "counter", "By", "Disk."), 7.0)]
    scrape = Scrape(store, own_pid=7, window_s=60, cores=1.0, read=lambda pids: disk, info={})
    page = scrape.page("application/openmetrics-text", "").body.decode()

    lines = page.splitlines()
    assert "langflow_otel_start_time_seconds 100.0" in lines
    assert [line for line in lines if "_created" in line] == [
        'orders_scored_created{region="eu"} 100.000',
        'wait_seconds_created{queue="q"} 300.000',
    ]


def test_openmetrics_ends_with_eof_and_text_does_not():
    assert text(openmetrics=True) == "# EOF\n"
    assert text(family(GAUGE, [1.0]), openmetrics=True).endswith(" 1.0\n# EOF\n")
    assert "# EOF" not in text(family(GAUGE, [1.0]))


@BOTH
def test_without_series_there_is_no_header(openmetrics: bool):
    assert "pool" not in text(Family(GAUGE), family(ACTIVE, [1.0]), openmetrics=openmetrics)


@BOTH
def test_the_slices_are_the_page(openmetrics: bool):
    many = Family(HISTOGRAM, [Row(HISTOGRAM, (str(number),), [float(number)] * 5) for number in range(200)])
    slices = list(Renderer().slices([many, family(GAUGE, [1.0])], openmetrics=openmetrics))

    assert len(slices) >= 4
    assert max(each.count("\n") for each in slices) <= 320
    assert all(each.endswith("\n") for each in slices)
    parse = parse_openmetrics if openmetrics else parse_text
    wait, pool = parse("".join(slices))
    assert len(wait.samples) == 200 * 6
    assert len(pool.samples) == 1


# What is remembered from one scrape to the next


@BOTH
def test_the_second_page_is_like_the_first(openmetrics: bool):
    renderer = Renderer()
    families = [family(COUNTER, [3.0]), family(HISTOGRAM, [1.0, 2.0, 3.0, 4.0, 5.0]), family(ACTIVE, [1.0], worker=3)]
    first = text(*families, openmetrics=openmetrics, renderer=renderer)

    assert text(*families, openmetrics=openmetrics, renderer=renderer) == first
    assert text(*families, openmetrics=openmetrics) == first
    families[0].rows[0].values = [4.0]
    assert "} 4.0\n" in text(*families, openmetrics=openmetrics, renderer=renderer)


@pytest.mark.parametrize(
    "changed",
    [
        replace(HISTOGRAM, buckets=(1.0, 2.0, 3.0)),
        replace(HISTOGRAM, labels=("pool",)),
        replace(HISTOGRAM, unit="By"),
        replace(HISTOGRAM, kind="gauge", buckets=()),
    ],
    ids=["buckets", "labels", "unit", "kind"],
)
def test_a_metric_that_is_defined_anew_is_not_taken_for_the_old_one(changed: Metric):
    renderer = Renderer()
    text(family(HISTOGRAM, [1.0] * 5), renderer=renderer)

    now = family(changed, [1.0] * changed.cells)
    assert text(now, renderer=renderer) == text(now)


def test_nothing_is_kept_of_workers_that_are_gone():
    renderer = Renderer()
    for pid in range(500):
        text(family(ACTIVE, [1.0], worker=pid), family(COUNTER, [1.0]), renderer=renderer)

    assert len(renderer._prefixes) == 2


def test_a_page_that_is_not_read_to_its_end_costs_nothing():
    renderer = Renderer()
    families = [family(COUNTER, [3.0])]
    first = text(*families, renderer=renderer)
    next(renderer.slices(families, openmetrics=True))

    assert text(*families, renderer=renderer) == first


# The whole catalogue, by way of a scrape


@BOTH
def test_every_metric_of_the_catalogue(openmetrics: bool):
    store = MemoryStore()
    readings = []
    for metric in CATALOGUE:
        labels = tuple(f'a "{label}"' for label in metric.labels)
        if metric.kind == "histogram":
            store.series(metric, labels).cells[0] = 1.0
        else:
            readings.append(Reading(metric, 1.0, labels, 7 if metric.per_worker else None))
    scrape = Scrape(
        store, own_pid=7, window_s=60, cores=1.0, read=lambda pids: readings, info={"service.name": "s", "empty": ""}
    )
    page = scrape.page("application/openmetrics-text" if openmetrics else "", "")

    found = {each.name: each for each in (parse_openmetrics if openmetrics else parse_text)(page.body.decode())}
    # What is derived is there by itself.
    expected = {metric.prometheus_name.removesuffix("_total") for metric in CATALOGUE} | {"target_info"}
    assert set(found) == expected
    assert found["target_info"].samples[0].labels == {"service_name": "s", "empty": ""}
    assert "worker" not in found["process_uptime_seconds"].samples[0].labels


def test_metrics_of_one_name_with_other_labels_stand_side_by_side():
    """As after a reload that changed the code: the dead workers' series have the labels of before."""
    store = MemoryStore()
    store.series(COUNTER, ("eu",)).cells[0] = 1.0
    store.series(replace(COUNTER, labels=("region", "tier")), ("eu", "gold")).cells[0] = 2.0
    scrape = Scrape(store, own_pid=7, window_s=60, cores=1.0, read=lambda pids: [], info={})

    (found,) = (each for each in parse_text(scrape.page("", "").body.decode()) if each.name == "orders_scored")
    assert [(each.labels, each.value) for each in found.samples] == [
        ({"region": "eu"}, 1.0),
        ({"region": "eu", "tier": "gold"}, 2.0),
    ]


@pytest.mark.parametrize("changed", [replace(HISTOGRAM, buckets=(1.0,)), replace(HISTOGRAM, kind="gauge", buckets=())])
def test_of_metrics_that_cannot_be_one_family_the_first_is_shown(changed: Metric):
    store = MemoryStore()
    store.series(HISTOGRAM, ("a",)).cells[0] = 1.0
    store.series(changed, ("b",)).cells[0] = 2.0
    scrape = Scrape(store, own_pid=7, window_s=60, cores=1.0, read=lambda pids: [], info={})

    (found,) = (each for each in parse_text(scrape.page("", "").body.decode()) if each.name == "wait_seconds")
    assert found.type == "histogram"
    assert {each.labels["queue"] for each in found.samples} == {"a"}


def test_half_a_surrogate_pair_in_a_name_does_not_break_the_page():
    """JSON can hold one, and so can the name of a flow."""
    store = MemoryStore()
    store.series(GAUGE, ("half \ud83c",)).cells[0] = 1.0
    scrape = Scrape(store, own_pid=7, window_s=60, cores=1.0, read=lambda pids: [], info={})

    assert b'pool_size_bytes{pool_name="half ?"} 1.0' in scrape.page("", "").body


# What the client wants


PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/plain", False),
        (PROMETHEUS, True),
        ("Application/OpenMetrics-Text", True),
        ("text/plain, application/openmetrics-text;q=0", False),
    ],
)
def test_openmetrics_is_for_those_who_ask_for_it(accept: str, openmetrics: bool):
    scrape = Scrape(MemoryStore(), own_pid=7, window_s=60, cores=1.0, read=lambda pids: [], info={})

    assert scrape.page(accept, "").content_type.startswith("application/openmetrics-text") is openmetrics


@pytest.mark.parametrize(
    ("accept_encoding", "is_gzip"),
    [
        ("", False),
        ("identity", False),
        ("gzip", True),
        ("GZip", True),
        ("*", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; Q = 0.000", False),
        ("gzip;q=0.001", True),
        ("*;q=0, gzip", True),
        ("*, gzip;q=0", False),
        ("xgzip", False),
    ],
)
def test_gzip_is_for_those_who_accept_it(accept_encoding: str, is_gzip: bool):
    scrape = Scrape(MemoryStore(), own_pid=7, window_s=60, cores=1.0, read=lambda pids: [], info={})
    page = scrape.page("", accept_encoding)

    assert (("Content-Encoding", "gzip") in page.headers) is is_gzip
    assert page.body.startswith(b"\x1f\x8b") is is_gzip
