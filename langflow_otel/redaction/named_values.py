"""Values under secret names in JSON, in Python's ``repr`` and in tables of Markdown, wherever they stand in a text.

Not by parsing it: JSON is fenced, follows words, comes in lines, is a string in other JSON, or is cut off. A quoted
name tells how often its text was escaped, by the backslashes before its quotes; its value ends where quotes with as
many stand, or where its brackets are closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from langflow_otel.redaction import secret_names
from langflow_otel.redaction.assignments import is_placeholder
from langflow_otel.redaction.scan import MARKER, Finding, Scan
from langflow_otel.redaction.secret_names import is_name_of_password, is_name_of_secret_number, is_secret_name


def _escaped(name: str) -> str:
    """As JSON writes it in ASCII."""
    return "".join(sign if sign.isascii() else rf"\\+u{ord(sign):04x}" for sign in name)


_NOT_ASCII: Final = "|".join(_escaped(name) for name in secret_names.PASSWORDS if not name.isascii())
_REST: Final = r"[\w .\x{80}-\x{10ffff}-]{0,32}"
_QUOTED: Final = (
    rf"(?:(?i:(?:{secret_names.IN_TEXT}|{_NOT_ASCII}){_REST}|(?:[\"'_ -]|\b)(?:{secret_names.SHORT}))|"
    rf"[a-z0-9](?:{secret_names.SHORT_IN_CAMEL_CASE}))[0-9_. -]{{0,4}}"
    r"\\*[\"']\]?[ \t\r\n]{0,3}(?:[:,=]|\\+[rnt])"
)
QUOTED_NAME: Final = (_QUOTED, _QUOTED.replace(r"\]?[ \t", r"(\]?)[ \t"))
"""The end of a quoted name and what follows it: how it begins, and the whole."""

_KEYWORD: Final = (
    rf"(?:(?i:(?:{secret_names.IN_TEXT}|{_NOT_ASCII})\w{{0,32}}|(?:_|\b)(?:{secret_names.SHORT}))|"
    rf"[a-z0-9](?:{secret_names.SHORT_IN_CAMEL_CASE}))[0-9_]{{0,4}}=(?:[bruBRU]{{0,2}}\\*[\"']|[\[{{(]|[A-Za-z.]{{1,32}}\()"
)
KEYWORD: Final = (_KEYWORD, _KEYWORD.replace("}=(?:", "}(=)(?:"))
"""The same of a name without quotes, as ``repr`` writes the fields of dataclasses and of Pydantic's models."""

_MAX_NAME: Final = 256
_LONGEST_PLACEHOLDER: Final = 80
_NAME_END: Final = re.compile(rb"(\\*)([\"'])\]?(?:\s|\\+[nrt])*(=>|[:,=](?!=))(?:\s|\\+[nrt])*")
_VALUE_FOLLOWS: Final = re.compile(
    # Of a row such as {"name": "pin", "type": "str", "value": ...}
    rb"(?:\\*[\"'][\w -]{1,32}\\*[\"']\s{0,9}:\s{0,9}"
    rb"(?:\\*[\"'][^\"'\\\n]{0,64}\\*[\"']|[\w.-]{1,32})\s{0,9},\s{0,32}){0,5}"
    rb"\\*[\"'](?i:value|val|content|default)\\*[\"']\s{0,9}:\s{0,9}"
)
_OPENING: Final = re.compile(rb"[bfruBFRU]{0,2}(\\*)([\"'])")
_NUMBER: Final = re.compile(rb"[+-]?[0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![\w.])")
# As repr writes what is neither a text nor a number: Decimal('1'), deque(['a']), np.str_('a').
_CALL: Final = re.compile(
    rb"((?:[A-Z]\w{0,64}|(?:np|numpy)\.\w{1,32}|array|bytearray|defaultdict|deque|frozenset|mappingproxy|set)\()"
    rb"(?:[bru]?\\*[\"']|[\[{(<+.0-9-]|\w{1,64}=)"
)
# Rather than a placeholder or a pattern, such as [hidden] or (.*).
_OF_LITERALS: Final = re.compile(
    rb"[\[{(]+\s{0,9}(?:[bru]?\\*[\"']|[+-]?[0-9]|None\b|True\b|False\b|[A-Za-z.]{1,64}\()"
)
_LAST_WORD: Final = re.compile(rb"[\w\x80-\xff]+\Z")
_NO_KEYWORD: Final = re.compile(r"header|^(?:key|sig|sid)$")
_QUOTE: Final = re.compile(rb"(\\*)([\"'\n])")
_IN_BRACKETS: Final = re.compile(rb"(\\*)([\"'\n])|[][(){}]")
# Nothing in brackets, or a template's variable.
_TEMPLATE: Final = re.compile(rb"\[\s{0,99}\]|\{\s{0,99}\}|\{\{|\{[A-Za-z_][\w.]{0,64}\}")
_PAIR_BEGINS: Final = re.compile(rb"[(\[][bBuU]?\Z")
_PAIR_ENDS: Final = re.compile(rb"\\*[\"']?\s{0,9}(?:[)\]]|\Z)")
_ESCAPE: Final = re.compile(rb"\\+u([0-9A-Fa-f]{4})")
_HIDDEN_ALREADY: Final = re.compile("[*x.•_-]*".encode(), re.IGNORECASE)
_SCHEME_ONLY: Final = re.compile(rb"[A-Za-z-]{1,20} +(\S+)")
_A_WORD: Final = re.compile(rb"[ #]{0,3}[A-Za-z]?[a-z]{0,11}[ .,:;!?]?")


