"""Run a flow many times, so that there is something to compare. Run it with:

    LANGFLOW_OTEL_TRACE_FILE=spans.jsonl langflow-otel exec -- python examples/run_often.py flow.json 100

Each line of questions.txt, if there is such a file, is asked in turn.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import cycle, islice
from pathlib import Path

from lfx.load import aload_flow_from_json


async def main(path: Path, questions: list[str]) -> None:
    for number, question in enumerate(questions):
        graph = await aload_flow_from_json(path)
        graph.flow_name = path.stem
        await graph.arun([{"input_value": question}], session_id=f"run-{number}", fallback_to_env_vars=True)


if __name__ == "__main__":
    asked = Path("questions.txt")
    questions = asked.read_text().splitlines() if asked.is_file() else ["Hello"]
    asyncio.run(main(Path(sys.argv[1]), list(islice(cycle(questions), int(sys.argv[2])))))
