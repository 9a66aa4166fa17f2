"""Attributes of runs as the columns of a linear model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from langflow_otel.insights._statistics.differences import Fact
from langflow_otel.insights._statistics.robust_regression import Array

LEAST_RUNS: Final = 10
LEAST_SHARE: Final = 0.02
"""So many runs must have a value, and so many must not."""
MAX_VALUES: Final = 8
"""Of one attribute; the others are together one more."""

_SAME: Final = 0.9999
_LOW, _HIGH = 0.1, 0.9


@dataclass
class Column:
    """A value that an attribute has in some runs, or a number that it has in all.

    Attributes:
        attribute: Its name.
        value: A text; empty for a number.
        instead: What the runs without this text have, the most frequent one; ``other values`` if these are rare ones;
            empty where a run can have several, or none.
        low, high: Of a number the 10th and the 90th percentile, of the runs that have one; where these are equal, the
            value that the least frequent enough share of runs is at or beyond.
        values: Of each run: 1 for the text, or the number.
        runs: How many have the text; of a number, how many have one.
        also: Attributes that are the same but for their units.
        is_shown: It stands for something that can be named.
    """

    attribute: str
    value: str
    instead: str
    low: float | None
    high: float | None
    values: Array
    runs: int
    also: list[str] = field(default_factory=list)
    is_shown: bool = True

    @property
    def step(self) -> float:
        """From the low to the high number; 1 of a text."""
        return 1.0 if self.low is None or self.high is None else self.high - self.low


def columns_of(facts: Sequence[Mapping[str, Fact]], counted: Sequence[bool], first: Sequence[str]) -> list[Column]:
    """A column for each number and each text that is frequent enough.

    Args:
        facts: Of all runs.
        counted: Which of these the model is about; the others are only their neighbours.
        first: Names of attributes that come first, in this order; the others follow by their names.
    """
    order = {name: place for place, name in enumerate(first)}
    names = sorted({name for run in facts for name in run}, key=lambda name: (order.get(name, len(order)), name))
    is_counted = np.array(counted, dtype=bool)
    least = max(LEAST_RUNS, LEAST_SHARE * is_counted.sum())
    made: list[Column] = []
    for name in names:
        values = [run.get(name) for run in facts]
        if any(isinstance(each, frozenset) for each in values):
            made += _texts(name, [each if isinstance(each, frozenset) else None for each in values], is_counted, least)
        else:
            made += _number(name, [each if isinstance(each, float) else None for each in values], is_counted, least)
    return _merged(made, is_counted)


def _number(name: str, values: Sequence[float | None], counted: Array, least: float) -> Iterator[Column]:
    numbers = np.array([np.nan if each is None else each for each in values])
    is_there = ~np.isnan(numbers)
    known = numbers[is_there & counted]
    if len(known) < 2 * least or known.min() == known.max():
        return
    low, high = (float(each) for each in np.quantile(known, (_LOW, _HIGH)))
    if low == high:
        few = least / len(known)
        low, high = (float(each) for each in np.quantile(known, (few, 1 - few)))
    if low == high:
        return
    filled = np.where(is_there, numbers, float(np.median(known)))
    yield Column(name, "", "", low, high, filled, len(known))
    yield from _missing(name, is_there, counted, least)


def _texts(name: str, values: Sequence[frozenset[str] | None], counted: Array, least: float) -> Iterator[Column]:
    is_there = np.array([each is not None for each in values])
    runs = [each for each, count in zip(values, counted, strict=True) if each is not None and count]
    counts = Counter(text for texts in runs for text in texts)
    frequent = [text for text, count in counts.most_common(MAX_VALUES + 1) if count >= least]
    has_several = any(len(texts) > 1 for texts in runs)
    rare = sum(not texts & set(frequent) for texts in runs)
    instead = ""
    if frequent and not has_several:
        instead = "other values" if rare > counts[frequent[0]] else frequent.pop(0)
    for text in frequent[:MAX_VALUES]:
        yield _text(name, text, instead, values, counted)
    if instead and instead != "other values" and rare:
        others = [each is not None and not each & {instead, *frequent[:MAX_VALUES]} for each in values]
        yield Column(name, "", instead, None, None, np.array(others, dtype=float), rare, is_shown=False)
    yield from _missing(name, is_there, counted, least)


def _text(name: str, text: str, instead: str, values: Sequence[frozenset[str] | None], counted: Array) -> Column:
    found = np.array([each is not None and text in each for each in values], dtype=float)
    return Column(name, text, instead, None, None, found, int(found[counted].sum()))


def _missing(name: str, is_there: Array, counted: Array, least: float) -> Iterator[Column]:
    """Runs without the attribute are told apart, and nothing is said of them."""
    if least <= int((~is_there & counted).sum()) <= counted.sum() - least:
        yield Column(name, "", "", None, None, (~is_there).astype(float), 0, is_shown=False)


def _merged(columns: Sequence[Column], counted: Array) -> list[Column]:
    """Those that single out the same runs, or the others, are one; what all runs have is none."""
    kept: list[Column] = []
    shapes: list[Array] = []
    for column in sorted(columns, key=lambda each: not each.is_shown):
        values = column.values[counted]
        values = values - values.mean()
        size = float(np.sqrt(values @ values))
        if size == 0:
            continue
        shape = values / size
        twin = next((place for place, other in enumerate(shapes) if abs(float(shape @ other)) > _SAME), None)
        if twin is None:
            kept.append(column)
            shapes.append(shape)
        elif column.is_shown and column.attribute not in (kept[twin].attribute, *kept[twin].also):
            kept[twin].also.append(column.attribute)
    return kept
