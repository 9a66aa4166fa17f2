"""RE2, and one walk over a text with a time limit. Texts are UTF-8 here: RE2 counts bytes."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

Finding = tuple[int, int, str] | tuple[int, int, str, bytes, bytes]
"""Start, end and kind of something to replace; and what its marker needs before and behind it, as quotes in JSON."""

KINDS: Final = (
    *("anthropic_key", "api_key", "authorization", "aws_key", "azure_key", "card", "cookie", "email", "gcp_key"),
    *("github_token", "gitlab_token", "huggingface_token", "iban", "identity_number", "ip", "jwt", "npm_token"),
    *("openai_key", "password", "pattern", "phone", "private_key", "pypi_token", "secret", "sendgrid_key", "sk_key"),
    *("slack_token", "ssn", "stripe_key", "twilio_key", "url_password"),
)
"""What can stand in a marker. ``sk_key``: one that begins with ``sk-``, as LangFlow's own and DeepSeek's do."""

MARKER: Final = re.compile(rb"\[redacted:(?:%s)\]" % "|".join(KINDS).encode())

_MAX_MEM: Final = 16 << 20
"""Bytes that one compiled pattern may use, its automaton among them; RE2 grows slower above, not wrong."""


def compile_re2(pattern: str, *, groups: bool = True) -> Any:
    """The pattern as RE2 compiles it.

    Args:
        groups: False if the groups are not read, which makes a match far cheaper.

    Raises:
        ValueError: It is not a pattern of RE2.
        ImportError: ``google-re2`` is missing.
    """
    import re2  # type: ignore[import-untyped, import-not-found, unused-ignore]

    try:
        return re2.compile(pattern, _options(groups))
    except re2.error as exc:
        reason = exc.args[0] if exc.args else ""
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(" ".join(f"not a regular expression of RE2: {said}".split())) from None


def _options(groups: bool) -> Any:
    import re2  # type: ignore[import-untyped, import-not-found, unused-ignore]

    options = re2.Options()
    options.max_mem = _MAX_MEM
    options.never_capture = not groups
    # Otherwise RE2 writes to the host's standard error by itself.
    options.log_errors = False
    return options


class Scan:
    """One text with the deadline for its search, in seconds of ``time.thread_time``."""

    __slots__ = ("at", "deadline", "passed_on", "raw")

    def __init__(self, raw: bytes, deadline: float) -> None:
        self.raw = raw
        self.deadline = deadline
        self.at = 0
        self.passed_on = False

    def check_time(self) -> None:
        """Raises TimeoutError: the deadline has passed."""
        if time.thread_time() > self.deadline:
            raise TimeoutError("redaction took too long")

    def matches(self, pattern: Any) -> Iterator[Any]:
        """Each match that is not empty, from left to right.

        The one that takes a match may set ``at``, to have the search go on there instead of at the match's end.

        Raises:
            TimeoutError: The deadline has passed. One search is linear, many of them need not be.
        """
        self.at = 0
        while (match := pattern.search(self.raw, self.at)) is not None:
            self.check_time()
            begin, self.at = self.at, match.end()
            if match.end() > match.start():
                yield match
            self.at = max(self.at, begin + 1, match.start() + 1)
            if self.at > len(self.raw):
                return


class Patterns:
    """Patterns that are looked for all at once, the earlier before the later.

    Each is a pair: how it begins, and the whole with its one group. An automaton of all beginnings finds a place
    (4 us per kB, however many there are). Of the wholes together, with all their ``{20,}``, it would be built anew
    for nearly each text that has a match: a millisecond each.
    """

    __slots__ = ("_any", "_each", "_which")

    def __init__(self, patterns: Sequence[tuple[str, str]]) -> None:
        import re2  # type: ignore[import-untyped, import-not-found, unused-ignore]

        self._each = [compile_re2(whole) for _, whole in patterns]
        self._any = compile_re2("|".join(f"(?:{begin})" for begin, _ in patterns), groups=False)
        self._which = re2.Set.MatchSet(_options(groups=False))
        for begin, _ in patterns:
            self._which.Add(begin)
        self._which.Compile()

    def matches(self, scan: Scan) -> Iterator[tuple[int, Any]]:
        """Each match, and the number of its pattern; see :meth:`Scan.matches`.

        The one that takes a match may set ``passed_on``, to get the match of a later pattern at the same place.
        """
        for place in scan.matches(self._any):
            start, end = place.span()
            for number in sorted(self._which.Match(scan.raw[start:end]) or ()):
                match = self._each[number].match(scan.raw, start)
                if match is not None:
                    scan.at, scan.passed_on = match.end(), False
                    yield number, match
                    if not scan.passed_on:
                        break

    def first_in(self, raw: bytes) -> int | None:
        """The number of the first pattern that occurs in the text, or None."""
        return next((number for number, _ in self.matches(Scan(raw, math.inf))), None)


# The user's own pattern


_MAX_PROGRAM: Final = 3000
"""RE2 instructions: a literal has one a character, ``\\pL`` has 1200."""


def check_pattern(text: str) -> str:
    """The pattern itself, if a :class:`Redactor` takes it.

    Raises:
        ValueError: With the reason in one line: no regular expression of RE2 (which has neither look-around nor
            back-references), too large, or matching the empty text. Also when ``google-re2`` is missing.
    """
    try:
        compiled_own(text)
    except ImportError as exc:
        raise ValueError("a pattern needs the package google-re2") from exc
    return text


def compiled_own(pattern: str) -> Any:
    try:
        compiled = compile_re2(pattern)
    except UnicodeEncodeError as exc:
        raise ValueError("not text that can be encoded") from exc
    if compiled.programsize > _MAX_PROGRAM:
        raise ValueError(f"too large ({compiled.programsize} instructions; at most {_MAX_PROGRAM})")
    if compiled.search(b"") is not None:
        raise ValueError("it matches the empty text")
    return compiled
