"""Components with inputs that hold secrets."""

from __future__ import annotations

from lfx.io import DictInput, HandleInput, MessageTextInput, MultilineInput, Output, SecretStrInput, StrInput
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


class HandsOn(Echo):
    """Says its key to the next component."""

    display_name = "Hands On"
    name = "HandsOn"
    inputs = [
        MessageTextInput(name="value", display_name="Value"),
        SecretStrInput(name="key", display_name="Key", value="canary-secret", load_from_db=False),
    ]

    async def run_out(self) -> Message:
        return Message(text=f"the key is {self.key}")


class Complains(HandsOn):
    """Quotes its key in an error, and in the error's cause."""

    display_name = "Complains"
    name = "Complains"

    async def run_out(self) -> Message:
        try:
            raise KeyError(self.key)
        except KeyError as exc:
            raise ValueError(f"no access with {self.key}") from exc


class NoComparison:
    """As a data frame."""

    def __eq__(self, _: object) -> bool:
        raise ValueError

    __hash__ = None  # type: ignore[assignment]


class Uncomparable(Echo):
    """Takes anything."""

    display_name = "Uncomparable"
    name = "Uncomparable"
    inputs = [
        MessageTextInput(name="value", display_name="Value"),
        HandleInput(name="thing", display_name="Thing", input_types=["Any"]),
    ]
