"""The standard variables as ``langflow-otel config`` shows and checks them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from langflow_otel.standard import accepted
from langflow_otel.standard_variables import STANDARD, StandardVariable
from langflow_otel.variables import VARIABLES


def standard_variables(env: Mapping[str, str]) -> list[StandardVariable]:
    """Those that matter here: the general ones, and of a signal's own forms and the rare ones those that are set."""
    return [variable for variable in STANDARD if variable.is_listed or env.get(variable.name, "").strip()]


def standard_problems(env: Mapping[str, str]) -> list[str]:
    """What the SDK would refuse, or read as something else, and names that look misspelled."""
    return [*accepted(env).problems, *_misspelled(env)]


def _misspelled(env: Mapping[str, str]) -> Iterator[str]:
    known = [variable.name for variable in (*VARIABLES, *STANDARD)]
    for name in sorted(env):
        # Only the family that decides where everything goes: of others, more exist than are listed here.
        if not name.startswith("OTEL_EXPORTER_OTL") or name in known:
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.93)
        if close:
            yield f"{name} is not a standard variable; did you mean {close[0]}? It is ignored."
