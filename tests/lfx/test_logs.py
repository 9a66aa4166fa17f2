"""LangFlow's log lines carry the ids of the span that they belong to, and leave as records of their own."""

from __future__ import annotations

import io
import json
import linecache
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog
from flows import line, run
from lfx.log.logger import InterceptHandler, configure
from nodes import chatty
from opentelemetry.context import attach, detach, set_value
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from otlp_receiver import otlp_receiver
from rich.console import Console
from rich.logging import RichHandler

from langflow_otel import _guard as guard
from langflow_otel._content.log_lines import WITHHELD, log_sink, set_log_sink
from langflow_otel._hooks import logs
from langflow_otel._hooks.patching import missing_parameters
from langflow_otel._hooks.table import LOG_HOOKS, log_lines
from langflow_otel._sdk.log_records import in_memory_logger_provider
from langflow_otel._sdk.logs import LogsPipeline
from langflow_otel._settings.audit import audit_line
from langflow_otel._settings.settings import Settings
from langflow_otel.insights.log_record import LogRecord, from_sdk
from langflow_otel.testing import Telemetry, capture_telemetry

MODULE = sys.modules["lfx.log.logger"]
HAS_IDS = hasattr(MODULE, "add_otel_trace_context")
SENDS = hasattr(MODULE, "emit_to_otel_logs")
HOOKED = "emit_to_otel_logs" if SENDS else "add_serialized"

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """What LangFlow writes, from level INFO on."""
    written = io.StringIO()
    # As in a process where log lines were never on before.
    logs._chains.clear()
    # Used once by an earlier test, a logger of LangFlow's keeps the level of that time.
    for logger in (MODULE.logger, chatty.logger):
        vars(logger).pop("bind", None)
    configure(log_level="INFO", log_env="container_json", output_file=written, cache=False)
    yield lambda: [json.loads(each) for each in written.getvalue().splitlines()]
    configure(log_level="CRITICAL", cache=False)


@contextmanager
def exported(settings: Settings | None = None, sampler: Sampler | None = None, **kwargs: Any) -> Iterator[Telemetry]:
    """Flows are traced and lines leave, in memory."""
    settings = settings or Settings()
    with capture_telemetry(settings=settings, sampler=sampler, **kwargs) as telemetry:
        pipeline = LogsPipeline(settings, telemetry.logger_provider)
        log_lines.switch_on(settings, exports=True)
        try:
            yield telemetry
        finally:
            pipeline.shutdown()
            log_lines.switch_off()


def by(component: str, telemetry: Telemetry) -> tuple[str, str]:
    span = telemetry.only_span(f"component {component}")
    return span.trace_id, span.span_id


def of_nodes(telemetry: Telemetry) -> list[LogRecord]:
    """Records of lines that the components wrote."""
    return [record for record in telemetry.logs() if record.attributes.get("filename") == "chatty.py"]


SAID = ["said canary-7f3a", "said later", "said in a thread", "it failed"]


async def chat() -> None:
    await run(line(chatty.Chatty, chatty.ChattyThread, chatty.ChattyError))


async def test_lines_carry_the_ids_of_the_component_that_wrote_them(lines):
    with exported() as telemetry:
        await chat()

    assert telemetry.tree() == [
        "invoke_workflow demo",
        "  component Chat Input",
        "  component Chatty",
        "  component Chatty Thread",
        "  component Chatty Error",
        "  component Chat Output",
    ]
    ids = {each["event"]: (each["trace_id"], each["span_id"]) for each in lines() if each["event"] in SAID}
    assert ids == {
        "said canary-7f3a": by("Chatty", telemetry),
        "said later": by("Chatty", telemetry),
        "said in a thread": by("Chatty Thread", telemetry),
        "it failed": by("Chatty Error", telemetry),
    }