def value_of_quoted(raw: bytes, quote_at: int) -> Finding | None:
    """The value of the name whose closing quote stands at ``quote_at``, or None if it is no secret's."""
    name_end = quote_at
    while raw[name_end - 1 : name_end] == b"\\":
        name_end -= 1
    follows = _NAME_END.match(raw, name_end)
    name_at = None if follows is None else _opening_of(raw, name_end, follows[1] + follows[2])
    if follows is None or name_at is None:
        return None
    name = _text_of(raw[name_at + len(follows[1]) + 1 : name_end])
    if not is_secret_name(name):
        return None
    if follows[3] != b",":
        return _value_at(raw, follows.end(), name, follows[1] + follows[2])
    if (row := _VALUE_FOLLOWS.match(raw, follows.end())) is not None:
        return _value_at(raw, row.end(), name, follows[1] + follows[2])
    if _PAIR_BEGINS.search(raw, max(name_at - 2, 0), name_at) is None:
        return None
    return _value_at(raw, follows.end(), name, follows[1] + follows[2], in_pair=True)


def value_of_keyword(raw: bytes, equals_at: int) -> Finding | None:
    """The value of the name that ends before the ``=`` at ``equals_at``, or None if it is no secret's."""
    word = _LAST_WORD.search(raw, max(equals_at - _MAX_NAME, 0), equals_at)
    name = "" if word is None else _text_of(word[0])
    if not is_secret_name(name) or MARKER.match(raw, equals_at + 1):
        return None
    if raw[equals_at + 1 : equals_at + 2] in (b"[", b"{", b"(") and not _OF_LITERALS.match(raw, equals_at + 1):
        return None
    # What a heading says in code, and what HTML, React or a dictionary's lookup call a key, is no secret.
    if raw[equals_at + 1 : equals_at + 2] in (b"'", b'"') and _NO_KEYWORD.search(name.lower()):
        return None
    return _value_at(raw, equals_at + 1, name, b"")


def _value_at(raw: bytes, at: int, name: str, mark: bytes, *, in_pair: bool = False) -> Finding | None:
    """What stands at ``at`` if it is a value; ``mark`` are the quotes for one that has none."""
    kind = _kind_of(name)
    opening = _OPENING.match(raw, at)
    if opening is not None:
        start, quotes = opening.end(), opening[1] + opening[2]
        first, end = _string_ends(raw, start, len(opening[1]), opening[2])
        if _is_harmless(raw[start:end], name):
            return None
        is_closed = end == len(raw) or raw[end : end + 1] == b"\n" or raw.startswith(quotes, end)
        if in_pair and is_closed and not (_PAIR_ENDS.match(raw, first) or _PAIR_ENDS.match(raw, end)):
            return None
        return (start, end, kind) if is_closed else (start, end, kind, b"", quotes)
    if raw[at : at + 1] in (b"[", b"{", b"("):
        if _TEMPLATE.match(raw, at):
            return None
        return at, _closing_of(raw, at), kind, mark, mark
    if (call := _CALL.match(raw, at)) is not None:
        end = _closing_of(raw, call.end(1) - 1)
        is_hidden = _HIDDEN_ALREADY.fullmatch(raw[call.end(1) : end - 1].strip(b"\\'\"")) is not None
        return None if is_hidden or not is_name_of_secret_number(name) else (at, end, kind, mark, mark)
    number = _NUMBER.match(raw, at)
    if number is None or not is_name_of_secret_number(name):
        return None
    return at, number.end(), kind, mark, mark


