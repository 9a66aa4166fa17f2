"""Finds secrets in assignments such as ``password=...`` and ``"token": "..."``: decides and finds where they end.

Code and prose use the same names: ``token = next(tokens)``, ``"password": true``, "the token is invalid".
"""

from __future__ import annotations

import re
from typing import Final, Literal

from langflow_otel.redaction import secret_names
from langflow_otel.redaction.scan import MARKER, Finding

_PASSWORDS: Final = (
    f"{secret_names.as_pattern(secret_names.PASSWORDS)}|"
    rf"(?:\b|_)(?:{secret_names.as_pattern(secret_names.PASSWORD_ENDS)})"
)
_CODES: Final = rf"(?:\b|_)(?:{secret_names.as_pattern(secret_names.CODES)})"
NAMES: Final = f"{_PASSWORDS}|{secret_names.as_pattern(secret_names.TOKENS)}|{_CODES}"
"""Ends of names whose values are secrets, to be read without regard to case. ``max_tokens`` and ``token_type`` end
otherwise."""

_ANNOTATION: Final = (
    r"[ \t]{0,3}(?:str|bytes|SecretStr|[Ss]tring|Optional\[(?:str|SecretStr)\])(?: ?\| ?None)?[ \t]{0,3}"
)

_SEPARATORS: Final = (
    rf":{_ANNOTATION}=",
    "=>",
    ":=",
    "={1,3}",
    "!={1,2}",
    ":",
    r"\x{ff1a}",  # the wide colon of Chinese and Japanese
    r",[ \t]?\\*[\"'](?i:value|val)\\*[\"'][ \t]?:",  # {"name": "password", "value": ...
    ",",
    r"[ \t](?i:is|was|ist|lautet)[ \t]{0,2}:?[ \t]",
    r"[ \t]\\*[\"'`]",
)
HEAD: Final = rf"(?i:{NAMES})(?: provided)?\\*[\"'`]?\]?[ \t]{{0,3}}({'|'.join(_SEPARATORS)})"
"""A name and, as its group, what stands between it and the value. The last form takes the value's quote with it."""

FLAG: Final = r"--(?:[A-Za-z0-9]+-)*(?i:password|passphrase|pass|token|secret|api-key|access-key|secret-key)([ \t]+)"

AUTHORIZATION: Final = (
    r"\b(?i:authorization)\\*[\"']?[ \t]{0,3}[:=,][ \t]{0,3}\\*[fbr]?[\"']?(?:[A-Za-z][A-Za-z0-9-]{1,20}[ =]{1,2})?"
    r"([^\s\"'\\<>]{3,}[^\s\"'\\<>,;)}])"
)

Style = Literal["quoted", "equals", "colon", "words"]

_OPENING: Final = re.compile(rb"[ \t]*(?:(?:[bfruBFRU]{1,2}|@)?(\\*[\"'`]))?")
_UNTIL: Final = {
    b'"': re.compile(rb'(?:[^"\\\n]|\\.)*'),
    b"'": re.compile(rb"(?:[^'\\\n]|\\.)*"),
    b"`": re.compile(rb"[^`\n]*"),
}
_BARE: Final = re.compile(rb"[^\s\"'`<>]+")
# The last four are the commas, the full stop and the semicolon of Chinese and Japanese.
_NEXT_FIELD: Final = re.compile(
    rb"[,;&|](?:\Z|[A-Za-z_][\w. -]{0,40}=)|" + "|".join("\uff0c\u3001\u3002\uff1b").encode()
)
_COLONS: Final = (b":", "\uff1a".encode())
_OPENS: Final = {b")": b"(", b"]": b"[", b"}": b"{"}
_LOOKED_AT: Final = 1024
"""Bytes of a value that are judged: each name in a long run without a space has the whole rest as its value."""
_IS_PASSWORD: Final = re.compile(_PASSWORDS.replace(r"(?:\b|_)", "_?"), re.IGNORECASE)
_IS_CODE: Final = re.compile(_CODES.replace(r"(?:\b|_)", "_?"), re.IGNORECASE)
_CODE: Final = re.compile(rb"[0-9]{3,10}(?![\w-])")
_SENTENCE_GOES_ON: Final = re.compile(rb"[ \t]*[^\s\"'`<>}\])]")

