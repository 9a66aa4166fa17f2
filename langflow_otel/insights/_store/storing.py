"""Spans into a database in batches, again and again where it does not answer, once or as long as files grow."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from langflow_otel.insights._reading.growing_files import GrowingFiles
from langflow_otel.insights._reading.otlp_lines import Problems
from langflow_otel.insights._reading.span_stream import stream_spans
from langflow_otel.insights._store.database import Database, PassingError
from langflow_otel.insights._store.span_rows import rows_of

T = TypeVar("T")

KEEP_DAYS: Final = 30
KEEP_DAILY_DAYS: Final = 365

_BATCH_SPANS: Final = 50_000
_FUTURE_S: Final = 24 * 3600
"""What starts so much later than now has the time of a wrong clock."""
_FIRST_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 30.0
_DAILY_EVERY_S: Final = 60.0
_DAILY_SHARE: Final = 20
"""Daily figures take a twentieth of the time at most."""
_DAY_NS: Final = 24 * 3600 * 10**9
_KEY: Final = [("start_time", "ascending"), ("trace_id", "ascending"), ("span_id", "ascending")]


class Stopped(Exception):  # noqa: N818 - what was asked for is no error
    """The end was asked for while the database did not answer."""


@dataclass
class Stored:
    """Attributes:
    spans: Spans that were read, of every kind.
    new: Rows that were not there before, by table.
    there_already: Rows that were.
    left_out: Spans that were not stored, by reason.
    problems: What could not be read.
    """

    spans: int = 0
    new: Counter[str] = field(default_factory=Counter)
    there_already: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    problems: Problems = field(default_factory=Problems)


class Storing:
    """Writes spans into a database.

    Args:
        database: An open one.
        content: With messages, inputs and outputs, where they were recorded.
        keep_days: How long rows are kept, in days; older ones are not stored.
        keep_daily_days: How long daily figures are kept.
        patience_s: How long the database may not answer, in seconds; None for any time.
        wait: Waits for so many seconds at most, and returns whether the end was asked for.
        on_problem: Called with a line when the database begins not to answer, and when it answers again.
        clock: Unix time in seconds.

    Attributes:
        stored: What was done so far.
        waiting: Spans that were read, and are not in the database yet.
    """

    def __init__(
        self,
        database: Database,
        *,
        content: bool = False,
        keep_days: int = KEEP_DAYS,
        keep_daily_days: int = KEEP_DAILY_DAYS,
        patience_s: float | None = None,
        wait: Callable[[float], bool],
        on_problem: Callable[[str], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.stored = Stored()
        self.waiting = 0
        self._database = database
        self._content = content
        self._keep_days = keep_days
        self._keep_daily_days = keep_daily_days
        self._patience_s = patience_s
        self._wait = wait
        self._on_problem = on_problem
        self._clock = clock
        self._parts: dict[str, list[pa.Table]] = {}
        self._daily_due_s = 0.0
        self._unreadable = ""

    def store(self, paths: Sequence[Path], on_progress: Callable[[int, int], object] | None = None) -> None:
        """All that is in these files.

        Raises:
            OSError: A path cannot be read.
            StoreError: The database does not take it; what was written before stays.
        """
        for table in stream_spans(paths, self.stored.problems, on_progress=on_progress):
            self.add(table)
        self.write()
        self.bring_up_to_date()

    def follow(self, paths: Sequence[Path], every_s: float) -> None:
        """All that is in these files and what is appended to them, until the end is asked for.

        Args:
            every_s: From one look at the files to the next.

        Raises:
            OSError: A path cannot be read at the start. Later, as in a rotation, a file may be missing for a while.
            StoreError: The database does not take it.
            Stopped: The end was asked for while there were spans that are not in the database.
        """
        files = GrowingFiles(paths, from_start=True)
        # Nothing is appended to these: once is enough.
        for table in stream_spans(paths, self.stored.problems, only_compressed=True):
            self.add(table)
        before = self.stored.problems
        ends = False
        while True:
            self._look(files)
            now = files.problems
            self.stored.problems = Problems(before.lines + now.lines, before.spans + now.spans)
            self.write()
            if ends or time.monotonic() >= self._daily_due_s:
                self.bring_up_to_date()
            if ends:
                return
            ends = self._wait(every_s)

    def _look(self, files: GrowingFiles) -> None:
        try:
            for table in files.read():
                self.add(table)
                if self._wait(0):
                    # The rest is there the next time.
                    return
            self._unreadable = ""
        except OSError as exc:
            line = f"{exc.filename or 'a trace file'} cannot be read: {exc.strerror or exc}"
            if line != self._unreadable:
                self._on_problem(line)
            self._unreadable = line

    def add(self, spans: pa.Table) -> None:
        """Take these, and write what has come together where it is much."""
        self.stored.spans += spans.num_rows
        spans = self._of_kept_days(spans)
        for name, rows in rows_of(spans, content=self._content).items():
            self._parts.setdefault(name, []).append(rows)
        self.waiting += spans.num_rows
        if self.waiting >= _BATCH_SPANS:
            self.write()

    def _of_kept_days(self, spans: pa.Table) -> pa.Table:
        now_s = self._clock()
        first_day = (self._first_day(now_s, self._keep_days) - date(1970, 1, 1)).days
        reasons = {
            f"older than {self._keep_days} {'day' if self._keep_days == 1 else 'days'}": pc.less(
                spans["start_ns"], first_day * _DAY_NS
            ),
            "in the future": pc.greater(spans["start_ns"], int((now_s + _FUTURE_S) * 1e9)),
        }
        for reason, mask in reasons.items():
            count = pc.sum(mask).as_py() or 0
            if count:
                self.stored.left_out[reason] += count
        return spans.filter(pc.invert(pc.or_(*reasons.values()))) if self.stored.left_out else spans

    @staticmethod
    def _first_day(now_s: float, kept_days: int) -> date:
        return datetime.fromtimestamp(now_s, timezone.utc).date() - timedelta(days=kept_days)

    def write(self) -> None:
        """Write what has come together, in one transaction.

        Raises:
            StoreError: The database does not take it.
            Stopped: The end was asked for before it did.
        """
        # Two writers whose rows are in the same order do not wait for each other in a circle.
        rows = {name: pa.concat_tables(parts).sort_by(_KEY) for name, parts in sorted(self._parts.items())}
        if rows:
            new = self._patiently(lambda: self._database.write(rows))
            self.stored.new.update(new)
            self.stored.there_already += sum(each.num_rows for each in rows.values()) - sum(new.values())
        self._parts, self.waiting = {}, 0

    def bring_up_to_date(self) -> None:
        """Daily figures, and the removal of what is too old."""
        started_s = time.monotonic()
        now_s = self._clock()
        first_days = self._first_day(now_s, self._keep_days), self._first_day(now_s, self._keep_daily_days)
        self._patiently(self._database.roll_up)
        self._patiently(lambda: self._database.remove_before(*first_days))
        ended_s = time.monotonic()
        self._daily_due_s = ended_s + max(_DAILY_EVERY_S, _DAILY_SHARE * (ended_s - started_s))

    def _patiently(self, action: Callable[[], T]) -> T:
        """Its result, at the first time that the database answers."""
        pause_s = _FIRST_WAIT_S
        started_s = time.monotonic()
        said = False
        while True:
            try:
                result = action()
            except PassingError as exc:
                waited_s = time.monotonic() - started_s
                if self._patience_s is not None and waited_s + pause_s > self._patience_s:
                    raise
                if not said:
                    self._on_problem(f"{exc}; trying again until it answers")
                    said = True
                if self._wait(pause_s):
                    raise Stopped from None
                pause_s = min(2 * pause_s, _LONGEST_WAIT_S)
            else:
                if said:
                    self._on_problem(f"{self._database.shown} answers again after {time.monotonic() - started_s:.0f} s")
                return result
