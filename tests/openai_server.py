"""A server that answers as OpenAI does (chat, tools, structured output, embeddings), in the ways that a test lists.

It also answers as a proxy: what is requested through it never leaves this machine.
"""

from __future__ import annotations

import base64
import json
import select
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("one", " two", " three")
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
TOOL_CALL = {"id": "call-1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}
DIMENSIONS = 8
LONGEST_WAIT_S = 120.0
PAGE = b"<html><head><title>Ships</title></head><body><h1>Ships</h1><p>" + b"Ships sail. " * 20 + b"</p></body></html>"
PAPER = "<entry><id>http://arxiv.org/abs/{0}</id><title>Paper {0}</title><summary>On ships.</summary></entry>"


@dataclass
class Asked:
    """A request, and what became of it.

    Attributes:
        kind: ``chat``, ``embeddings``, or the method of another request.
        url: Its path; through the proxy, its whole address.
        parent: Trace id and span id of its ``traceparent``; empty without one.
        status: Of the response; 0 where the client went before there was one.
        usage: As it was sent in the answer; empty where it was not.
        streamed: Whether the answer was streamed.
        model: The model that was asked for.
    """

    kind: str
    url: str
    parent: tuple[str, str] = ("", "")
    status: int = 0
    usage: Mapping[str, Any] = field(default_factory=dict)
    streamed: bool = False
    model: str = ""


class FakeOpenAI:
    """What it does with the next requests, in their order, and what it got.

    Attributes:
        replies: ``answer`` (also when the list is empty), ``tool``, ``cut`` (a stream that breaks off), ``wait`` (until
            the client goes; of a stream, after its first chunk), ``refuse`` (for what was asked), or the status of an
            error.
        tools: A model that is offered one of these calls it, once in a conversation; with which arguments.
        answers: What is answered where a prompt has this text; ``one two three`` otherwise.
        counting: Tokens are the words of what is asked and answered; without it they are always the same.
        received: Headers of each request to a model, names in small letters.
        asked: All requests.
        waiting: Set once a request waits.
    """

    def __init__(self) -> None:
        self.replies: list[str | int] = []
        self.tools: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, str] = {}
        self.counting = False
        self.received: list[dict[str, str]] = []
        self.asked: list[Asked] = []
        self.waiting = threading.Event()
        self.url = ""

    @property
    def sent_usage(self) -> list[Mapping[str, Any]]:
        """The tokens of each answer that had them."""
        return [each.usage for each in self.asked if each.usage]

    def next_reply(self) -> str | int:
        """The same as ``answer`` where nothing is listed."""
        return self.replies.pop(0) if self.replies else "answer"


def _about(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "gpt-4o-mini-2024"}


