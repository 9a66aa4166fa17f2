"""Python runs this at the start of each process below ``langflow-otel exec``: it waits for LangFlow's import.

Processes of other environments, with older Pythons and without this package, run it too: so nothing new, and
nothing that fails.
"""

import importlib.machinery
import importlib.util
import os
import sys


def _run_the_one_that_is_hidden() -> None:
    """The environment may have a ``sitecustomize`` of its own, which this one stands in front of."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = [folder for folder in sys.path if os.path.abspath(folder or os.curdir) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _wait_for_langflow() -> None:
    try:
        import wrapt
    except ImportError:
        return
    wrapt.register_post_import_hook(_switch_on, "lfx")


def _switch_on(_: object) -> None:
    try:
        from langflow_otel.plugin import switch_on

        switch_on()
    except Exception:  # noqa: BLE001, S110 - an environment that does not fit must not break the user's import
        pass


_wait_for_langflow()
_run_the_one_that_is_hidden()
