"""The documentation: what the README says of versions, Python that is valid, links that lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from langflow_otel.hooks.versions import NEWEST_LFX, OLDEST_LFX

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]}
LINKS = [(page, link) for page, text in PAGES.items() for link in re.findall(r"\]\(((?!https?:)[^)]+)\)", text)]


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
