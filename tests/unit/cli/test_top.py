"""``langflow-otel top`` in a terminal of its own: keys, signals, and a server that goes and comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from waiting import read_until

from tests.unit.insights.test_figures import endpoint, runs

pty, fcntl, struct, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "struct", "termios"))

pytestmark = pytest.mark.slow

HOME = "\x1b[H"
"""Before each picture."""
LEAVES_THE_SCREEN = "\x1b[?1049l"
PATIENCE_S = 120.0


@dataclass
class Terminal:
    """A process in a terminal, and what it wrote there."""

    process: subprocess.Popen[bytes]
    descriptor: int
    text: str = ""
    flags_before: list[Any] = field(default_factory=list)

    def until(self, is_so: Callable[[str], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_so(self.text):
            assert time.monotonic() < deadline_s, self.text[-2000:]
            assert self.process.poll() is None, self.text[-2000:]
            time.sleep(0.02)

    def press(self, key: str) -> None:
        os.write(self.descriptor, key.encode())

    def ended(self) -> int:
        return self.process.wait(PATIENCE_S)

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self.descriptor)[3] & termios.ECHO)


@contextmanager
def terminal(*arguments: str, columns: int = 100, rows: int = 30) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    command = [sys.executable, "-c", "from langflow_otel.cli.main import main; main()", "top", *arguments]
    # Processes of pytest-xdist have the size of another terminal there, which counts for more than this one's.
    sizes = ("COLUMNS", "LINES")
    environment = {name: value for name, value in os.environ.items() if name not in sizes} | {"TERM": "xterm-256color"}

    def own_terminal() -> None:
        # A shell starts what it runs in the background with this one ignored.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    started = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, preexec_fn=own_terminal
    )
    found = Terminal(started, ours)

    def read() -> None:
        with suppress(OSError):
            while data := os.read(ours, 65536):
                found.text += data.decode(errors="replace")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield found
    finally:
        started.kill()
        started.wait()
        os.close(theirs)
        reader.join(10)
        os.close(ours)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda found: found.press("q"), 0),
        (lambda found: found.press("\x1b"), 0),
        (lambda found: found.press("\x03"), 0),
        (lambda found: found.process.send_signal(signal.SIGTERM), 143),
        (lambda found: found.process.send_signal(signal.SIGHUP), 129),
    ],
    ids=["q", "escape", "ctrl-c", "SIGTERM", "SIGHUP"],
)
def test_each_end_leaves_the_terminal_as_it_was(end: Callable[[Terminal], None], code: int) -> None:
    with endpoint(lambda: (200, runs(18, 2))) as url, terminal("--url", url) as found:
        found.until(lambda text: "q quits" in text)
        end(found)
        assert found.ended() == code

        assert found.echoes
        # What a process has written last, another thread reads after its end.
        text = read_until(lambda: found.text, lambda text: LEAVES_THE_SCREEN in text)
        assert LEAVES_THE_SCREEN in text, text[-500:]
        assert "Traceback" not in found.text


def test_server_that_hangs_does_not_keep_it_from_ending() -> None:
    asked, released = threading.Event(), threading.Event()
    answers = iter([lambda: None])

    def answer() -> tuple[int, str]:
        if next(answers, None) is None:
            asked.set()
            released.wait(PATIENCE_S)
        return 200, runs(5)

    with endpoint(answer) as url, terminal("--url", url, "--every", "0.2") as found:
        try:
            found.until(lambda text: "q quits" in text and asked.is_set())
            found.press("q")
            assert found.ended() == 0
            assert not released.is_set()
        finally:
            released.set()


def test_server_that_comes_back_is_read_again() -> None:
    state = {"answer": (200, runs(5))}
    with endpoint(lambda: state["answer"]) as url, terminal("--url", url, "--every", "0.2") as found:
        found.until(lambda text: "q quits" in text)
        state["answer"] = (503, "starting")
        found.until(lambda text: "no answer for" in text and "503 Service Unavailable" in text)
        state["answer"] = (200, runs(9))
        found.until(lambda text: "no answer" not in text.split(HOME)[-2] and "q quits" in text.split(HOME)[-2])
        found.press("q")

        assert found.ended() == 0


def test_no_line_is_wider_than_a_narrow_terminal() -> None:
    with (
        endpoint(lambda: (200, runs(5, flow="a flow with a very long name " * 4))) as url,
        terminal("--url", url, columns=60, rows=20) as found,
    ):
        found.until(lambda text: "q quits" in text)
        found.press("q")
        assert found.ended() == 0

    pictures = found.text.split(LEAVES_THE_SCREEN)[0].split(HOME)
    assert all(picture.count("\n") <= 20 for picture in pictures)
