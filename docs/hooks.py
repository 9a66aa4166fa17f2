"""What MkDocs lacks for pages that are read on GitHub, too: see .mkdocs.yml.

- Links that lead out of docs/: the file that is meant becomes a page or a file of the site, under its path in the
  repository, a folder without README.md a list of its files, and so does what these link to.
- Markdown that GitHub and MkDocs show differently: what is in a list is indented further; the rest is a warning, which
  the strict build fails on.
- Long names in tables get places where they may break.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).parents[1]
log = logging.getLogger("mkdocs.hooks")

_LINK: Final = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)(?=[#)])")
_ITEM: Final = re.compile(r" *(?:[-*]|\d+\.) +")
_DIFFERENT: Final = (
    (re.compile(r"(?:[^\s|#>`<-].*)\n(?=\|)"), "a table needs an empty line before it"),
    (re.compile(r"(?!\s|[-*] |\d+\. |[#<|])\S.*\n(?=- |1\. )"), "a list needs an empty line before it"),
)


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside of docs/ that the navigation has or that pages link to."""
    # Not at the top: the tests of what this makes of Markdown need no MkDocs.
    from mkdocs.structure.files import File, InclusionLevel

    wanted = [path for path in _listed(config.nav) if not (ROOT / "docs" / path).exists() and (ROOT / path).is_file()]
    for page in files.documentation_pages():
        wanted += _linked(f"docs/{page.src_uri}", page)
    while wanted:
        path = wanted.pop()
        if path.startswith("docs/") or files.get_file_from_path(_uri(path)):
            continue
        source = {"abs_src_path": str(ROOT / path)} if (ROOT / path).is_file() else {"content": _listing(path)}
        file = File.generated(config, _uri(path), inclusion=InclusionLevel.NOT_IN_NAV, **source)
        files.append(file)
        if file.is_documentation_page():
            wanted += _linked(path, file)
    return files


def _listing(path: str) -> str:
    """The page of a folder that has no README.md."""
    folder = (ROOT / path).parent
    names = sorted(each.name for each in folder.iterdir() if not each.name.startswith(("_", ".")))
    return "\n".join([f"# {folder.name}/\n", *(f"- [{name}]({name})" for name in names)])


def _listed(nav: Any) -> Iterator[str]:
    """Pages that the navigation has."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, dict) else nav:
            yield from _listed(each)


def _linked(path: str, page: File) -> list[str]:
    found = (_repository_path(path, link) for link in _LINK.findall(page.content_string))
    return [each for each in found if each is not None]


def on_page_markdown(markdown: str, page: Any, files: Files, **_: Any) -> str:
    """Point the links at what ``on_files`` has added."""
    uri = page.file.src_uri
    path = uri if page.file.generated_by else f"docs/{uri}"
    markdown = "\n".join(_with_wide_lists(markdown.splitlines()))
    for problem in _problems(markdown):
        log.warning("%s: %s", path, problem)

    def relative(link: re.Match[str]) -> str:
        linked = _repository_path(path, link[1])
        target = None if linked is None else _uri(linked)
        return link[1] if target is None else posixpath.relpath(target, posixpath.dirname(uri) or ".")

    return _LINK.sub(relative, markdown)


def _with_wide_lists(lines: list[str]) -> Iterator[str]:
    """What is in a list indented by four spaces for each level, as MkDocs wants it; GitHub wants two or three."""
    contents: list[int] = []  # where the text of the list items around a line begins
    fence = before = ""
    for line in lines:
        text = line.lstrip()
        indent = len(line) - len(text)
        # A line further to the left may go on with a paragraph.
        if text and not fence and (not before or _ITEM.match(line)):
            while contents and indent < contents[-1]:
                contents.pop()
        around = contents[-1] if contents else 0
        yield " " * (4 * len(contents) + indent - around) + text if text and contents else line
        if text.startswith("```"):
            fence = "" if fence else text
        elif not fence and (item := _ITEM.match(line)):
            contents.append(item.end())
        before = text


def on_page_content(html: str, **_: Any) -> str:
    """Let names in tables break at their dots and underscores."""
    return re.sub(r"(?<=<td>).*?(?=</td>)", lambda cell: _CODE.sub(_breakable, cell[0]), html, flags=re.DOTALL)


_CODE: Final = re.compile(r"(?<=<code>)[^<]+(?=</code>)")


def _breakable(code: re.Match[str]) -> str:
    return re.sub(r"(?<=[\w}])([._/])(?=\w)", r"\1<wbr>", code[0])


def _repository_path(page: str, link: str) -> str | None:
    """Where a link of this page leads to: a file of the repository, a folder's by its README.md."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    if path.startswith("..") or not (ROOT / path).exists():
        return None
    return posixpath.join(path, "README.md") if (ROOT / path).is_dir() else path


def _uri(path: str) -> str:
    """The place of a repository's file in the site."""
    return "index.md" if path == "README.md" else path.removeprefix("docs/")


def _problems(markdown: str) -> Iterator[str]:
    prose = re.sub(r"^(```|    +```).*?^ *```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    for pattern, problem in _DIFFERENT:
        for found in re.finditer(rf"^{pattern.pattern}.*", prose, re.MULTILINE):
            yield f"{problem}: {found[0][:60]!r}"
