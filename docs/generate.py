"""Write the parts of docs/reference/ that the code says: ``python docs/generate.py [--check]``.

A page is prose with places between ``<!-- generated: NAME -->`` and ``<!-- end -->``; what stands between them is
replaced. With ``--check`` nothing is written, and the exit code is 1 if a page is not as the code is.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, get_args

from typer.models import ArgumentInfo, ParamMeta
from typer.utils import get_params_from_function

from langflow_otel import _semconv as semconv
from langflow_otel._metrics.catalogue import CATALOGUE, Metric
from langflow_otel._settings.standard_variables import OTLP, STANDARD, StandardVariable
from langflow_otel._settings.variables import VARIABLES
from langflow_otel.cli.main import app

PAGES: Final = Path(__file__).parent / "reference"

PUBLIC: Final = (
    "langflow_otel",
    "langflow_otel.metrics",
    "langflow_otel.testing",
    "langflow_otel.asgi",
    "langflow_otel.prometheus",
    "langflow_otel.redaction.names",
)
"""The modules whose ``__all__`` is the Python API."""

_GROUPS: Final = {
    "Flows": ("langflow.flow.", "langflow.throughput", "langflow.error_rate", "langflow.cpu."),
    "Components": ("langflow.component.",),
    "Model and embeddings calls": ("gen_ai.", "langflow.model.", "langflow.cost"),
    "The server": ("http.", "langflow.queue.", "langflow.event_loop."),
    "The process": ("process.", "langflow.memory."),
    "The machine": ("system.",),
    "GPUs": ("hw.",),
    "This library": ("langflow_otel.",),
}
"""Headings of metrics, each with the beginnings of their names."""

_SPANS_WITHOUT_OPERATION: Final = (
    ("custom", "the name that you give", "`@traced`, `span(...)`"),
    (
        "request",
        "`{method} {route}`",
        "a request to the server's API, where LangFlow makes no span for it; kind `SERVER`",
    ),
)


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table of Markdown, line by line."""
    headings = list(headings)
    yield _row(headings)
    yield _row("---" for _ in headings)
    yield from map(_row, rows)
    yield ""


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |"


def _code(text: object) -> str:
    return f"`{text}`"


# Spans and attributes


def _documented_names() -> Iterator[tuple[str, str, str]]:
    """Heading, name and text of each constant of semconv.py that has a text."""
    source = inspect.getsource(semconv)
    lines = source.splitlines()
    for node, below in pairwise(ast.parse(source).body):
        headings = [line for line in lines[: node.lineno] if line.startswith("# ")]
        heading = headings[-1].strip("# .") if headings else ""
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and isinstance(below, ast.Expr):
            value = getattr(semconv, node.target.id)
            if heading and isinstance(value, str):
                yield heading, value, " ".join(ast.literal_eval(below.value).split())


def spans() -> Iterator[str]:
    rows = []
    for heading, _, text in _documented_names():
        if heading.startswith("Operations"):
            what, _, when = text.partition(": ")
            rows.append((*what.split(", ", 1), when))
    yield from table(("what", "name", "when"), [*rows, *_SPANS_WITHOUT_OPERATION])


def attributes() -> Iterator[str]:
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for heading, name, text in _documented_names():
        if not heading.startswith("Operations"):
            on, _, meaning = text.partition(": ")
            shown = f"{name}{{name}}" if name.endswith(".") else name
            groups.setdefault(heading, []).append((_code(shown), on, meaning))
    for heading, rows in groups.items():
        yield from (f"### {heading}", "")
        yield from table(("attribute", "on", "meaning"), rows)


# Metrics


def metrics() -> Iterator[str]:
    groups: dict[str, list[Metric]] = {heading: [] for heading in _GROUPS}
    for metric in CATALOGUE:
        groups[next(heading for heading, starts in _GROUPS.items() if metric.name.startswith(starts))].append(metric)
    for heading, group in groups.items():
        yield from (f"## {heading}", "")
        yield from table(("metric, and its name in the scrape", "kind", "labels", "what"), map(_metric, group))


def _metric(metric: Metric) -> tuple[str, ...]:
    labels = [*map(_code, metric.labels), *["(`worker`)"] * metric.per_worker]
    kind = metric.kind.replace("_", " ").replace("up down", "up-down")
    unit = f", {_code(metric.unit)}" if metric.unit else ""
    names = f"{_code(metric.name)}<br>{_code(metric.prometheus_name)}"
    return names, f"{kind}{unit}", ", ".join(labels) or "none", metric.description