_PLACEHOLDER: Final = re.compile(
    rb"\$?\{{1,2}[\w. :!\[\]()-]*\}{1,2}|\$\(.*|\$[A-Z_][A-Z0-9_]*|%\([\w]+\)s|%[sr]|<[^>]*>|#[0-9A-Fa-f]{3,8}|"
    rb"\[[\w -]*\]|"
    rb"[A-Za-z_-]*(?:your|example|changeme|change-me|placeholder|redacted|dummy|insert)[A-Za-z_-]*|"
    rb"(?:none|null|nil|true|false|undefined|str|string|int|bytes|bool|required|optional|empty|missing|invalid|expired)",
    re.IGNORECASE,
)
_CALL: Final = re.compile(
    rb"(?:await )?[A-Za-z_][\w.]*[(\[](?:[\"')\]\s]|\.{3}|[0-9]+[)\],]|[A-Za-z_]\w*[.,)\]=(\[]|\Z)"
)
# self.password, settings.DB_PASSWORD, db_password; but "correct.horse" may be one itself.
_VARIABLE: Final = re.compile(
    rb"(?:self|cls|this|os|settings|config|conf|cfg|args|options|request|req|env|environ|app|ctx|secrets|params|data)"
    rb"(?:\.[A-Za-z_]+)+|[A-Za-z_.]*(?:pass|pwd|secret|token|key|credential)[A-Za-z_.]*",
    re.IGNORECASE,
)
_WORD: Final = re.compile(rb"[A-Za-z_]+")
_CAMEL: Final = re.compile(rb"[a-z]*(?:[-_./:]?[A-Z][a-z]+|[-_./:][a-z]+)*")
_DIGIT: Final = re.compile(rb"[0-9]")
_LETTER: Final = re.compile(rb"[A-Za-z]")
_SYMBOL: Final = re.compile(rb"[^A-Za-z0-9\s.,:;()'\"_-]")
_HEX: Final = re.compile(rb"[0-9a-fA-F-]{24,}")
_JOINT: Final = re.compile(rb"[-_.]")
_SCHEME: Final = re.compile(rb"(?i:bearer|basic|token|digest|api-?key|negotiate|bot|key)[ =]{1,2}\Z")


def value_after(raw: bytes, name_at: int, separator_at: int, value_at: int) -> Finding | None:
    """The secret that a name and a separator announce, or None."""
    name = raw[name_at:separator_at].rstrip(b" \t\"'`]\\")
    separator = raw[separator_at:value_at].strip()
    if separator[-1:] in (b'"', b"'", b"`"):
        if len(name) < 6:
            return None  # pass `force=True`
        separator, value_at = b"", separator_at
    opening = _OPENING.match(raw, value_at)
    assert opening is not None  # noqa: S101 - it matches the empty text
    start = opening.end()
    marker = MARKER.match(raw, start)
    if marker is not None and not raw[marker.end() : marker.end() + 1].strip(b" \t\r\n\"'`<>,;&|)]}\\"):
        return None
    if quote := opening.group(1):
        if separator == b"," and raw[separator_at - 1 : separator_at] not in (b'"', b"'"):
            return None
        loose = separator in (b",", b"")
        return judged(raw, start, _quoted_end(raw, start, quote), name, "words" if loose else "quoted")
    bare = _BARE.match(raw, start, start + _LOOKED_AT)
    if bare is None or separator == b"," or _CALL.match(raw, start, start + 200):
        return None
    value = bare.group()
    capped = len(value) == _LOOKED_AT
    if (stop := _NEXT_FIELD.search(value)) and not (capped and stop.end() == _LOOKED_AT):
        value, capped = value[: stop.start()], False
    value = _without_closing(value)
    if len(value) <= 80 and _VARIABLE.fullmatch(value):
        return None
    style: Style = "equals" if b"=" in separator else "colon" if separator in _COLONS else "words"
    found = judged(raw, start, start + len(value), name, style)
    if found is not None and capped:
        whole = _BARE.match(raw, start)
        return found if whole is None else (start, whole.end(), found[2])
    return found


