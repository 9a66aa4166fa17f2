"""One secret in every spelling in which a text may hold it: as it is, and escaped, quoted or encoded by JSON, by
``repr``, for URLs, for HTML, several times over, or in base64."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Sequence
from typing import Final

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
    """Finds one secret.

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
    """Those of a secret, made once."""
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
