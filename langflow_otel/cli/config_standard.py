"""The standard variables as ``langflow-otel config`` shows and checks them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

from langflow_otel._settings.standard import accepted
from langflow_otel._settings.standard_variables import STANDARD, StandardVariable
from langflow_otel._settings.variables import VARIABLES

_LONGEST_NAME: Final = 100


def standard_variables(env: Mapping[str, str]) -> list[StandardVariable]:
    """Those that matter here: the general ones, and of a signal's own forms and the rare ones those that are set."""
    return [variable for variable in STANDARD if variable.is_listed or env.get(variable.name, "").strip()]


def standard_problems(env: Mapping[str, str]) -> list[str]:
    """What the SDK would refuse, or read as something else, and names that look misspelled."""
    return [*accepted(env).problems, *_misspelled(env)]


def _misspelled(env: Mapping[str, str]) -> Iterator[str]:
    known = [variable.name for variable in (*VARIABLES, *STANDARD) if variable.name.startswith("OTEL_")]
    for name in sorted(env):
        if not name.startswith("OTEL_") or name in known or len(name) > _LONGEST_NAME:
            continue
        # More exist than are listed here, none of them this close to one that is.
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.93)
        if close:
            shown = name if name.isprintable() else repr(name)
            yield f"{shown} is not a standard variable; did you mean {close[0]}? It is ignored."
