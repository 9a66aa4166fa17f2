"""What importing costs, and who may import what."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import langflow_otel

PACKAGE = Path(langflow_otel.__file__).parent
HOSTS = ("lfx", "langflow", "langchain", "langchain_core", "langchain_classic")
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)
MAY_IMPORT_THE_HOST = ("langflow_otel._hooks", "langflow_otel.cli")

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
    names = [name for name in MODULES if name.startswith(("langflow_otel._runs", "langflow_otel._sdk"))]
    names += ["langflow_otel", "langflow_otel.instrumentor", "langflow_otel.testing", "langflow_otel.insights.trace"]
    assert len(names) >= 15

    run(WITHOUT_HOST + "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in names))


def test_traced_functions_work_without_langflow():
    code = "from langflow_otel import traced, span\n@traced\ndef add(a, b):\n  with span('x'):\n    return a + b\n"

    assert run(f"{WITHOUT_HOST}{code}print(add(1, 2))") == "3\n"


def imports_of(path: Path) -> set[str]:
    """Top packages that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
    return found


def module_file(name: str) -> Path:
    path = PACKAGE.parent.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("name", MODULES)
def test_only_the_hooks_and_the_command_line_know_langflow(name: str):
    hosts = {each for each in imports_of(module_file(name)) if each.partition(".")[0] in HOSTS}

    assert hosts == set() or name.startswith(MAY_IMPORT_THE_HOST)


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name: str):
    """recording/ knows neither hooks nor exporters, export/ knows no hooks."""
    forbidden = {
        "langflow_otel._runs": ("langflow_otel._hooks", "langflow_otel._sdk", "opentelemetry.sdk"),
        "langflow_otel._sdk": ("langflow_otel._hooks", "langflow_otel.insights", "langflow_otel.cli"),
        "langflow_otel._hooks": ("langflow_otel._sdk", "langflow_otel.insights", "opentelemetry.sdk"),
        "langflow_otel._settings.settings": ("langflow_otel._runs", "langflow_otel._sdk", "opentelemetry"),
        "langflow_otel._settings.variables": (
            "langflow_otel._runs",
            "langflow_otel._settings.settings",
            "opentelemetry",
        ),
        "langflow_otel.redaction": ("langflow_otel._hooks", "langflow_otel._sdk", "opentelemetry"),
        "langflow_otel._settings.otlp_target": ("langflow_otel._runs", "langflow_otel._sdk", "opentelemetry"),
    }
    for package, others in forbidden.items():
        if name.startswith(package):
            assert [each for each in imports_of(module_file(name)) if each.startswith(others)] == []


def test_all_is_what_can_be_imported():
    assert langflow_otel.__all__ == sorted(langflow_otel.__all__)
    found = {name: getattr(langflow_otel, name) for name in langflow_otel.__all__}

    own = {name for name, value in vars(langflow_otel).items() if getattr(value, "__module__", "") in MODULES}
    assert own - {"__getattr__"} <= set(found)
    assert found["instrument"] is importlib.import_module("langflow_otel.instrumentor").instrument


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert langflow_otel.__version__ == version("langflow-otel")


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="module 'langflow_otel' has no attribute 'trace'"):
        langflow_otel.trace  # noqa: B018
    with pytest.raises(ImportError):
        from langflow_otel import nothing  # noqa: F401
