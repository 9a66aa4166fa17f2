"""Components with inputs that hold secrets."""

from __future__ import annotations

from lfx.io import DictInput, MessageTextInput, MultilineInput, Output, SecretStrInput, StrInput
from lfx.schema.message import Message

from langflow_otel import traced
from nodes.basic import Echo


class Secrets(Echo):
    """Has a secret in each kind of input that may hold one, and a key in a text that may leave."""

    display_name = "Secrets"
    name = "Secrets"
    inputs = [
        MessageTextInput(name="value", display_name="Value"),
        MultilineInput(
            name="note", display_name="Note", value="key " + "AK" + "IA" + "IOSFODNN7EXAMPLE of me@example.com"
        ),
        SecretStrInput(name="key", display_name="Key", value="canary-secret", load_from_db=False),
        DictInput(name="headers", display_name="Headers", value={"x": "canary-header"}),
        StrInput(name="variable", display_name="From a variable", value="canary-variable", load_from_db=True),
        StrInput(name="api_token", display_name="By its name", value="canary-token"),
    ]


class OptsOut(Echo):
    """By its class."""

    display_name = "Opts Out"
    name = "OptsOut"
    langflow_otel_content = False


class MethodOptsOut(Echo):
    """By its method."""

    display_name = "Method Opts Out"
    name = "MethodOptsOut"
    outputs = [Output(display_name="Out", name="out", method="run_quietly")]

    @traced(content=False)
    async def run_quietly(self) -> Message:
        return Message(text=str(self.value))
