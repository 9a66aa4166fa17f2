"""The message of an error that arose where content is denied leaves nowhere, whatever the error passes through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flows import chat_input, chat_output, line, run
from langchain_core.embeddings import Embeddings
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from lfx.graph import Graph
from lfx.log.logger import configure, logger
from lfx.schema.message import Message
from nodes import basic, models
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanContext, StatusCode
from test_denied_tools import Asking, MakesTool, wired

from langflow_otel import instrument, span, traced, uninstrument
from langflow_otel._content.log_lines import WITHHELD
from langflow_otel._hooks import logs
from langflow_otel._hooks.table import log_lines
from langflow_otel._runs.model_call import calling_model
from langflow_otel._sdk.content_filter import ContentFilter
from langflow_otel._sdk.instrumentor_spans import watch_nested_model_spans
from langflow_otel._sdk.logs import LogsPipeline
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

CANARY = "canary-7f3a of the patient"
SAID = b"canary-7f3a"


def fail() -> None:
    """With a cause that quotes it, too."""
    try:
        raise LookupError(f"no {CANARY}")
    except LookupError as exc:
        raise PermissionError(f"refused: {CANARY}") from exc


class Fails(basic.Echo):
    display_name = "Fails Here"
    name = "Fails"

    async def run_out(self) -> Message:
        fail()
        return Message(text="")


class FailsInThread(Fails):
    def run_out(self) -> Message:
        fail()
        return Message(text="")


class FailsSettingUp(Fails):
    def _pre_run_setup(self) -> None:
        fail()


class FailsInSpan(Fails):
    @traced("score")
    async def run_out(self) -> Message:
        with span("look up"):
            fail()
        return Message(text="")


class FailsShortly(Fails):
    async def run_out(self) -> Message:
        raise KeyError("canary-7f3a")


class OptsOut(Fails):
    langflow_otel_content = False


class MethodOptsOut(Fails):
    @traced(content=False)
    async def run_out(self) -> Message:
        fail()
        return Message(text="")


class RaisesModel(GenericFakeChatModel):
    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        fail()

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        fail()
        yield


class AsksModel(models.FakeModel):
    display_name = "Fails Here"
    name = "Fails"

    def build_model(self) -> Any:
        return RaisesModel(messages=iter([]))


class FailingEmbeddings(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        fail()
        return []

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


class Embeds(Fails):
    async def run_out(self) -> Message:
        return Message(text=str(FailingEmbeddings().embed_query("one")))


class RunsFailingFlow(Fails):
    async def run_out(self) -> Message:
        class Inner(Fails):
            name = "Inner"
            display_name = "Inner"

        await line(Inner, name="inner").arun([{"input_value": "hi"}], session_id="inner")
        return Message(text="")


def put_on(current: Span) -> None:
    """As an author's code may: by OpenTelemetry's own API, on the span that is current."""
    try:
        fail()
    except PermissionError as exc:
        current.record_exception(exc)
        current.set_status(StatusCode.ERROR, f"it said: {exc}")
    current.add_event("exception", {"exception.message": CANARY})
    current.add_event("gen_ai.user.message", {"content": CANARY})
    current.add_link(SpanContext(1, 2, True), {"input.value": CANARY})


class Records(basic.Echo):
    """Handles its error, so that nothing of ours ever sees it."""

    display_name = "Records"
    name = "Records"

    async def run_out(self) -> Message:
        put_on(trace.get_current_span())
        with span("look up"):
            put_on(trace.get_current_span())
        return Message(text="")


class RecordingModel(GenericFakeChatModel):
    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        call = calling_model()
        assert call is not None
        assert call.span is not None
        put_on(call.span)
        return super()._generate(*args, **kwargs)


class AsksRecordingModel(Records):
    async def run_out(self) -> Message:
        answer = await RecordingModel(messages=iter(["yes"])).ainvoke("hi")
        return Message(text=answer.text())


class RecordsInTool(models.Shout):
    def shout(self) -> Message:
        put_on(trace.get_current_span())
        return Message(text="")


class FailingTool(models.Shout):
    def shout(self) -> Message:
        fail()
        return Message(text="")


class FailingAsyncTool(models.Shout):
    async def shout(self) -> Message:
        fail()
        return Message(text="")


class AskingTool(models.Shout):
    """Handles the error of its model: the call's span alone has it."""

    async def shout(self) -> Message:
        with suppress(PermissionError):
            await RaisesModel(messages=iter([])).ainvoke("hi")
        return Message(text="no answer")


class StubbornAgent(Asking):
    """Does not go on when its tool fails, as an agent does that handles no errors of tools."""

    def build_agent(self) -> Any:
        for tool in self.tools:
            tool.handle_tool_error = False
        return super().build_agent()


class MakesFailingTool(MakesTool):
    async def make(self) -> list:
        (tool,) = await super().make()

        def shout(text: str) -> str:
            fail()
            return text

        tool.func = shout
        return [tool]


