"""A server that answers as OpenAI's chat completions do, in the ways that a test lists."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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


class FakeOpenAI:
    """What it does with the next requests, in their order, and what it got.

    Attributes:
        replies: ``answer`` (also when the list is empty), ``tool``, ``cut`` (a stream that breaks off), or the status
            of an error.
        received: Headers of each request, names in small letters.
        told: The tokens of each answer that told them.
    """

    def __init__(self) -> None:
        self.replies: list[str | int] = []
        self.received: list[dict[str, str]] = []
        self.told: list[dict[str, Any]] = []
        self.url = ""


def _event(delta: dict[str, Any], **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish_reason", None)}
    return _about("chat.completion.chunk") | {"choices": [choice]} | more


def _about(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "gpt-4o-mini-2024"}


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_POST(self) -> None:
        fake: FakeOpenAI = self.server.fake
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        fake.received.append({name.lower(): value for name, value in self.headers.items()})
        reply = fake.replies.pop(0) if fake.replies else "answer"
        if isinstance(reply, int):
            self._send(reply, {"error": {"message": "no", "type": "no", "code": "no"}})
        elif asked.get("stream"):
            self._stream(reply)
        else:
            tool = reply == "tool"
            message = {"role": "assistant", "content": None if tool else "".join(WORDS)}
            message |= {"tool_calls": [TOOL_CALL]} if tool else {}
            choice = {"index": 0, "finish_reason": "tool_calls" if tool else "stop", "message": message}
            self.server.fake.told.append(USAGE)
            self._send(200, _about("chat.completion") | {"choices": [choice], "usage": USAGE})

    def _send(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, reply: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        if reply == "cut":
            self.send_header("Content-Length", "100000")
        self.end_headers()
        if reply == "tool":
            self._chunk(_event({"role": "assistant", "tool_calls": [{"index": 0, **TOOL_CALL}]}))
        else:
            for word in WORDS[:1] if reply == "cut" else WORDS:
                self._chunk(_event({"role": "assistant", "content": word}))
        if reply == "cut":
            return
        self._chunk(_event({}, finish_reason="tool_calls" if reply == "tool" else "stop"))
        self.server.fake.told.append(USAGE)
        self._chunk(_about("chat.completion.chunk") | {"choices": [], "usage": USAGE})
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