def value_of_flag(raw: bytes, flag_at: int, value_at: int) -> Finding | None:
    """The secret behind ``--password`` on a command line, or None."""
    opening = _OPENING.match(raw, value_at)
    assert opening is not None  # noqa: S101 - it matches the empty text
    start, quote = opening.end(), opening.group(1)
    bare = _BARE.match(raw, start)
    end = _quoted_end(raw, start, quote) if quote else start if bare is None else bare.end()
    value = raw[start:end]
    if len(value) < 4 or value.startswith(b"-") or MARKER.match(value) or is_placeholder(value):
        return None
    return start, end, "password" if b"pass" in raw[flag_at:value_at].lower() else "secret"


def judged(raw: bytes, start: int, end: int, name: bytes, style: Style) -> Finding | None:
    """The value between ``start`` and ``end`` as a finding, if it can be a secret of that name."""
    value = raw[start:end]
    if MARKER.fullmatch(value) or is_placeholder(value) or len(set(value[:99])) < 2 or value.startswith(b"//"):
        return None
    if _IS_CODE.match(text := name.decode("utf-8", "replace")):
        code = _CODE.match(raw, start, end)
        return None if code is None else (start, code.end(), "secret")
    if _IS_PASSWORD.match(text):
        goes_on = style == "colon" and _SENTENCE_GOES_ON.match(raw, end) is not None
        return (start, end, "password") if _is_password(value, style, goes_on) else None
    return (start, end, "secret") if _is_secret(value, style, name[-3:].lower() == b"key") else None


def looks_random(value: bytes) -> bool:
    """True for a value of 8 characters or more that looks generated, unlike words and names."""
    if len(value) < 8 or not _LETTER.search(value):
        return False
    mixed_case = not value.islower() and not value.isupper()
    if not _DIGIT.search(value):
        return len(value) >= 16 and mixed_case and not _CAMEL.fullmatch(value)
    if (mixed_case and len(value) >= 16) or _HEX.fullmatch(value):
        return True
    # Not "step-2-of-the-tutorial": the digits stand among letters.
    return any(len(part) >= 8 and _DIGIT.search(part) and _LETTER.search(part) for part in _JOINT.split(value))


def is_credential(raw: bytes, header_at: int, start: int, end: int) -> bool:
    """True if that is what an ``Authorization`` header carries, rather than a word about it."""
    value = raw[start:end]
    if is_placeholder(value) or is_placeholder(raw[start : end + 1]):
        return False
    if _SCHEME.search(raw, header_at, start):
        return _DIGIT.search(value) is not None or not _is_word(value) or looks_random(value)
    return looks_random(value)


def _without_closing(value: bytes) -> bytes:
    """Without what ends a field or closes a bracket that was opened before the value."""
    while (last := value[-1:]) and (last in b",;:\\" or (last in b")]}" and _OPENS[last] not in value)):
        value = value[:-1]
    return value


def is_placeholder(value: bytes) -> bool:
    """True for what stands where a value is to be put in, such as ``${PASSWORD}`` or ``<your token>``."""
    return len(value) <= 80 and _PLACEHOLDER.fullmatch(value) is not None


def _quoted_end(raw: bytes, start: int, quote: bytes) -> int:
    until = _UNTIL.get(quote)
    if until is not None:
        match = until.match(raw, start)
        return start if match is None else match.end()
    # Inside of a text that is itself quoted, the quotes come with backslashes.
    ends = [end for end in (raw.find(quote, start), raw.find(b"\n", start)) if end >= 0]
    return min(ends, default=len(raw))


def _is_password(value: bytes, style: Style, goes_on: bool) -> bool:
    if style in ("quoted", "equals"):
        return len(value) >= 3
    mixed = _DIGIT.search(value) is not None or _SYMBOL.search(value) is not None or not _is_word(value)
    if style == "words":
        return len(value) >= 4 and mixed and not value.isdigit() and not _CAMEL.fullmatch(value)
    if goes_on:
        return len(value) >= 4 and mixed and not value.isdigit()
    return len(value) >= 4


def _is_word(value: bytes) -> bool:
    return value.islower() or value.isupper() or value.istitle() or b"-" in value


def _is_secret(value: bytes, style: Style, is_key: bool) -> bool:
    if b" " in value:
        return any(looks_random(part) for part in value.split())
    if looks_random(value):
        return True
    if style not in ("quoted", "equals"):
        return False
    if is_key and len(value) >= 8 and not _CAMEL.fullmatch(value) and (style == "quoted" or not _WORD.fullmatch(value)):
        return True
    return len(value) >= 6 and _DIGIT.search(value) is not None and _LETTER.search(value) is not None