class LimitedAgent(Asking):
    """Its model's provider refuses."""

    display_name = "Fails Here"
    name = "Fails"

    def create_agent_runnable(self) -> Any:
        prompt = models.ChatPromptTemplate.from_messages([("human", "{input}"), ("placeholder", "{agent_scratchpad}")])
        return models.create_tool_calling_agent(_Refusing(messages=iter([])), self.tools, prompt)


class _Refusing(RaisesModel):
    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self


def model_line() -> Graph:
    start = chat_input()
    node = AsksModel(_id="Fails-0").set(input_value=start.message_response)
    return Graph(start, chat_output(node.text_response), flow_name="demo")


async def settled(made: Any) -> Graph:
    return await made if hasattr(made, "__await__") else made


FLOWS: dict[str, tuple[Callable[[], Any], str | None]] = {
    "by type": (lambda: line(Fails), "Fails"),
    "by id": (lambda: line(Fails), "Fails-0"),
    "by name": (lambda: line(Fails), "Fails Here"),
    "by an input": (lambda: line(Fails), "other"),
    "by an output": (lambda: line(Fails), "out"),
    "by its author": (lambda: line(OptsOut), None),
    "by its method's author": (lambda: line(MethodOptsOut), None),
    "in a thread": (lambda: line(FailsInThread), "FailsInThread"),
    "while it is set up": (lambda: line(FailsSettingUp), "other"),
    "in a span of its own": (lambda: line(FailsInSpan), "FailsInSpan"),
    "shortly": (lambda: line(FailsShortly), "FailsShortly"),
    "in its model": (model_line, "Fails"),
    "in its embeddings": (lambda: line(Embeds), "Embeds"),
    "in a flow that it runs": (lambda: line(RunsFailingFlow), "RunsFailingFlow"),
    "in an agent's model": (lambda: wired(LimitedAgent, models.Shout(_id="Shout-s")), "Fails"),
    "in an agent's tool": (lambda: wired(StubbornAgent, FailingTool(_id="Shout-s")), "Shout"),
    "in an agent's async tool": (lambda: wired(StubbornAgent, FailingAsyncTool(_id="Shout-s")), "Shout-s"),
    "in a tool by its name": (lambda: wired(StubbornAgent, FailingTool(_id="Shout-s")), "shout"),
    "in a tool by its field": (lambda: wired(StubbornAgent, FailingTool(_id="Shout-s")), "text"),
    "in a tool's model": (lambda: wired(StubbornAgent, AskingTool(_id="Shout-s")), "Shout"),
    "in a tool that goes on": (lambda: wired(Asking, FailingTool(_id="Shout-s")), "Shout"),
    "in a tool that it made": (lambda: wired(Asking, MakesFailingTool(_id="MakesTool-m"), "made"), "MakesTool"),
    "in a denied agent's tool": (lambda: wired(StubbornAgent, FailingTool(_id="Shout-s")), "Agent-a"),
}
"""What fails, and what is denied."""


@contextmanager
def recorded(settings: Settings) -> Iterator[Telemetry]:
    """Spans, metrics and LangFlow's log lines, for which LangFlow takes most of the time."""
    logs._chains.clear()
    vars(logger).pop("bind", None)
    configure(log_level="ERROR", log_env="container_json", cache=False)
    with capture_telemetry(settings=settings) as telemetry:
        pipeline = LogsPipeline(settings, telemetry.logger_provider)
        log_lines.switch_on(settings, exports=True)
        try:
            yield telemetry
        finally:
            pipeline.shutdown()
            log_lines.switch_off()
            configure(log_level="CRITICAL", cache=False)


def sent(telemetry: Telemetry) -> bytes:
    records = [(record.body, dict(record.attributes)) for record in telemetry.logs()]
    return encode_spans(telemetry.sdk_spans).SerializeToString() + repr((records, telemetry.metrics())).encode()


async def told(name: str, settings: Settings) -> Telemetry:
    """The flow of this name."""
    graph = await settled(FLOWS[name][0]())
    with capture_telemetry(settings=settings) as telemetry, suppress(Exception):
        await run(graph)
    return telemetry


async def logged(settings: Settings) -> Telemetry:
    """A flow that fails, and what a server logs about that when the run is over."""
    with recorded(settings) as telemetry:
        try:
            await run(line(Fails))
        except Exception as exc:
            logger.exception("it failed")
            logger.error(f"Error running the flow: {exc}", reason=str(exc))
    return telemetry


def messages(denied: str | None, mode: str, *, content: bool) -> Settings:
    return Settings(
        error_messages=mode,
        log_bodies=True,
        detail="output",
        content_on_spans=content,
        content_in_events=content,
        openinference=content,
        content_deny=() if denied is None else (denied,),
    )


