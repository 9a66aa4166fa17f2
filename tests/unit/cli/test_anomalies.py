"""``langflow-otel anomalies`` on files that are whole, and on files that grow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from made_series import Day
from typer.testing import CliRunner, Result

from langflow_otel.cli.main import app
from langflow_otel.insights._anomalies.detection import Rules
from langflow_otel.insights._anomalies.following import Following, state_of
from langflow_otel.insights._anomalies.search import watch_of
from langflow_otel.insights._anomalies.windows import LATENESS_S, NS
from tests.support.made_spans import START_NS, MadeTraces

SLOW_S = (5400, 6000)
HOSTILE = "shop\x1b[31m[bold]\n\u202e"


def made(flow: str = "shop", until_s: float = 7200) -> MadeTraces:
    """Runs of two hours, ten minutes of which are five times as slow."""
    traces = MadeTraces()
    day = Day(hours=2, rate=0.15, from_s=SLOW_S[0], to_s=SLOW_S[1], slower=5)
    for execution in day.executions(1):
        at_s = execution.end_ns / NS - START_NS / NS
        if at_s < until_s:
            memory = {"langflow.flow.process.memory.peak": 2**30}
            traces.run(execution.duration_s, flow=flow, at_s=at_s, attributes=memory)
    return traces


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made().write(tmp_path_factory.mktemp("made") / "spans.jsonl")


def anomalies(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["anomalies", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_table_says_what_was_unusual(path: Path):
    shown = anomalies(path).stdout

    assert "1 anomaly  in " in shown
    (row,) = (line for line in shown.splitlines() if " duration " in line)
    assert row.strip().startswith("2027-01-15 09:3")
    assert " shop " in row
    assert "x 5" in row or "x 4" in row or "x 6" in row


def test_json_has_all_of_it(path: Path):
    found = json.loads(anomalies(path, "--json").stdout)

    (anomaly,) = found["anomalies"]
    assert (anomaly["flow"], anomaly["component_type"], anomaly["figure"]) == ("shop", None, "duration")
    assert abs(anomaly["since_s"] - START_NS // NS - SLOW_S[0]) < 120
    assert abs(anomaly["until_s"] - START_NS // NS - SLOW_S[1]) < 180
    assert 3 < anomaly["ratio"] < 8
    assert anomaly["resources"]["during"]["memory"] == 2**30
    assert (found["keys"], found["learning"]) == (1, 0)


def test_names_neither_colour_nor_move_anything(tmp_path: Path):
    shown = anomalies(made(HOSTILE).write(tmp_path / "spans.jsonl")).stdout

    assert "shop [31m[bold]" in shown
    assert not {"\x1b", "\u202e"} & set(shown)


def test_short_history_is_said(tmp_path: Path):
    result = anomalies(made(until_s=600).write(tmp_path / "spans.jsonl"), code=2)

    assert "0 anomalies" in result.stdout
    assert "1 of 1 have too little history to say what is usual" in result.stdout
    assert "too short a history to say what is usual" in result.stderr


def test_time_without_runs_is_said(tmp_path: Path):
    traces = MadeTraces(run_start_ns=time.time_ns() - 3600 * NS)
    traces.run(1)
    result = anomalies(traces.write(tmp_path / "spans.jsonl"), "--since", "1m", code=2)

    assert "no run started in the last 1m; the newest started" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "magic"], "--method magic: accepted are calibrated, arima, sigma, mad"),
        (["--since", "yesterday"], "--since yesterday: a number and one of s, m, h, d, w is accepted, such as 24h"),
        (["--flow", "other"], "--flow other: no run of it is in these files; there are runs of shop"),
        (["--follow", "--since", "1h"], "--since is for what was; --follow shows what comes"),
    ],
)
def test_wrong_use_is_one_line(path: Path, arguments: list[str], message: str):
    assert anomalies(path, *arguments, code=2).stderr == f"langflow-otel: {message}\n"


def test_file_that_is_not_there(tmp_path: Path):
    for follow in ([], ["--follow"]):
        assert "cannot be read" in anomalies(tmp_path / "none.jsonl", *follow, code=2).stderr


class Growing:
    """A trace file to which the made runs are appended as time goes on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "spans.jsonl"
        self.lines = [(row["end_ns"], line) for row, line in _lines(made(), folder)]
        self.now_s = START_NS / NS
        self.written = 0

    def grow(self, until_s: float, *, part: int | None = None) -> None:
        """Append what ended until then, in seconds after the start."""
        self.now_s = START_NS / NS + until_s
        with self.path.open("a", encoding="utf-8") as file:
            while self.written < len(self.lines) and self.lines[self.written][0] <= self.now_s * NS:
                file.write(self.lines[self.written][1])
                self.written += 1

    def rotate(self) -> None:
        self.path.rename(f"{self.path}.1")
        self.path.touch()


