"""Traces as a busy LangFlow writes them: four flows, their versions, sessions, agents, retries, errors and costs."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MS = 1_000_000
S = 1000 * MS
DAY_S = 86_400
NOW_S = 1_790_000_000
"""When the newest run starts, seconds since the epoch."""

_PRICES = {"gpt-4o-mini": (0.15, 0.60), "claude-sonnet-4": (3.0, 15.0), "text-embedding-3-small": (0.02, 0.0)}
_PROVIDERS = {"gpt-4o-mini": "openai", "claude-sonnet-4": "anthropic", "text-embedding-3-small": "openai"}
_CATEGORIES = {
    "RateLimitError": "rate_limit",
    "APITimeoutError": "timeout",
    "ToolException": "tool",
    "KeyError": "code",
}
_QUESTIONS = (
    "Where is my order 1042?",
    "How long may I return a pair of shoes that I have worn twice?",
    "The parcel came open and one of the two lamps is missing. What now?",
    "Can I pay by invoice?",
)


_ANSWERS = (
    "It left our warehouse on Tuesday and should be with you by Friday.",
    "Worn shoes may be returned within 30 days as long as the soles are clean. The return is free.",
    "I am sorry about that. A second lamp is on its way, and you may keep the parcel as it is.",
    "Yes: choose invoice at the checkout, and pay within 14 days.",
)


def _messages(question: str, answer: str) -> dict[str, str]:
    asked = [{"role": "user", "parts": [{"type": "text", "content": question}]}]
    said = [{"role": "assistant", "parts": [{"type": "text", "content": answer}], "finish_reason": "stop"}]
    return {"gen_ai.input.messages": json.dumps(asked), "gen_ai.output.messages": json.dumps(said)}


class Failed(Exception):  # noqa: N818
    """A made error; its first argument is the class that the telemetry names."""


@dataclass
class Run:
    """One trace while it is being made: spans in OTLP's form, and a clock."""

    random: random.Random
    now_ns: int
    flow: str
    flow_id: str
    spans: list[dict[str, Any]] = field(default_factory=list)
    open: list[dict[str, Any]] = field(default_factory=list)
    slow: float = 1.0
    content: bool = False

    def __post_init__(self) -> None:
        self.trace_id = f"{self.random.getrandbits(128):032x}"

    def work(self, mean_s: float) -> None:
        """Time goes on, by about so much."""
        self.now_ns += int(self.slow * mean_s * self.random.lognormvariate(-0.08, 0.4) * S)

    def span(self, name: str, kind: int = 1, **attributes: Any) -> _Open:
        span = {
            "traceId": self.trace_id,
            "spanId": f"{self.random.getrandbits(64):016x}",
            **({"parentSpanId": self.open[-1]["spanId"]} if self.open else {}),
            "name": name,
            "kind": kind,
            "startTimeUnixNano": str(self.now_ns),
            "values": {"langflow.flow.name": self.flow, "langflow.flow.id": self.flow_id, **_dotted(attributes)},
            "events": [],
        }
        return _Open(self, span)

    def component(self, name: str, type_: str, kind: str, **attributes: Any) -> _Open:
        ids = {"langflow.component.id": f"{type_}-{abs(_hash(self.flow + name)) % 99999:05x}"}
        names = {"langflow.component.display_name": name, "langflow.component.type": type_}
        verb = "invoke_agent" if kind == "agent" else "component"
        span = self.span(f"{verb} {name}", langflow__component__kind=kind, **attributes)
        code = {"langflow.component.code_hash": f"{abs(_hash(type_)):012x}"[:12]}
        span.values.update({**ids, **names, **code})
        return span

    def event(self, name: str, **attributes: Any) -> None:
        self.open[-1]["events"].append(
            {"name": name, "timeUnixNano": str(self.now_ns), "attributes": _otlp(_dotted(attributes))}
        )

    def model_call(
        self, model: str, mean_s: float, tokens: tuple[int, int], *, question: str = "", answer: str = ""
    ) -> None:
        """A call that may be repeated, and that fails now and then."""
        factor = self.random.lognormvariate(0, 0.4)
        read, written = int(tokens[0] * factor), int(tokens[1] * factor)
        with self.span(f"chat {model}", 3, gen_ai__operation__name="chat", gen_ai__request__model=model) as call:
            call.values.update(
                {"gen_ai.provider.name": _PROVIDERS[model], "server.address": f"api.{_PROVIDERS[model]}.com"}
            )
            call.values["gen_ai.request.temperature"] = 0.2
            if self.random.random() < 0.03:
                retries = self.random.randint(1, 3)
                call.values["langflow.model.retries"] = retries
                self.work(0.8 * retries)
            if self.random.random() < 0.012:
                self.work(0.3)
                raise Failed(
                    *self.random.choice((("RateLimitError", 429), ("RateLimitError", 429), ("APITimeoutError",)))
                )
            self.work(mean_s)
            cost = (read * _PRICES[model][0] + written * _PRICES[model][1]) / 1e6
            call.values.update(
                {
                    "gen_ai.usage.input_tokens": read,
                    "gen_ai.usage.output_tokens": written,
                    "gen_ai.usage.cache_read.input_tokens": read // 3,
                    "gen_ai.response.model": f"{model}-2026-05-01",
                    "gen_ai.response.finish_reasons": ["stop"],
                    "gen_ai.response.time_to_first_chunk": round(0.2 + mean_s * 0.2 * factor, 3),
                    "langflow.cost.amount": cost,
                    "langflow.cost.currency": "USD",
                }
            )
            if self.content and question:
                call.values.update(_messages(question, answer))
        for above in self.open:
            above["usage"] = tuple(
                a + b for a, b in zip(above.get("usage", (0, 0, 0.0)), (read, written, cost), strict=True)
            )