def buckets() -> Iterator[str]:
    groups: dict[tuple[float, ...], list[str]] = {}
    for metric in CATALOGUE:
        if metric.buckets:
            groups.setdefault(metric.buckets, []).append(_code(metric.name))
    rows = ((", ".join(names), " ".join(f"{bound:.12g}" for bound in bounds)) for bounds, names in groups.items())
    yield from table(("histogram", "upper bounds of its buckets, in its unit"), rows)


# Variables


def variables() -> Iterator[str]:
    yield from table(
        ("variable", "default", "accepts", "meaning"),
        ((_code(each.name), _code(each.default), each.accepts, each.meaning) for each in VARIABLES),
    )


def standard_variables() -> Iterator[str]:
    shown = [each for each in STANDARD if not (each.general and each.name.startswith(OTLP))]
    yield from table(
        ("variable", "default", "accepts", "meaning"),
        ((_code(each.name), _default(each), each.accepts, each.meaning) for each in shown),
    )


def _default(variable: StandardVariable) -> str:
    if variable.general:
        return f"that of {_code(variable.general)}"
    return _code(variable.default) if variable.default else "none"


# The command line


def commands() -> Iterator[str]:
    yield from _commands(app, "langflow-otel", "##")


def _commands(group: Any, name: str, heading: str) -> Iterator[str]:
    for command in group.registered_commands:
        whole = f"{name} {command.name or command.callback.__name__}"
        yield from (f"{heading} {whole}", "")
        yield from _command(whole, command.callback)
    for each in group.registered_groups:
        yield from (f"{heading} {name} {each.name}", "", each.typer_instance.info.help, "")
        yield from _commands(each.typer_instance, f"{name} {each.name}", f"{heading}#")


def _command(name: str, function: Callable[..., None]) -> Iterator[str]:
    found = [each for each in get_params_from_function(function).values() if hasattr(each.default, "hidden")]
    arguments = [each for each in found if isinstance(each.default, ArgumentInfo)]
    options = [each for each in found if each not in arguments and not each.default.hidden]
    words = [name, *["[OPTIONS]"] * bool(options)]
    words += [_metavar(each) for each in arguments]
    yield from ("```text", " ".join(words), "```", "")
    yield from _help(function.__doc__ or "")
    rows = [(_code(each.default.metavar), _marked(each.default.help or ""), _given(each)) for each in arguments]
    rows += [(_option(each), _marked(each.default.help or ""), _given(each)) for each in options]
    if rows:
        yield from table(("argument or option", "meaning", "default"), rows)


def _metavar(argument: ParamMeta) -> str:
    name = argument.default.metavar
    return name if argument.default.default is ... else f"[{name}]"


_KINDS: Final = {bool: "", int: "INTEGER", float: "NUMBER", Path: "FILE"}


def _option(option: ParamMeta) -> str:
    # Of Optional[int], int.
    types = {option.annotation, *get_args(option.annotation)}
    value = option.default.metavar or next((kind for each, kind in _KINDS.items() if each in types), "TEXT")
    names = option.default.param_decls or [f"--{option.name.replace('_', '-')}"]
    return ", ".join(_code(f"{name} {value}".strip()) for name in sorted(names, key=len, reverse=True))


def _given(parameter: ParamMeta) -> str:
    """The default, where it is a value, and the range."""
    default, lowest, highest = parameter.default.default, parameter.default.min, parameter.default.max
    has_one = isinstance(default, (str, int, float, Path)) and not isinstance(default, bool)
    texts = [_code(default)] if has_one else []
    if lowest is not None:
        texts.append(f"{lowest:g} or more" if highest is None else f"{lowest:g} to {highest:g}")
    return "; ".join(texts)


def _help(text: str) -> Iterator[str]:
    """The help text; its examples as code."""
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        lead, colon, example = paragraph.partition(": langflow-otel ")
        if colon and lead.startswith("Example"):
            commands = f"langflow-otel {example}".replace(", or\n", "\n").replace(", or ", "\n")
            yield from (f"{lead}:", "", "```sh", *commands.splitlines(), "```", "")
        else:
            yield from (_marked(" ".join(paragraph.split())), "")


_NAMES: Final = re.compile(
    r"(`[^`]+`)|(?<![\w/-])(--[a-z][a-z-]*|_?[A-Z]+(?:_[A-Z]+)+|_[A-Z]+|langflow-otel\[[\w,]+\])"
)


def _marked(text: str) -> str:
    """With options, variables and extras as code."""
    return _NAMES.sub(lambda found: found[1] or _code(found[2]), text)


# The Python API


