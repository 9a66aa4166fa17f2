"""Which runs are sampled, which are kept although they are not, and what holding them costs."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from langflow_otel._runs.buffered_spans import HeldSpan
from langflow_otel._runs.facts import CANCELLED, OK, ComponentInfo, FlowInfo, Outcome, ToolInfo
from langflow_otel._runs.flow import FlowRun
from langflow_otel._runs.recorder import Recorder, active_recorder
from langflow_otel._runs.request import RequestInfo
from langflow_otel._runs.run import current_run
from langflow_otel._runs.sampling_ratios import FlowRatios
from langflow_otel._runs.tail_sampling import HeldTrace, Keeper
from langflow_otel._sdk.instrumentor_spans import TracersBelowRuns
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry
from tests.support.recording import LONG

PARSER = ComponentInfo("Parser-1", "Parser", "Parser")
NEVER = (("*", 0.0),)
FAILED = Outcome("error", ValueError("x"))
TREE = ["invoke_workflow demo", "  component Parser", "    execute_tool search"]


def settings(*rules: tuple[str, float], errors: bool = True, slow_s: float | None = None, **more: Any) -> Settings:
    return Settings(sampling=rules, keep_errors=errors, keep_slow_s=slow_s, **more)


def recorder() -> Recorder:
    found = active_recorder()
    assert found is not None
    return found


def start(name: str = "demo", **kwargs: Any) -> FlowRun:
    run = recorder().start_flow(FlowInfo(name), **kwargs)
    assert run is not None
    return run


def run_flow(outcome: Outcome = OK, name: str = "demo", **kwargs: Any) -> FlowRun:
    """flow > component > tool."""
    flow = start(name, **kwargs)
    component = recorder().start_component(PARSER, flow)
    tool = recorder().start_tool(ToolInfo("search"), component)
    tool.finish()
    component.finish(outcome)
    flow.finish(outcome)
    return flow


def lines(telemetry: Telemetry) -> list[str]:
    """The tree, without how it ended."""
    return [line.partition(" [")[0] for line in telemetry.tree()]


def attributes_of(telemetry: Telemetry, name: str) -> Mapping[str, Any]:
    return telemetry.only_span(name).attributes


def caller(*, sampled: bool, remote: bool = True) -> otel_context.Context:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    span = SpanContext(random.getrandbits(128) | 1, random.getrandbits(64) | 1, remote, flags)
    return trace.set_span_in_context(NonRecordingSpan(span))


class TestRatios:
    def test_the_first_pattern_that_matches_counts(self):
        ratios = FlowRatios((("checkout", 1.0), ("chat-*", 0.0), ("id-7", 1.0), ("*", 0.0)))

        assert ratios.samples(2**64 - 1, "checkout")
        assert not ratios.samples(0, "chat-de", "id-7")
        assert ratios.samples(2**64 - 1, "anything", "id-7")
        assert not ratios.samples(0, "anything", "id-8")

    def test_a_flow_that_none_matches_is_sampled(self):
        assert FlowRatios((("chat-*", 0.0),)).samples(2**64 - 1, "checkout")

    def test_they_decide_as_the_standard_sampler_does(self):
        ratios, standard = FlowRatios((("*", 0.3),)), TraceIdRatioBased(0.3)
        for _ in range(1000):
            trace_id = random.getrandbits(128)
            assert ratios.samples(trace_id, "x") is standard.should_sample(None, trace_id, "x").decision.is_sampled()


class TestDecision:
    def test_by_flow(self):
        with capture_telemetry(settings=settings(("checkout", 1.0), *NEVER)) as telemetry:
            run_flow(name="checkout")
            run_flow(name="chat")

        assert "invoke_workflow checkout" in telemetry.names()
        assert len(telemetry.names()) == 3

    @pytest.mark.parametrize("sampled", [True, False])
    def test_the_callers_decision_is_respected(self, sampled: bool):
        with capture_telemetry(settings=settings(("*", 0.0 if sampled else 1.0))) as telemetry:
            assert run_flow(parent=caller(sampled=sampled)).sampled is sampled

        assert len(telemetry.names()) == (3 if sampled else 0)

    def test_below_the_hosts_own_span_of_a_request_the_flows_ratio_decides(self):
        """LangFlow's are always sampled: to follow them would be to send everything."""
        with (
            capture_telemetry(settings=settings(*NEVER)) as telemetry,
            telemetry.provider.get_tracer("host").start_as_current_span("GET /run"),
        ):
            assert not run_flow().sampled

        assert lines(telemetry) == ["GET /run"]

    def test_behind_the_hosts_own_span_a_caller_is_found(self):
        with capture_telemetry(settings=settings(*NEVER)) as telemetry:
            host = telemetry.provider.get_tracer("host")
            with host.start_as_current_span("POST /run", context=caller(sampled=True)):
                assert run_flow().sampled

    def test_below_a_span_of_this_process_that_is_not_sampled_nothing_is(self):
        with capture_telemetry(settings=settings(("*", 1.0), errors=False)):
            assert not run_flow(parent=caller(sampled=False, remote=False)).sampled

    @pytest.mark.parametrize(("outer", "inner"), [(1.0, 0.0), (0.0, 1.0)])
    def test_a_flow_in_a_flow_is_sampled_as_that_is(self, outer: float, inner: float):
        rules = (("outer", outer), ("inner", inner))
        with capture_telemetry(settings=settings(*rules, errors=False)) as telemetry:
            flow = start("outer")
            run_flow(name="inner")
            flow.finish()

        assert len(telemetry.names()) == (4 if outer else 0)

    def test_without_ratios_the_standard_sampler_decides_alone(self):
        with capture_telemetry(settings=Settings(), sampler=ALWAYS_OFF) as telemetry:
            run_flow(FAILED)

        assert telemetry.names() == []

    def test_a_ratio_wins_over_the_standard_sampler(self):
        with capture_telemetry(settings=settings(("*", 1.0)), sampler=TraceIdRatioBased(0.0)) as telemetry:
            run_flow()

        assert lines(telemetry) == TREE

    def test_what_is_below_learns_of_it(self):
        """The context goes out with flag 0, and in the trace that the run's log lines name."""
        with capture_telemetry(settings=settings(*NEVER)):
            flow = start()
            inside = trace.get_current_span()
            assert inside.is_recording()
            assert not inside.get_span_context().trace_flags.sampled
            flow.finish()

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("ratio", "runs"),
        # Where nothing is left to chance, a thousand runs say as much.
        [(0.0, 1_000), (0.01, 100_000 if LONG else 20_000), (1.0, 1_000)],
    )
    def test_share_of_many_runs_is_the_ratio(self, ratio: float, runs: int):
        """Each twentieth fails."""
        with capture_telemetry(settings=settings(("demo", ratio))) as telemetry:
            for number in range(runs):
                start().finish(FAILED if number % 20 == 0 else OK)
            spans = telemetry.sdk_spans

        kept = [span for span in spans if "langflow.kept" in span.attributes]
        sampled = len(spans) - len(kept)
        # Five standard deviations: one in three million runs of this test is outside.
        assert abs(sampled - runs * ratio) <= 5 * math.sqrt(runs * ratio * (1 - ratio))
        assert len([span for span in spans if span.attributes["langflow.status"] == "error"]) == runs // 20