class _Open:
    """A span that goes on while the block does."""

    def __init__(self, run: Run, span: dict[str, Any]) -> None:
        self._run, self._span = run, span
        self.values: dict[str, Any] = span["values"]

    def __enter__(self) -> _Open:
        self._run.open.append(self._span)
        self._run.spans.append(self._span)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        run, span = self._run, self._run.open.pop()
        span["endTimeUnixNano"] = str(run.now_ns)
        if "langflow.component.kind" in self.values or "langflow.run.id" in self.values:
            read, written, cost = span.get("usage", (0, 0, 0.0))
            if read:
                usage = {"langflow.usage.input_tokens": read, "langflow.usage.output_tokens": written}
                self.values.update({**usage, "langflow.cost.amount": cost, "langflow.cost.currency": "USD"})
        if not isinstance(error, Failed):
            self.values.setdefault("langflow.status", "ok")
            return
        name = str(error.args[0])
        self.values.update({"langflow.status": "error", "error.type": name})
        self.values["langflow.error.category"] = _CATEGORIES.get(name, "code")
        span["status"] = {"code": 2, "message": name}
        run.open.append(span)
        run.event(
            "exception",
            exception__type=name,
            exception__stacktrace=f'  File "app/flow.py", line 41, in run\n{name}',
            **({"http__response__status_code": error.args[1]} if len(error.args) > 1 else {}),
        )
        run.open.pop()


def _hash(text: str) -> int:
    return sum((index + 1) * 7919 * ord(sign) for index, sign in enumerate(text))


def _dotted(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("__", "."): value for key, value in attributes.items()}


def _otlp(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _otlp_value(value)} for key, value in values.items()]


def _otlp_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_otlp_value(each) for each in value]}}
    return {"stringValue": value}


def _support(run: Run, question: str, *, slow_policies: bool) -> None:
    """An agent with two tools, after a router."""
    with run.component("Chat Input", "ChatInput", "input"):
        run.work(0.004)
    with run.component("Language Check", "ConditionalRouter", "logic"):
        run.work(0.012)
    run.event(
        "component.skipped",
        langflow__component__id="TranslateQuestion-00a1",
        langflow__component__display_name="Translate Question",
    )
    with run.component("Support Agent", "Agent", "agent", gen_ai__operation__name="invoke_agent"):
        run.model_call("gpt-4o-mini", 0.7, (900, 60), question=question, answer="I look it up.")
        for _ in range(run.random.choice((1, 1, 2, 3))):
            if run.random.random() < 0.5:
                _tool(run, "search_orders", "Order Lookup", 0.25, 0.004)
            else:
                _tool(run, "search_policies", "Policy Search", 1.9 if slow_policies else 0.45, 0.006, is_search=True)
            answer = f"**{question}** - it has been sent on Tuesday, and the return is free within 30 days."
            run.model_call("gpt-4o-mini", 1.1, (1700, 180), question=question, answer=answer)
    with run.component("Tone Check", "LanguageModelComponent", "llm"):
        run.model_call("gpt-4o-mini", 0.4, (350, 20), question="Is this polite?", answer="Yes.")
    with run.component("Chat Output", "ChatOutput", "output"):
        run.work(0.006)


