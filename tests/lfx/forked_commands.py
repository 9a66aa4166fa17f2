"""``langflow-otel`` in processes that need not import LangFlow's engine, which takes each of them two seconds.

One process loads it, and forks itself for each line of its standard input: arguments, environment, and the files for
standard output and error. It answers with the exit code. Each child is an interpreter that ends by itself.

    python forked_commands.py
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import sys

LOADED = (
    *("lfx.__main__", "lfx.cli.run", "lfx.run.base", "lfx.graph", "lfx.components.input_output"),
    *("flows", "langflow_otel.cli.main", "langflow_otel.cli.run"),
)
"""What ``langflow-otel run`` imports; versions of LangFlow differ in it."""


def main() -> None:
    for module in LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.freeze()  # or each child looks through it, and copies it
    for line in sys.stdin:
        arguments, environment, files = json.loads(line)
        child = os.fork()
        if child == 0:
            run(arguments, environment, files)
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def run(arguments: list[str], environment: dict[str, str], files: list[str]) -> None:
    """As a process that is started with these."""
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate((os.devnull, *files)):
        opened = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    sys.argv[1:] = arguments

    from langflow_otel.cli.main import main as command

    command()


if __name__ == "__main__":
    main()