class TestKeeping:
    def test_a_run_that_fails_is_kept_whole(self):
        with capture_telemetry(settings=settings(*NEVER)) as telemetry:
            run_flow(OK)
            run_flow(FAILED)

        assert lines(telemetry) == TREE
        assert attributes_of(telemetry, "invoke_workflow demo")["langflow.kept"] == "error"
        assert "langflow.kept" not in attributes_of(telemetry, "component Parser")

    def test_a_run_that_is_slow_is_kept_whole(self):
        with capture_telemetry(settings=settings(*NEVER, slow_s=0.0)) as telemetry:
            run_flow(OK)

        assert lines(telemetry) == TREE
        assert attributes_of(telemetry, "invoke_workflow demo")["langflow.kept"] == "slow"

    @pytest.mark.parametrize("outcome", [OK, CANCELLED, Outcome("paused")])
    def test_others_are_not(self, outcome: Outcome):
        with capture_telemetry(settings=settings(*NEVER, slow_s=60.0)) as telemetry:
            run_flow(outcome)

        assert telemetry.names() == []

    def test_none_is_where_none_shall_be(self):
        with capture_telemetry(settings=settings(*NEVER, errors=False)) as telemetry:
            run_flow(FAILED)

        assert telemetry.names() == []

    def test_what_was_kept_is_what_would_have_been_sampled(self):
        found = []
        for ratio in (0.0, 1.0):
            with capture_telemetry(settings=settings(("*", ratio))) as telemetry:
                flow = start()
                flow.add({"given": 1})
                flow.component_skipped(ComponentInfo("Other-1", "Other", "Other"))
                component = recorder().start_component(PARSER, flow)
                component.retried(1, 0.5, ValueError("x"))
                component.note_failure(ValueError("x"))
                component.finish(component.failure or OK)
                flow.finish(FAILED)
            found.append(sorted(telemetry.sdk_spans, key=lambda span: span.start_time or 0))

        for kept, sampled in zip(*found, strict=True):
            assert kept.name == sampled.name
            its_own = {"langflow.kept": "", "langflow.flow.process.memory.peak": 0, "langflow.flow.process.cpu.time": 0}
            assert {**kept.attributes, **its_own} == {**sampled.attributes, **its_own}
            assert [(event.name, event.attributes) for event in kept.events] == [
                (event.name, event.attributes) for event in sampled.events
            ]
            assert kept.status == sampled.status
            assert kept.kind == sampled.kind
            assert kept.instrumentation_scope == sampled.instrumentation_scope
            assert 0 <= kept.end_time - kept.start_time < 1e9
            assert kept.context.trace_flags.sampled

    def test_the_standard_limits_hold(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "3")
        monkeypatch.setenv("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5")
        monkeypatch.setenv("OTEL_SPAN_EVENT_COUNT_LIMIT", "1")
        with capture_telemetry(settings=settings(*NEVER), strict=False) as telemetry:  # the SDK warns of each
            flow = start()
            component = recorder().start_component(PARSER, flow)
            for attempt in range(3):
                component.retried(attempt, 0.5, None)
            component.finish()
            flow.finish(FAILED)

        for span in telemetry.sdk_spans:
            assert len(span.attributes or {}) == 3
            assert all(len(value) <= 5 for value in (span.attributes or {}).values() if isinstance(value, str))
            assert len(span.events) == 1

    def test_ids_are_those_that_went_out(self):
        """Callers, called services and log lines have named them while the run went on."""
        with capture_telemetry(settings=settings(*NEVER)) as telemetry:
            flow = start()
            before = trace.get_current_span().get_span_context()
            flow.finish(FAILED)

        (span,) = telemetry.sdk_spans
        assert (span.context.trace_id, span.context.span_id) == (before.trace_id, before.span_id)

    def test_what_is_kept_is_what_the_ratio_leaves_out(self):
        """A service that decides by the same ratio has not sampled these traces either."""
        ratios = FlowRatios((("*", 0.5),))
        with capture_telemetry(settings=settings(("*", 0.5))) as telemetry:
            for _ in range(200):
                run_flow(FAILED)

        for span in telemetry.sdk_spans:
            if span.parent is None:
                kept = "langflow.kept" in (span.attributes or {})
                assert ratios.samples(span.context.trace_id, "demo") is not kept

    def test_below_a_caller_that_sends_its_span(self):
        with (
            capture_telemetry(settings=settings(*NEVER)) as telemetry,
            telemetry.provider.get_tracer("host").start_as_current_span("POST /run"),
        ):
            run_flow(FAILED)

        assert lines(telemetry) == ["POST /run", *("  " + line for line in TREE)]

    def test_below_a_caller_that_does_not_it_begins_the_trace_and_has_a_link(self):
        context = caller(sampled=False)
        above = trace.get_current_span(context).get_span_context()
        with capture_telemetry(settings=settings(("*", 1.0))) as telemetry:
            run_flow(FAILED, parent=context)

        root = next(span for span in telemetry.sdk_spans if span.name.startswith("invoke_workflow"))
        assert (root.parent, root.context.trace_id) == (None, above.trace_id)
        assert [link.context.span_id for link in root.links] == [above.span_id]
        assert lines(telemetry) == TREE

    def test_a_flow_that_fails_in_a_flow_that_does_not(self):
        with capture_telemetry(settings=settings(*NEVER)) as telemetry:
            flow = start("outer")
            run_flow(FAILED, name="inner")
            run_flow(OK, name="fine")
            flow.finish()

        kept = {span.name: span.attributes.get("langflow.kept") for span in telemetry.sdk_spans}
        assert (kept["invoke_workflow outer"], kept["invoke_workflow inner"]) == ("error", "error")
        assert kept["invoke_workflow fine"] is None

    def test_where_the_standard_sampler_drops_it(self):
        """LANGFLOW_OTEL_KEEP without LANGFLOW_OTEL_SAMPLING."""
        with capture_telemetry(settings=settings(), sampler=ALWAYS_OFF) as telemetry:
            run_flow(OK)
            run_flow(FAILED)

        assert lines(telemetry) == TREE

    def test_custom_spans_and_streams_are_kept_too(self):
        with capture_telemetry(settings=settings(*NEVER)) as telemetry:
            flow = start()
            component = recorder().start_component(PARSER, flow)
            custom = recorder().start_span("score", {"given": True})
            assert custom is not None
            custom.finish()
            stream = recorder().open_stream(component)
            component.finish()
            assert stream is not None
            stream.leave_step(stream.pull())
            stream.close("exhausted")
            flow.finish(FAILED)

        assert lines(telemetry) == ["invoke_workflow demo", "  component Parser", "    score", "    stream Parser"]

    def test_spans_of_other_instrumentors_are_kept_too(self):
        with capture_telemetry(settings=settings(*NEVER)) as telemetry:
            below = TracersBelowRuns()
            below.makes_spans = telemetry.provider
            tracer = below.get_tracer("openinference.x")
            flow = start()
            component = recorder().start_component(PARSER, flow)
            with tracer.start_as_current_span("ChatModel", attributes={"a": 1}) as span:
                span.set_attribute("gen_ai.usage.input_tokens", 3)
                span.record_exception(ValueError("secret"))
                tracer.start_span("retry").end()
            assert component.tokens_are_below
            late = tracer.start_span("still going on")
            component.finish(FAILED)
            flow.finish(FAILED)
            late.end()

        assert lines(telemetry) == [
            "invoke_workflow demo",
            "  component Parser",
            "    ChatModel",
            "      retry",
            "    still going on",
        ]

    def test_a_span_that_nobody_sends_is_no_parent(self):
        """LangFlow's own span below an unsampled flow does not record."""
        with capture_telemetry(settings=settings(*NEVER)) as telemetry:
            flow = start()
            token = otel_context.attach(caller(sampled=False, remote=False))
            recorder().start_component(PARSER, current_run()).finish()
            otel_context.detach(token)
            flow.finish(FAILED)

        assert lines(telemetry) == TREE[:2]