def _lines(traces: MadeTraces, folder: Path) -> list[tuple[dict[str, Any], str]]:
    text = traces.write(folder / "all.json").read_text("utf-8")
    pairs = zip(traces.rows, text.splitlines(keepends=True), strict=True)
    return sorted(pairs, key=lambda pair: pair[0]["end_ns"])


def test_what_is_appended_gives_the_anomalies_of_the_whole_file(tmp_path: Path, path: Path):
    """With a rotation while it is slow, half a line at a look, and a line that comes twice."""
    file = Growing(tmp_path)
    file.grow(5000)
    following = Following([file.path], watch_of("calibrated"), clock=lambda: file.now_s)
    seen = []
    for until_s in range(5060, 7260, 60):
        if until_s == 5600:
            file.rotate()
        file.grow(until_s)
        if until_s == 5300:
            line = file.lines[file.written][1]
            with file.path.open("a") as half:
                half.write(line[:100])
            seen += state_of(following.look())
            with file.path.open("a") as half:
                half.write(line[100:])
        seen += state_of(following.look())

    assert [(state, each.figure) for state, each in seen] == [("began", "duration"), ("ended", "duration")]
    assert following.problems() == []
    (whole,) = json.loads(anomalies(path, "--json").stdout)["anomalies"]
    _, anomaly = seen[-1]
    assert (anomaly.since_s, anomaly.until_s, anomaly.raised_s, anomaly.sigmas) == tuple(
        whole[name] for name in ("since_s", "until_s", "raised_s", "sigmas")
    )
    points = following.resources(int(START_NS // NS + 7000), int(START_NS // NS + 7060))
    assert [each.memory for each in points] == [2**30]
    following.close()


def test_silence_is_noticed_by_the_clock(tmp_path: Path):
    file = Growing(tmp_path)
    file.grow(7150)
    watch = watch_of("calibrated", Rules(false_a_day=100))
    following = Following([file.path], watch, clock=lambda: file.now_s)
    assert following.look() == []
    file.now_s += 900

    assert [(state, each.figure) for state, each in state_of(following.look())] == [("began", "throughput")]
    following.close()


def test_spans_of_a_wrong_clock_are_left_out(tmp_path: Path):
    """Some of them are there already, others come."""
    file = Growing(tmp_path)
    file.grow(5100)
    file.now_s -= 200
    left_out = len([end_ns for end_ns, _ in file.lines if 4960 < (end_ns - START_NS) / NS <= 5100])
    following = Following([file.path], watch_of("calibrated"), clock=lambda: file.now_s)
    later = MadeTraces()
    later.run(1.0, at_s=1e6, trace_id="f" * 32)
    _, line = _lines(later, tmp_path)[0]
    with file.path.open("a") as growing:
        growing.write(line)
        growing.write("not JSON\n")

    assert following.look() == []
    assert following.problems() == [
        "1 line not read: not JSON",
        f"{left_out + 1:,} executions left out: in the future",
    ]
    assert following._newest_ns <= START_NS + 4960 * NS
    assert LATENESS_S == 10
    following.close()


def test_file_that_is_missing_for_a_moment_ends_nothing(tmp_path: Path):
    """As while it is rotated."""
    file = Growing(tmp_path)
    file.grow(5100)
    following = Following([file.path], watch_of("calibrated"), clock=lambda: file.now_s)
    moved = file.path.rename(tmp_path / "rotated")
    assert following.look() == []
    assert following.problems() == [f"{file.path} not read: No such file or directory"]

    moved.rename(file.path)
    file.grow(5200)
    newest_ns = following._newest_ns
    following.look()
    assert following.problems() == []
    assert following._newest_ns > newest_ns
    following.close()


@pytest.mark.slow
@pytest.mark.any_version
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_following(tmp_path: Path):
    traces = MadeTraces()
    # Before now, by the clock of this machine.
    traces.run(1.0, at_s=-1e8)
    path = traces.write(tmp_path / "spans.jsonl")
    # In a background job of a shell SIGINT is ignored.
    handled = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    code = f"{handled}\nfrom langflow_otel.cli.main import main; main()"
    arguments = [sys.executable, "-c", code, "anomalies", str(path)]
    with subprocess.Popen([*arguments, "--follow"], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "watching 1 flows and types of components" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 130
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
