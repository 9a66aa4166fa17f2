"""A flow as a script, run by LangFlow's own command and instrumented from outside. Run it with:

    OTEL_TRACES_EXPORTER=console opentelemetry-instrument lfx run examples/hello_flow.py "hello"

The spans go to the terminal, the result comes last.
"""

from lfx.components.input_output import ChatInput, ChatOutput
from lfx.graph import Graph

question = ChatInput().set(should_store_message=False)
graph = Graph(
    question,
    ChatOutput().set(input_value=question.message_response, should_store_message=False),
    flow_name="hello",
)