class TestRequests:
    INFO = RequestInfo(method="POST", path="/api/v1/run/x", scheme="http", traced=True, pushed=False)

    def request(self, *flows: tuple[str, Outcome], context: otel_context.Context | None = None) -> None:
        request = recorder().start_request(self.INFO, context or otel_context.Context())
        assert request is not None
        for name, outcome in flows:
            run_flow(outcome, name)
        request.finish("/api/v1/run/{id}", 200)

    RULES = (("demo", 1.0), ("*", 0.0))

    def test_its_span_is_sampled_if_its_flow_is(self):
        with capture_telemetry(settings=settings(*self.RULES)) as telemetry:
            self.request(("chat", OK))
            self.request(("demo", OK))

        assert lines(telemetry) == ["POST /api/v1/run/{id}", *("  " + line for line in TREE)]

    def test_its_span_is_kept_if_its_flow_is(self):
        with capture_telemetry(settings=settings(*NEVER)) as telemetry:
            self.request(("demo", OK))
            self.request(("demo", FAILED))

        assert lines(telemetry) == ["POST /api/v1/run/{id}", *("  " + line for line in TREE)]

    @pytest.mark.parametrize("ratio", [0.0, 1.0])
    def test_one_that_runs_no_flow_is_sampled_as_any_flow_is(self, ratio: float):
        with capture_telemetry(settings=settings(("demo", 0.5), ("*", ratio))) as telemetry:
            self.request()

        assert lines(telemetry) == ["POST /api/v1/run/{id}"] * int(ratio)

    @pytest.mark.parametrize("sampled", [True, False])
    def test_the_callers_decision_is_respected(self, sampled: bool):
        with capture_telemetry(settings=settings(("*", 0.0 if sampled else 1.0))) as telemetry:
            self.request(("demo", OK), context=caller(sampled=sampled))

        assert len(telemetry.names()) == (4 if sampled else 0)

    def test_a_failed_run_of_a_caller_that_samples_nothing(self):
        with capture_telemetry(settings=settings(("*", 1.0))) as telemetry:
            self.request(("demo", FAILED), context=caller(sampled=False))

        assert lines(telemetry) == ["POST /api/v1/run/{id}", *("  " + line for line in TREE)]

    def test_a_flow_that_starts_when_its_request_is_over(self):
        """The playground's."""
        with capture_telemetry(settings=settings(*self.RULES)) as telemetry:
            request = recorder().start_request(self.INFO, otel_context.Context())
            assert request is not None
            context = otel_context.get_current()
            request.finish("/api/v1/build", 200)
            flow = recorder().start_flow(FlowInfo("demo", "playground"), parent=context)
            assert flow is not None
            flow.finish()

        assert lines(telemetry) == ["POST /api/v1/build", "  invoke_workflow demo"]


