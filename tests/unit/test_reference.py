"""docs/reference/: what the code says, written by docs/generate.py."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from langflow_otel import _semconv as semconv
from langflow_otel._metrics.catalogue import CATALOGUE
from langflow_otel._settings.standard_variables import STANDARD
from langflow_otel._settings.variables import VARIABLES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "reference").glob("*.md"))
NOT_ATTRIBUTES = {
    "SCHEMA_URL",
    "SCOPE",
    "LANGFLOW_SCOPE",
    "COMPONENT_SKIPPED",
    "COMPONENT_RETRY",
    "CONTENT_EVENT",
}


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generator()


def rows(page: str, heading: str) -> list[list[str]]:
    """Cells of the page's tables whose first column has this heading, without the header."""
    text = (DOCS / "reference" / page).read_text(encoding="utf-8")
    tables = re.findall(rf"^\| {re.escape(heading)} \|.*\n\|[ -|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    assert lines, heading
    return [[cell.strip() for cell in re.split(r"(?<!\\) \| ", line.strip("|"))] for line in lines]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_page_is_what_the_code_says(page: Path):
    text = page.read_text(encoding="utf-8")

    assert generate.filled(text) == text, "run python docs/generate.py"


def test_every_part_is_on_one_page():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)

    assert sorted(re.findall(r"<!-- generated: ([\w ]+) -->", text)) == sorted(generate.PARTS)


def test_check_names_a_page_that_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    page = tmp_path / "metrics.md"
    page.write_text("# Metrics\n\n<!-- generated: buckets -->\n<!-- end -->\n\nthe end\n", encoding="utf-8")
    monkeypatch.setattr(generate, "PAGES", tmp_path)

    assert generate.main(["--check"]) == 1
    assert "metrics.md" in capsys.readouterr().out
    assert generate.main([]) == 0
    assert "langflow.flow.recovery_time" in page.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").endswith("\n\nthe end\n")
    assert generate.main(["--check"]) == 0


def test_variables_each_have_a_row():
    ours, standard = rows("variables.md", "variable")[: len(VARIABLES)], rows("variables.md", "variable")

    assert ours == [[f"`{each.name}`", f"`{each.default}`", each.accepts, each.meaning] for each in VARIABLES]
    per_signal = re.compile("OTEL_EXPORTER_OTLP_(TRACES|METRICS|LOGS)_.*")
    listed = {each.name for each in STANDARD if each.is_listed and not (each.general and per_signal.match(each.name))}
    assert listed <= {row[0].strip("`") for row in standard}


def test_attributes_that_are_written_each_have_a_row():
    written = {
        value
        for name, value in vars(semconv).items()
        if name.isupper() and isinstance(value, str) and "." in value and name not in NOT_ATTRIBUTES
    }
    written = {f"{value}{{name}}" if value.endswith(".") else value for value in written}
    found = rows("spans.md", "attribute")

    assert {row[0].strip("`") for row in found} == written
    assert [row[0] for row in found if not row[1] or not row[2]] == []


def test_metrics_each_have_a_row():
    found = {row[0]: row[1:] for row in rows("metrics.md", "metric, and its name in the scrape")}

    assert sorted(found) == sorted(f"`{each.name}`<br>`{each.prometheus_name}`" for each in CATALOGUE)
    for metric in CATALOGUE:
        kind, labels, what = found[f"`{metric.name}`<br>`{metric.prometheus_name}`"]
        assert kind.split(",")[0] == ("up-down counter" if metric.kind == "up_down_counter" else metric.kind)
        assert labels.split(", ") == (
            [f"`{label}`" for label in metric.labels] + ["(`worker`)"] * metric.per_worker or ["none"]
        )
        assert what == metric.description


def test_spans_each_have_a_row():
    operations = {
        "invoke_workflow",
        "component",
        "invoke_agent",
        "execute_tool",
        "chat",
        "text_completion",
        "embeddings",
        "stream",
        "output",
    }
    named = {row[1].strip("`").split(" {")[0] for row in rows("spans.md", "what")}

    assert named == operations | {"the name that you give", "{method}"}


def test_options_and_arguments_each_have_a_meaning():
    found = rows("command-line.md", "argument or option")

    assert len(found) > 100
    assert [row[0] for row in found if not row[1]] == []


@pytest.mark.parametrize("name", generate.PUBLIC)
def test_public_names_each_have_a_text(name: str):
    module = importlib.import_module(name)
    page = (DOCS / "reference" / "python-api.md").read_text(encoding="utf-8")
    part = page.split(f"\n## {name}\n", 1)[1].split("\n## ", 1)[0]

    assert module.__doc__
    for public in set(module.__all__) - {"metrics"}:
        heading = re.search(rf"^### (class )?`?{public}`?(\(\))?\n\n(.+)", part, re.MULTILINE)
        assert heading is not None, public
