"""The documentation: its shell commands run, its links lead somewhere, each page says first what it is for."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import time
from pathlib import Path
from types import ModuleType

import made_traces
import pytest
from documentation import DOCUMENTATION, MARKDOWN, ROOT, Block, anchors, blocks, blocks_of, links
from typer.main import get_command
from typer.testing import CliRunner

from langflow_otel._hooks.versions import NEWEST_LFX, OLDEST_LFX
from langflow_otel.cli.main import app

DOCS = ROOT / "docs"

EXAMPLE = "/var/log/langflow/"
"""The folder of trace files in examples of commands."""

ONLY_PARSED = {
    "doctor": "imports LangFlow in a process of its own: tests/unit/cli/test_doctor.py",
    "top": "goes on until q is pressed: tests/unit/cli/test_top.py",
    "mcp": "answers until its client goes: tests/unit/cli/mcp/test_stdio.py",
    "--follow": "goes on until a signal: tests/unit/cli/test_anomalies.py, tests/store",
    "--prometheus": "needs a Prometheus: tests/prometheus",
    "forecast": "needs months of history: tests/unit/insights/test_forecast.py",
    "history": "needs weeks of history: tests/unit/insights/test_baseline_history.py",
    "exec": "runs another program: tests/unit/cli/test_exec.py",
}
"""Commands and options of which only the arguments are checked, and which tests run them."""

ANSWERS = {"compare": {0, 1}, "anomalies": {0, 1}, "--budget": {0, 1}}
"""Exit codes that are answers; all other commands have 0."""

COMMANDS = [block for block in blocks("sh") if not block.not_run and not block.run_by_ci]


@pytest.mark.parametrize("page", DOCUMENTATION, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_begins_with_what_it_is_for(page: Path):
    title, empty, first = page.read_text(encoding="utf-8").splitlines()[:3]

    assert re.match(r"# \w", title)
    assert empty == ""
    assert re.match(r"[A-Z`\[]", first)


def test_blocks_that_are_not_run_say_why():
    reasons = [block.not_run for page in DOCUMENTATION for block in blocks_of(page) if block.not_run]

    assert reasons
    assert [reason for reason in reasons if len(reason.split()) < 4] == []


def test_blocks_have_a_language():
    known = {"sh", "python", "text", "yaml", "json", "sql", "ini"}

    assert [str(b) for page in DOCUMENTATION for b in blocks_of(page) if b.language not in known] == []


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_parses(block: Block):
    ast.parse(block.code)


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_is_valid(block: Block):
    json.loads(block.code)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands read: runs of two days until an hour ago, a few of old, newer ones, a flow, prices."""
    found = tmp_path_factory.mktemp("documentation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_traces, "NOW_S", time.time() - 3600)
        before = list(made_traces.made_lines(600, days=2))
        patch.setattr(made_traces, "NOW_S", time.time())
        after = list(made_traces.made_lines(60, days=0.04, seed=2))
        patch.setattr(made_traces, "NOW_S", time.time() - 40 * made_traces.DAY_S)
        before = [*made_traces.made_lines(5), *before]
    version = f"{made_traces._hash('Customer Support'):012x}"[:12]
    made_traces.write(found / "spans.jsonl", [line.replace(version, "99fe02ab11cd") for line in before])
    made_traces.write(found / "new.jsonl", after)
    nodes = [
        {"id": f"{each}-1", "type": "genericNode", "data": {"id": f"{each}-1", "type": each, "node": {}}}
        for each in ("ChatInput", "ChatOutput")
    ]
    flow = {"name": "Customer Support", "id": "1", "data": {"nodes": nodes, "edges": [], "viewport": {}}}
    (found / "flow.json").write_text(json.dumps(flow))
    (prices,) = blocks("yaml")
    (found / "prices.yaml").write_text(prices.code)
    return found


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_shell_block_runs(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """Line by line: settings are checked, extras exist, our own commands run in this process.

    Of the reference, whose examples are those of the commands' help, only the arguments are checked.
    """
    monkeypatch.chdir(folder)
    for line in block.code.splitlines():
        words = shlex.split(line.replace(EXAMPLE, ""), comments=True)
        match words:
            case []:
                continue
            case ["export", *assignments]:
                for assignment in assignments:
                    monkeypatch.setenv(*assignment.split("=", 1))
                assert problems_of_settings() == []
            case ["pip", "install", *packages]:
                check_packages(packages)
            case ["langflow-otel", *arguments]:
                run(arguments, only_parse=block.page.parent.name == "reference")
            case _:
                pytest.fail(f"{line}: neither run by this test nor marked with <!-- not run: the reason -->")


@pytest.mark.parametrize("block", [each for each in blocks("python") if each.page.parent.name == "insights"], ids=str)
def test_python_of_insights_runs(block: Block, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """All other Python runs in tests/lfx/test_documented_python.py; that of the reference is signatures."""
    code = compile(block.code, str(block), "exec")
    monkeypatch.chdir(folder)
    if not block.not_run:
        exec(code, {})


def problems_of_settings() -> list[str]:
    """What ``config --check`` finds, apart from files of the reader's machine."""
    result = CliRunner().invoke(app, ["config", "--check"], catch_exceptions=False)
    lines = result.output.splitlines() if result.exit_code else []
    return [line for line in lines if not line.endswith("No such file or directory)")]


def check_packages(packages: list[str]) -> None:
    extras = importlib.metadata.metadata("langflow-otel").get_all("Provides-Extra") or []
    for package in packages:
        name, _, wanted = package.rstrip("]").partition("[")
        if name == "langflow-otel":
            assert set(filter(None, wanted.split(","))) <= set(extras)


def run(arguments: list[str], *, only_parse: bool) -> None:
    if only_parse or set(arguments) & ONLY_PARSED.keys():
        parse(arguments)
        return
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    accepted = [codes for word, codes in ANSWERS.items() if word in arguments] or [{0}]
    assert result.exit_code in accepted[0], result.output


def parse(arguments: list[str]) -> None:
    """Raises for an option or a command that is not there."""
    command, context = get_command(app), None
    while hasattr(command, "commands"):
        name, *arguments = arguments
        context = command.make_context(name, [], parent=context, resilient_parsing=True)
        command = command.commands[name]
    command.make_context(command.name, arguments, parent=context)


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    """To files that are there, and to headings that they have."""
    lost = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)

    assert lost == []


def test_pages_are_reached_from_the_readme():
    pages, new = set(), {ROOT / "README.md"}
    while new:
        pages |= new
        targets = {(page.parent / link.partition("#")[0]).resolve() for page in new for link in links(page)}
        new = {page for page in targets if page.suffix == ".md"} - pages

    assert set(DOCUMENTATION) - pages == set()


def test_pages_are_in_the_navigation_of_the_site():
    navigation = (ROOT / ".mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n", 1)[1].split("\n\n", 1)[0]
    listed = re.findall(r"- (\S+\.md)$", navigation, re.MULTILINE)
    pages = [str(page.relative_to(DOCS)) for page in DOCS.glob("**/*.md")]

    assert [page for page in listed if page not in pages and not (ROOT / page).exists()] == []
    assert set(pages) - set(listed) == set()


@pytest.mark.parametrize(
    ("github", "site"),
    [
        ("- a\n\n  ```sh\n  - x\n    y\n  ```\n- b", "- a\n\n    ```sh\n    - x\n      y\n    ```\n- b"),
        ("- a\n\n  1. one\n\n     more\n  2. two\n\nend", "- a\n\n    1. one\n\n        more\n    2. two\n\nend"),
        ("- a\nlazy\n  - b\n", "- a\nlazy\n    - b\n"),
        ("```sh\n- a\n  - b\n```\n    code", "```sh\n- a\n  - b\n```\n    code"),
    ],
    ids=["code", "numbers", "lazy line", "no list"],
)
def test_lists_of_github_are_lists_of_the_site(hooks: ModuleType, github: str, site: str):
    found = "\n".join(hooks._with_wide_lists(github.splitlines()))

    assert re.sub(r"^ +(?=lazy)", "", found, flags=re.MULTILINE) == site.rstrip("\n")


def test_tables_and_lists_without_an_empty_line_are_named(hooks: ModuleType):
    markdown = "text\n| a |\n|---|\n\ntext\n- a\n  more\n- b\n\n```sh\ntext\n- a\n```\n"

    assert [problem.split("'")[1] for problem in hooks._problems(markdown)] == ["text\\n| a |", "text\\n- a"]


@pytest.fixture
def hooks() -> ModuleType:
    """What .mkdocs.yml lets MkDocs call."""
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_examples_are_listed_with_the_commands_that_they_state():
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[(\S+)\]\(\1\) \| .+ \| (.+) \|$", listed, re.MULTILINE))
    files = {path.name for path in (ROOT / "examples").iterdir() if path.is_file()} - {"README.md"}

    assert rows.keys() == files
    for name in (name for name in files if name.endswith(".py")):
        first_lines = (ROOT / "examples" / name).read_text(encoding="utf-8").split('"""')[1]
        assert f"\n    {rows[name].strip('`')}\n" in first_lines, name


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


def ci(name: str) -> str:
    return (ROOT / ".ci" / name).read_text(encoding="utf-8")


def test_versions_are_those_of_the_code_and_the_matrix():
    tested = re.findall(r"(\d+\.\d+\.\d+):(\d+\.\d+):\d{4}-\d\d-\d\d", ci("matrix").split("rows=(", 1)[1])
    # The README's own command, with the newest version that pip finds.
    (python,) = re.findall(r"\.ci/python (\d+\.\d+)", ci("run"))
    tested.append((NEWEST_LFX, python))
    text = (DOCS / "versions.md").read_text(encoding="utf-8")
    assert ", ".join(lfx for lfx, _ in tested) in text
    assert ", ".join(python for _, python in tested) in text
    assert tested[0][0].startswith(OLDEST_LFX)


@pytest.mark.parametrize("page", [".ci/run", ".github/workflows/ci.yml"])
def test_scripts_that_ci_calls_are_there(page: str):
    called = set(re.findall(r"(?<![\w/])\.ci/([a-z-]+)\b(?!\.)", (ROOT / page).read_text(encoding="utf-8")))

    assert called
    assert [name for name in called if not os.access(ROOT / ".ci" / name, os.X_OK)] == []


def test_guides_are_all_in_their_index():
    guides = {path.name for path in (DOCS / "insights").glob("*.md")} - {"README.md"}
    assert guides <= set(links(DOCS / "insights" / "README.md"))


def test_pictures_are_shown_and_small():
    pictures = {path for path in (DOCS / "pictures").iterdir() if path.suffix in (".png", ".svg")}
    shown = {(page.parent / link).resolve() for page in DOCUMENTATION for link in links(page)}

    assert pictures <= shown
    assert [path.name for path in pictures if path.stat().st_size > 60_000] == []


def test_architecture_names_what_is_there():
    """Each package and public module has its row, and each file that is named exists."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    package = ROOT / "langflow_otel"
    named = set(re.findall(r"`([\w./-]+(?:/|\.py))`", text))
    rows = {name for row in re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    folders = {f"{path.parent.name}/" for path in package.glob("*/*.py")}
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py", "__main__.py"}

    assert [
        name for name in named if not any((base / name).exists() for base in (ROOT, package, package / "cli"))
    ] == []
    assert folders | modules <= rows
