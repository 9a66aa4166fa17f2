"""Names that the GenAI conventions had before v0.1.0 are written nowhere any more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLD = (
    "gen_ai.agent.id",
    "gen_ai.client.operation.duration",
    "gen_ai.client.operation.time_to_first_chunk",
    "gen_ai.client.token.usage",
    "gen_ai.system",
    "gen_ai.token.type",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.completion_tokens",
    "gen_ai.usage.prompt_tokens",
    "gen_ai.workflow.name",
)
READS_THEM = {
    "langflow_otel/_sdk/content_attributes.py": "what other instrumentors may write",
    "langflow_otel/insights/_reading/span_columns.py": "spans of others, and files of older versions",
    "langflow_otel/_semconv.py": "TOKENS_OF_OTHERS",
}
"""Files that know old names, to recognize them on spans of others."""


def texts() -> Iterator[tuple[str, str]]:
    """What is installed, read or deployed, by path; the table old -> new of the reference apart."""
    for pattern in ("README.md", "docs/**/*.md", "langflow_otel/**/*.py", "collector-config/**/*", "examples/**/*.py"):
        for path in ROOT.glob(pattern):
            if path.is_file() and path.suffix not in (".png", ".pyc"):
                text = path.read_text(encoding="utf-8")
                yield path.relative_to(ROOT).as_posix(), re.sub(r"\n\| name before \|(?s:.*?)(\n\n|\Z)", "\n\n", text)


@pytest.mark.parametrize("name", OLD)
def test_an_old_name_is_nowhere(name: str):
    spelled = re.compile(rf"(?<![\w.]){'[._]'.join(map(re.escape, re.split('[.]', name)))}(?![\w.])")
    found = [path for path, text in texts() if path not in READS_THEM and spelled.search(text)]

    assert found == []


def test_the_files_are_found():
    names = {path for path, _ in texts()}

    assert {"README.md", "docs/reference/spans.md", "langflow_otel/_metrics/catalogue.py"} <= names
    folders = {"README.md", "docs", "langflow_otel", "collector-config", "examples"}
    assert {path.split("/")[0] for path in names} >= folders
    assert names >= READS_THEM.keys()
