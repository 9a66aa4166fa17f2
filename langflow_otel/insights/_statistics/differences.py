"""What goes with slowness or failure: a run's facts, compared between the runs that are like it and the others.

This is what Honeycomb's BubbleUp does (https://docs.honeycomb.io/working-with-your-data/bubbleup/): over all
attributes, the share of a value in a selection (the slow runs) is compared with its share in the rest, and the largest
difference comes first. BubbleUp shows every attribute and leaves the judgement to the eye. Here a difference is
claimed only if chance does not explain it:

- Only what this run has is looked at: a text value, or a number that is larger (or smaller) than those of three
  quarters of the other runs. A number becomes "at least" (or "at most") the middle between the median and this run's.
- This run itself is not counted: it chose what is compared.
- Fisher's exact test, one-sided, says how likely such a difference of shares, or a larger one, is by chance.
- Many attributes are compared, so the level of 5 % is for all of them together, by Bonferroni's correction as Tarone
  refined it for discrete data (R. E. Tarone, "A modified Bonferroni method for discrete data", Biometrics 46, 1990):
  what could never reach the level, since too few runs have it, does not count as a comparison. Facts that single out
  the same runs are one.
- The shares must differ by 20 percentage points: with many runs, a difference may be certain and of no use. One other
  run that is alike proves nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb
from statistics import median

Fact = float | frozenset[str]
"""A number, or the texts that an attribute has in a run."""

ALPHA = 0.05
MIN_DIFFERENCE = 0.2
MIN_LIKE = 2
_ASIDE = 0.75
_MANY = 0.5
_RARE = 0.1


@dataclass(frozen=True)
class Difference:
    """Something that this run has in common with the slow (or failed) runs more than with the others.

    Attributes:
        name: The attribute; of a component's spans with the component's name and a colon before it.
        value: What is compared, such as ``gpt-4o`` or ``at least 1,200``.
        here: This run's value.
        usual: The most frequent value of the other runs, or their median; empty where none has one.
        like_with, like: Of ``like`` other runs that are slow (or failed) as well, so many have it.
        rest_with, rest: The same of the runs that are not.
        p_value: Chance of such a difference if it has nothing to do with it, for this one comparison.
        also: Other attributes that single out exactly the same runs.
    """

    name: str
    value: str
    here: str
    usual: str
    like_with: int
    like: int
    rest_with: int
    rest: int
    p_value: float
    also: tuple[str, ...] = ()

    @property
    def like_share(self) -> float:
        """0 to 1."""
        return self.like_with / self.like if self.like else 0.0

    @property
    def rest_share(self) -> float:
        """0 to 1."""
        return self.rest_with / self.rest if self.rest else 0.0

    @property
    def difference(self) -> float:
        """Of the shares, -1 to 1: by this they are ranked."""
        return self.like_share - self.rest_share


@dataclass(frozen=True)
class Differences:
    """What was found.

    Attributes:
        found: Differences that chance does not explain, the largest first.
        unproven: Rare things about this run that are not proven to matter, the rarest first.
        compared: How many comparisons were made.
        level: What the chance of a single one had to be below.
    """

    found: tuple[Difference, ...]
    unproven: tuple[Difference, ...]
    compared: int
    level: float


def find_differences(
    this: Mapping[str, Fact],
    like: Sequence[Mapping[str, Fact]],
    rest: Sequence[Mapping[str, Fact]],
    *,
    only_more: Container[str] = (),
) -> Differences:
    """Compare this run's facts between other runs that are like it and those that are not.

    Args:
        only_more: Names of numbers that count only where they are larger than usual, since smaller ones follow from it.
    """
    patterns = list(_patterns(this, [*like, *rest], only_more))
    candidates = [_difference(pattern, len(like), len(rest)) for pattern in _merged(patterns)]
    level, compared = _level(candidates) if len(like) >= MIN_LIKE else (0.0, 0)
    found = [each for each in candidates if each.p_value <= level and each.difference >= MIN_DIFFERENCE]
    rare = [
        each
        for each in candidates
        if each not in found
        and each.like_with + each.rest_with <= _RARE * (each.like + each.rest)
        and each.difference >= 0
    ]
    return Differences(
        tuple(sorted(found, key=lambda each: (-each.difference, each.p_value, each.name))),
        tuple(sorted(rare, key=lambda each: (each.like_with + each.rest_with, -each.difference, each.name))),
        compared,
        level,
    )


@dataclass
class _Pattern:
    """Which of the other runs have it."""

    name: str
    value: str
    here: str
    usual: str
    members: tuple[bool, ...]
    is_more: bool = True
    also: list[str] = field(default_factory=list)


def _patterns(
    this: Mapping[str, Fact], others: Sequence[Mapping[str, Fact]], only_more: Container[str]
) -> Iterator[_Pattern]:
    for name, fact in this.items():
        values = [other.get(name) for other in others]
        if isinstance(fact, frozenset):
            yield from _of_texts(name, fact, [each if isinstance(each, frozenset) else frozenset() for each in values])
        else:
            numbers = [None if isinstance(each, frozenset) else each for each in values]
            yield from (each for each in _of_number(name, fact, numbers) if each.is_more or name not in only_more)


def _of_texts(name: str, here: frozenset[str], others: Sequence[frozenset[str]]) -> Iterator[_Pattern]:
    counts = Counter(text for texts in others for text in texts)
    once = sum(any(counts[text] == 1 for text in texts) for texts in others)
    if once > _MANY * len(others):
        return  # An id: nearly every run has its own.
    usual = counts.most_common(1)[0][0] if counts else ""
    for text in sorted(here):
        members = tuple(text in texts for texts in others)
        if not all(members):
            yield _Pattern(name, text, text, usual, members)


def _of_number(name: str, here: float, others: Sequence[float | None]) -> Iterator[_Pattern]:
    known = [each for each in others if each is not None]
    if not known:
        yield _Pattern(name, in_short(here), in_short(here), "", (False,) * len(others))
        return
    usual = median(known)
    above = here > usual
    aside = sum(each < here if above else each > here for each in known) / len(known)
    if here == usual or aside < _ASIDE:
        return
    middle = (here + usual) / 2
    members = tuple(each is not None and (each >= middle if above else each <= middle) for each in others)
    limit = f"{'at least' if above else 'at most'} {in_short(middle)}"
    yield _Pattern(name, limit, in_short(here), in_short(usual), members, above)


def in_short(number: float) -> str:
    """``1,200``, ``0.25``, ``3.1``: three significant digits below 1,000."""
    return f"{number:,.0f}" if abs(number) >= 100 or number == int(number) else f"{number:.3g}"


def _merged(patterns: Sequence[_Pattern]) -> list[_Pattern]:
    """Those that single out the same runs are one."""
    kept: list[_Pattern] = []
    by_members: dict[tuple[bool, ...], _Pattern] = {}
    for pattern in patterns:
        first = by_members.setdefault(pattern.members, pattern)
        if first is pattern or not any(pattern.members):
            kept.append(pattern)
        else:
            first.also.append(pattern.name)
    return kept


def _difference(pattern: _Pattern, like: int, rest: int) -> Difference:
    like_with, rest_with = sum(pattern.members[:like]), sum(pattern.members[like:])
    return Difference(
        name=pattern.name,
        value=pattern.value,
        here=pattern.here,
        usual=pattern.usual,
        like_with=like_with,
        like=like,
        rest_with=rest_with,
        rest=rest,
        p_value=chance(like_with, like, like_with + rest_with, like + rest),
        also=tuple(pattern.also),
    )


def chance(marked_drawn: int, drawn: int, marked: int, total: int) -> float:
    """Fisher's exact test: of ``drawn`` out of ``total``, how likely are so many or more of the ``marked`` ones."""
    most = min(drawn, marked)
    ways = sum(comb(marked, each) * comb(total - marked, drawn - each) for each in range(marked_drawn, most + 1))
    return ways / comb(total, drawn)


def _level(candidates: Sequence[Difference]) -> tuple[float, int]:
    """What a single chance has to be below (Tarone), and how many comparisons can reach it."""
    lowest = [
        chance(min(each.like, with_it), each.like, with_it, each.like + each.rest)
        for each in candidates
        if (with_it := each.like_with + each.rest_with)
    ]
    for count in range(1, len(lowest) + 1):
        able = sum(each <= ALPHA / count for each in lowest)
        if able <= count:
            return ALPHA / count, able
    return ALPHA, 0
