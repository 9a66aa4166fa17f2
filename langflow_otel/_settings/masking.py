"""Masks credentials in settings, and in messages about them, before they are shown."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from langflow_otel._settings.secret_files import read_secret
from langflow_otel.redaction.known_secrets import HIDDEN as REDACTED
from langflow_otel.redaction.known_secrets import without_secrets
from langflow_otel.redaction.secret_names import IN_SETTINGS, may_be_secret_name
from langflow_otel.redaction.urls import path_without_values

HIDDEN: Final = "***"

_NAME = re.compile(r"[A-Za-z][\w.-]{0,47}")
# The second is the first half of a password with a comma in it.
_HAS_PASSWORD = re.compile(
    rf"[^\s/:@]*:[^\s@]+@|://[^/:@\[\]]*:[^/]*[^/0-9]|(?:{IN_SETTINGS})\w{{0,16}}=", re.IGNORECASE
)
_NOT_ACCEPTED = re.compile(r"^(\w+)=.* is not accepted;", re.DOTALL)
_SHORTEST = 4
"""Shorter values are no secrets, and would be found in every other word."""
_SHORTEST_SEGMENT = 8
"""The same for a part of a path, which often is a word."""
_SHORTEST_ANYWHERE = 8
"""The same in texts of our own, which are made of such words."""
_FILES = ("_FILE", "_CERTIFICATE", "_CLIENT_KEY")
"""How the names of variables end that name a file: some put in there what belongs into the file."""
_PLAIN_PART = re.compile(r"[A-Za-z]{0,24}[0-9]{0,4}")
_LONGEST_TEXT: Final = 65_536
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def without_credentials(address: str) -> str:
    """An address without its user, its password, what may be a key in its path, the values of its query and its
    fragment."""
    scheme, separator, rest = address.partition("://") if "://" in address else ("", "", address)
    # Everything before the last "@": a password may hold what it should not, such as a slash.
    user, at, place = rest.rpartition("@")
    place, question, query = place.partition("#")[0].partition("?")
    named = "&".join(f"{name}={HIDDEN}" for name in (part.partition("=")[0] for part in query.split("&")) if name)
    host, slash, path = place.partition("/")
    shown = f"{scheme}{separator}{HIDDEN if user else ''}{at}{host}{slash}{_shown_segments(path)}"
    return f"{shown}{question}{named}"


def _shown_segments(path: str) -> str:
    return "/".join(HIDDEN if _is_secret_segment(each) else each for each in path.split("/"))


def _is_secret_segment(segment: str) -> bool:
    """True for a part of a path that is long enough for a key, and no known word."""
    return len(segment) >= _SHORTEST_SEGMENT and path_without_values(segment) != segment


def masked_headers(text: str) -> str:
    """``name=***`` for each header. What is no clean pair, such as a key without a name, is hidden as a whole."""
    return ",".join(_masked_pair(part) for part in text.split(",") if part.strip())


def _masked_pair(part: str) -> str:
    name, _, value = part.strip().partition("=")
    # A bare key may end in "=", as base64 does.
    is_pair = bool(value.strip("= ")) and _NAME.fullmatch(name.strip()) is not None
    return f"{name.strip()}={HIDDEN}" if is_pair else HIDDEN


def _masked_attributes(text: str) -> str:
    parts: list[str] = []
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            # The rest of a value with a comma in it, or a name alone.
            is_name = not part.strip() or (_NAME.fullmatch(part.strip()) and HIDDEN not in "".join(parts))
            parts.append(part if is_name else HIDDEN)
        elif may_be_secret_name(name) or _HAS_PASSWORD.search(unquote(value)):
            parts.append(f"{name}={HIDDEN}")
        else:
            parts.append(f"{name}={without_credentials(value)}" if "://" in value else part)
    return ",".join(parts)


def shown_path(text: str) -> str:
    """A path as it is shown: whole if it exists, otherwise only the parts that look like names of folders and files."""
    if _exists(text):
        return text
    separator = "\\" if "\\" in text else "/"
    if text.split(" ")[0].lower() in _SCHEMES and " " in text:
        return HIDDEN
    if len(text) > _LONGEST_PATH or not text.isprintable() or (separator not in text and not _is_file_name(text)):
        return HIDDEN
    return separator.join(each if _is_file_name(each) else HIDDEN for each in text.split(separator))


_LONGEST_PATH: Final = 1024
_LONGEST_PART: Final = 40
_SCHEMES: Final = frozenset({"authorization:", "basic", "bearer", "token"})


def _is_file_name(part: str) -> bool:
    """Such as ``otel-headers_2.txt``: words, each with a few digits at its end."""
    return len(part) <= _LONGEST_PART and all(map(_PLAIN_PART.fullmatch, re.split(r"[._ ~-]", part.rstrip(":"))))


def _exists(text: str) -> bool:
    try:
        return os.path.lexists(os.path.expanduser(text.strip()))
    except (OSError, ValueError):
        return False


def shown_value(name: str, text: str) -> str:
    """A variable's text without credentials."""
    if "-----BEGIN" in text:
        return HIDDEN  # A key in place of the path of its file.
    if name.endswith("_HEADERS"):
        return masked_headers(text)
    if name == "OTEL_RESOURCE_ATTRIBUTES":
        return _masked_attributes(text)
    if name.endswith(_FILES):
        return masked_headers(text) if "=" in text and not _exists(text) else shown_path(text)
    return without_credentials(text) if name.endswith("_ENDPOINT") or "://" in text else text


