"""Python runs this at the start of each process below ``langflow-otel exec``: it waits for LangFlow's import.

Processes of other environments, with Pythons down to 2.7 and without this package, run it too: so no syntax that is
newer (annotations among it), and nothing that fails.
"""

# mypy: ignore-errors

import os
import sys


def _start():
    # Below a command of another environment there is a file like this of each, and each runs the next one: once.
    ran = sys.__dict__.setdefault("_langflow_otel_autostart", [])
    here = os.path.dirname(os.path.abspath(__file__))
    if here in ran:
        return
    ran.append(here)
    _wait_for_langflow()
    _run_the_one_that_is_hidden([folder for folder in sys.path if os.path.abspath(folder or os.curdir) not in ran])


def _run_the_one_that_is_hidden(path):
    """The environment may have a ``sitecustomize`` of its own, which this one stands in front of."""
    try:
        from importlib.machinery import PathFinder
        from importlib.util import module_from_spec
    except ImportError:  # before Python 3.5
        _run_it_in_an_old_python(path)
        return
    spec = PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


def _run_it_in_an_old_python(path):
    import imp

    try:
        found = imp.find_module("sitecustomize", path)
    except ImportError:
        return
    # Under another name: the import of this file is not over.
    imp.load_module("_langflow_otel_hidden_%d" % len(sys._langflow_otel_autostart), *found)  # noqa: UP031 - Python 2


def _wait_for_langflow():
    try:
        import wrapt

        wrapt.register_post_import_hook(_switch_on, "lfx")
    except Exception:  # noqa: BLE001 - an environment that does not fit must not break the user's program
        return


def _switch_on(_):
    try:
        from langflow_otel.plugin import switch_on

        switch_on()
    except Exception:  # noqa: BLE001, S110 - the same
        pass


_start()