async def test_records_leave_with_the_same_ids_and_without_what_was_said(lines):
    with exported() as telemetry:
        await chat()

    assert [(record.level, record.severity, record.trace_id, record.span_id) for record in of_nodes(telemetry)] == [
        ("INFO", 9, *by("Chatty", telemetry)),
        ("WARNING", 13, *by("Chatty", telemetry)),
        ("INFO", 9, *by("Chatty Thread", telemetry)),
        ("ERROR", 17, *by("Chatty Error", telemetry)),
    ]
    chatty_span = telemetry.only_span("component Chatty")
    said = of_nodes(telemetry)[0]
    assert chatty_span.start_ns <= said.time_ns <= chatty_span.end_ns
    assert said.scope == "lfx"
    assert said.body == WITHHELD
    assert said.attributes == {
        "module": "chatty",
        "pathname": chatty.__file__,
        "filename": "chatty.py",
        "func_name": "run_out",
        "lineno": said.attributes["lineno"],
    }
    assert "CANARY" in linecache.getline(chatty.__file__, said.attributes["lineno"])
    # Neither the text, nor a keyword, nor an exception's message.
    assert chatty.CANARY not in str(telemetry.logs())
    assert getattr(MODULE, "_OTEL_WITHHELD_BODY", WITHHELD) == WITHHELD


async def test_an_exception_leaves_as_class_and_frames(lines):
    with exported() as telemetry:
        await chat()

    attributes = of_nodes(telemetry)[-1].attributes
    assert attributes["exception.type"] == attributes["error.type"] == "LookupError"
    assert "exception.message" not in attributes
    stack = attributes["exception.stacktrace"]
    assert [each.strip().partition(" in ")[2] or each for each in stack.splitlines()] == [
        "run_out",
        "LookupError",
        "caused by",
        "run_out",
        "KeyError",
    ]
    assert "raise" not in stack


async def test_messages_leave_if_the_settings_say_so(lines):
    with exported(Settings(error_messages="full")) as telemetry:
        await chat()

    record = of_nodes(telemetry)[-1]
    assert record.attributes["exception.message"] == chatty.CANARY
    assert record.body == WITHHELD


async def test_bodies_leave_if_the_settings_say_so(lines):
    with exported(Settings(log_bodies=True)) as telemetry:
        await chat()

    records = of_nodes(telemetry)
    assert [record.body for record in records] == SAID
    assert records[0].attributes["user"] == chatty.CANARY
    assert records[0].attributes["size"] == 3
    assert set(records[0].attributes) & {"event", "level", "timestamp", "trace_id", "span_id", "exc_info"} == set()


async def test_lines_below_the_level_stay(lines):
    with exported(Settings(log_level="error")) as telemetry:
        await chat()

    assert [record.level for record in of_nodes(telemetry)] == ["ERROR"]
    assert [each["event"] for each in lines() if each["event"] in SAID] == SAID


async def test_lines_of_a_flow_that_is_not_sampled_carry_ids_all_the_same(lines):
    with exported(sampler=ALWAYS_OFF) as telemetry:
        await chat()

    assert telemetry.tree() == []
    said = [each for each in lines() if each["event"] in SAID]
    assert len({each["trace_id"] for each in said}) == 1
    assert [record.trace_id for record in of_nodes(telemetry)] == [each["trace_id"] for each in said]


def test_outside_of_a_span_a_line_has_no_ids(lines):
    with exported() as telemetry:
        structlog.get_logger().info("alone")

    assert lines()[-1].keys() & {"trace_id", "span_id"} == set()
    assert [(record.trace_id, record.span_id) for record in telemetry.logs()] == [("", "")]


def test_ids_that_a_line_has_already_stay(lines):
    with exported() as telemetry, telemetry.provider.get_tracer("t").start_as_current_span("s"):
        structlog.get_logger().info("said", trace_id="theirs", span_id="theirs")

    assert (lines()[-1]["trace_id"], lines()[-1]["span_id"]) == ("theirs", "theirs")


