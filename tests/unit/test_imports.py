"""What importing costs, and who may import what."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import langflow_otel

PACKAGE = Path(langflow_otel.__file__).parent
HOSTS = ("lfx", "langflow", "langchain", "langchain_core", "langchain_classic")
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)
HOST_COMMANDS = ("langflow_otel.cli.demo", "langflow_otel.cli.run")
SDK_ROOMS = ("_sdk", "_process", "testing", "cli")
LAYERS = (
    {"version", "_semconv", "_errors"},
    {"_guard"},
    {"redaction"},
    {"_settings"},
    {"settings"},
    {"_content"},
    {"_metrics"},
    {"_runs"},
    {"_authoring", "metrics"},
    {"_hooks"},
    {"_sdk"},
    {"_process"},
    {"instrumentor"},
    {"asgi", "plugin", "prometheus"},
    {"_autostart"},
    {"insights"},
    {"testing"},
    {"cli"},
    {"__main__"},
)
"""The lowest first."""
LAYER = {room: layer for layer, rooms in enumerate(LAYERS) for room in rooms}

WITHOUT_HOST = f"""
import sys
from importlib.abc import MetaPathFinder
class NotInstalled(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HOSTS!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, NotInstalled())
"""


def run(code: str, **env: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ, **env}
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def modules_after(statement: str) -> set[str]:
    return set(json.loads(run(f"{statement}\nimport json, sys\nprint(json.dumps(list(sys.modules)))")))


@pytest.mark.parametrize(
    "statement", ["import langflow_otel", "from langflow_otel import traced, span, set_attributes, __version__"]
)
def test_an_authors_import_loads_neither_langflow_nor_the_sdk(statement: str):
    loaded = modules_after(statement)

    assert "langflow_otel._authoring" in loaded
    unwanted = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.instrumentation", "google.protobuf")
    assert [name for name in loaded if name.startswith(unwanted)] == []
    assert loaded & {*HOSTS, "grpc", "rich", "typer", "requests", "pydantic"} == set()


def test_instrumenting_does_not_import_langflow():
    loaded = modules_after(
        "from langflow_otel import instrument\n"
        "from opentelemetry.sdk.trace import TracerProvider\n"
        "instrument(tracer_provider=TracerProvider(), skip_dep_check=True)"
    )

    assert "opentelemetry.sdk.trace" in loaded
    assert [name for name in loaded if name.partition(".")[0] in HOSTS] == []


@pytest.mark.slow
def test_an_authors_import_is_quick(tmp_path):
    """Beside the packages that it stands on, in the same minute: machines differ by a factor of three. Compiled, as
    pip installs it: in a checkout nothing may be, and nothing may be allowed to."""
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    below = "asyncio, importlib.metadata, logging, wrapt, opentelemetry.metrics, opentelemetry.trace"
    clock = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"

    took = [[float(run(clock.format(names), **compiled)) for names in (below, "langflow_otel")] for _ in range(6)]

    # The first round compiles.
    assert min(ours for _, ours in took[1:]) < 2 * min(theirs for theirs, _ in took[1:])


def test_all_but_the_hooks_work_without_langflow():
    rooms = ("_content", "_metrics", "_process", "_runs", "_sdk", "_settings", "instrumentor", "testing")
    names = ["langflow_otel", "langflow_otel.insights.trace", *(name for name in MODULES if room(name) in rooms)]
    assert len(names) >= 80

    run(WITHOUT_HOST + "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names))


def test_traced_functions_work_without_langflow():
    code = "from langflow_otel import traced, span\n@traced\ndef add(a, b):\n  with span('x'):\n    return a + b\n"

    assert run(f"{WITHOUT_HOST}{code}print(add(1, 2))") == "3\n"


@functools.cache
def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, wherever in it, without what only type checkers import."""
    return set(_imported(ast.parse(path.read_text("utf-8"))))


def _imported(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            full = {f"{child.module}.{alias.name}" for alias in child.names}
            yield from full & set(MODULES) or {child.module or ""}
        yield from _imported(child)


def module_file(name: str) -> Path:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def room(name: str) -> str:
    """What a module belongs to: the part of its name below the package."""
    return name.partition(".")[2].partition(".")[0]


@pytest.mark.parametrize("name", MODULES)
def test_langflow_is_imported_only_by_hooks_and_commands(name: str):
    hosts = {each for each in imports_of(module_file(name)) if each.partition(".")[0] in HOSTS}

    assert hosts == set() or room(name) == "_hooks" or name.startswith(HOST_COMMANDS)


@pytest.mark.parametrize("name", MODULES)
def test_sdk_is_imported_only_where_it_is_wrapped(name: str):
    sdk = {each for each in imports_of(module_file(name)) if each.startswith("opentelemetry.sdk")}

    assert sdk == set() or room(name) in SDK_ROOMS


@pytest.mark.parametrize("name", MODULES)
def test_metrics_room_needs_neither_langflow_nor_the_sdk(name: str):
    if room(name) in ("_metrics", "_content", "_settings", "redaction"):
        found = imports_of(module_file(name))
        assert [each for each in found if each.partition(".")[0] in HOSTS or each.startswith("opentelemetry.sdk")] == []


def test_each_room_has_its_layer():
    rooms = {room(name) for name in MODULES} - {""}

    assert rooms == set(LAYER)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str):
    """A room imports what stands below it, and nothing beside or above."""
    if room(name):
        rooms = {room(each) for each in graph()[name]} - {room(name), ""}
        assert [each for each in rooms if LAYER[each] >= LAYER[room(name)]] == []


def test_no_modules_import_each_other():
    """Neither at their top nor within functions; imports for annotations alone are left out."""
    before = graph()
    while True:
        after = {name: kept for name, above in before.items() if (kept := {each for each in above if each in before})}
        if after == before:
            break
        before = after

    assert before == {}


@functools.cache
def graph() -> dict[str, set[str]]:
    """Which modules of ours each module imports."""
    return {name: imports_of(module_file(name)) & set(MODULES) for name in MODULES}


def test_all_is_what_can_be_imported():
    assert langflow_otel.__all__ == sorted(langflow_otel.__all__)
    found = {name: getattr(langflow_otel, name) for name in langflow_otel.__all__}

    own = {name for name, value in vars(langflow_otel).items() if getattr(value, "__module__", "") in MODULES}
    assert own - {"__getattr__"} <= set(found)
    assert found["instrument"] is importlib.import_module("langflow_otel.instrumentor").instrument


PUBLIC = [
    name
    for name in MODULES
    if not any(part.startswith("_") for part in name.split(".")[1:]) and room(name) not in ("cli", "redaction", "")
]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_module_lists_its_names(name: str):
    """Aliases of types and constants may be left out; classes and functions may not. Ruff checks the order."""
    tree = ast.parse(module_file(name).read_text("utf-8"))
    defined = {
        node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    public = {each for each in defined if not each.startswith("_")}
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])

    assert public <= set(listed)
    assert len(listed) == len(set(listed))
    assert [each for each in listed if not hasattr(module, each)] == []


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert langflow_otel.__version__ == version("langflow-otel")


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="module 'langflow_otel' has no attribute 'trace'"):
        langflow_otel.trace  # noqa: B018
    with pytest.raises(ImportError):
        from langflow_otel import nothing  # noqa: F401
