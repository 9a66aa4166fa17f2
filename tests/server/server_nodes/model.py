from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from lfx.base.models.model import LCModelComponent
from lfx.io import StrInput


class FakeModel(LCModelComponent):
    """A LangFlow model component over LangChain's own fake chat model, which streams word by word."""

    display_name = "Fake Model"
    name = "FakeModel"
    inputs = [
        *LCModelComponent._base_inputs,
        StrInput(name="model_name", display_name="Model", value="fake-1"),
        StrInput(name="provider", display_name="Provider", value="fake"),
    ]

    def build_model(self):
        usage = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
        return GenericFakeChatModel(messages=iter([AIMessage(content="one two three", usage_metadata=usage)]))