def _kind_of(name: str) -> str:
    if is_name_of_password(name):
        return "password"
    return "authorization" if "authorization" in name.lower() else "secret"


def _opening_of(raw: bytes, name_end: int, quote: bytes) -> int | None:
    """Where the quote before a name begins, if it was escaped as the one behind the name."""
    last = raw.rfind(quote[-1:], max(name_end - _MAX_NAME, 0), name_end)
    at = last - len(quote) + 1
    if last < 0 or at < 0 or not raw.startswith(quote, at) or raw[at - 1 : at] == b"\\":
        return None
    return at


def _text_of(name: bytes) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)).encode("utf-8", "replace"), name).decode("utf-8", "replace")


def _string_ends(raw: bytes, start: int, level: int, quote: bytes) -> tuple[int, int]:
    """The first and the last place where a string may end whose own quotes have ``level`` backslashes.

    An encoding makes 2n backslashes before a quote, or 2n + 1, of n. So a quote behind k backslashes of the string's
    own has ``k * 2**times + level`` in the text; it belongs to the string if k is odd, and ends it if k is even. How
    many times a text was encoded can be read from ``level`` only where each encoding adds one, as JSON does: ``repr``
    adds none before the other kind of quote. Otherwise a value that ends with a backslash (k is 2) and one with a
    quote in it (k is 1, encoded once more) are the same text, and the value goes on to the next quote that is certain.
    """
    times, is_known, first = level.bit_length(), False, -1
    for found in _QUOTE.finditer(raw, start):
        if found[2] == b"\n":
            return _both(first, found.start(2))
        own = len(found[1]) - level
        if found[2] != quote:
            continue
        if own <= 0:
            return _both(first, found.start())  # Fewer: the end of the string around it.
        doubled = _twos_in(own)
        if is_known:
            if doubled > times:
                return _both(first, found.end() - 1 - level)
        elif doubled <= times:
            is_known = True
        elif _is_json_only(raw, quote):
            return _both(first, found.end() - 1 - level)
        else:
            times, is_known, first = doubled, True, found.end() - 1 - level
    return _both(first, len(raw))


def _both(first: int, last: int) -> tuple[int, int]:
    return (last if first < 0 else first), last


def _twos_in(number: int) -> int:
    """How often it can be halved."""
    return (number & -number).bit_length() - 1


def _is_json_only(raw: bytes, quote: bytes) -> bool:
    return (b"'" if quote == b'"' else b'"') not in raw


def _closing_of(raw: bytes, at: int) -> int:
    """Behind the bracket that closes the one at ``at``; the end of the text if none does.

    Of all numbers of times that the text may have been encoded, the one that makes it longest.
    """
    times: int | None = 0
    furthest = at
    while times is not None:
        end, times = _closing_as(raw, at, times)
        furthest = max(furthest, end)
        if times is not None and (_is_json_only(raw, b'"') or _is_json_only(raw, b"'")):
            break
    return furthest


def _closing_as(raw: bytes, at: int, times: int) -> tuple[int, int | None]:
    """The same if the text was encoded so often; and the next number of times for which it may end elsewhere."""
    depth = 0
    others: list[int] = []
    while (found := _IN_BRACKETS.search(raw, at)) is not None:
        at = found.end()
        if found[2] in (b'"', b"'"):
            times = max(times, len(found[1]).bit_length())
            at = _behind_string(raw, at, len(found[1]), found[2], times, others)
        elif found[0] in (b"[", b"{", b"("):
            depth += 1
        elif found[0] in (b"]", b"}", b")"):
            depth -= 1
            if depth == 0:
                return at, min(others, default=None)
    return len(raw), min(others, default=None)


