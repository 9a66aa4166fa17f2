"""What of a setting, and of what others say of it, may be shown: never a credential, nor a part of one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote

HIDDEN: Final = "***"

_NAME = re.compile(r"[A-Za-z][\w.-]{0,47}")
_SECRET_WORDS = ("key", "token", "secret", "passw", "auth", "credential")
_NOT_ACCEPTED = re.compile(r"^(\w+)=.* is not accepted;", re.DOTALL)
_SHORTEST = 4
"""Shorter values are no secrets, and would be found in every other word."""


def without_credentials(address: str) -> str:
    """An address without its user, its password, the values of its query and its fragment."""
    scheme, separator, rest = address.partition("://") if "://" in address else ("", "", address)
    # Everything before the last "@": a password may hold what it should not, such as a slash.
    user, at, place = rest.rpartition("@")
    place, question, query = place.partition("#")[0].partition("?")
    named = "&".join(f"{name}={HIDDEN}" for name in (part.partition("=")[0] for part in query.split("&")) if name)
    return f"{scheme}{separator}{HIDDEN if user else ''}{at}{place}{question}{named}"


def masked_headers(text: str) -> str:
    """``name=***`` for each header. What is no clean pair, such as a key without a name, is hidden as a whole."""
    return ",".join(_masked_pair(part) for part in text.split(",") if part.strip())


def _masked_pair(part: str) -> str:
    name, _, value = part.strip().partition("=")
    # A bare key may end in "=", as base64 does.
    is_pair = bool(value.strip("= ")) and _NAME.fullmatch(name.strip()) is not None
    return f"{name.strip()}={HIDDEN}" if is_pair else HIDDEN


def _masked_attributes(text: str) -> str:
    parts = []
    for part in text.split(","):
        name, equals, _ = part.partition("=")
        parts.append(f"{name}={HIDDEN}" if equals and any(word in name.lower() for word in _SECRET_WORDS) else part)
    return ",".join(parts)


def shown_value(name: str, text: str) -> str:
    """What of a variable's text may be shown."""
    if "-----BEGIN" in text:
        return HIDDEN  # A key in place of the path of its file.
    if name.endswith("_HEADERS"):
        return masked_headers(text)
    if name == "OTEL_RESOURCE_ATTRIBUTES":
        return _masked_attributes(text)
    return without_credentials(text) if name.endswith("_ENDPOINT") or "://" in text else text


def shown_problem(problem: str, env: Mapping[str, str]) -> str:
    """One of ``Settings.problems``, which quote the wrong value."""
    found = _NOT_ACCEPTED.match(problem)
    if found is None or found[1] not in env:
        return problem
    shown = shown_value(found[1], env[found[1]])
    return problem if shown == env[found[1]] else f"{found[1]}={shown!r} is not accepted;{problem[found.end() :]}"


def one_line(told: object) -> str:
    """So much of what others say, such as the SDK of a value of 100 kB, as fits on a line or two."""
    return " ".join(str(told).split())[:300]


class Secrets:
    """Knows the credentials of an environment, and takes them out of what others wrote, such as a collector."""

    def __init__(self, env: Mapping[str, str]) -> None:
        found = {secret for name, text in env.items() for secret in _secrets_in(name, text)}
        # The longest first: one may hold another.
        self._secrets = sorted((each for each in found if len(each) >= _SHORTEST), key=len, reverse=True)

    def hide(self, text: str) -> str:
        """The same without them."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text


def _secrets_in(name: str, text: str) -> Iterable[str]:
    if not name.startswith(("OTEL_", "LANGFLOW_OTEL_")):
        return
    if name.endswith("_HEADERS"):
        for part in text.split(","):
            value = part.partition("=")[2].strip()
            # "Bearer abc": a server may quote the second word alone.
            words = [*unquote(value).split()[1:], *value.replace("%20", " ").split()[1:]]
            yield from (part.strip(), value, unquote(value), *words)
    elif name.endswith("_ENDPOINT"):
        rest = text.partition("://")[2] or text
        user = rest.rpartition("@")[0]
        yield from (user, user.partition(":")[2], unquote(user.partition(":")[2]))
        for part in rest.partition("?")[2].split("&"):
            value = part.partition("=")[2]
            yield from (value, unquote(value))
