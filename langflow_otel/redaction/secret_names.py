"""The one list of names whose values are secrets: in data, in texts and in log lines.

A name is secret if it has one of these in it, however it is written (``x-api-key``, ``accessToken``, ``API Key``), or
if it is, or ends with, one of the short ones (``pin``, ``smtp_pass``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final

PASSWORDS: Final = (
    "password",
    "passwort",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "kennwort",
    "contraseña",
    "contrasena",
    "mot de passe",
    "senha",
    "hasło",
    "пароль",
    "密码",
    "密碼",
    "口令",
    "パスワード",
    "비밀번호",
)
TOKENS: Final = (
    "secret",
    "token",
    "credential",
    "api key",
    *(f"{kind} key" for kind in ("access", "account", "auth", "client", "encryption", "license", "master", "private")),
    *(f"{kind} key" for kind in ("secret", "service", "shared", "signing", "storage", "subscription")),
)
"""Whose values are told from other words in prose and code, too; a space may be written in any way."""

_IN_DATA: Final = (
    "openai key",
    "anthropic key",
    "ssh key",
    "authorization",
    "cookie",
    "header",
    "jwt",
    "bearer",
    "signature",
    "connection string",
    "assertion",
    "code verifier",
    "security code",
    "recovery code",
    "seed phrase",
    "mnemonic",
)
PASSWORD_ENDS: Final = ("pass", "pw")
CODES: Final = ("pin", "otp", "totp", "cvv", "cvc")
"""Ends of names whose values may be some digits."""

_ENDS: Final = (*PASSWORD_ENDS, *CODES, "auth", "creds", "dsn")
_EXACT: Final = ("key", "sig", "sid")
_IN_SETTINGS: Final = ("key", "token", "secret", "passw", "auth", "credential", "pwd")
_CONNECTIONS: Final = frozenset({"conn", "connection", "uri"})
_PREFIX: Final = "x-amz-"
# A kind of token, or how many there are.
_NO_SECRET: Final = re.compile(r"token(?:type|izer|count|limit|usage|budget)|secretary")
_AMOUNT: Final = re.compile(
    r"tokens(?:$|used|perminute|persecond)|^(?:max|min|num|total)|(?:count|length|size|expires?in)$"
)
_SEPARATORS: Final = str.maketrans("", "", "_- .")
_PARTS: Final = re.compile(r"[._/-]")
_WORDS: Final = re.compile(r"[A-Z]?[^\W\dA-Z_]+|[A-Z]+(?![a-z])")
_LONGEST: Final = 80


def _squeezed(names: Iterable[str]) -> str:
    return "|".join(name.replace(" ", "") for name in names)


_STEM: Final = re.compile(_squeezed((*PASSWORDS, *TOKENS, *_IN_DATA)))
_PASSWORD: Final = re.compile(rf"{_squeezed(PASSWORDS)}|(?:{'|'.join(PASSWORD_ENDS)})$")
_IS_SHORT: Final = frozenset((*_ENDS, *_EXACT))
_IS_END: Final = frozenset(_ENDS)


def is_secret_name(name: str) -> bool:
    """True if what has this name is most likely a secret, such as ``x-api-key`` or ``accessToken``.

    Not each name that ends with key: ``text_key``, ``primary_key`` and ``sort_key`` are none.
    """
    return _is_secret(name[:_LONGEST])


@functools.lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    squeezed = name.lower().translate(_SEPARATORS)
    if squeezed in _IS_SHORT or name.lower().startswith(_PREFIX):
        return True
    if _STEM.search(squeezed) is not None:
        return _STEM.search(_NO_SECRET.sub("", squeezed)) is not None
    *before, last = (word.lower() for word in _WORDS.findall(name) or [""])
    # In value_to_pass it is a verb.
    return last in _IS_END and before[-1:] != ["to"]


def may_be_secret_name(name: str) -> bool:
    """True for a setting's name that could be a secret's.

    Wider than :func:`is_secret_name`, with ``sort_key`` and ``author``: where settings are shown, hiding a harmless
    value costs little.
    """
    lowered = name.strip().lower()
    parts = _PARTS.split(lowered)
    return (
        any(word in lowered for word in _IN_SETTINGS)
        or any(map(is_secret_name, (lowered, *parts)))
        or not _CONNECTIONS.isdisjoint(parts)
    )


def is_name_of_secret_number(name: str) -> bool:
    """True if a number with this name is a secret: a PIN is one, ``max_tokens`` is none."""
    return is_secret_name(name) and not _is_amount(name[:_LONGEST])


@functools.lru_cache(maxsize=4096)
def _is_amount(name: str) -> bool:
    squeezed = name.lower().translate(_SEPARATORS)
    return squeezed == "key" or _AMOUNT.search(squeezed) is not None


def is_name_of_password(name: str) -> bool:
    """True for a password's, whose value may be any text."""
    return _PASSWORD.search(name[:_LONGEST].lower().translate(_SEPARATORS)) is not None


def as_pattern(names: Iterable[str]) -> str:
    """The names as a regular expression without groups, words in whatever way they are put together."""
    return "|".join(re.escape(name).replace(r"\ ", "[_. -]?") for name in names)


IN_TEXT: Final = as_pattern((*PASSWORDS, *TOKENS, *_IN_DATA))
"""What a secret name has in it."""

SHORT: Final = as_pattern((*_ENDS, *_EXACT))
"""What a secret name may be as a whole; most of them also its last word."""

SHORT_IN_CAMEL_CASE: Final = "|".join(f"{name.capitalize()}|{name.upper()}" for name in _ENDS)
"""Those, behind a small letter."""

IN_SETTINGS: Final = as_pattern((*PASSWORDS, *_IN_SETTINGS))
"""Words in names for which :func:`may_be_secret_name` is true."""
