"""Metrics of a flow's author: what can be defined, what is scraped and pushed, and what never reaches the flow."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import HistogramDataPoint
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from langflow_otel import _guard as guard
from langflow_otel import metrics, span
from langflow_otel._metrics.catalogue import CATALOGUE, SECONDS
from langflow_otel._runs.recorder import Recorder, set_active_recorder
from langflow_otel._settings.settings import Settings
from langflow_otel.instrumentor import _count_fault
from langflow_otel.redaction.known_secrets import remember_secrets
from langflow_otel.testing import Telemetry
from tests.support.recording import at_once, recorder, recording

Define = Callable[..., Any]
KINDS: list[Define] = [metrics.counter, metrics.gauge, metrics.histogram]


@pytest.fixture(autouse=True)
def _nothing_defined(monkeypatch) -> None:
    """Definitions are for the life of a process."""
    monkeypatch.setattr(metrics, "_defined", {})


def write(instrument: Any, value: float = 1, **labels: str) -> None:
    """To any of the three kinds."""
    method = {metrics.Counter: "add", metrics.Gauge: "set", metrics.Histogram: "record"}[type(instrument)]
    getattr(instrument, method)(value, **labels)


def scraped(telemetry: Telemetry, *names: str) -> dict[str, float]:
    return {name: value for name, value in telemetry.metrics(*names).items() if "_bucket{" not in name}


def pushed(telemetry: Telemetry) -> dict[str, dict[tuple[str, ...], float]]:
    """Values by name and label values; of a histogram its sum."""
    return {
        metric.name: {
            tuple(map(str, (point.attributes or {}).values())): (
                point.sum if isinstance(point, HistogramDataPoint) else point.value
            )
            for point in metric.data.data_points
        }
        for metric in telemetry.pushed_metrics()
    }


# As documented


def test_the_documented_example(telemetry):
    orders_scored = metrics.counter("orders_scored", "Orders scored", labels=["region"])
    orders_scored.add(1, region="eu")
    orders_scored.add(region="eu")
    orders_scored.add(2.5, region="us")

    assert scraped(telemetry, "orders") == {
        'orders_scored_total{region="eu"}': 2.0,
        'orders_scored_total{region="us"}': 2.5,
    }
    assert pushed(telemetry) == {"orders_scored": {("eu",): 2, ("us",): 2.5}}


def test_a_counter_that_went_up_by_nothing_is_there(telemetry):
    """So that a first increase shows as one."""
    metrics.counter("orders").add(0)

    assert scraped(telemetry, "orders") == {"orders_total": 0.0}
    assert pushed(telemetry) == {"orders": {(): 0}}


def test_a_gauge_has_the_value_that_was_set_last(telemetry):
    stock = metrics.gauge("shop.stock", "Parcels", labels=["shelf"])
    for value in (3, -7.5):
        stock.set(value, shelf="a")
    stock.set(0, shelf="b")

    assert scraped(telemetry, "shop_stock") == {'shop_stock{shelf="a"}': -7.5, 'shop_stock{shelf="b"}': 0.0}
    assert pushed(telemetry) == {"shop.stock": {("a",): -7.5, ("b",): 0}}


def test_a_histogram_counts_in_its_own_buckets(telemetry):
    size = metrics.histogram("parcel.size", "Size", unit="By", buckets=[10, 100])
    for value in (0, 10, 11, 100, 1000):
        size.record(value)

    assert telemetry.metrics("parcel") == {
        'parcel_size_bytes_bucket{le="10.0"}': 2.0,
        'parcel_size_bytes_bucket{le="100.0"}': 4.0,
        'parcel_size_bytes_bucket{le="+Inf"}': 5.0,
        "parcel_size_bytes_sum": 1121.0,
        "parcel_size_bytes_count": 5.0,
    }
    ((metric,),) = ([each for each in telemetry.pushed_metrics() if each.name == "parcel.size"],)
    (point,) = metric.data.data_points
    assert (point.bucket_counts, point.explicit_bounds, point.sum) == ((2, 2, 1), (10.0, 100.0), 1121)
    assert (metric.unit, metric.description) == ("By", "Size")


@pytest.mark.parametrize(
    ("unit", "bounds"),
    [
        ("s", SECONDS),
        ("", (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)),
        ("By", (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000)),
    ],
)
def test_the_default_buckets_depend_on_the_unit(telemetry, unit: str, bounds: tuple[float, ...]):
    metrics.histogram("took", unit=unit).record(1)
    (metric,) = telemetry.pushed_metrics()

    assert metric.data.data_points[0].explicit_bounds == bounds


@pytest.mark.parametrize(
    ("define", "name", "unit", "in_the_scrape"),
    [
        (metrics.counter, "a.b", "", "a_b_total"),
        (metrics.counter, "a_total", "", "a_total"),
        (metrics.counter, "sent", "By", "sent_bytes_total"),
        (metrics.counter, "share", "1", "share_total"),
        (metrics.gauge, "share", "1", "share_ratio"),
        (metrics.gauge, "waited", "s", "waited_seconds"),
        (metrics.gauge, "waited_seconds", "s", "waited_seconds"),
        (metrics.gauge, "orders", "{order}", "orders"),
        (metrics.gauge, "Orders.Of.Today", "", "Orders_Of_Today"),
    ],
)
def test_what_a_metric_is_called_in_the_scrape(telemetry, define: Define, name: str, unit: str, in_the_scrape: str):
    write(define(name, unit=unit))

    assert list(scraped(telemetry, in_the_scrape)) == [in_the_scrape]
    assert list(pushed(telemetry)) == [name.lower()]


def test_labels_come_in_the_order_of_the_definition_whatever_the_order_of_the_call(telemetry):
    counter = metrics.counter("orders", labels=("region", "kind"))
    counter.add(1, kind="new", region="eu")
    counter.add(1, region="eu", kind="new")

    assert scraped(telemetry, "orders") == {'orders_total{region="eu",kind="new"}': 2.0}


def test_a_label_value_that_is_no_text_becomes_one(telemetry):
    counter = metrics.counter("orders", labels=["number"])
    counter.add(1, number=7)  # type: ignore[arg-type]
    counter.add(1, number="7")

    assert scraped(telemetry, "orders") == {'orders_total{number="7"}': 2.0}


def test_text_of_any_kind_can_be_a_label_value(telemetry):
    counter = metrics.counter("orders", labels=["name"])
    for name in ("", "ü 日本", 'a"b\\c\nd', "half \ud83d"):
        counter.add(1, name=name)

    assert list(scraped(telemetry, "orders")) == [
        'orders_total{name=""}',
        'orders_total{name="ü 日本"}',
        'orders_total{name="a\\"b\\\\c\\nd"}',
        'orders_total{name="half ?"}',
    ]
    assert list(pushed(telemetry)["orders"]) == [("",), ("ü 日本",), ('a"b\\c\nd',), ("half ?",)]


def test_a_known_secret_is_no_label_value(telemetry):
    remember_secrets(["Tr0ub4dor-CANARY", "another-CANARY"])
    calls = metrics.counter("calls", labels=["by"])
    for by in ("key Tr0ub4dor-CANARY", "key another-CANARY", "key Tr0ub4dor-CANARY", "x"):
        calls.add(1, by=by)

    assert scraped(telemetry, "calls") == {'calls_total{by="key [redacted:secret]"}': 3, 'calls_total{by="x"}': 1}
    assert pushed(telemetry) == {"calls": {("key [redacted:secret]",): 3, ("x",): 1}}


def test_a_histogram_shows_the_trace_that_it_is_recorded_in(telemetry):
    took = metrics.histogram("took", buckets=[1])
    with span("lookup"):
        took.record(0.5)
    took.record(5)
    (lookup,) = telemetry.sdk_spans
    assert lookup.context is not None
    measured = recorder().metrics
    assert measured is not None
    (series,) = [each for each in measured.instruments.store.all_series() if each.metric.name == "took"]
    first, second = series.exemplars or []

    assert first is not None
    assert (first.trace_id, first.span_id) == (lookup.context.trace_id, lookup.context.span_id)
    assert second is None


def test_it_counts_in_a_run_that_is_not_sampled_too():
    with recording(sampler=ALWAYS_OFF) as telemetry:
        metrics.counter("orders").add()

        assert scraped(telemetry, "orders") == {"orders_total": 1.0}


def test_each_worker_has_a_gauge_of_its_own():
    """Its values cannot be added up; those of the others can."""
    assert metrics.gauge("stock").metric.per_worker
    assert not metrics.counter("orders").metric.per_worker
    assert not metrics.histogram("took").metric.per_worker


# Definitions


@pytest.mark.parametrize("define", KINDS)
def test_the_same_definition_gives_the_same_instrument(define: Define):
    """A component defines it in each run."""
    first = define("one", "What", "By", ["region", "kind"])

    assert define("one", "What", "By", ("region", "kind")) is first
    assert define("another", "What", "By", ["region", "kind"]) is not first


@pytest.mark.parametrize("define", KINDS)
@pytest.mark.parametrize(
    "other", [{"description": "x"}, {"unit": "s"}, {"labels": ["b"]}, {"labels": []}, {"labels": ["a", "b"]}]
)
def test_another_definition_of_the_same_name_is_refused(define: Define, other: dict[str, Any]):
    first = define("one", "What", "By", ["a"])
    with pytest.raises(ValueError, match="one is defined already, and differently"):
        define(**{"name": "one", "description": "What", "unit": "By", "labels": ["a"], **other})

    assert define("one", "What", "By", ["a"]) is first


def test_other_buckets_are_another_definition():
    metrics.histogram("one", buckets=[1, 2])
    with pytest.raises(ValueError, match="differently"):
        metrics.histogram("one", buckets=[1, 3])

    assert metrics.histogram("one", buckets=[1.0, 2.0]) is metrics.histogram("one", buckets=(1, 2))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((metrics.gauge, "a.b"), (metrics.gauge, "a_b")),
        ((metrics.counter, "a.b"), (metrics.counter, "a_b")),
        ((metrics.counter, "orders"), (metrics.gauge, "orders")),
        ((metrics.counter, "orders"), (metrics.histogram, "orders")),
        ((metrics.gauge, "orders"), (metrics.histogram, "orders")),
        ((metrics.counter, "orders"), (metrics.gauge, "orders_total")),
        ((metrics.counter, "orders"), (metrics.counter, "orders_total")),
        ((metrics.counter, "orders"), (metrics.gauge, "orders_created")),
        ((metrics.histogram, "took"), (metrics.gauge, "took_count")),
        ((metrics.histogram, "took"), (metrics.gauge, "took_sum")),
        ((metrics.histogram, "took"), (metrics.gauge, "took_bucket")),
        ((metrics.gauge, "orders"), (metrics.gauge, "Orders")),
    ],
    ids=lambda definition: f"{definition[0].__name__}-{definition[1]}",
)
def test_two_metrics_that_one_of_the_sinks_would_mix_up(first: tuple[Define, str], second: tuple[Define, str]):
    """Names of samples in a scrape, names of instruments in OpenTelemetry (where case does not count)."""
    for (define, name), (other, other_name) in ((first, second), (second, first)):
        metrics._defined.clear()
        kept = define(name)
        with pytest.raises(ValueError, match=f"{other_name} is defined already, and differently"):
            other(other_name)

        assert define(name) is kept


def test_a_counter_takes_its_name_without_total_too():
    """OpenMetrics calls the whole metric so."""
    metrics.counter("sent", unit="By")

    with pytest.raises(ValueError, match="sent_bytes is defined already, and differently"):
        metrics.gauge("sent_bytes")


def test_names_that_only_look_alike_are_two_metrics(telemetry):
    for name in ("orders", "orders_new", "order.s"):
        metrics.counter(name).add()

    assert scraped(telemetry, "order") == {"orders_total": 1, "orders_new_total": 1, "order_s_total": 1}


@pytest.mark.parametrize("define", KINDS)
def test_the_librarys_own_names_are_taken(define: Define):
    ours = {name for metric in CATALOGUE for name in (metric.name, metric.prometheus_name, metric.name.title())}
    for name in sorted({*ours, "langflow.flow.window", "langflow.component.window"}):
        with pytest.raises(ValueError, match=f"{name} is a metric of langflow-otel itself"):
            define(name)


@pytest.mark.parametrize("name", ["target_info", "target.info", "langflow_flow_duration_seconds_count"])
def test_names_of_single_samples_are_taken_too(name: str):
    with pytest.raises(ValueError, match="is a metric of langflow-otel itself"):
        metrics.gauge(name)


@pytest.mark.parametrize(
    "name",
    ["", " ", "1a", "_a", ".a", "a-b", "a b", "a:b", "a/b", "ü", "aü", "a\n", "a" * 256, 'a"', "a{b}"],
)
@pytest.mark.parametrize("define", KINDS)
def test_what_is_no_name(define: Define, name: str):
    with pytest.raises(ValueError, match="is no name for a metric"):
        define(name)


@pytest.mark.parametrize("name", ["a", "A", "a1", "a.b_c.d", "a" * 255])
@pytest.mark.parametrize("define", KINDS)
def test_what_is_a_name(telemetry, define: Define, name: str):
    write(define(name))

    assert list(pushed(telemetry)) == [name.lower()]


@pytest.mark.parametrize("label", ["", "1a", "a-b", "a.b", "ü", "__name__", "__a", "le", "worker", "quantile", "a\n"])
@pytest.mark.parametrize("define", KINDS)
def test_what_cannot_be_a_label(define: Define, label: str):
    with pytest.raises(ValueError, match="cannot be a label"):
        define("one", labels=["fine", label])


@pytest.mark.parametrize("label", ["self", "amount", "value"])
@pytest.mark.parametrize("define", KINDS)
def test_an_arguments_own_name_cannot_be_a_label(define: Define, label: str):
    """Given as one it would be a TypeError in the flow."""
    with pytest.raises(ValueError, match="cannot be a label"):
        define("one", labels=[label])


@pytest.mark.parametrize("label", ["a", "_a", "A1", "name", "class", "labels"])
@pytest.mark.parametrize("define", KINDS)
def test_what_can_be_a_label(telemetry, define: Define, label: str):
    write(define("one", labels=[label]), **{label: "x"})

    assert pushed(telemetry) == {"one": {("x",): 1}}


def test_a_label_that_is_named_twice():
    with pytest.raises(ValueError, match="a label is named twice in"):
        metrics.counter("one", labels=["a", "b", "a"])


def test_a_single_label_in_the_place_of_the_list():
    with pytest.raises(ValueError, match="labels must be a list of names, not 'region'"):
        metrics.counter("one", labels="region")


@pytest.mark.parametrize("unit", ["ü", "x" * 64])
@pytest.mark.parametrize("define", KINDS)
def test_a_unit_that_opentelemetry_does_not_take(define: Define, unit: str):
    with pytest.raises(ValueError, match="is no unit"):
        define("one", unit=unit)


@pytest.mark.parametrize("buckets", [[], [2, 1], [1, 1], [1, math.inf], [-math.inf, 1], [math.nan]])
def test_what_cannot_be_buckets(buckets: list[float]):
    with pytest.raises(ValueError, match="buckets must be finite and rising"):
        metrics.histogram("one", buckets=buckets)


def test_a_refused_definition_leaves_nothing_behind(telemetry):
    metrics.counter("taken")
    for wrong in ({"name": "taken", "unit": "s"}, {"name": "new", "labels": ["le"]}):
        with pytest.raises(ValueError):
            metrics.counter(**wrong)
    metrics.gauge("new").set(1)

    assert scraped(telemetry, "new") == {"new": 1.0}


def test_threads_that_define_a_metric_at_once_get_one(telemetry):
    found: list[Any] = []
    at_once(8, lambda: found.append(metrics.counter("one")))

    assert len(set(map(id, found))) == 1


def test_metrics_can_be_defined_while_instrumentation_is_off():
    set_active_recorder(None)
    early = metrics.counter("early")
    with recording() as telemetry:
        early.add()

        assert scraped(telemetry, "early") == {"early_total": 1.0}


# Wrong calls never reach the flow


@pytest.mark.parametrize(
    "labels",
    [{}, {"a": "1"}, {"a": "1", "c": "2"}, {"a": "1", "b": "2", "c": "3"}, {"c": "1", "d": "2"}],
    ids=lambda labels: "+".join(labels) or "none",
)
@pytest.mark.parametrize("define", KINDS)
def test_wrong_labels_are_left_out_and_logged_once(lenient, caplog, define: Define, labels: dict[str, str]):
    with recording(strict=False) as telemetry:
        one = define("one", labels=["a", "b"])
        for _ in range(3):
            write(one, **labels)
        write(one, a="1", b="2")

        assert pushed(telemetry) == {"one": {("1", "2"): 1}}
    assert guard.faults == {"metrics.author.one": 3}
    why, contained = [record.getMessage() for record in caplog.records]
    assert why == (f"The metric one left out what it was given: it has the labels ['a', 'b'], not {sorted(labels)}.")
    assert contained.startswith("An error inside langflow-otel was contained at metrics.author.one;")


def test_labels_for_a_metric_without_any(lenient):
    with recording(strict=False) as telemetry:
        metrics.counter("one").add(1, region="eu")

        assert scraped(telemetry, "one") == {}
    assert guard.faults == {"metrics.author.one": 1}


@pytest.mark.parametrize(
    ("define", "value"),
    [
        (metrics.counter, -1),
        (metrics.counter, -1e-9),
        (metrics.counter, math.nan),
        (metrics.counter, math.inf),
        (metrics.counter, "1"),
        (metrics.counter, None),
        (metrics.gauge, math.nan),
        (metrics.gauge, -math.inf),
        (metrics.gauge, "high"),
        (metrics.histogram, -0.5),
        (metrics.histogram, math.nan),
        (metrics.histogram, math.inf),
        (metrics.histogram, None),
    ],
)
def test_a_wrong_value_is_left_out_of_both_sinks(lenient, define: Define, value: Any):
    with recording(strict=False) as telemetry:
        one = define("one")
        write(one, value)
        write(one, value)

        assert scraped(telemetry, "one") == {}
        write(one, 3)
        assert pushed(telemetry) == {"one": {(): 3}}
        assert 3.0 in scraped(telemetry, "one").values()
    assert guard.faults == {"metrics.author.one": 2}
    # The SDK, which takes none of them either, was not asked.
    assert not [line for line in telemetry.warnings if line.startswith("opentelemetry")]


def test_each_metric_that_is_used_wrongly_has_its_own_line(lenient):
    with recording(strict=False) as telemetry:
        for name in ("one", "two"):
            metrics.counter(name).add(-1)

    assert [line.splitlines()[0].partition(";")[0] for line in telemetry.warnings] == [
        "langflow_otel: The metric one left out what it was given: it cannot go up by -1.",
        "langflow_otel: An error inside langflow-otel was contained at metrics.author.one",
        "langflow_otel: The metric two left out what it was given: it cannot go up by -1.",
        "langflow_otel: An error inside langflow-otel was contained at metrics.author.two",
    ]


def test_what_was_left_out_is_counted(lenient, monkeypatch):
    monkeypatch.setattr(guard, "on_fault", _count_fault)
    with recording(strict=False) as telemetry:
        metrics.counter("one").add(-1)
        metrics.counter("one").add(-1)

        assert scraped(telemetry, "langflow_otel_dropped") == {
            'langflow_otel_dropped_total{signal="metrics",reason="own_error"}': 2.0
        }


def test_in_a_strict_test_a_wrong_call_is_loud():
    with recording(strict=False):
        guard.strict = True
        with pytest.raises(ValueError, match=r"one: it has the labels \['a'\], not \['b'\]"):
            metrics.counter("one", labels=["a"]).add(1, b="1")


# Too many series


def test_past_five_hundred_combinations_values_are_counted_together():
    with recording(strict=False) as telemetry:
        counter = metrics.counter("orders", labels=["order", "region"])
        for number in range(510):
            counter.add(1, order=str(number), region="eu")
        counter.add(1, order="499", region="eu")
        counter.add(1, order="500", region="eu")
        found = scraped(telemetry, "orders")

        assert len(found) == len(pushed(telemetry)["orders"]) == 501
    assert found['orders_total{order="499",region="eu"}'] == 2
    assert found['orders_total{order="other",region="other"}'] == 11
    assert telemetry.warnings == [
        "langflow_otel: More than 500 label combinations of orders: metrics count further ones together as 'other'."
    ]


def test_each_metric_has_five_hundred_of_its_own(telemetry):
    for name in ("one", "two"):
        counter = metrics.counter(name, labels=["number"])
        for number in range(500):
            counter.add(1, number=str(number))

    assert len(scraped(telemetry, "one", "two")) == 1000


# Off, on, and on again


@pytest.mark.parametrize("define", KINDS)
def test_while_instrumentation_is_off_nothing_is_looked_up(monkeypatch, define: Define):
    set_active_recorder(None)
    one = define("one", labels=["a"])
    monkeypatch.setattr(one, "_recording", None)
    write(one, a="1")
    # Not even what is wrong is noticed: that would cost something.
    write(one, math.nan, b="1")

    assert guard.faults == {}


@pytest.mark.parametrize("define", KINDS)
def test_where_only_spans_have_a_destination_metrics_do_nothing(telemetry, define: Define):
    set_active_recorder(Recorder(telemetry.provider, Settings()))
    write(define("one", labels=["a"]), a="1")

    assert scraped(telemetry, "one") == {}


@pytest.mark.parametrize("define", KINDS)
def test_an_instrument_outlives_instrumentation(define: Define):
    """Its series do not: they begin anew, at zero."""
    one = define("one", labels=["a"])
    found = []
    for value in (1, 2):
        with recording() as telemetry:
            write(one, value, a="x")
            found.append((pushed(telemetry), list(scraped(telemetry, "one").values())))
        write(one, 100, a="x")

    count = [] if define is not metrics.histogram else [1.0]
    assert found == [({"one": {("x",): value}}, [float(value), *count]) for value in (1, 2)]


def test_the_cap_begins_anew_too():
    counter = metrics.counter("one", labels=["number"])
    for first in (0, 500):
        with recording() as telemetry:
            for number in range(first, first + 500):
                counter.add(1, number=str(number))

            assert len(scraped(telemetry, "one")) == 500


def test_threads_lose_nothing(telemetry):
    counter = metrics.counter("one", labels=["number"])
    took = metrics.histogram("took", buckets=[1])

    def work() -> None:
        for index in range(1000):
            counter.add(1, number=str(index % 10))
            took.record(0.5)

    at_once(8, work)

    assert list(scraped(telemetry, "one").values()) == [800.0] * 10
    assert scraped(telemetry, "took") == {"took_sum": 4000.0, "took_count": 8000.0}
    assert pushed(telemetry) == {
        "one": {(str(number),): 800 for number in range(10)},
        "took": {(): 4000.0},
    }
