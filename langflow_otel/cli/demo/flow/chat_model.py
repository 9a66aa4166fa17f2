"""LangChain's own fake chat model, made a little more like a real one."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk

try:
    from langchain_classic.agents import create_tool_calling_agent
except ImportError:  # LangChain before 1.0, as LangFlow 1.7 and 1.8 have it
    from langchain.agents import create_tool_calling_agent

__all__ = ["ScriptedChatModel", "answer", "create_tool_calling_agent"]


class ScriptedChatModel(GenericFakeChatModel):  # type: ignore[misc]  # LangChain is not type-checked here
    """Answers with the given messages in turn; streams them word by word, with tool calls and tokens.

    LangChain's model streams text only, and at once.
    """

    model_name: str = "scripted-1"
    first_chunk_s: float = 0.04
    chunk_s: float = 0.004

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        answer = next(self.messages)
        await asyncio.sleep(self.first_chunk_s)
        for word in re.split(r"(?<=\s)", answer.content):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
            await asyncio.sleep(self.chunk_s)
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", tool_calls=answer.tool_calls, usage_metadata=answer.usage_metadata)
        )

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> "ScriptedChatModel":
        """The script knows which tools it calls."""
        return self


def answer(text: str, input_tokens: int, output_tokens: int, tool_calls: Sequence[Any] = ()) -> AIMessage:
    """One message of the script, with the tokens that it is said to have used."""
    usage = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }
    return AIMessage(content=text, tool_calls=list(tool_calls), usage_metadata=usage)