@pytest.fixture
def pretty() -> Iterator[io.StringIO]:
    """What LangFlow writes in its default format."""
    written = io.StringIO()
    vars(MODULE.logger).pop("bind", None)
    configure(log_level="INFO", log_env="", output_file=written, cache=False)
    yield written
    configure(log_level="CRITICAL", cache=False)


def test_audit_line_is_one_line_in_the_default_format(pretty, monkeypatch):
    """Beside the root handler of the MCP SDK, which LangFlow's server loads."""
    rich_lines = io.StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [RichHandler(console=Console(file=rich_lines, width=80))])
    monkeypatch.setattr(logging.getLogger("langflow_otel"), "level", logging.INFO)
    line = audit_line(Settings())
    logs.say(line)

    (written,) = [each for each in pretty.getvalue().splitlines() if each.strip()]
    assert line in re.sub(r"\x1b\[\d*m", "", written)
    assert rich_lines.getvalue() == ""


def test_audit_line_goes_to_the_handlers_that_the_program_has(pretty, monkeypatch, caplog):
    own = logging.getLogger("langflow_otel")
    monkeypatch.setattr(own, "handlers", [caplog.handler])
    monkeypatch.setattr(own, "level", logging.INFO)
    monkeypatch.setattr(own, "propagate", False)
    logs.say("a line of ours")

    assert [record.getMessage() for record in caplog.records] == ["a line of ours"]
    assert pretty.getvalue() == ""


# Chains: LangFlow makes a new one with each configure(), and loggers keep those that they know


def configured(level: str) -> io.StringIO:
    written = io.StringIO()
    configure(log_level=level, log_env="container_json", output_file=written, cache=True)
    return written


def test_loggers_of_all_chains_carry_ids_and_export(lines):
    """Used before we came, with a chain that is replaced already; with the present one; with later ones."""
    replaced, old = configured("ERROR"), structlog.get_logger()
    old.error("cached")
    assert "_processors" in vars(old.bind())
    present, new = configured("INFO"), structlog.get_logger()
    new.error("cached")
    with exported() as telemetry, telemetry.provider.get_tracer("t").start_as_current_span("s"):
        later = configured("WARNING")
        for each in (old, new, structlog.get_logger(), old.bind(a=1)):
            each.error("said")

    written = [json.loads(each) for out in (replaced, present, later) for each in out.getvalue().splitlines()]
    span = telemetry.only_span("s")
    assert ["trace_id" in each for each in written] == [False, True, True, False, True, True]
    assert {each["trace_id"] for each in written if "trace_id" in each} == {span.trace_id}
    assert [record.span_id for record in telemetry.logs()] == [span.span_id] * 4


def test_all_is_put_back(lines):
    functions = {hook.path: vars(MODULE).get(hook.path) for hook in LOG_HOOKS}
    configured("ERROR")
    structlog.get_logger().error("cached")
    chains = [structlog.get_config()["processors"]]
    before = ids_in(chains[0])
    with exported():
        assert log_lines.on == [f"lfx.log.logger:{HOOKED}"]
        assert len(set(ids_in(chains[0])) - set(before)) == 1
        configured("WARNING")
        chains.append(structlog.get_config()["processors"])
        ours = vars(MODULE)[HOOKED]
        assert all(id(ours) in ids_in(chain) for chain in chains)

    assert log_lines.on == []
    assert all(vars(MODULE).get(name) is function for name, function in functions.items())
    assert ids_in(chains[0]) == before
    assert id(ours) not in ids_in(chains[1])
    assert id(functions[HOOKED]) in ids_in(chains[1])


def ids_in(chain: list[Any]) -> tuple[int, ...]:
    """By identity: a wrapper is equal to what it wraps."""
    return tuple(map(id, chain))


def test_nothing_is_wrapped_where_nothing_is_needed():
    before = vars(MODULE)[HOOKED]
    log_lines.switch_on(Settings(), exports=False)
    try:
        assert (vars(MODULE)[HOOKED] is before) == HAS_IDS
        assert (log_lines.on == []) == HAS_IDS
    finally:
        log_lines.switch_off()
    assert vars(MODULE)[HOOKED] is before