def _event(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish_reason", None)}
    return _about("chat.completion.chunk") | {"choices": [choice]} | more


def _message(fake: FakeOpenAI, asked: Mapping[str, Any], reply: str) -> dict[str, Any]:
    """What the model answers: text, an object of the wanted schema, or the call of a tool."""
    tool = _tool_call(fake, asked, reply)
    if tool is not None:
        return {"role": "assistant", "content": None, "tool_calls": [tool]}
    wanted = asked.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return {"role": "assistant", "content": json.dumps(_example(wanted["json_schema"]["schema"]))}
    prompt = json.dumps(asked["messages"])
    texts = [text for word, text in fake.answers.items() if word in prompt]
    return {"role": "assistant", "content": texts[0] if texts else "".join(WORDS)}


def _tool_call(fake: FakeOpenAI, asked: Mapping[str, Any], reply: str) -> dict[str, Any] | None:
    offered = {tool["function"]["name"]: tool["function"].get("parameters", {}) for tool in asked.get("tools", ())}
    known = [name for name in fake.tools if name in offered]
    forced = asked.get("tool_choice")
    if isinstance(forced, dict) or (forced in ("required", "any") and offered):
        name = forced["function"]["name"] if isinstance(forced, dict) else next(iter(offered))
        return _call(name, fake.tools.get(name, _example(offered[name])))
    called = [call["function"]["name"] for each in asked["messages"] for call in each.get("tool_calls") or ()]
    wanted = known if reply == "tool" else [name for name in known if name not in called]
    if wanted:
        return _call(wanted[0], fake.tools[wanted[0]], len(called) + 1)
    return TOOL_CALL if reply == "tool" else None


def _call(name: str, arguments: Any, number: int = 1) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call-{number}", "type": "function", "function": function}


def _example(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """A value of a JSON schema."""
    root = schema if root is None else root
    if "$ref" in schema:
        return _example(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    for choice in ("anyOf", "allOf"):
        if choice in schema:
            return _example(schema[choice][0], root)
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object" or "properties" in schema:
        return {name: _example(each, root) for name, each in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [_example(schema.get("items", {}), root)]
    return {"integer": 3, "number": 1.5, "boolean": True}.get(str(schema.get("type")), "text")


def _usage(fake: FakeOpenAI, asked: Mapping[str, Any], message: Mapping[str, Any]) -> dict[str, Any]:
    if not fake.counting:
        return USAGE
    given, answered = (len(json.dumps(each).split()) for each in (asked["messages"], message))
    counts = {"prompt_tokens": given, "completion_tokens": answered, "total_tokens": given + answered}
    return {**USAGE, **counts}


class _Handler(BaseHTTPRequestHandler):
    server: Any

    @property
    def fake(self) -> FakeOpenAI:
        return self.server.fake

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.fake.received.append({name.lower(): value for name, value in self.headers.items()})
        embeddings = self.path.endswith(("/embeddings", "/api/embed"))
        self.about = self._asked("embeddings" if embeddings else "chat")
        self.about.model, self.about.streamed = body.get("model", ""), bool(body.get("stream"))
        self.fake.asked.append(self.about)
        reply = self.fake.next_reply()
        try:
            if reply == "refuse":
                self._send_json(400, {"error": {"message": "no", "type": "no", "code": "content_filter"}})
            elif isinstance(reply, int):
                self._send_json(reply, {"error": {"message": "no", "type": "no", "code": "no"}})
            elif embeddings:
                self._embed(body, reply)
            else:
                self._chat(body, reply)
        except OSError:  # the client went
            self.close_connection = True

    def do_GET(self) -> None:
        self.about = self._asked("GET")
        self.fake.asked.append(self.about)
        if "arxiv" in self.path:
            papers = "".join(PAPER.format(number) for number in range(2))
            feed = f'<feed xmlns="http://www.w3.org/2005/Atom">{papers}</feed>'
            self._send(200, "application/atom+xml", feed.encode())
        elif self.path.endswith("/models"):
            self._send_json(200, {"object": "list", "data": []})
        else:
            self._send(404 if "missing" in self.path else 200, "text/html", PAGE)

    def do_CONNECT(self) -> None:
        """As a proxy that refuses each connection."""
        self.about = self._asked("CONNECT")
        self.fake.asked.append(self.about)
        self._send(502, "text/plain", b"")

    def _asked(self, kind: str) -> Asked:
        parent = self.headers.get("traceparent", "--").split("-")
        return Asked(kind, self.path, (parent[1], parent[2]))

    def _embed(self, body: Mapping[str, Any], reply: str) -> None:
        if reply == "wait":
            self._wait_until_the_client_goes()
            return
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vector: Any = [1.0] * DIMENSIONS
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{DIMENSIONS}f", *vector)).decode()
        if self.path.endswith("/api/embed"):  # Ollama's
            self._send_json(200, {"model": body["model"], "embeddings": [vector] * len(texts)})
            return
        data = [{"object": "embedding", "index": index, "embedding": vector} for index in range(len(texts))]
        self.about.usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        self._send_json(200, {"object": "list", "data": data, "model": body["model"], "usage": self.about.usage})

    def _chat(self, body: Mapping[str, Any], reply: str) -> None:
        message = _message(self.fake, body, reply)
        usage = _usage(self.fake, body, message)
        if body.get("stream"):
            wants_usage = (body.get("stream_options") or {}).get("include_usage")
            self._stream(reply, message, usage if wants_usage else {})
            return
        if reply == "wait":
            self._wait_until_the_client_goes()
            return
        reason = "tool_calls" if "tool_calls" in message else "stop"
        choice = {"index": 0, "finish_reason": reason, "message": message}
        self.about.usage = usage
        self._send_json(200, _about("chat.completion") | {"choices": [choice], "usage": usage})

    def _wait_until_the_client_goes(self) -> None:
        """There is no answer, nor a rest of one, however late that is noticed: the client has not seen its tokens."""
        self.fake.waiting.set()
        select.select([self.connection], [], [], LONGEST_WAIT_S)
        self.close_connection = True

    def _send_json(self, status: int, body: Any) -> None:
        self._send(status, "application/json", json.dumps(body).encode())

    def _send(self, status: int, kind: str, data: bytes) -> None:
        self.about.status = status
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, reply: str, message: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
        self.about.status = 200
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if reply == "cut":
            self.send_header("Content-Length", "100000")
        self.end_headers()
        tools = message.get("tool_calls") or ()
        if tools:
            self._chunk(_event({"role": "assistant", "tool_calls": [{"index": 0, **tools[0]}]}))
        words = () if tools else (WORDS if message["content"] == "".join(WORDS) else (message["content"],))
        for word in words:
            self._chunk(_event({"role": "assistant", "content": word}))
            if reply == "cut":
                return
            if reply == "wait":
                self._wait_until_the_client_goes()
                return
        self._chunk(_event({}, finish_reason="tool_calls" if tools else "stop"))
        if usage:
            self.about.usage = usage
            self._chunk(_about("chat.completion.chunk") | {"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _chunk(self, event: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *args: object) -> None: ...


@contextmanager
def fake_openai() -> Iterator[FakeOpenAI]:
    """The server, on a free port of this machine."""
    fake = FakeOpenAI()
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    httpd.daemon_threads = True
    httpd.fake = fake  # type: ignore[attr-defined]
    fake.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
