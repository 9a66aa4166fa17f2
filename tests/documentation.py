"""The Markdown of the repository: its pages, their code blocks and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTATION = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
"""What users read; its blocks are run."""
FOLDERS = ("docs", "collector-config", "examples", "tests")
MARKDOWN = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/*.md"))])
"""All of the repository's Markdown; its links are followed."""

_FENCE = re.compile(r"^```")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_RUN_BY_CI = re.compile(r"<!-- (demo|tests) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: Of its first line of code, from 1.
        not_run: The reason in the ``<!-- not run: REASON -->`` above it.
        run_by_ci: It has a marker that ``.ci/readme-command`` looks for.
    """

    page: Path
    line: int
    language: str
    code: str
    not_run: str | None
    run_by_ci: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    start = None
    for number, line in enumerate(lines):
        if not _FENCE.match(line):
            continue
        if start is None:
            start = number
            continue
        above = lines[start - 1]
        not_run = _NOT_RUN.fullmatch(above)
        code = "\n".join(lines[start + 1 : number]) + "\n"
        yield Block(
            page, start + 2, lines[start][3:], code, not_run and not_run[1], _RUN_BY_CI.fullmatch(above) is not None
        )
        start = None
    assert start is None, f"{page}: a block without an end"


def blocks(language: str) -> list[Block]:
    """All blocks of the documentation in this language."""
    return [block for page in DOCUMENTATION for block in blocks_of(page) if block.language == language]


def links(page: Path) -> list[str]:
    """What a page links to, or shows, in this repository."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"\]\(((?!https?:|mailto:)[^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text))


def anchors(page: Path) -> set[str]:
    """Of the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