class TestBounds:
    def hold(self, keeper: Keeper, spans: int, text: str = "") -> Any:
        held = keeper.hold()
        tracer = trace.NoOpTracerProvider().get_tracer("x")
        for _ in range(spans):
            held.start_span(tracer, "x", trace.INVALID_SPAN, attributes={"text": text}).end()
        return held

    @pytest.mark.parametrize(("spans", "text"), [(6, ""), (2, "x" * 4000)])
    def test_the_oldest_run_is_given_up_first(self, spans: int, text: str):
        lost: list[int] = []
        keeper = Keeper(dropped=lost.append, max_spans=10, max_bytes=15_000)
        first, second = self.hold(keeper, spans, text), self.hold(keeper, spans, text)

        assert (first.lost, second.lost) == (spans, 0)
        keeper.finish(first, "error")
        assert lost == [spans]
        keeper.finish(second, None)
        assert (keeper.spans, keeper.bytes) == (0, 0)
        assert lost == [spans]

    def test_a_run_that_is_too_large_by_itself_is_given_up(self):
        keeper = Keeper(max_spans=10)
        held = self.hold(keeper, 30)

        assert held.lost == 11
        assert keeper.spans == 0

    def test_runs_that_are_given_up_and_fine_are_no_loss(self):
        lost: list[int] = []
        keeper = Keeper(dropped=lost.append, max_spans=1)
        keeper.finish(self.hold(keeper, 3), None)

        assert lost == []

    def test_what_is_lost_is_counted(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("langflow_otel._runs.sampling.Keeper", functools.partial(Keeper, max_spans=2))
        with capture_telemetry(settings=settings(*NEVER)) as telemetry:
            run_flow(FAILED)
            found = telemetry.metrics("langflow_otel_dropped_total")

        assert telemetry.names() == []
        assert found == {'langflow_otel_dropped_total{signal="traces",reason="given_up"}': 3.0}

    def test_nothing_is_left_after_the_run(self):
        with capture_telemetry(settings=settings(*NEVER)):
            flow = start()
            assert flow.held is not None
            keeper = flow.held._keeper
            flow.finish()
            assert (keeper.spans, keeper.bytes, keeper._runs) == (0, 0, {})


LARGE = "x" * 100_000


class TestWeights:
    """Whatever is added to a run that is held counts, when it is added."""

    @pytest.fixture
    def held(self) -> HeldTrace:
        return Keeper().hold()

    def span(self, held: HeldTrace) -> HeldSpan:
        return held.start_span(trace.NoOpTracerProvider().get_tracer("x"), "x", trace.INVALID_SPAN)

    @pytest.mark.parametrize(
        "add",
        [
            lambda span: span.set_attribute("a", LARGE),
            lambda span: span.set_attributes({"a": LARGE}),
            lambda span: span.set_attribute("a", ["x", LARGE]),
            lambda span: span.set_attribute("a", [str(number) for number in range(2000)]),
            lambda span: span.set_attribute("a", [0.5] * 3000),
            lambda span: span.set_attribute(LARGE, 1),
            lambda span: span.add_event("x", {"a": LARGE}),
            lambda span: span.add_event("x", {"a": (LARGE,)}),
            lambda span: span.add_event(LARGE),
            lambda span: span.record_exception(ValueError(LARGE)),
            lambda span: span.add_link(SpanContext(1, 2, True), {"a": LARGE}),
            lambda span: span.update_name(LARGE),
            lambda span: span.set_status(trace.StatusCode.ERROR, LARGE),
        ],
    )
    def test_each_kind_of_addition_counts_at_once(self, held: HeldTrace, add: Callable[[HeldSpan], None]):
        add(self.span(held))

        assert 100_000 <= held._keeper.bytes < 205_000

    @pytest.mark.parametrize(
        "kwargs",
        [
            {"attributes": {"a": LARGE}},
            {"attributes": {"a": [LARGE]}},
            {"links": [trace.Link(SpanContext(1, 2, True), {"a": LARGE})]},
        ],
    )
    def test_what_a_span_starts_with_counts_at_once(self, held: HeldTrace, kwargs: dict[str, Any]):
        held.start_span(trace.NoOpTracerProvider().get_tracer("x"), "x", trace.INVALID_SPAN, **kwargs)

        assert 100_000 <= held._keeper.bytes < 105_000

    def test_bytes_count_as_much_as_text(self, held: HeldTrace):
        """An SDK that takes none turns them into text, or leaves them out."""
        span = self.span(held)
        span.set_attribute("a", LARGE.encode())  # type: ignore[arg-type]

        assert ("a" not in span.attributes) or held._keeper.bytes >= 100_000

    def test_characters_count_as_many_bytes_as_they_take(self, held: HeldTrace):
        self.span(held).set_attribute("a", "\N{GRINNING FACE}" * 10_000)

        assert 40_000 <= held._keeper.bytes < 45_000

    @pytest.mark.parametrize(
        "overwrite",
        [
            lambda span: span.set_attribute("a", LARGE),
            lambda span: span.set_attributes({"a": [LARGE]}),
            lambda span: span.update_name(LARGE),
            lambda span: span.set_status(trace.StatusCode.ERROR, LARGE),
        ],
    )
    def test_what_is_overwritten_counts_no_more(self, held: HeldTrace, overwrite: Callable[[HeldSpan], None]):
        span = self.span(held)
        for _ in range(10):
            overwrite(span)
        span.end()

        assert 100_000 <= held._keeper.bytes < 105_000

    @pytest.mark.parametrize(
        ("add", "most"),
        [
            (lambda span, number: span.set_attribute(f"{number}", LARGE), 128),
            (lambda span, number: span.add_event("x", {"a": LARGE}), 128),
            (lambda span, number: span.add_link(SpanContext(1, 2, True), {"a": LARGE}), 128),
            (lambda span, number: span.add_event("x", {str(each): "x" * 1000 for each in range(500)}), 128 * 128 / 100),
        ],
    )
    def test_no_more_is_held_than_a_span_takes(
        self, held: HeldTrace, add: Callable[[HeldSpan, int], None], most: float
    ):
        held._keeper._max_bytes = 2**30
        span = self.span(held)
        for number in range(300):
            add(span, number)
        span.end()

        assert most * 100_000 <= held._keeper.bytes < most * 112_000

    def test_it_is_all_let_go_with_the_run(self, held: HeldTrace):
        keeper = held._keeper
        span, open_span = self.span(held), self.span(held)
        span.add_event("x", {"a": LARGE})
        span.end()
        open_span.set_attribute("a", LARGE)
        keeper.finish(held, None)
        open_span.set_attribute("b", LARGE)
        open_span.end()

        assert (keeper.spans, keeper.bytes) == (0, 0)

    def test_a_run_that_is_given_up_holds_nothing_more(self):
        """What still goes on in it goes on, and is no longer of interest."""
        keeper = Keeper(max_bytes=250_000)
        held = keeper.hold()
        spans = [self.span(held) for _ in range(3)]
        for span in spans:
            span.set_attribute("a", LARGE)
            span.add_event("x", {"a": LARGE})
        late = self.span(held)
        late.set_attribute("a", LARGE)

        assert held.lost == 3
        assert [(span.attributes, span.events) for span in (*spans, late)] == [({}, None)] * 4
        assert all(span.is_recording() for span in spans)
        assert (keeper.spans, keeper.bytes) == (0, 0)

    def test_lists_and_events_of_many_components_are_bounded(self):
        with capture_telemetry(settings=settings(*NEVER)):
            flow = start()
            assert flow.held is not None
            keeper = flow.held._keeper
            highest = 0
            for _ in range(150):
                component = recorder().start_component(PARSER, flow)
                assert component.span is not None
                component.span.set_attribute("rows", ["x" * 1_000_000])
                highest = max(highest, keeper.bytes)
                component.finish()
            flow.finish()

        assert 60 * 2**20 < highest <= 66 * 2**20
        assert flow.held.lost > 60


class TestSpan:
    def test_what_is_changed_afterwards_is_not_what_was_recorded(self):
        """A span of the SDK takes a copy, too."""
        rows, facts = ["a"], {"b": ["c"]}
        with capture_telemetry(settings=settings(*NEVER), sampler=ALWAYS_ON) as telemetry:
            span = self.span(telemetry)
            span.set_attribute("rows", rows)
            span.add_event("x", facts)
            rows.append("z")
            facts["b"].append("z")
            span.keep()
            span.end()

        (found,) = telemetry.sdk_spans
        assert (found.attributes, found.events[0].attributes) == ({"rows": ("a",)}, {"b": ("c",)})

    def test_what_did_not_fit_is_counted_on_the_span(self, monkeypatch: pytest.MonkeyPatch):
        for name in ("ATTRIBUTE", "EVENT", "LINK"):
            monkeypatch.setenv(f"OTEL_SPAN_{name}_COUNT_LIMIT", "2")
        with capture_telemetry(settings=settings(*NEVER), sampler=ALWAYS_ON, strict=False) as telemetry:
            held, made = self.span(telemetry), telemetry.provider.get_tracer("x").start_span("x")
            for span in (held, made):
                for number in range(5):
                    span.set_attribute(str(number), number)
                    span.add_event(str(number))
                    span.add_link(SpanContext(1, number + 1, True))
            held.keep()
            for span in (held, made):
                span.end()

        kept, sampled = telemetry.sdk_spans
        for found in (kept, sampled):
            assert found.attributes == {"3": 3, "4": 4}
            assert [event.name for event in found.events] == ["3", "4"]
            assert [link.context.span_id for link in found.links] == [4, 5]
            assert (found.dropped_attributes, found.dropped_events, found.dropped_links) == (3, 3, 3)

    def test_what_did_not_fit_in_its_events_and_links_is_counted(self, monkeypatch: pytest.MonkeyPatch):
        for name in ("EVENT", "LINK"):
            monkeypatch.setenv(f"OTEL_{name}_ATTRIBUTE_COUNT_LIMIT", "2")
        facts = {str(number): number for number in range(5)}
        with capture_telemetry(settings=settings(*NEVER), sampler=ALWAYS_ON, strict=False) as telemetry:
            held, made = self.span(telemetry), telemetry.provider.get_tracer("x").start_span("x")
            for span in (held, made):
                span.add_event("few", {"a": 1})
                span.add_event("many", facts)
                span.add_link(SpanContext(1, 1, True), facts)
                span.add_link(SpanContext(1, 2, True), {"a": 1})
            held.keep()
            for span in (held, made):
                span.end()

        for found in telemetry.sdk_spans:
            assert [event.dropped_attributes for event in found.events] == [0, 3]
            assert [link.dropped_attributes for link in found.links] == [3, 0]
        assert len(telemetry.sdk_spans) == 2

    def span(self, telemetry: Telemetry) -> HeldSpan:
        tracer = telemetry.provider.get_tracer("x")
        return HeldSpan(tracer, "x", trace.INVALID_SPAN)

    def test_it_takes_what_a_span_takes(self):
        with capture_telemetry(settings=settings(*NEVER), sampler=ALWAYS_ON) as telemetry:
            span = self.span(telemetry)
            span.set_attribute("a", 1)
            span.set_attributes({"b": 2})
            span.add_link(SpanContext(1, 2, True))
            span.update_name("y")
            span.set_status(trace.StatusCode.ERROR, "why")
            span.keep()
            span.end(5)
            span.set_attribute("late", 1)
            span.end(9)

        (found,) = telemetry.sdk_spans
        assert (found.name, found.attributes, found.end_time) == ("y", {"a": 1, "b": 2}, 5)
        assert (found.status.description, found.links[0].context.span_id) == ("why", 2)

    def test_it_is_made_once(self):
        with capture_telemetry(settings=settings(*NEVER)) as telemetry:
            span = self.span(telemetry)
            span.end()
            span.keep()
            span.keep()

        assert telemetry.names() == ["x"]


# The random flag of W3C Trace Context, level 2


def flag_of(span: Any) -> bool:
    return bool(span.get_span_context().trace_flags & 0x02)


ALWAYS = (("*", 1.0),)


@pytest.mark.parametrize("chosen", [settings(), settings(*NEVER), settings(*ALWAYS), settings(*NEVER, errors=False)])
@pytest.mark.parametrize("caller", [None, 0x00, 0x01, 0x02, 0x03])
def test_random_flag_is_the_one_that_the_sdk_alone_would_set(chosen: Settings, caller: int | None):
    """On each span that can go out on the wire, and on each that is sent, also of a run that is kept."""
    context = otel_context.get_current()
    if caller is not None:
        above = SpanContext(random.getrandbits(128) | 1, 7, True, TraceFlags(caller))
        context = trace.set_span_in_context(NonRecordingSpan(above), context)
    alone = TracerProvider(shutdown_on_exit=False).get_tracer("alone")
    expected = flag_of(alone.start_span("alone", context))
    sent = InMemorySpanExporter()
    with capture_telemetry(settings=chosen) as telemetry:
        telemetry.provider.add_span_processor(SimpleSpanProcessor(sent))
        token = otel_context.attach(context)
        flow = start()
        component = recorder().start_component(PARSER, flow)
        below = {flag_of(each.span) for each in (flow, component) if each.span is not None}
        component.finish(FAILED)
        flow.finish(FAILED)
        otel_context.detach(token)

        assert below == {expected}
        assert {flag_of(span) for span in sent.get_finished_spans()} <= {expected}
