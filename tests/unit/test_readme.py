"""The README's tables say what the code does, and its Python is valid."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

from langflow_otel.cli.main import app
from langflow_otel.hooks.versions import NEWEST_LFX, OLDEST_LFX
from langflow_otel.recording import semconv
from langflow_otel.recording.metrics import CATALOGUE
from langflow_otel.variables import VARIABLES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]}
LINKS = [(page, link) for page, text in PAGES.items() for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", text)]


def rows(heading: str) -> list[list[str]]:
    """Cells of the table whose first column has this heading, without the header."""
    table = re.search(rf"^\| {re.escape(heading)} \|.*\n\|[ -|]+\|\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert table is not None, heading
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.group(1).splitlines()]


def test_every_variable_has_its_row():
    assert rows("variable") == [
        [f"`{each.name}`", f"`{each.default}`", each.accepts, each.meaning] for each in VARIABLES
    ]


def test_every_attribute_that_is_written_has_its_row():
    not_attributes = {
        "SCHEMA_URL",
        "SCOPE",
        "LANGFLOW_SCOPE",
        "EXCEPTION",
        "COMPONENT_SKIPPED",
        "COMPONENT_RETRY",
        "CONTENT_EVENT",
    }
    written = {
        value
        for name, value in vars(semconv).items()
        if name.isupper() and isinstance(value, str) and "." in value and name not in not_attributes
    }
    events_only = {value for value in written if value.startswith("exception.")}
    written = {f"{value}{{name}}" if value.endswith(".") else value for value in written}
    assert {row[0].strip("`") for row in rows("attribute")} == written - events_only


def test_every_metric_has_its_row():
    expected = []
    for metric in CATALOGUE:
        labels = [f"`{label}`" for label in metric.labels] + ["(`worker`)"] * metric.per_worker
        kind = "up-down counter" if metric.kind == "up_down_counter" else metric.kind
        names = [f"`{metric.name}`", f"`{metric.prometheus_name}`"]
        expected.append([*names, kind, ", ".join(labels) or "none", metric.description])
    assert rows("metric") == expected


def test_every_span_has_its_row():
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
    named = {row[1].strip("`").split(" {")[0] for row in rows("what")}
    assert named == operations | {"the name that you give", "{method}"}


def ci(name: str) -> str:
    return (ROOT / ".ci" / name).read_text(encoding="utf-8")


def test_the_versions_are_those_of_the_code_and_of_the_matrix():
    tested = re.findall(r"(\d+\.\d+\.\d+):(\d+\.\d+):\d{4}-\d\d-\d\d", ci("matrix").split("rows=(", 1)[1])
    # The README's own command, with the newest version that pip finds.
    (python,) = re.findall(r"\.ci/python (\d+\.\d+)", ci("run"))
    tested.append((NEWEST_LFX, python))
    text = README.split("## Versions", 1)[1]
    assert ", ".join(lfx for lfx, _ in tested) in text
    assert ", ".join(python for _, python in tested) in text
    assert tested[0][0].startswith(OLDEST_LFX)


@pytest.mark.parametrize(
    "code", [code for text in PAGES.values() for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
)
def test_its_python_parses(code):
    ast.parse(re.sub(r"^    await|^await", "    _ =", code, flags=re.MULTILINE))


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.name}: {link}" for page, link in LINKS])
def test_its_links_lead_somewhere(page: Path, link: str):
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    assert target.exists()
    if anchor:
        assert anchor in anchors(target.read_text(encoding="utf-8"))


def anchors(text: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = [line.lstrip("# ").lower() for line in text.splitlines() if line[:1] == "#"]
    return {re.sub(r"[^\w -]", "", each).replace(" ", "-") for each in headings}


def test_every_guide_is_in_the_index():
    guides = {path.name for path in PAGES if path.parent == ROOT / "docs" / "insights"} - {"README.md"}
    assert guides == set(re.findall(r"\]\((\w[\w-]*\.md)\)", PAGES[ROOT / "docs" / "insights" / "README.md"]))


def test_every_picture_is_shown_and_small():
    pictures = {path for path in (ROOT / "docs" / "pictures").iterdir() if path.suffix in (".png", ".svg")}
    shown = {(page.parent / link).resolve() for page, link in LINKS if link.endswith((".png", ".svg"))}

    assert pictures <= shown
    assert [path.name for path in pictures if path.stat().st_size > 60_000] == []


@pytest.mark.parametrize("name", ["tree", "why", "report", "export", "top", "store"])
def test_every_option_that_reads_back_is_described(name: str):
    told = "".join(PAGES.values())
    options = [
        option
        for parameter in get_command(app).commands[name].params
        for option in parameter.opts  # type: ignore[attr-defined]
    ]
    long_ones = {option for option in options if option.startswith("--")}

    assert long_ones
    assert {option for option in long_ones if not re.search(rf"`{option}\b| {option}\b", told)} == set()
