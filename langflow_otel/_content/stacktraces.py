"""Stack traces as text, made by others, without lines of source: a line of source can hold a key or a prompt."""

from __future__ import annotations

import re
from typing import Final

# Bounded, so that a line of a million spaces takes no longer than another. The margin is that of a group of exceptions.
_FRAME: Final = re.compile(
    r'(?P<margin>[ |+>-]{0,64}?)(?P<indent>[ \t]{0,64})(?P<where>File "[^"\n]*", line [0-9]+(?:, in \S+)?)'
)
_REPEATED: Final = "[Previous line repeated"
_HEADER: Final = "Traceback (most recent call last)"
_BOX: Final = ("╭", "│", "╰")
"""How lines begin of a stack trace that rich has drawn."""
_ESCAPED_FRAME: Final = re.compile(r'\\n[ |\\t]{0,64}File \\?"')
_ESCAPED_BREAK: Final = re.compile(r"(?:\\r)?\\n")


def without_source(text: str) -> str:
    """The text with the frames of its stack traces as file, line and function, and nothing of their source.

    Stack traces as Python writes them: chained ones, groups of exceptions, with marks below the source, local variables
    and errors of syntax; also where line breaks are escaped, as in the ``repr`` of an error. What is no frame and
    belongs to none stays: an exception's class, its message and its notes.
    """
    if "File " not in text and _HEADER not in text:
        return text
    if _ESCAPED_FRAME.search(text):
        text = _ESCAPED_BREAK.sub("\n", text).replace('File \\"', 'File "').replace('\\", line', '", line')
    kept: list[str] = []
    above: _Frame | None = None
    drawn = _BOX[0] in text
    # Not splitlines(): a line of source may hold other separators, and its end would pass for a message.
    for line in text.split("\n"):
        found = _FRAME.match(line)
        if found is not None:
            above = _Frame(found)
            kept.append(f"{found['margin']}{found['indent']}{found['where']}")
        elif drawn and line.lstrip().startswith(_BOX):
            above = None
        elif above is None or not above.owns(line):
            above = None
            kept.append(line)
    return "\n".join(kept)


class _Frame:
    """The frame that was read last: what is indented below it is its source."""

    def __init__(self, found: re.Match[str]) -> None:
        self._margin = found["margin"]
        self._indent = len(found["indent"].expandtabs())
        self._has_line_below = self._indent == 0

    def owns(self, line: str) -> bool:
        """True for a line of the frame's source, of its marks and of its variables."""
        rest = line.removeprefix(self._margin)
        if rest.lstrip().startswith(_REPEATED):
            return False
        if self._indent == 0:
            # Where a formatter has taken the indentation off, only its place tells that a line is source.
            owned, self._has_line_below = self._has_line_below and _HEADER not in rest, False
            return owned
        if not rest.strip(" |"):
            return True
        rest = rest.expandtabs()
        return len(rest) - len(rest.lstrip()) >= self._indent
