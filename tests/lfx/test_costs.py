"""Costs of real calls over HTTP are those of the server's own log, by the list of prices.

pip install langchain-openai
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flows import line, run
from nodes import asking
from openai_server import FakeOpenAI
from test_openai_calls import ainvoke, astream, batch, openai, stream, structured  # noqa: F401 - one is a fixture
from test_tools import agent_flow

from langflow_otel._process import metrics
from langflow_otel._settings.settings import Settings
from langflow_otel.testing import Telemetry, capture_telemetry

langchain_openai = pytest.importorskip("langchain_openai")

AMOUNT = "langflow.cost.amount"
PRICE = {"model": "gpt-4o-mini*", "provider": "openai", "input": 3, "cache_read": 1, "output": 12, "reasoning": 20}


def written(path: Path, **price: Any) -> Path:
    path.with_suffix(".new").write_text(json.dumps({"currency": "USD", "prices": [PRICE | price]}))
    os.replace(path.with_suffix(".new"), path)
    return path


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return written(tmp_path / "prices.json")


@pytest.fixture
def telemetry(listed: Path) -> Iterator[Telemetry]:
    with capture_telemetry(settings=Settings(prices=listed)) as captured:
        yield captured


def by_hand(usages: list[dict[str, Any]]) -> float:
    """What the server's log costs."""
    total = 0
    for each in usages:
        cached = each["prompt_tokens_details"]["cached_tokens"]
        reasoning = each["completion_tokens_details"]["reasoning_tokens"]
        total += (each["prompt_tokens"] - cached) * 3 + cached * 1
        total += (each["completion_tokens"] - reasoning) * 12 + reasoning * 20
    return total / 1_000_000


ONE = (5 * 3 + 2 * 1 + 4 * 12 + 1 * 20) / 1_000_000


def tree(telemetry: Telemetry) -> list[str]:
    lines = [text for text in telemetry.tree(AMOUNT) if not text.startswith("  component Chat ")]
    return [text.replace("HTTP POST", "POST") for text in lines]


def check(telemetry: Telemetry, openai: FakeOpenAI) -> None:  # noqa: F811
    [root] = telemetry.roots()
    assert root.attributes[AMOUNT] == pytest.approx(by_hand(openai.sent_usage), rel=1e-12)
    assert root.attributes["langflow.cost.currency"] == "USD"
    labels = 'flow="demo",model="gpt-4o-mini",provider="openai",currency="USD"'
    found = telemetry.metrics("langflow_cost")
    assert list(found) == [f"langflow_cost_total{{{labels}}}"]
    assert list(found.values()) == [pytest.approx(by_hand(openai.sent_usage), rel=1e-12)]


@pytest.mark.parametrize("way", [ainvoke, astream, stream, structured])
async def test_a_call_costs_what_the_servers_log_says(telemetry, openai, way):  # noqa: F811
    openai.replies = ["tool"] if way is structured else []
    asking.seen["ask"] = way
    await run(line(asking.Asks))

    assert tree(telemetry) == [
        f"invoke_workflow demo {AMOUNT}={ONE}",
        f"  component Asks {AMOUNT}={ONE}",
        f"    chat gpt-4o-mini {AMOUNT}={ONE}",
        "      POST",
    ]
    check(telemetry, openai)


async def test_retries_inside_the_library_cost_one_answer(telemetry, openai):  # noqa: F811
    openai.replies = [429, 429, "answer"]
    asking.seen["ask"] = ainvoke
    await run(line(asking.Asks))

    assert [len(openai.received), len(openai.sent_usage)] == [3, 1]
    check(telemetry, openai)


async def test_an_agents_calls_are_added_up(telemetry, openai):  # noqa: F811
    openai.replies = ["tool", "answer"]
    await run(await agent_flow(asking.OpenAIAgent))

    calls = [f"    chat gpt-4o-mini {AMOUNT}={ONE}", "      POST"]
    assert tree(telemetry) == [
        f"invoke_workflow demo {AMOUNT}={2 * ONE}",
        f"  invoke_agent OpenAI Agent {AMOUNT}={2 * ONE}",
        *calls,
        "    execute_tool add",
        *calls,
    ]
    check(telemetry, openai)


async def test_calls_of_several_components_at_once_are_added_up(telemetry, openai):  # noqa: F811
    asking.seen["ask"] = batch
    await run(line(asking.Asks, asking.AsksAgain))

    assert len(openai.sent_usage) == 4
    check(telemetry, openai)


async def test_embeddings_cost_what_the_servers_log_says(openai, tmp_path):  # noqa: F811
    async def embed(_: Any) -> None:
        model = langchain_openai.OpenAIEmbeddings(
            base_url=openai.url, api_key="none", model="text-embedding-3-small", check_embedding_ctx_length=False
        )
        await model.aembed_documents(["one", "two", "three"])
        model.embed_query("one")

    openai.replies = [429, "answer", "answer"]
    asking.seen["ask"] = embed
    price = written(tmp_path / "embeddings.json", model="text-embedding-3-*", input=5, output=0)
    with capture_telemetry(settings=Settings(prices=price)) as telemetry:
        await run(line(asking.Asks))

        told = [each["prompt_tokens"] for each in openai.sent_usage]
        assert told == [3, 1]
        calls = [span for span in telemetry.spans if span.name == "embeddings text-embedding-3-small"]
        assert [span.attributes[AMOUNT] for span in calls] == [count * 5 / 1_000_000 for count in told]
        # Three tokens and one, at 5 for a million.
        assert [text for text in tree(telemetry) if "POST" not in text] == [
            f"invoke_workflow demo {AMOUNT}=2e-05",
            f"  component Asks {AMOUNT}=2e-05",
            f"    embeddings text-embedding-3-small {AMOUNT}=1.5e-05",
            f"    embeddings text-embedding-3-small {AMOUNT}=5e-06",
        ]
        assert list(telemetry.metrics("langflow_cost").values()) == [
            pytest.approx(sum(told) * 5 / 1_000_000, rel=1e-12)
        ]
        assert list(telemetry.metrics("langflow_model_retries_total").values()) == [1]


@pytest.mark.parametrize("reply", [401, "cut"])
async def test_a_call_without_tokens_costs_nothing(telemetry, openai, reply):  # noqa: F811
    openai.replies = [reply]
    asking.seen["ask"] = astream
    with pytest.raises(Exception, match=r"\w"):
        await run(line(asking.Asks))

    assert not [span.name for span in telemetry.spans if AMOUNT in span.attributes]
    assert telemetry.metrics("langflow_cost") == {}


async def test_new_prices_hold_without_a_restart(openai, listed, monkeypatch):  # noqa: F811
    monkeypatch.setattr(metrics, "_SLOW_TICK_S", 0.0)
    asking.seen["ask"] = ainvoke
    with capture_telemetry(settings=Settings(prices=listed)) as telemetry:
        await run(line(asking.Asks))
        written(listed, input=5)
        deadline_s = time.monotonic() + 60
        while telemetry.roots()[-1].attributes[AMOUNT] == ONE and time.monotonic() < deadline_s:
            await asyncio.sleep(0.05)
            await run(line(asking.Asks))

        assert telemetry.roots()[-1].attributes[AMOUNT] == pytest.approx(ONE + 5 * 2 / 1_000_000, rel=1e-12)