async def test_without_a_destination_lines_carry_ids(lines):
    with capture_telemetry() as telemetry:
        log_lines.switch_on(Settings(), exports=False)
        try:
            await chat()
        finally:
            log_lines.switch_off()

    said = [each for each in lines() if each["event"] in SAID]
    assert [each["trace_id"] for each in said] == [telemetry.only_span("invoke_workflow demo").trace_id] * 4


@pytest.mark.parametrize(
    "hook", [hook for hook in LOG_HOOKS if vars(MODULE).get(hook.path)], ids=lambda hook: hook.path
)
def test_each_hooked_function_has_the_parameters_that_we_use(hook):
    assert missing_parameters(vars(MODULE)[hook.path], hook.parameters) == []


SWITCHED_ON_FIRST = """
import sys, time
from langflow_otel._hooks.table import log_lines
from langflow_otel._settings.settings import Settings
from langflow_otel._sdk.logs import LogsPipeline
from langflow_otel._sdk.log_records import in_memory_logger_provider
provider, kept = in_memory_logger_provider()
LogsPipeline(Settings(), provider)
log_lines.switch_on(Settings(), exports=True)
assert not any(name.partition(".")[0] in ("lfx", "structlog") for name in sys.modules)
from lfx.log.logger import logger
logger.critical("by the chain that is made while the module is imported")
print(len(kept.get_finished_logs()))
"""


@pytest.mark.slow
def test_switched_on_before_langflow_is_imported():
    result = subprocess.run([sys.executable, "-c", SWITCHED_ON_FIRST], capture_output=True, text=True, timeout=90)

    assert result.stdout.splitlines()[-1:] == ["1"], result.stderr


@pytest.mark.parametrize("switched_on", ["before", "after"])
def test_lines_in_a_file_carry_ids_and_export(tmp_path, switched_on):
    """There they leave through the standard library; LangFlow 1.10 and later takes other libraries' lines in there."""
    logs._chains.clear()  # as in a process where log lines were never on before
    root = logging.getLogger()
    handlers, level, file = list(root.handlers), root.level, tmp_path / "langflow.log"
    # Left by a configure() without a file; before LangFlow 1.12 the two together go round for ever.
    for handler in handlers:
        if isinstance(handler, InterceptHandler):
            root.removeHandler(handler)

    def to_file() -> None:
        configure(log_level="WARNING", log_env="container_json", log_file=file)

    def say() -> None:
        structlog.get_logger("a.module").error("said")
        logging.getLogger("a.library").error("said")

    try:
        if switched_on == "after":
            to_file()
        with exported() as telemetry, telemetry.provider.get_tracer("t").start_as_current_span("s"):
            if switched_on == "before":
                to_file()
            say()
    finally:
        for handler in set(root.handlers) - set(handlers):
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
        configure(log_level="CRITICAL", cache=False)

    span = telemetry.only_span("s")
    written = [json.loads(each) for each in file.read_text().splitlines() if each.startswith("{")]
    assert {each["span_id"] for each in written} == {span.span_id}
    # LangFlow 1.12 and later exports the other libraries' lines, too.
    assert sorted((record.scope, record.span_id) for record in telemetry.logs()) == [
        *([("a.library", span.span_id)] if SENDS else []),
        ("a.module", span.span_id),
    ]


# What LangFlow sends itself


