"""Components that log."""

from lfx.log.logger import logger
from lfx.schema.message import Message

from .basic import Echo

CANARY = "canary-7f3a"


class Chatty(Echo):
    """In the event loop, by both kinds of call."""

    display_name = "Chatty"
    name = "Chatty"

    async def run_out(self) -> Message:
        logger.info("said %s", CANARY, user=CANARY, size=3)
        await logger.awarning("said later")
        return Message(text=str(self.value))


class ChattyThread(Echo):
    """A synchronous method: LangFlow runs it in a worker thread."""

    display_name = "Chatty Thread"
    name = "ChattyThread"

    def run_out(self) -> Message:
        logger.info("said in a thread")
        return Message(text=str(self.value))


class ChattyError(Echo):
    """Logs an exception with its cause, and goes on."""

    display_name = "Chatty Error"
    name = "ChattyError"

    async def run_out(self) -> Message:
        try:
            try:
                raise KeyError(CANARY)
            except KeyError as exc:
                raise LookupError(CANARY) from exc
        except LookupError:
            logger.exception("it failed")
        return Message(text=str(self.value))