def _tool(run: Run, tool: str, component: str, mean_s: float, fails: float, *, is_search: bool = False) -> None:
    with run.span(f"execute_tool {tool}", gen_ai__operation__name="execute_tool", gen_ai__tool__name=tool) as call:
        call.values.update(
            {"gen_ai.tool.type": "function", "langflow.component.id": f"{component.replace(' ', '')}-7f3a1"}
        )
        if run.content:
            call.values["gen_ai.tool.call.arguments"] = json.dumps({"query": "order 1042", "limit": 4})
            call.values["gen_ai.tool.call.result"] = json.dumps([{"order": 1042, "state": "sent"}])
        if is_search:
            call.values.update({"gen_ai.retrieval.top_k": 4, "langflow.retrieval.document_count": 3})
            run.work(0.02)
        if run.random.random() < 0.05:
            run.event("component.retry", langflow__retry__attempt=1, langflow__retry__delay=0.5)
            run.work(0.5)
        run.work(mean_s)
        if run.random.random() < fails:
            raise Failed("ToolException")


def _invoices(run: Run) -> None:
    """A loop over the pages of a document."""
    with run.component("Read File", "File", "data"):
        run.work(0.3)
    with run.component("Each Page", "LoopComponent", "logic"):
        for index in range(run.random.randint(2, 6)):
            with run.component("Extract Fields", "StructuredOutput", "llm", langflow__loop__index=index):
                run.model_call("claude-sonnet-4", 2.2, (2400, 320))
            with run.component("Check Totals", "CheckTotals", "other", langflow__loop__index=index):
                run.work(0.05)
                if run.random.random() < 0.004:
                    raise Failed("KeyError")
    with run.component("Save Records", "SaveToFile", "output"):
        run.work(0.12)


def _digest(run: Run) -> None:
    """Documents into a store: much of it from the cache."""
    with run.component("Fetch Pages", "URLComponent", "data"):
        run.work(1.4)
        if run.random.random() < 0.03:
            raise Failed("ConnectTimeout")
    with run.component(
        "Split Text", "SplitText", "other", langflow__status="cached" if run.random.random() < 0.4 else "ok"
    ):
        run.work(0.05)
    with (
        run.component("Vector Store", "Chroma", "vector_store", gen_ai__operation__name="retrieval"),
        run.span("embeddings text-embedding-3-small", 3, gen_ai__operation__name="embeddings") as call,
    ):
        run.work(0.35)
        call.values.update({"gen_ai.request.model": "text-embedding-3-small", "gen_ai.provider.name": "openai"})
        call.values.update({"gen_ai.usage.input_tokens": 5200, "langflow.embeddings.text_count": 48})
        call.values.update({"langflow.cost.amount": 0.0001, "langflow.cost.currency": "USD"})
    with run.component("Summary", "LanguageModelComponent", "llm"):
        run.model_call("claude-sonnet-4", 4.5, (5200, 700))


def _greeter(run: Run) -> None:
    with run.component("Chat Input", "ChatInput", "input"):
        run.work(0.003)
    with run.component("Prompt", "Prompt", "prompt"):
        run.work(0.002)
    with run.component("Chat Output", "ChatOutput", "output"):
        run.work(0.003)


def made_lines(runs: int, *, days: float = 7, seed: int = 1, content: bool = True) -> Iterator[str]:
    """One line of OTLP JSON for each run, the oldest first. In the last 40 % the policy search is slow."""
    rand = random.Random(seed)
    session, left, user = "", 0, 0
    for index, at_s in enumerate(sorted(_times(rand, runs, days))):
        if not left:
            session, left, user = (
                f"chat-{rand.getrandbits(32):08x}",
                rand.choice((1, 1, 2, 3, 5, 8)),
                rand.randint(1, 60),
            )
        left -= 1
        slow_policies = index > 0.6 * runs
        (name,) = rand.choices(("Customer Support", "Invoice Extraction", "Nightly Digest", "Greeter"), (60, 22, 8, 10))
        run = Run(
            rand,
            int(at_s * S) + rand.randint(0, S),
            name,
            f"{abs(_hash(name)):08x}-1c2d-4e5f",
            content=content and int(session[-1], 16) < 4,
        )
        run.slow = 1 + 0.35 * _load(at_s)
        entry = {"Nightly Digest": "job", "Greeter": "playground"}.get(
            name, rand.choice(("api", "api", "playground", "mcp"))
        )
        version = "b7d0c1f2a9e4" if name == "Customer Support" and slow_policies else f"{abs(_hash(name)):012x}"[:12]
        try:
            with run.span(
                f"invoke_workflow {name}",
                gen_ai__operation__name="invoke_workflow",
                langflow__flow__version=version,
                langflow__run__id=f"{rand.getrandbits(64):016x}",
                langflow__entry_point=entry,
                langflow__flow__component_count=6,
                langflow__flow__process__memory__peak=int((420 + 180 * (index / runs) + 40 * rand.random()) * 2**20),
                langflow__flow__process__cpu__time=round(0.4 * run.slow * rand.random() + 0.1, 3),
                langflow__flow__event_loop__delay__peak=round(0.004 * rand.lognormvariate(run.slow, 0.6), 4),
                langflow__flow__active__peak=rand.randint(1, 2 + int(5 * _load(at_s))),
                langflow__flow__system__cpu__utilization__peak=round(0.2 + 0.5 * _load(at_s) * rand.random(), 3),
            ) as root:
                if entry != "job":
                    root.values.update(
                        {"session.id": session, "gen_ai.conversation.id": session, "user.id": f"user-{user}"}
                    )
                _run_it(run, name, slow_policies=slow_policies)
                if run.content and name == "Customer Support":
                    question, answer = rand.choice(list(zip(_QUESTIONS, _ANSWERS, strict=True)))
                    root.values.update(_messages(question, answer))
                if rand.random() < 0.006:
                    root.values["langflow.status"] = "cancelled"
        except Failed:
            pass
        yield as_line(run, f"worker-{rand.randint(1, 4)}")


