"""A FastAPI program that runs flows, each a trace that joins its caller's. Run it with:

    OTEL_TRACES_EXPORTER=console python examples/fastapi_app.py

and ask it, with a trace context of your own if you like:

    curl 'http://127.0.0.1:8000/ask?question=hi' \
        -H 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

With OTEL_METRICS_EXPORTER=prometheus its own /metrics is the page of metrics.
"""

from __future__ import annotations

import os

import uvicorn
from fastapi import FastAPI, Request
from lfx.components.input_output import ChatInput, ChatOutput
from lfx.graph import Graph
from opentelemetry import context
from opentelemetry.propagate import extract

from langflow_otel import instrument
from langflow_otel.asgi import metrics_app

app = FastAPI()
app.add_route("/metrics", metrics_app)


def build_flow() -> Graph:
    question = ChatInput().set(should_store_message=False)
    answer = ChatOutput().set(input_value=question.message_response, should_store_message=False)
    return Graph(question, answer, flow_name="echo")


@app.get("/ask")
async def ask(question: str, request: Request) -> dict[str, str]:
    # With opentelemetry-instrumentation-fastapi this is done for you.
    token = context.attach(extract(request.headers))
    try:
        results = await build_flow().arun([{"input_value": question}], session_id="s-1")
    finally:
        context.detach(token)
    return {"answer": results[0].outputs[0].results["message"].text}


if __name__ == "__main__":
    instrument()
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")), log_level="warning")