def shown_problem(problem: str, env: Mapping[str, str]) -> str:
    """One of ``Settings.problems``, which quote the wrong value."""
    found = _NOT_ACCEPTED.match(problem)
    if found is None or found[1] not in env:
        return problem
    shown = shown_value(found[1], env[found[1]])
    return problem if shown == env[found[1]] else f"{found[1]}={shown!r} is not accepted;{problem[found.end() :]}"


def one_line(text: object) -> str:
    """The text on one line, 300 characters at most, without the credentials of this process's environment.

    Credentials are removed before it is cut: half of one at the end would not be recognized."""
    return " ".join(Secrets(os.environ).hide(str(text)[:_LONGEST_TEXT]).split())[:300]


class Secrets:
    """Removes the credentials of an environment from texts: from those of others, such as a collector, and from lines
    of the library's own.

    Args:
        env: Its variables; the files that they name are read.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        found = {secret.strip() for name, text in env.items() for secret in _secrets_in(name, text)}
        self._secrets = tuple(each for each in found if len(each) >= _SHORTEST)
        self._long = tuple(each for each in self._secrets if len(each) >= _SHORTEST_ANYWHERE)

    def hide(self, text: str) -> str:
        """The text of others without credentials, in any spelling."""
        return without_secrets(text, self._secrets).replace(REDACTED, HIDDEN)

    def hide_in_line(self, text: str) -> str:
        """The same for a line of our own, where a short value would be found in other words."""
        return without_secrets(text, self._long).replace(REDACTED, HIDDEN)


def masked_line(line: str, env: Mapping[str, str] | None = None) -> str:
    """A line for the log, without the credentials of the environment; ``os.environ`` by default."""
    return Secrets(os.environ if env is None else env).hide_in_line(line)


def _secrets_in(name: str, text: str) -> Iterator[str]:
    if name.lower() in _PROXIES:
        yield from _secrets_of_address(text)
    if not name.startswith(("OTEL_", "LANGFLOW_OTEL_")):
        return
    if name.endswith("_HEADERS"):
        yield from _secrets_of_headers(text.split(","))
    elif name.endswith("_ENDPOINT"):
        yield from _secrets_of_address(text)
    elif name == "OTEL_RESOURCE_ATTRIBUTES":
        yield from _secrets_of_attributes(text)
    elif name.endswith(_FILES):
        yield from _secrets_of_file(name, text)


def _secrets_of_headers(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        value = part.partition("=")[2].strip()
        for each in {value, unquote(value), value.replace("%20", " ")}:
            # "Bearer abc": a server may quote the second word alone.
            words = each.split()[1:]
            yield from (each, *words)
            for word in words:
                yield from _in_basic_credentials(word)
        yield part.strip()


def _in_basic_credentials(word: str) -> Iterator[str]:
    """User with password, and the password, where they are in base64."""
    try:
        user = base64.b64decode(word, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return
    if ":" in user:
        yield from (user, user.partition(":")[2])


def _secrets_of_address(text: str) -> Iterator[str]:
    rest = text.partition("://")[2] or text
    user, _, place = rest.rpartition("@")
    for each in (user, unquote(user)):
        yield from (each, each.partition(":")[2])
    path, _, query = place.partition("#")[0].partition("?")
    for part in query.split("&"):
        value = part.partition("=")[2]
        yield from (value, unquote(value))
    for segment in path.split("/")[1:]:
        if _is_secret_segment(segment):
            yield from (segment, unquote(segment))


def _secrets_of_attributes(text: str) -> Iterator[str]:
    for part in text.split(","):
        name, _, value = part.partition("=")
        plain = unquote(value)
        if may_be_secret_name(name):
            yield from (value, plain)
        if "@" in plain:
            yield from _secrets_of_address(plain)


def _secrets_of_file(name: str, text: str) -> Iterator[str]:
    if shown_value(name, text) != text:
        yield text
        if "=" in text:
            yield from _secrets_of_headers(text.split(","))
    if not name.endswith(("_HEADERS_FILE", "_TOKEN_FILE")):
        return
    try:
        lines = read_secret(Path(text.strip()).expanduser()).decode("utf-8").splitlines()
    except (OSError, ValueError, RuntimeError):
        return
    if name.endswith("_TOKEN_FILE"):
        yield from lines
    else:
        yield from _secrets_of_headers(part for line in lines for part in line.split(","))
