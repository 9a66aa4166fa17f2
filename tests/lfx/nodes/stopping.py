from lfx.schema.message import Message

from langflow_otel import span, traced
from langflow_otel._runs.run import end_open_runs

from . import basic, models

seen: dict = {}


def stop() -> None:
    """As the server does when it ends, and LangFlow goes on."""
    end_open_runs("shutdown")


@traced
async def late() -> None: ...


class Stops(basic.Echo):
    """The process stops while it runs; it goes on, and so do the flow and another flow."""

    display_name = "Stops"
    name = "Stops"

    async def run_out(self) -> Message:
        with span("before"):
            stop()
            with span("late"):
                await late()
            await seen["sub_flow"]().arun([{"input_value": "hi"}])
        return Message(text="on")


class StopsInModel(models.FakeModel):
    """The process stops after its model has answered."""

    display_name = "Stops In Model"
    name = "StopsInModel"

    async def text_response(self) -> Message:
        answer = await super().text_response()
        stop()
        return answer


class StopsBeforeModel(models.FakeModel):
    """The process stops before its model has answered."""

    display_name = "Stops Before Model"
    name = "StopsBeforeModel"

    async def text_response(self) -> Message:
        stop()
        return await super().text_response()