def _behind_string(raw: bytes, start: int, level: int, quote: bytes, times: int, others: list[int]) -> int:
    """Behind the end of a string that was encoded so often; ``others`` gets what would make its last quote its own."""
    for found in _QUOTE.finditer(raw, start):
        own = len(found[1]) - level
        if found[2] == b"\n" or (found[2] == quote and own <= 0):
            return found.end()
        if found[2] == quote and (doubled := _twos_in(own)) > times:
            others.append(doubled)
            return found.end()
    return len(raw)


def _is_harmless(value: bytes, name: str) -> bool:
    """Nothing, a marker, a placeholder, or a word that a model's tokenizer calls a token."""
    if len(value) > _LONGEST_PLACEHOLDER:
        return False
    scheme = _SCHEME_ONLY.fullmatch(value)
    bare = value if scheme is None else scheme[1]
    if _HIDDEN_ALREADY.fullmatch(bare) is not None or MARKER.fullmatch(bare) is not None:
        return True
    if bare[:1] not in (b"[", b"#") and is_placeholder(bare):
        return True
    return name.lower() == "token" and _A_WORD.fullmatch(value) is not None


# ---- tables

_SEPARATOR_LINE: Final = re.compile(rb"\|(?:[ \t]*:?-{2,}:?[ \t]*\|)+")
_LINE_BREAK: Final = re.compile(rb"(?:\n|(?<!\\)(\\+)n)[ \t>]*\Z")
_CELL_END: Final = re.compile(rb"(?<!\\)\|")
_AROUND_NAME: Final = b" \t*`_\"'\\"
_FIRST_COLUMNS: Final = frozenset(("name", "field", "key", "header", "property", "setting", "variable", "parameter"))
_VALUE_COLUMNS: Final = frozenset(("value", "values", "val"))


def in_tables(scan: Scan) -> Iterator[Finding]:
    """Cells of a table of Markdown in a column with a secret name; or beside one, where columns are names and values.

    The lines of a table may be escaped, as in JSON.
    """
    raw, done = scan.raw, 0
    for separator in _SEPARATOR_LINE.finditer(raw):
        if separator.start() < done:
            continue
        lowest = max(done, separator.start() - 64)
        line_break = _LINE_BREAK.search(raw[lowest : separator.start()])
        before, done = done, separator.end()
        if line_break is None:
            continue
        ends = re.compile(rb"\n" if line_break[1] is None else rb"(?<!\\)" + re.escape(line_break[1]) + b"n")
        names = _names_in(raw[before : lowest + line_break.start()], ends)
        for start, end in _rows(raw, separator.end(), ends):
            scan.check_time()
            yield from _secret_cells(raw, start, end, names)
            done = end


def _names_in(before: bytes, ends: re.Pattern[bytes]) -> list[str]:
    line = ends.split(before)[-1]
    return [_text_of(cell.strip(_AROUND_NAME)) for cell in _CELL_END.split(line)[1:]]


def _rows(raw: bytes, at: int, ends: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    line_break = ends.search(raw, at)
    while line_break is not None:
        start = line_break.end()
        first = start + len(raw[start : start + 64]) - len(raw[start : start + 64].lstrip(b" \t>"))
        if raw[first : first + 1] != b"|":
            return
        line_break = ends.search(raw, first)
        yield first, len(raw) if line_break is None else line_break.start()


def _secret_cells(raw: bytes, start: int, end: int, names: list[str]) -> Iterator[Finding]:
    cells, at = [], start + 1
    for bar in _CELL_END.finditer(raw, at, end):
        cells.append((at, bar.start()))
        at = bar.end()
    if raw[at:end].strip():
        cells.append((at, end))
    in_pairs = (
        bool(names) and names[0].lower() in _FIRST_COLUMNS and not _VALUE_COLUMNS.isdisjoint(map(str.lower, names))
    )
    row_name = _text_of(raw[slice(*cells[0])].strip(_AROUND_NAME)) if cells else ""
    for (cell_at, cell_end), name in zip(cells, names, strict=False):
        if in_pairs:
            name = row_name if name.lower() in _VALUE_COLUMNS else ""
        text = raw[cell_at:cell_end].strip()
        is_number = _NUMBER.fullmatch(text) is not None
        hidden = is_name_of_secret_number(name) if is_number else is_secret_name(name)
        if hidden and not _is_harmless(text, name) and text != b"nan":
            found = cell_at + raw[cell_at:cell_end].index(text)
            yield found, found + len(text), _kind_of(name)