def python_api() -> Iterator[str]:
    for name in PUBLIC:
        module = importlib.import_module(name)
        yield from (f"## {name}", "")
        yield from _text(module)
        for member in sorted(module.__all__, key=_in_order(module)):
            yield from _member(name, member, getattr(module, member))


def _in_order(module: Any) -> Callable[[str], tuple[bool, bool, str]]:
    """Functions, constants, classes."""

    def key(name: str) -> tuple[bool, bool, str]:
        value = getattr(module, name)
        return inspect.isclass(value), not inspect.isfunction(value), name.lower()

    return key


def _member(module: str, name: str, value: Any) -> Iterator[str]:
    if inspect.isclass(value):
        yield from (f"### class {name}", "")
        yield from _class(name, value)
    elif inspect.isfunction(value):
        yield from (f"### {name}()", "")
        yield from _signature(name, value)
        yield from _text(value)
    elif not inspect.ismodule(value):
        yield from (f"### `{name}`", "", f"`{module}.{name}`, of the type `{type(value).__name__}`.", "")


def _class(name: str, found: Any) -> Iterator[str]:
    if is_dataclass(found):
        public = [each for each in fields(found) if not each.name.startswith("_")]
        yield from ("```python", f"class {name}:", *(f"    {each.name}: {each.type}" for each in public), "```", "")
    elif "__init__" in vars(found):
        definition = (f"    {line}" for line in _definition("__init__", found.__init__))
        yield from ("```python", f"class {name}:", *definition, "```", "")
    yield from _text(found)
    for method, value in vars(found).items():
        is_public = not method.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
        if is_public and value.__doc__:
            yield from _method(method, value)


def _method(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, property):
        yield from (f"#### {name}", "", f"A property of the type `{value.fget.__annotations__['return']}`.", "")
    else:
        yield from (f"#### {name}()", "")
        yield from _signature(name, value)
    yield from _text(value)


def _signature(name: str, function: Any) -> Iterator[str]:
    yield from ("```python", *_definition(name, function), "```", "")


def _definition(name: str, function: Any) -> list[str]:
    # Annotations are texts, which have quotes.
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function))).replace("'", '"')
    if len(name) + len(text) > 80:
        end = text.rindex(")")
        text = "".join(["(\n", *(f"    {each},\n" for each in _parts(text[1:end])), text[end:]])
    return f"def {name}{text}: ...".splitlines()


def _parts(parameters: str) -> list[str]:
    """Split at the commas that are in no brackets."""
    parts, depth = [""], 0
    for char in parameters:
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


_SECTION: Final = re.compile(r"(Args|Attributes|Raises|Returns):")


def _text(value: Any) -> Iterator[str]:
    """A docstring as Markdown: its sections as lists, its examples as code."""
    text = inspect.cleandoc(value.__doc__ or "")
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text).replace("``", "`")
    # Each paragraph with the indented ones that follow it.
    for block in re.split(r"\n\n(?! )", text):
        first, _, rest = block.partition("\n")
        if found := _SECTION.fullmatch(first):
            yield from (f"{'Arguments' if found[1] == 'Args' else found[1]}:", "", *_items(rest), "")
        elif block:
            prose, _, code = block.partition("::\n")
            yield from (" ".join(f"{prose}:".split()) if code else " ".join(prose.split()), "")
            yield from ("```python", *inspect.cleandoc("\n" + code).splitlines(), "```", "") if code else ()


def _items(text: str) -> Iterator[str]:
    text = inspect.cleandoc("\n" + text)
    for item in re.split(r"\n(?=\S)", text):
        name, colon, meaning = item.partition(": ")
        yield f"- `{name}`: {' '.join(meaning.split())}" if colon else f"- {' '.join(item.split())}"


PARTS: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "spans": spans,
    "attributes": attributes,
    "metrics": metrics,
    "buckets": buckets,
    "variables": variables,
    "standard variables": standard_variables,
    "commands": commands,
    "python api": python_api,
}


def filled(page: str) -> str:
    """The text of a page, with what the code says at its places."""

    def part(place: re.Match[str]) -> str:
        lines = "\n".join(PARTS[place[1]]()).strip()
        return f"<!-- generated: {place[1]} -->\n\n{lines}\n\n<!-- end -->"

    return re.sub(r"<!-- generated: ([\w ]+) -->.*?<!-- end -->", part, page, flags=re.DOTALL)


def main(arguments: list[str]) -> int:
    wrong = []
    for page in sorted(PAGES.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if filled(text) != text:
            wrong.append(page.name)
            if "--check" not in arguments:
                page.write_text(filled(text), encoding="utf-8")
    if wrong and "--check" in arguments:
        print(f"docs/reference: {', '.join(wrong)}: run python docs/generate.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