@pytest.mark.parametrize("content", [False, True], ids=["content off", "content on"])
@pytest.mark.parametrize("name", FLOWS)
async def test_a_denied_errors_message_leaves_nowhere(name: str, content: bool):
    telemetry = await told(name, messages(FLOWS[name][1], "redacted" if content else "full", content=content))

    assert SAID not in sent(telemetry)
    failed = [span for span in telemetry.spans if span.attributes.get("error.type")]
    assert {span.attributes["error.type"] for span in failed} <= {"PermissionError", "KeyError", "ToolException"}
    assert failed


@pytest.mark.parametrize("name", [name for name, (_, denied) in FLOWS.items() if denied is not None])
async def test_the_same_message_leaves_where_nothing_denies_it(name: str):
    telemetry = await told(name, messages("NotThere", "full", content=False))

    assert SAID in sent(telemetry)


@pytest.mark.parametrize(("denied", "leaves"), [("Fails", False), ("NotThere", True)])
@pytest.mark.parametrize("mode", ["none", "full"])
async def test_log_lines_that_quote_it_keep_their_text(mode: str, denied: str, leaves: bool):
    telemetry = await logged(messages(denied, mode, content=False))

    records = [(record.body, dict(record.attributes)) for record in telemetry.logs()]
    assert len(records) > 1
    assert (CANARY in repr(records)) is leaves
    assert (WITHHELD in [body for body, _ in records]) is not leaves


class Requotes(basic.Echo):
    """Another component that fails later, and quotes what it has read of the error."""

    display_name = "Requotes"
    name = "Requotes"

    async def run_out(self) -> Message:
        raise RuntimeError(f"before: refused: {CANARY}")


async def test_an_error_that_quotes_it_without_a_cause_keeps_its_message():
    settings = messages("Fails", "full", content=False)
    with capture_telemetry(settings=settings) as telemetry:
        for cls in (Fails, Requotes):
            with pytest.raises(Exception, match="canary"):
                await run(line(cls))

    assert telemetry.only_span("component Requotes").attributes["error.type"] == "RuntimeError"
    assert SAID not in sent(telemetry)


async def test_other_errors_of_the_run_keep_their_messages_on_spans():
    class Other(basic.Echo):
        display_name = "Other"
        name = "Other"

        async def run_out(self) -> Message:
            raise ValueError("another reason")

    with capture_telemetry(settings=messages("Fails", "full", content=False)) as telemetry:
        for cls in (Fails, Other):
            with pytest.raises(Exception, match=r"canary|reason"):
                await run(line(cls))

    (event,) = telemetry.only_span("component Other").events
    assert event.attributes["exception.message"] == "another reason"


RECORDING: dict[str, tuple[Callable[[], Any], str]] = {
    "in its code": (lambda: line(Records), "Records"),
    "in its model": (lambda: line(AsksRecordingModel), "AsksRecordingModel"),
    "in an agent's tool": (lambda: wired(Asking, RecordsInTool(_id="Shout-s")), "Shout"),
}
"""What puts an error on spans of ours, and what is denied."""


@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "kept"])
@pytest.mark.parametrize(("mode", "is_denied"), [("none", False), ("full", True), ("full", False)])
@pytest.mark.parametrize("name", RECORDING)
async def test_what_others_put_on_our_spans_passes_the_gate(
    name: str, mode: str, is_denied: bool, sampled: bool, tmp_path: Path
):
    """Through the exporters of a provider of our own, which makes no SDK span of a model call."""
    make, denied = RECORDING[name]
    path = tmp_path / "spans.jsonl"
    settings = replace(messages(denied if is_denied else "NotThere", mode, content=is_denied), trace_file=path)
    if not sampled:
        settings = replace(settings, sampling=(("*", 0.0),), keep_slow_s=0.0)
    instrument(settings=settings)
    try:
        await run(await settled(make()))
    finally:
        uninstrument()

    found = path.read_text(encoding="utf-8")
    assert "PermissionError" in found
    assert (CANARY in found) is (mode == "full" and not is_denied)


class _Keeps(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize(("denied", "leaves"), [("Fails", False), ("NotThere", True)])
async def test_spans_of_others_keep_the_message(denied: str, leaves: bool):
    """As instrumentation libraries make them around and below what fails."""

    class Observed(Fails):
        async def run_out(self) -> Message:
            with tracer.start_as_current_span("request"):
                fail()
            return Message(text="")

    settings = messages(denied, "full", content=True)
    with capture_telemetry(settings=settings) as telemetry:
        watch_nested_model_spans(telemetry.provider)
        tracer = telemetry.provider.get_tracer("opentelemetry.instrumentation.made_up")
        with tracer.start_as_current_span("around") as around:
            try:
                await run(line(Observed))
            except Exception as exc:
                around.record_exception(exc)
                around.set_attribute("error.message", f"it said: {exc}")

    kept = _Keeps()
    ContentFilter(kept, settings).export(telemetry.sdk_spans)
    assert {"request", "around"} < {each.name for each in kept.spans}
    assert (SAID in encode_spans(kept.spans).SerializeToString()) is leaves
