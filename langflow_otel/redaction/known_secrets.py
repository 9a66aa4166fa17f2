"""Removes secrets that are known by their value, in any spelling, from texts.

The values of secret inputs: those of a run for what the run sends, and those that components had lately for texts of
which the run is not known, as the log line of a server about a run that has failed, or a span of
another instrumentor.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterable, Sequence
from typing import Final

HIDDEN: Final = "[redacted:secret]"
"""What stands in place of a secret."""

_MOST: Final = 256
"""Each is searched in each such text; see tests/benchmarks/redaction.py for what that takes."""

_recent: dict[str, None] = {}


def remember_secrets(values: Iterable[str]) -> None:
    """Add values to the known secrets. Beyond 256 the least recently used one is forgotten."""
    for value in values:
        _recent.pop(value, None)
        _recent[value] = None
    while len(_recent) > _MOST:
        # Another thread may be at it as well.
        _recent.pop(next(iter(_recent.copy()), ""), None)


def forget_secrets() -> None:
    """Forget all known secrets, for tests."""
    _recent.clear()
    spellings.cache_clear()


def recent_secrets() -> tuple[str, ...]:
    """The secrets that are known now."""
    return tuple(_recent.copy())


def without_secrets(text: str, secrets: Iterable[str] | None = None) -> str:
    """The text without secrets that are known by their value, each replaced by :data:`HIDDEN`.

    In every spelling, wherever the text comes from: as they are, escaped by JSON or ``repr``, quoted for a URL or for
    HTML, several times over, and in base64. Where one secret is a part of another, or overlaps it, the whole goes.
    Numbers in a secret are found among other digits as well.

    Args:
        text: Any text; it costs nothing if there are no secrets.
        secrets: None for the last 256 that components of this process had.
    """
    if secrets is None:
        if not _recent:
            return text
        secrets = recent_secrets()
    found: list[Span] = []
    # A copy: components that start in another thread add theirs.
    for secret in tuple(secrets):
        found += spellings(secret).found_in(text)
    return _replaced(text, found) if found else text


def _replaced(text: str, found: list[Span]) -> str:
    parts, at, last = [], 0, -1
    for start, end in sorted(found):
        if start >= last:
            parts += [text[at:start], HIDDEN]
        at = last = max(last, end)
    return "".join((*parts, text[at:]))


# Spellings of one secret


Span = tuple[int, int]
"""Where something begins and ends."""

_ANCHOR: Final = re.compile(r"[A-Za-z0-9]+")

# A backslash itself, as URLs spell it; each level of JSON or repr doubles it.
_BACKSLASH: Final = r"(?:\\|%(?:25){0,3}5[Cc])"
_MOST_BACKSLASHES: Final = 32
_PERCENT: Final = "%(?:25){0,3}"
_AMPERSAND: Final = "&(?:amp;){0,3}"
_SHORT: Final = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f", " ": rf"\+|{_PERCENT}2[bB]"}
_ENTITIES: Final = {'"': "quot", "'": "apos", "&": "amp", "<": "lt", ">": "gt", "\xa0": "nbsp"}


class Spellings:
    """Finds one secret in each of its spellings.

    Args:
        secret: Its value.

    What is searched for first is plain: the longest run of letters and digits, which no spelling changes, and base64.
    A pattern is made when the first text has that run.
    """

    __slots__ = ("_anchor", "_base64", "_pattern", "_secret")

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._anchor = max(_ANCHOR.findall(self._secret), key=len, default="")
        self._base64 = tuple(_in_base64(self._secret))
        self._pattern: re.Pattern[str] | None = None

    def found_in(self, text: str) -> Sequence[Span]:
        """Each place at which the text has the secret; places in base64 may overlap others."""
        if len(text) < len(self._secret):
            return ()
        found: list[Span] = []
        if self._anchor in text:
            if self._pattern is None:
                self._pattern = re.compile(_pattern_of(self._secret))
            found += (match.span() for match in self._pattern.finditer(text))
        for encoded in self._base64:
            if encoded in text:
                found += (match.span() for match in re.finditer(re.escape(encoded), text))
        return found


@functools.lru_cache(maxsize=1024)
def spellings(secret: str) -> Spellings:
    """The spellings of a secret, made once."""
    return Spellings(secret)


def _pattern_of(secret: str) -> str:
    """Linear: between two characters of the secret is at most one bounded repetition, of backslashes."""
    parts: list[str] = []
    backslashes = 0
    for sign in secret:
        if sign == "\\":
            backslashes += 1
            continue
        is_plain = sign.isascii() and sign.isalnum()
        if backslashes or (parts and not is_plain):
            parts.append(_backslashes(backslashes))
        parts.append(sign if is_plain else _escaped(sign))
        backslashes = 0
    return "".join((*parts, _backslashes(backslashes) if backslashes else ""))


def _backslashes(least: int) -> str:
    return f"{_BACKSLASH}{{{least},{_MOST_BACKSLASHES * max(least, 1)}}}"


@functools.lru_cache(maxsize=256)
def _escaped(sign: str) -> str:
    """A sign that is neither a letter nor a digit of ASCII, without the backslashes before it."""
    raw, code = sign.encode("utf-8", "surrogatepass"), ord(sign)
    in_url = "".join(f"{_PERCENT}{_hex(byte, 2)}" for byte in raw)
    entity = f"#(?:{code}|[xX]0{{0,4}}{_hex(code, 1)})" + (f"|{_ENTITIES[sign]}" if sign in _ENTITIES else "")
    found = [re.escape(sign), in_url, f"{_AMPERSAND}(?:{entity});"]
    if code < 0x100:
        found.append(f"(?:u00|x){_hex(code, 2)}")
    elif code < 0x10000:
        found.append(f"u{_hex(code, 4)}")
    else:
        high, low = divmod(code - 0x10000, 0x400)
        found += [f"u{_hex(0xD800 + high, 4)}{_backslashes(1)}u{_hex(0xDC00 + low, 4)}", f"U{_hex(code, 8)}"]
    if len(raw) > 1:
        found.append(_backslashes(1).join(f"x{_hex(byte, 2)}" for byte in raw))
    if sign in _SHORT:
        found.append(_SHORT[sign])
    return f"(?:{'|'.join(found)})"


def _hex(number: int, digits: int) -> str:
    return "".join(f"[{digit}{digit.upper()}]" if digit > "9" else digit for digit in f"{number:0{digits}x}")


def _in_base64(secret: str) -> set[str]:
    """What base64 makes of the secret wherever it stands among other bytes, without the characters at either end
    that depend on its neighbours; with the signs of plain base64 and of that for URLs."""
    raw, found = secret.encode("utf-8", "surrogatepass"), set()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        whole = encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(raw)) % 3 else 0)]
        found |= {whole, whole.replace("+", "-").replace("/", "_")}
    return found
