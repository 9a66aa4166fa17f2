"""Builds the demo's flow and runs it."""

import asyncio
from typing import Any

from lfx.components.flow_controls.conditional_router import ConditionalRouterComponent
from lfx.components.input_output import ChatInput, ChatOutput
from lfx.components.models_and_agents.prompt import PromptComponent
from lfx.events.event_manager import create_default_event_manager
from lfx.graph import Graph

from langflow_otel.cli.demo.flow.answer_model import AnswerModel
from langflow_otel.cli.demo.flow.escalate import Escalate
from langflow_otel.cli.demo.flow.order_lookup import OrderLookup
from langflow_otel.cli.demo.flow.parcel_agent import ParcelAgent
from langflow_otel.cli.demo.flow.policy_search import PolicySearch
from langflow_otel.cli.demo.flow.track_parcel import TrackParcel

FLOW_NAME = "support desk"
TEMPLATE = "Answer the customer.\nParcel: {parcel}\nPolicies: {policies}"


def build_flow() -> Any:
    """A fresh graph.

    question > order lookup > refund? - yes > escalate (never taken in the demo)
                                      - no  > policy search            \\
                                      - no  > agent with tool "track"  / > prompt > model > answer
    """
    question = ChatInput(_id="ChatInput-demo").set(should_store_message=False)
    order = OrderLookup(_id="OrderLookup-demo").set(question=question.message_response)

    is_refund = ConditionalRouterComponent(_id="ConditionalRouter-demo").set(
        input_text=order.find_order,
        operator="contains",
        match_text="refund",
        true_case_message=order.find_order,
        false_case_message=order.find_order,
    )
    escalate = Escalate(_id="Escalate-demo").set(order=is_refund.true_response)

    policies = PolicySearch(_id="PolicySearch-demo").set(order=is_refund.false_response)
    track = TrackParcel(_id="TrackParcel-demo")
    parcel = ParcelAgent(_id="ParcelAgent-demo").set(
        tools=track.to_toolkit, input_value=is_refund.false_response, verbose=False
    )

    prompt = PromptComponent(_id="Prompt-demo").set(
        template=TEMPLATE, parcel=parcel.message_response, policies=policies.search
    )
    model = AnswerModel(_id="AnswerModel-demo").set(input_value=prompt.build_prompt, stream=True)
    reply = ChatOutput(_id="ChatOutput-demo").set(input_value=model.text_response, should_store_message=False)

    graph = Graph(question, reply, flow_name=FLOW_NAME)
    graph.add_component(escalate)
    return graph


async def run_flow(question: str, session_id: str) -> None:
    """One run; raises what the flow raises.

    LangFlow streams only where somebody listens, hence the event manager.
    """
    listener = create_default_event_manager(asyncio.Queue())
    await build_flow().arun([{"input_value": question}], session_id=session_id, event_manager=listener)