def _run_it(run: Run, name: str, *, slow_policies: bool) -> None:
    if name == "Customer Support":
        _support(run, run.random.choice(_QUESTIONS), slow_policies=slow_policies)
    else:
        {"Invoice Extraction": _invoices, "Nightly Digest": _digest, "Greeter": _greeter}[name](run)


def _load(at_s: float) -> float:
    """How busy the day is then, 0 to 1."""
    return 0.5 - 0.5 * math.cos(2 * math.pi * (at_s % DAY_S) / DAY_S)


def _times(rand: random.Random, runs: int, days: float) -> Iterator[float]:
    left = runs
    while left:
        at_s = NOW_S - rand.random() * days * DAY_S
        if rand.random() < 0.15 + 0.85 * _load(at_s):
            left -= 1
            yield at_s


def as_line(run: Run, instance: str) -> str:
    """The run's trace as a line of OTLP JSON."""
    spans = [
        {
            **{key: value for key, value in span.items() if key not in ("values", "usage")},
            "attributes": _otlp(span["values"]),
        }
        for span in run.spans
    ]
    resource = {"service.name": "langflow", "service.instance.id": instance, "telemetry.sdk.language": "python"}
    scopes = [{"scope": {"name": "langflow_otel"}, "spans": spans}]
    return json.dumps({"resourceSpans": [{"resource": {"attributes": _otlp(resource)}, "scopeSpans": scopes}]})


def write(path: Path, lines: Iterable[str]) -> Path:
    """These lines as a trace file."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


HOSTILE = (
    "<script>window.hacked=1</script>",
    '"><img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=1</script>",
    "\x1b[31mred\x1b[0m\x07",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "‮gnp.exe\u202c",
    "__proto__",
    "a" * 100_000,
    "<!-- <script>",
    "]]>&lt;b&gt;&amp;",
    "javascript:window.hacked=1",
    "line\u2028separator\u2029and\r\nmore",
    "' onfocus='window.hacked=1' autofocus='",
    "%3Cscript%3E#/run/x?flow=y&q=z",
)
"""Names that are harmful where they are taken for markup, a template, an escape or a key."""


def hostile_lines() -> Iterator[str]:
    """A run for each hostile name, which is everywhere in it where a text can be."""
    rand = random.Random(3)
    for index, name in enumerate(HOSTILE):
        run = Run(rand, (NOW_S + index * 60) * S, name, name)
        try:
            with run.span(f"invoke_workflow {name}", gen_ai__operation__name="invoke_workflow") as root:
                root.values.update(
                    {
                        "langflow.run.id": name,
                        "session.id": name,
                        "user.id": name,
                        "langflow.flow.version": name,
                        name: name,
                    }
                )
                with run.component(name, name, "llm") as component:
                    component.values["langflow.component.id"] = name
                    with run.span(
                        f"chat {name}", 3, gen_ai__operation__name="chat", gen_ai__request__model=name
                    ) as call:
                        call.values.update({"gen_ai.provider.name": name, "gen_ai.usage.input_tokens": 3})
                        call.values["gen_ai.input.messages"] = json.dumps(
                            [{"role": name, "parts": [{"type": "text", "content": name}]}]
                        )
                        run.event(name, **{name: name})
                        run.work(0.2)
                        raise Failed(name)
        except Failed:
            pass
        yield as_line(run, name)
