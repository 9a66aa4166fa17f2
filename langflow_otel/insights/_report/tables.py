"""Rows as columns, and texts as numbers: what keeps the page small."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Strings:
    """Texts that are written once; elsewhere their place in the list stands for them."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, text: str | None) -> int:
        """Where this text is in the list; -1 for None and for an empty one."""
        if not text:
            return -1
        place = self._places.get(text)
        if place is None:
            place = self._places[text] = len(self.all)
            self.all.append(text)
        return place


def columns(rows: Sequence[Mapping[str, Any]], names: Iterable[str], strings: Strings) -> dict[str, list[Any]]:
    """Each named column of the rows as a list; texts are places in ``strings``, lacking numbers None."""
    return {name: _column([row[name] for row in rows], strings) for name in names}


def _column(values: list[Any], strings: Strings) -> list[Any]:
    kinds = set(map(type, values)) - {type(None)}
    # Tens of thousands of values are most often of one kind.
    if kinds <= {int, bool}:
        return values
    if kinds == {str}:
        return [None if value is None else strings.place(value) for value in values]
    return [_cell(value, strings) for value in values]


def _cell(value: Any, strings: Strings) -> Any:
    if isinstance(value, str):
        return strings.place(value)
    if isinstance(value, float):
        return significant(value)
    if isinstance(value, (list, tuple)):
        return [_cell(each, strings) for each in value]
    return value


def significant(value: float | None, digits: int = 5) -> float | None:
    """So many digits of it; None where it is no number that JSON knows."""
    if value is None or not math.isfinite(value):
        return None
    if value == 0:
        return 0
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 2**53 else rounded