@pytest.fixture
def langflows_own(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """LangFlow's own telemetry starts: its provider is the global one from here on."""

    def start() -> Any:
        provider, kept = in_memory_logger_provider()
        monkeypatch.setattr("opentelemetry._logs._internal._LOGGER_PROVIDER", provider)
        return kept

    return start


def test_where_langflow_sends_ours_stands_back_and_nothing_is_lost_between(lines, langflows_own):
    otlp, kept = in_memory_logger_provider()
    with pipeline_of(otlp=otlp):
        structlog.get_logger("before").info("said")
        theirs = langflows_own()
        structlog.get_logger("after").info("said")

    assert len(kept.get_finished_logs()) == (1 if SENDS else 2)
    assert [record.scope for record in from_sdk(theirs.get_finished_logs())] == (["after"] if SENDS else [])


def test_what_langflow_does_not_do_is_ours_all_the_same(lines, langflows_own):
    """It does not print, and does not know a provider that was passed to us."""
    console, printed = in_memory_logger_provider()
    given, kept = in_memory_logger_provider()
    langflows_own()
    with pipeline_of(console=console):
        structlog.get_logger().info("said")
    with pipeline_of(given=given):
        structlog.get_logger().info("said")

    assert [len(each.get_finished_logs()) for each in (printed, kept)] == [1, 1]


def test_a_global_provider_that_is_passed_to_us_gets_each_line_once(lines, monkeypatch):
    provider, kept = in_memory_logger_provider()
    monkeypatch.setattr("opentelemetry._logs._internal._LOGGER_PROVIDER", provider)
    with pipeline_of(given=provider):
        structlog.get_logger().info("said")

    assert len(kept.get_finished_logs()) == 1


@contextmanager
def pipeline_of(
    otlp: LoggerProvider | None = None, console: LoggerProvider | None = None, given: LoggerProvider | None = None
) -> Iterator[None]:
    """Lines leave by these providers of ours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("langflow_otel._sdk.log_records.otlp_logger_provider", lambda *_: otlp)
        patch.setattr("langflow_otel._sdk.log_records.console_logger_provider", lambda *_: console)
        settings = Settings(logs_otlp=object() if otlp else None, logs_console=console is not None)  # type: ignore[arg-type]
        pipeline = LogsPipeline(settings, given)
        log_lines.switch_on(settings, exports=True)
        try:
            yield
        finally:
            log_lines.switch_off()
            pipeline.shutdown()


@pytest.mark.skipif(not SENDS, reason="LangFlow 1.12 and later mark their own statements")
def test_langflows_own_statements_keep_their_text(lines):
    with exported() as telemetry:
        MODULE.operator_logger().info("started")

    assert [(record.scope, record.body) for record in telemetry.logs()] == [("langflow.observability", "started")]
    assert "_otel_export_body" not in lines()[-1]


# What comes along, and what must not


def test_lines_of_the_standard_library_that_langflow_takes_in_come_along(lines):
    library = logging.getLogger("a.library")
    handler = InterceptHandler()
    library.addHandler(handler)
    library.propagate = False  # LangFlow 1.10 and later may have taken in the root logger, too
    try:
        with exported() as telemetry, telemetry.provider.get_tracer("t").start_as_current_span("s"):
            library.warning("said")
    finally:
        library.removeHandler(handler)
        library.propagate = True

    [record] = telemetry.logs()
    assert (record.level, record.span_id) == ("WARNING", telemetry.only_span("s").span_id)
    assert record.scope == ("a.library" if HAS_IDS else "lfx")
    assert record.attributes["filename"] == "test_logs.py"


def named(name: str) -> Any:
    """A logger whose name is known on every version."""
    source: Any = structlog.PrintLogger(io.StringIO())
    source.name = name
    return structlog.wrap_logger(source)


@pytest.mark.parametrize("name", ["langflow_otel", "opentelemetry.sdk._logs", "grpc._channel"])
def test_what_exporters_log_is_not_exported(lines, name):
    with exported() as telemetry:
        named(name).error("said")
        named(f"x{name}").error("said")

    assert [record.scope for record in telemetry.logs()] == [f"x{name}"]


def test_what_is_logged_while_exporting_is_not_exported(lines):
    with exported() as telemetry:
        token = attach(set_value("suppress_instrumentation", True))
        structlog.get_logger("urllib3").error("said")
        detach(token)

    assert telemetry.logs() == []
    assert len(lines()) == 1


class Talkative:
    """A sink that logs what it does."""

    def __init__(self) -> None:
        self.taken = 0

    def takes(self, *, sent_by_langflow: bool) -> bool:
        return True

    def emit(self, line: Any, *, sent_by_langflow: bool) -> None:
        self.taken += 1
        structlog.get_logger().error("took one")


def test_a_line_about_a_line_is_not_exported(lines):
    sink = Talkative()
    with exported():
        set_log_sink(sink)
        structlog.get_logger().error("said")

    assert sink.taken == 1
    assert [each["event"] for each in lines()] == ["took one", "said"]


class Broken(Talkative):
    def emit(self, line: Any, *, sent_by_langflow: bool) -> None:
        raise OSError("canary")


def test_an_error_of_ours_never_reaches_who_logs(lines):
    with exported(strict=False):
        set_log_sink(Broken())
        structlog.get_logger().error("said")

    assert lines()[-1]["event"] == "said"
    assert guard.faults == {"logs.send": 1}


def test_while_off_nobody_takes_lines(lines):
    with exported() as telemetry:
        pass
    structlog.get_logger().error("said")

    assert log_sink() is None
    assert telemetry.logs() == []
    assert len(lines()) == 1


# By real OTLP


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_records_arrive_by_otlp_with_the_ids_of_their_spans(lines, protocol):
    with otlp_receiver(protocol) as receiver:
        settings = Settings.from_env(
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}",
                "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
                "OTEL_SERVICE_NAME": "shop",
            }
        )
        with capture_telemetry() as telemetry:
            pipeline = LogsPipeline(settings)
            log_lines.switch_on(settings, exports=True)
            try:
                await chat()
            finally:
                log_lines.switch_off()
                pipeline.shutdown()
        arrived = [
            (record.severity_text, record.trace_id.hex(), record.span_id.hex(), record.body.string_value, scope)
            for scope, record in receiver.logs()
            if any(each.key == "filename" and each.value.string_value == "chatty.py" for each in record.attributes)
        ]
        resource = receiver.log_requests[0].message.resource_logs[0].resource
        paths = {request.path for request in receiver.log_requests}

    assert arrived == [
        ("INFO", *by("Chatty", telemetry), WITHHELD, "lfx"),
        ("WARNING", *by("Chatty", telemetry), WITHHELD, "lfx"),
        ("INFO", *by("Chatty Thread", telemetry), WITHHELD, "lfx"),
        ("ERROR", *by("Chatty Error", telemetry), WITHHELD, "lfx"),
    ]
    attributes = {each.key: each.value.string_value for each in resource.attributes}
    assert (attributes["service.name"], "service.instance.id" in attributes) == ("shop", True)
    assert paths == ({""} if protocol == "grpc" else {"/v1/logs"})


WITH_LANGFLOWS_OWN = """
from lfx.log.logger import configure, logger
configure(log_level="INFO")
from langflow_otel._hooks.table import log_lines
from langflow_otel._settings.settings import Settings
from langflow_otel._sdk.logs import LogsPipeline
settings = Settings.from_env()
ours = LogsPipeline(settings)
log_lines.switch_on(settings, exports=True)
logger.info("before")
telemetry = None
try:
    from lfx.observability import bootstrap_application_telemetry
except ImportError:
    pass
else:
    telemetry = bootstrap_application_telemetry()
    assert telemetry.logger_provider is not None
logger.info("after")
log_lines.switch_off()
ours.shutdown()
if telemetry is not None:
    telemetry.shutdown()
"""


@pytest.mark.slow
def test_beside_langflows_own_export_each_line_arrives_once():
    with otlp_receiver("http/protobuf") as receiver:
        env = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}",
            "LANGFLOW_OTEL_LOG_BODIES": "all",
        }
        code = [sys.executable, "-c", WITH_LANGFLOWS_OWN]
        result = subprocess.run(code, capture_output=True, text=True, timeout=90, env=env)
        bodies = [record.body.string_value for _, record in receiver.logs()]

    assert result.returncode == 0, result.stderr
    assert [body for body in bodies if body in ("before", "after")] == ["before", "after"]
