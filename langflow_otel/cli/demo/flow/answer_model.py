"""A model component."""

from typing import Any

from lfx.base.models.model import LCModelComponent
from lfx.io import StrInput

from langflow_otel.cli.demo.flow.chat_model import ScriptedChatModel, answer

ANSWER = "Your two lamps are in the delivery van and will be with you today."


class AnswerModel(LCModelComponent):  # type: ignore[misc]  # LangFlow is not type-checked here
    """A LangFlow model component, streaming; only the model behind it is LangChain's fake one."""

    display_name = "Answer Model"
    name = "AnswerModel"
    inputs = [
        *LCModelComponent._base_inputs,
        StrInput(name="model_name", display_name="Model", value="scripted-1"),
        StrInput(name="provider", display_name="Provider", value="demo"),
    ]

    def build_model(self) -> Any:
        return ScriptedChatModel(messages=iter([answer(ANSWER, 118, 15)]))
