"""The gateway measures all runs, keeps the right ones whole, takes out secrets, and writes to a real Prometheus."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import pytest
from backends import Prometheus, arrived, made_span, remote_written_prometheus, send, send_total, spans_in
from collector_flows import SECRET, Sent, instrumented, run_flows
from collector_process import Collector, eventually, free_ports
from otlp_receiver import Receiver, otlp_receiver
from received import received_spans

pytestmark = pytest.mark.slow

OK, FAILING, SLOW, CRITICAL, LEAKING = 30, 3, 2, 5, 2
MADE_FAILED, MADE_SLOW, STORM = 150, 150, 1000
QUICK = {"DECISION_WAIT": "20s", "DECISION_WAIT_AFTER_ROOT": "1s", "SPAN_METRICS_INTERVAL": "1s"}


@dataclass
class Driven:
    """A gateway after all flows below: what was sent to it, what came out behind it."""

    backend: Receiver
    prometheus: Prometheus
    sent: Sent
    kept_by_library: Sent


@pytest.fixture(scope="module")
def prometheus_is_installed() -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed: apt-get install prometheus")


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory, prometheus_is_installed: None) -> Iterator[Driven]:
    folder = tmp_path_factory.mktemp("gateway")
    sampled = folder / "sampled"
    sampled.mkdir()
    with (
        otlp_receiver("http/protobuf") as backend,
        remote_written_prometheus(folder) as prometheus,
        Collector(
            "gateway.yaml",
            folder,
            TRACES_ENDPOINT=f"http://{backend.address}",
            LOGS_ENDPOINT=f"http://{backend.address}",
            PROMETHEUS_REMOTE_WRITE=prometheus.write_url,
            CRITICAL_FLOWS="[checkout, refund]",
            SLOW_MS=400,
            **QUICK,
        ) as gateway,
    ):
        with instrumented(
            folder, gateway.http, LANGFLOW_OTEL_ERROR_MESSAGES="full", OTEL_METRIC_EXPORT_INTERVAL="1000"
        ) as sent:
            run_flows(*["ok"] * OK, *["failing"] * FAILING, *["slow"] * SLOW, *["leaking"] * LEAKING)
            run_flows(*["ok"] * CRITICAL, name="checkout")
        with instrumented(
            sampled, gateway.http, LANGFLOW_OTEL_SAMPLING="*=0", LANGFLOW_OTEL_KEEP="slow:100ms"
        ) as kept_by_library:
            run_flows("medium")
            run_flows("ok", name="not sampled")
        # Of the share of the rest, too, it is known by then what becomes of it.
        eventually(
            lambda: gateway.own_metric("otelcol_processor_tail_sampling_global_count_traces_sampled_total") >= 43
        )
        eventually(lambda: kept_by_library.span_ids <= set(arrived(backend)))
        eventually(lambda: prometheus.value('sum(traces_span_metrics_calls_total{span_name=~"invoke.*"})') == 43)
        yield Driven(backend, prometheus, sent, kept_by_library)


@pytest.mark.parametrize(
    ("flow", "runs"), [("failing", FAILING), ("slow", SLOW), ("leaking", LEAKING), ("checkout", CRITICAL)]
)
def test_failed_slow_and_critical_runs_are_kept_whole(driven, flow, runs):
    traces = driven.sent.traces_of(flow)
    wanted = {span.span_id for span in driven.sent.spans if span.trace_id in traces}

    assert len(traces) == runs
    eventually(lambda: wanted <= set(arrived(driven.backend)))


def test_of_the_rest_hardly_any_is_kept(driven):
    rest = driven.sent.traces_of("ok")
    kept = {span.trace_id for span in received_spans(driven.backend)} & rest

    assert len(rest) == OK
    # 4 or more of 30 at 1 %: once in five thousand times.
    assert len(kept) < 4


def test_what_the_library_has_kept_is_kept(driven):
    [run] = [span for span in received_spans(driven.backend) if "langflow.kept" in span.attributes]

    assert run.attributes["langflow.flow.name"] == "medium"
    assert driven.kept_by_library.traces_of("medium") == {run.trace_id}


def test_rates_are_those_of_all_runs_though_few_are_kept(driven):
    flows = {"ok": OK, "failing": FAILING, "slow": SLOW, "checkout": CRITICAL, "leaking": LEAKING}

    for flow, runs in flows.items():
        # All spans of a run have the flow's name.
        labels = f'langflow_flow_name="{flow}",span_name=~"invoke_workflow.*",job="langflow"'
        assert driven.prometheus.value(f"sum(traces_span_metrics_calls_total{{{labels}}})") == runs
        assert driven.prometheus.value(f"sum(traces_span_metrics_duration_seconds_count{{{labels}}})") == runs
    failed = 'sum(traces_span_metrics_calls_total{status_code="STATUS_CODE_ERROR",span_name=~"invoke.*"})'
    assert driven.prometheus.value(failed) == FAILING + LEAKING


def test_the_librarys_metrics_are_in_prometheus_under_the_names_of_the_scrape(driven):
    labels = 'flow="ok",status="ok",entry_point="sdk",job="langflow"'

    assert driven.prometheus.value(f"langflow_flow_duration_seconds_count{{{labels}}}") == OK
    assert driven.prometheus.value(f'langflow_flow_duration_seconds_bucket{{{labels},le="+Inf"}}') == OK
    [error_rate] = driven.prometheus.query("langflow_error_rate")
    assert error_rate["metric"]["instance"]


def test_a_key_in_an_error_message_gets_no_further(driven):
    sent = driven.sent.trace_file.read_text()
    came = [span for request in driven.backend.requests for span in spans_in(request.message)]
    messages = [
        attribute.value.string_value
        for span in came
        for event in span.events
        for attribute in event.attributes
        if attribute.key == "exception.message"
    ]

    assert SECRET in sent
    assert not any(SECRET.encode() in request.message.SerializeToString() for request in driven.backend.requests)
    assert any("401 for ***" in message for message in messages)


# The two shares that the README names.
@pytest.mark.parametrize(("percent", "made"), [(1, 20_000), (10, 2_000)])
def test_a_share_of_many_is_kept_and_every_error(tmp_path, percent, made):
    failed = [made_span(os.urandom(16), failed=True) for _ in range(MADE_FAILED)]
    slow = [made_span(os.urandom(16), seconds=11) for _ in range(MADE_SLOW)]
    rest = [made_span(os.urandom(16)) for _ in range(made)]
    every = [*rest, *failed, *slow]

    with (
        otlp_receiver("http/protobuf") as backend,
        Collector(
            "gateway.yaml", tmp_path, TRACES_ENDPOINT=f"http://{backend.address}", KEEP_PERCENT=percent, **QUICK
        ) as gateway,
    ):
        send(gateway.grpc, [every[start : start + 1000] for start in range(0, len(every), 1000)])
        eventually(lambda: len(arrived(backend)) >= MADE_FAILED + MADE_SLOW)
    # Stopped, it has decided about all.
    kept = set(arrived(backend))

    assert {span.span_id.hex() for span in (*failed, *slow)} <= kept
    share = percent / 100
    expected, deviation = made * share, sqrt(made * share * (1 - share))
    assert len(kept) - MADE_FAILED - MADE_SLOW == pytest.approx(expected, abs=4.5 * deviation)


def test_a_storm_of_errors_is_cut_off_and_counted(tmp_path):
    storm = [made_span(os.urandom(16), failed=True, seconds=11) for _ in range(STORM)]
    critical = [made_span(os.urandom(16), failed=True, flow="checkout") for _ in range(10)]
    limits = {"ERROR_SPANS_PER_SECOND": 1, "ERROR_SPANS_BURST": 100}

    with (
        otlp_receiver("http/protobuf") as backend,
        Collector("gateway.yaml", tmp_path, TRACES_ENDPOINT=f"http://{backend.address}", **limits, **QUICK) as gateway,
    ):
        started_s = time.monotonic()
        send(gateway.grpc, [storm, critical])
        decided = "otelcol_processor_tail_sampling_global_count_traces_sampled_total"
        eventually(lambda: gateway.own_metric(decided) == STORM + len(critical))
        passed_s = time.monotonic() - started_s
        left_out = gateway.own_metric(
            "otelcol_processor_tail_sampling_count_traces_sampled_total",
            policy="errors-above-the-limit",
            decision="dropped",
        )
    kept = set(arrived(backend))

    # The bucket, and what came into it meanwhile: also of runs that are slow as well.
    assert 100 <= STORM - left_out <= 100 + passed_s
    assert len(kept) == STORM - left_out + len(critical)
    assert {span.span_id.hex() for span in critical} <= kept


def test_metrics_survive_a_killed_gateway_while_prometheus_is_away(tmp_path, prometheus_is_installed):
    address = f"127.0.0.1:{free_ports(1)[0]}"
    now_ns = time.time_ns()
    # Older than what a Prometheus takes by itself that has samples of now.
    times_ns = [now_ns - (5400 - after_s) * 10**9 for after_s in range(0, 50, 5)]
    gateway = Collector("gateway.yaml", tmp_path, PROMETHEUS_REMOTE_WRITE=f"http://{address}/api/v1/write")

    with gateway:
        send_total(gateway.grpc, "newest_total", [1], [now_ns])
        send_total(gateway.grpc, "made_total", range(10, 20), times_ns)
        eventually(lambda: gateway.own_metric("otelcol_exporter_queue_size", exporter="otlp_grpc/metrics") >= 11)
        gateway.kill()
    with remote_written_prometheus(tmp_path, address) as prometheus, gateway:
        eventually(lambda: prometheus.value("last_over_time(made_total[2h])") == 19)
        [series] = prometheus.query("made_total[2h]")

    assert [int(value) for _, value in series["values"]] == list(range(10, 20))
