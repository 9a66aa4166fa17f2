"""Anomalies in windows that overlap, hold few executions, and are many.

Windows of 5 seconds slide by 1 second over each key; beside them windows of 1 and 5 minutes, since a flow that runs
twice a minute shows nothing in 5 seconds. Each is compared with the hour before it. Three standard deviations from the
mean would be wrong there: overlapping windows are not independent, a window of two executions is no normal variable,
one outlier widens the standard deviation so far that the next is hidden, and of a thousand windows three exceed it by
chance. Instead:

- What is compared does not depend on the shape of the durations: their ranks among those of the hour before. Numbers
  of failures and of executions have the tails of the beta-binomial and of the Poisson distribution. So a window counts
  by how many executions it holds (:mod:`~langflow_otel.insights._statistics.tails`).
- Durations that depend on each other, and traffic in bursts, make such scores larger than chance alone. By how much is
  seen in the hour before: scores are divided by the spread that theirs had (its 90th and 99th percentile, those of a
  normal variable being 1), and that is an estimate from few windows that do not overlap, so Student's t is used.
- The level is set by the number of false anomalies that are accepted, and divided by all windows of a day, figures and
  keys (Bonferroni's bound, which holds however much the windows depend on each other).
- A window must also differ by so much that it matters: :class:`Rules`.
- What was an anomaly is left out of what later windows are compared with, for an hour; then it is what is usual.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from langflow_otel.insights._anomalies.episodes import FIGURES, Anomaly, Episodes, Figure, Unusual
from langflow_otel.insights._anomalies.minutes import Minutes, value_of
from langflow_otel.insights._anomalies.windows import STEP_S, WINDOW_S, Key, Pane, Second, Sketch, merged_panes
from langflow_otel.insights._statistics.tails import chance_of, count_z, failures_z, less_certain, ranks_z, z_of

STEPS: Final = {WINDOW_S: STEP_S, 60: 10, 300: 60}
"""Lengths of windows in seconds, and from the end of one to the end of the next."""
HISTORY_S: Final = 3600
"""With how long a time before it a window is compared."""

_LONGEST_S: Final = max(STEPS)
_SHORTER_S: Final = 60
_WINDOWS_A_DAY: Final = sum(86_400 // step for step in STEPS.values())
_GOES_ON_Z: Final = 3.0
_MAX_HISTORY_S: Final = 86_400
_ENOUGH: Final = 200
_RANKS_AGE_S: Final = 10
_MAX_SCORES: Final = {WINDOW_S: 720, 60: 720, 300: 240}
_SCORE_STEPS: Final = {WINDOW_S: WINDOW_S, 60: 10, 300: 60}
_FEW_SCORES: Final = 100
_FAR: Final = 0.9
LEAST_FAILURES: Final = 3


@dataclass(frozen=True)
class Rules:
    """What counts as an anomaly.

    Attributes:
        false_a_day: How many anomalies chance alone may raise in a day, at most, over all keys and figures.
        slower: A duration is unusual if its median is at least so many times the usual one; or, as much, lower.
        more_errors: The share of errors must be higher by this, 0 to 1.
        busier: As ``slower``, for throughput.
        learning_s: For so long nothing is raised for a new key; for throughput it is an hour.
        least: Nor before so many executions.
    """

    false_a_day: float = 0.1
    slower: float = 1.25
    more_errors: float = 0.1
    busier: float = 1.5
    learning_s: int = 600
    least: int = 30

    def matters(self, figure: Figure, pane: Pane, value: float, usual: float) -> bool:
        """Whether a figure of what is in this pane differs by so much."""
        if figure == "errors":
            return pane.failures >= LEAST_FAILURES and value - usual >= self.more_errors
        times = self.slower if figure == "duration" else self.busier
        return value >= usual * times or value * times <= usual


@dataclass(slots=True)
class _Entry:
    at_s: int
    pane: Pane
    ranks: float


class _Sums:
    """What ended in the last seconds."""

    __slots__ = ("count", "entries", "failures", "finished", "ok", "ranks")

    def __init__(self) -> None:
        self.entries: deque[_Entry] = deque()
        self.count = self.ok = self.failures = self.finished = 0
        self.ranks = 0.0

    def add(self, entry: _Entry, sign: int = 1) -> None:
        pane = entry.pane
        self.count += sign * pane.count
        self.ok += sign * pane.durations.count
        self.failures += sign * pane.failures
        self.finished += sign * pane.finished
        self.ranks += sign * entry.ranks

    def forget(self, before_s: int) -> None:
        while self.entries and self.entries[0].at_s < before_s:
            self.add(self.entries.popleft(), -1)


class _Spread:
    """How large the scores of a figure usually are."""

    __slots__ = ("_due", "_scores", "_windows_each", "scale")

    def __init__(self, length_s: int) -> None:
        self._scores: deque[float] = deque(maxlen=_MAX_SCORES[length_s])
        self._windows_each = _SCORE_STEPS[length_s] / length_s
        self._due = 0
        self.scale = 1.0

    @property
    def degrees(self) -> int:
        """As from so many windows that do not overlap."""
        return max(3, int(len(self._scores) * self._windows_each))

    def add(self, z: float) -> None:
        self._scores.append(abs(z))
        self._due -= 1
        if self._due <= 0:
            ordered = sorted(self._scores)
            self.scale = max(1.0, ordered[int(0.9 * len(ordered))] / 1.645)
            if len(ordered) >= _FEW_SCORES:
                self.scale = max(self.scale, ordered[int(0.99 * len(ordered))] / 2.576)
            self._due = len(ordered) // 10 + 1


class _History:
    """The time with which windows are compared: an hour, and longer for what seldom runs."""

    def __init__(self) -> None:
        self.entries: deque[_Entry] = deque()
        self.sum = Pane()
        self._ranks_at_s = -_RANKS_AGE_S
        self._bounds: list[int] = []
        self._ranks: list[float] = []
        self._above: list[float] = []

    def add(self, entry: _Entry) -> None:
        self.entries.append(entry)
        self.sum.merge(entry.pane)

    def forget(self, until_s: int) -> None:
        while self.entries:
            first = self.entries[0]
            is_old = first.at_s < until_s - HISTORY_S and self.sum.count - first.pane.count >= _ENOUGH
            if not is_old and first.at_s >= until_s - _MAX_HISTORY_S:
                return
            self.entries.popleft()
            total, pane = self.sum, first.pane
            total.count -= pane.count
            total.failures -= pane.failures
            total.finished -= pane.finished
            total.total_ns -= pane.total_ns
            total.durations.take_away(pane.durations)

    def ranks_of(self, sketch: Sketch, now_s: int) -> float:
        """The sum of the ranks of these durations among those of this time, each 0 to 1."""
        if now_s - self._ranks_at_s >= _RANKS_AGE_S:
            self._ranks_at_s = now_s
            self._make_ranks()
        total = 0.0
        for bucket, count in sketch.buckets.items():
            place = bisect_left(self._bounds, bucket)
            known = place < len(self._bounds) and self._bounds[place] == bucket
            total += count * (self._ranks[place] if known else self._above[place])
        return total

    def _make_ranks(self) -> None:
        counts = self.sum.durations.buckets
        self._bounds = sorted(counts)
        self._ranks, self._above = [], []
        below, of = 0, self.sum.durations.count + 1
        for bucket in self._bounds:
            self._above.append((below + 0.5) / of)
            self._ranks.append((below + counts[bucket] / 2 + 0.5) / of)
            below += counts[bucket]
        self._above.append((below + 0.5) / of)


@dataclass
class _State:
    """What is known of one key."""

    first_s: int
    last_s: int = 0
    sums: dict[int, _Sums] = field(default_factory=lambda: {length: _Sums() for length in STEPS})
    waiting: deque[_Entry] = field(default_factory=deque)
    history: _History = field(default_factory=_History)
    spreads: dict[tuple[int, Figure], _Spread] = field(
        default_factory=lambda: {(length, figure): _Spread(length) for length in STEPS for figure in FIGURES}
    )
    left_out: list[tuple[int, int]] = field(default_factory=list)
    minutes: Minutes = field(default_factory=Minutes)

    def add(self, at_s: int, pane: Pane) -> None:
        self.last_s = at_s
        entry = _Entry(at_s, pane, self.history.ranks_of(pane.durations, at_s))
        self.waiting.append(entry)
        for sums in self.sums.values():
            sums.entries.append(entry)
            sums.add(entry)
        self.minutes.add(at_s, pane)

    def move_on(self, now_s: int, unusual_since_s: int | None) -> None:
        """What is old enough becomes history, if nothing was unusual then."""
        until_s = now_s - _LONGEST_S
        while self.waiting and self.waiting[0].at_s < until_s:
            entry = self.waiting.popleft()
            is_unusual = unusual_since_s is not None and entry.at_s >= unusual_since_s
            if not is_unusual and not any(start <= entry.at_s < end for start, end in self.left_out):
                self.history.add(entry)
        # While something is unusual, no part of the history is lost.
        self.history.forget(until_s if unusual_since_s is None else min(until_s, unusual_since_s))
        self.minutes.forget(now_s, unusual_since_s)

    def covered_s(self, now_s: int, unusual_since_s: int | None) -> int:
        """How long the history is, without the time that is left out."""
        until_s = now_s - _LONGEST_S
        if unusual_since_s is not None:
            until_s = min(until_s, unusual_since_s)
        from_s = max(self.first_s, until_s - HISTORY_S)
        if self.history.entries:
            from_s = min(from_s, self.history.entries[0].at_s)
        at_s, left_out_s = from_s, 0
        for start, end in sorted(self.left_out):
            start, end = max(start, at_s), min(end, until_s)
            if end > start:
                left_out_s += end - start
                at_s = end
        return until_s - from_s - left_out_s

    def learn_anew(self, now_s: int) -> None:
        """From what came in the last minutes on."""
        fresh = _State(now_s - _LONGEST_S)
        self.first_s, self.history, self.spreads, self.left_out = fresh.first_s, _History(), fresh.spreads, []


class Detector:
    """Finds anomalies while seconds come in, in the order of time.

    Each method returns what is new: anomalies that began (they have no end yet), and the same again when they end.

    Args:
        rules: What counts as one.

    Attributes:
        windows: How many were compared.
    """

    def __init__(self, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._states: dict[Key, _State] = {}
        self._episodes = Episodes()
        self._now_s: int | None = None
        self._level: dict[int, float] = {}
        self.windows = 0

    @property
    def learning(self) -> set[Key]:
        """Keys of which too little has been seen to say what is usual."""
        now_s = self._now_s or 0
        return {key for key, state in self._states.items() if not self._has_learned(state, now_s)}

    def advance(self, second: Second) -> list[Anomaly]:
        """Add what ended in this second; every second before it is over."""
        news = self.pass_time(second.at_s)
        for key, pane in second.panes.items():
            state = self._states.get(key)
            if state is None:
                state = self._states[key] = _State(second.at_s)
            state.add(second.at_s, pane)
        self._now_s = end_s = second.at_s + 1
        for key in second.panes:
            state = self._states[key]
            state.move_on(end_s, self._episodes.since_s(key))
            news += self._look(key, state, WINDOW_S, end_s)
        return news + self._tick(end_s)

    def pass_time(self, until_s: int) -> list[Anomaly]:
        """Nothing more comes that ended before this second."""
        news: list[Anomaly] = []
        if self._now_s is None:
            return news
        if until_s - self._now_s > _MAX_HISTORY_S:
            for key in list(self._states):
                news += self._forget(key)
            self._now_s = None
            return news
        step = STEPS[_SHORTER_S]
        for end_s in range((self._now_s // step + 1) * step, until_s + 1, step):
            self._now_s = end_s
            news += self._tick(end_s)
        self._now_s = max(self._now_s, until_s)
        return news

    def finish(self) -> list[Anomaly]:
        """The anomalies that go on at the end."""
        found = self._episodes.rest()
        for anomaly in found:
            self._add_minutes(anomaly)
        return found

    def _tick(self, end_s: int) -> list[Anomaly]:
        """The longer windows of all keys."""
        news: list[Anomaly] = []
        if end_s % STEPS[_SHORTER_S]:
            return news
        is_long = end_s % STEPS[_LONGEST_S] == 0
        for key, state in list(self._states.items()):
            if end_s - state.last_s > _LONGEST_S and not is_long:
                continue
            if end_s - state.last_s > _MAX_HISTORY_S:
                news += self._forget(key)
                continue
            state.move_on(end_s, self._episodes.since_s(key))
            news += self._look(key, state, _SHORTER_S, end_s)
            if is_long:
                news += self._look(key, state, _LONGEST_S, end_s)
        return news + self._end(end_s)

    def _end(self, now_s: int) -> list[Anomaly]:
        ended = self._episodes.ended(now_s, HISTORY_S)
        for anomaly, last_s in ended:
            self._add_minutes(anomaly)
            state = self._states[anomaly.key]
            if anomaly.is_lasting:
                state.learn_anew(now_s)
            else:
                old_s = now_s - _MAX_HISTORY_S
                state.left_out = [each for each in state.left_out if each[1] > old_s] + [(anomaly.since_s, last_s)]
        return [each.anomaly for each in ended]

    def _forget(self, key: Key) -> list[Anomaly]:
        ended = self._episodes.of_key(key)
        for anomaly in ended:
            self._add_minutes(anomaly)
        del self._states[key]
        return ended

    def _add_minutes(self, anomaly: Anomaly) -> None:
        anomaly.minutes = self._states[anomaly.key].minutes.of(anomaly.figure)

    def _has_learned(self, state: _State, now_s: int) -> bool:
        is_old = now_s - _LONGEST_S - state.first_s >= self._rules.learning_s
        return is_old and state.history.sum.count >= self._rules.least

    def _look(self, key: Key, state: _State, length_s: int, end_s: int) -> list[Anomaly]:
        """One window of one key."""
        sums = state.sums[length_s]
        sums.forget(end_s - length_s)
        if not self._has_learned(state, end_s):
            return []
        self.windows += 1
        news = []
        for figure in FIGURES:
            z = self._score(key, figure, state, sums, length_s, end_s)
            if z is None:
                continue
            spread = state.spreads[length_s, figure]
            sigmas = less_certain(z / spread.scale, spread.degrees)
            is_counted = end_s % _SCORE_STEPS[length_s] == 0
            if abs(sigmas) >= _GOES_ON_Z:
                window = self._unusual(key, figure, state, sums, (end_s - length_s, end_s), sigmas)
                began = window and self._episodes.add(key, figure, window)
                news += [began] if began else []
            if is_counted and not self._episodes.goes_on(key, figure):
                spread.add(z)
        return news

    def _score(self, key: Key, figure: Figure, state: _State, sums: _Sums, length_s: int, end_s: int) -> float | None:
        known = state.history.sum
        if figure == "duration":
            enough = sums.ok and known.durations.count >= self._rules.least
            return ranks_z(sums.ranks, sums.ok, known.durations.count) if enough else None
        if figure == "errors":
            enough = sums.finished and known.finished >= self._rules.least
            if not enough or not sums.failures:
                return 0.0 if enough else None
            return failures_z(sums.failures, sums.finished, known.failures, known.finished)
        covered_s = state.covered_s(end_s, self._episodes.since_s(key))
        is_new = end_s - state.first_s < HISTORY_S
        if is_new or covered_s < self._rules.learning_s:
            return None
        return count_z(sums.count, known.count * length_s / covered_s, covered_s / length_s)

    def _unusual(
        self, key: Key, figure: Figure, state: _State, sums: _Sums, times_s: tuple[int, int], sigmas: float
    ) -> Unusual | None:
        """The window, if it differs by so much that it matters."""
        start_s, end_s = times_s
        pane = merged_panes(entry.pane for entry in sums.entries)
        value = value_of(figure, pane, end_s - start_s)
        usual = self._usual(key, figure, state, end_s)
        if value is None or usual is None or not self._rules.matters(figure, pane, value, usual):
            return None
        is_alarm = abs(sigmas) >= self._alarm_level()
        is_silent = sigmas < 0 and end_s - state.last_s > (end_s - start_s) / 2
        since_s = _since_s(figure, sums.entries, start_s, is_up=sigmas > 0)
        if figure == "throughput" and is_silent:
            since_s = state.last_s + 1
        return Unusual(start_s, end_s, since_s, value, usual, sigmas, chance_of(sigmas), pane.count, is_alarm)

    def _usual(self, key: Key, figure: Figure, state: _State, end_s: int) -> float | None:
        covered_s = state.covered_s(end_s, self._episodes.since_s(key))
        return value_of(figure, state.history.sum, max(covered_s, 1))

    def _alarm_level(self) -> float:
        keys = len(self._states)
        level = self._level.get(keys)
        if level is None:
            tests_a_day = _WINDOWS_A_DAY * len(FIGURES) * keys
            level = self._level[keys] = z_of(self._rules.false_a_day / tests_a_day / 2)
        return level


def _since_s(figure: Figure, entries: Iterable[_Entry], start_s: int, *, is_up: bool) -> int:
    """Where in a window the unusual begins: with the first execution that is a part of it."""
    if figure == "errors":
        return next((entry.at_s for entry in entries if entry.pane.failures), start_s)
    if figure == "duration":
        return next((entry.at_s for entry in entries if _is_far(entry, is_up=is_up)), start_s)
    return start_s


def _is_far(entry: _Entry, *, is_up: bool) -> bool:
    count = entry.pane.durations.count
    if not count:
        return False
    rank = entry.ranks / count
    return rank > _FAR if is_up else rank < 1 - _FAR
