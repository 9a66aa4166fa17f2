"""Through the load balancer, all spans of a trace come to the same gateway, whichever way they came in."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest
from backends import arrived, made_span, send, spans_in
from collector_flows import instrumented, run_flows
from collector_process import Collector, eventually
from otlp_receiver import Receiver, otlp_receiver

pytestmark = pytest.mark.slow

TRACES, SPANS = 200, 4


def traces_at(backend: Receiver) -> set[bytes]:
    return {span.trace_id for request in list(backend.requests) for span in spans_in(request.message)}


def test_traces_that_come_in_pieces_are_whole_behind_two_gateways(tmp_path):
    traces = [os.urandom(16) for _ in range(TRACES)]
    pieces = [[made_span(trace) for trace in traces] for _ in range(SPANS)]

    with ExitStack() as stack:
        backends = [stack.enter_context(otlp_receiver("http/protobuf")) for _ in range(2)]
        gateways = [
            stack.enter_context(
                Collector(
                    "gateway.yaml",
                    tmp_path,
                    TRACES_ENDPOINT=f"http://{backend.address}",
                    KEEP_PERCENT=100,
                    DECISION_WAIT_AFTER_ROOT="1s",
                )
            )
            for backend in backends
        ]
        addresses = ", ".join(gateway.grpc for gateway in gateways)
        balancer = stack.enter_context(Collector("gateway-loadbalancer.yaml", tmp_path, GATEWAYS=f"[{addresses}]"))
        with instrumented(tmp_path, balancer.http) as sent:
            send(balancer.grpc, pieces)
            run_flows(*["ok"] * 10)
        expected = TRACES * SPANS + len(sent.span_ids)
        eventually(lambda: sum(len(arrived(backend)) for backend in backends) >= expected)

    first, second = (traces_at(backend) for backend in backends)
    assert not first & second
    assert first | second == {*traces, *(bytes.fromhex(span.trace_id) for span in sent.spans)}
    # A fair coin: fewer than 60 of 210 on one side comes once in a billion times.
    assert min(len(first), len(second)) > 60
    assert sorted(arrived(backends[0]) + arrived(backends[1])) == sorted(
        [*(span.span_id.hex() for piece in pieces for span in piece), *sent.span_ids]
    )
