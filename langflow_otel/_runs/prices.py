"""What model calls cost, by the user's own list of prices. Nothing is priced without one."""

from __future__ import annotations

import fnmatch
import logging
import re
import reprlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timezone
from typing import Any, Final, NamedTuple

from langflow_otel._guard import WarnOnce
from langflow_otel._runs.facts import Costs, ModelResponse, ModelUsage, token_count
from langflow_otel.redaction.known_secrets import without_secrets

logger = logging.getLogger("langflow_otel")

_TOKENS_OF_A_PRICE: Final = 1_000_000
_HIGHEST_PRICE: Final = 1e12
"""So that no number of tokens makes an infinite amount."""
_CURRENCY: Final = re.compile("[A-Z]{3}")
_PRICES: Final = ("input", "cache_read", "cache_write", "output", "reasoning")
_FIELDS: Final = ("model", "provider", "currency", "valid_from", *_PRICES)
_MAX_NAMES: Final = 1_000
"""Combinations of names that are remembered. Authors of flows choose the names."""
_MAX_WARNINGS: Final = 100


class Rates(NamedTuple):
    """Prices of a million tokens each.

    Attributes:
        currency: ISO 4217 code.
        cache_read: Of the input, what the provider had in its cache.
        cache_write: Of the input, what it put there.
        reasoning: Of the output.
    """

    currency: str
    input: float
    output: float
    cache_read: float
    cache_write: float
    reasoning: float

    def cost(self, tokens: ModelResponse) -> float:
        """Of one call. A part is never larger than its whole."""
        left_input = token_count(tokens.input_tokens) or 0
        left_output = token_count(tokens.output_tokens) or 0
        amount = 0.0
        if read := tokens.cache_read_tokens:
            read = min(token_count(read) or 0, left_input)
            left_input -= read
            amount += read * self.cache_read
        if written := tokens.cache_write_tokens:
            written = min(token_count(written) or 0, left_input)
            left_input -= written
            amount += written * self.cache_write
        if reasoning := tokens.reasoning_tokens:
            reasoning = min(token_count(reasoning) or 0, left_output)
            left_output -= reasoning
            amount += reasoning * self.reasoning
        return (amount + left_input * self.input + left_output * self.output) / _TOKENS_OF_A_PRICE


class _Entry(NamedTuple):
    """One price. ``matches`` is None for a name; of a pattern, ``literals`` counts what stands for itself."""

    model: str
    provider: str | None
    since_s: float
    rates: Rates
    matches: Callable[[str], object] | None
    literals: int

    def rank(self, names: tuple[str, ...], provider: str) -> tuple[float, ...] | None:
        """How well the entry fits a call, the best first when sorted in reverse; None if it does not.

        Args:
            names: The model that answered and the one that was asked for, in this order.
            provider: Empty if it is not known.
        """
        if self.provider is not None and self.provider != provider:
            return None
        for place, name in enumerate(names):
            if self.matches is None and self.model == name:
                return (1, -place, 0, self.provider is not None, self.since_s)
            if self.matches is not None and self.matches(name):
                return (0, 0, self.literals, self.provider is not None, self.since_s)
        return None


class PriceTable:
    """A list of prices, as :func:`price_table` reads it.

    Attributes:
        entries: How many prices there are.
        currencies: In the order of the list.
    """

    def __init__(self, entries: tuple[_Entry, ...]) -> None:
        self._entries = entries
        self._found: dict[tuple[str | None, ...], tuple[tuple[float, Rates], ...]] = {}

    @property
    def entries(self) -> int:
        return len(self._entries)

    @property
    def currencies(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(entry.rates.currency for entry in self._entries))

    @property
    def changes_s(self) -> tuple[float, ...]:
        """When prices change, in seconds since the epoch, in this order."""
        return tuple(sorted({entry.since_s for entry in self._entries} - {float("-inf")}))

    def rates(self, response_model: str | None, model: str | None, provider: str | None, at_s: float) -> Rates | None:
        """The price that fits best, of those that are valid; None if none fits.

        Args:
            response_model: The model that answered.
            model: The model that was asked for.
            provider: As the GenAI conventions call it.
            at_s: When, in seconds since the epoch.
        """
        key = (response_model, model, provider)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _MAX_NAMES:
                self._found.clear()
            found = self._found[key] = self._fitting(response_model, model, provider)
        for since_s, rates in found:
            if since_s <= at_s:
                return rates
        return None

    def _fitting(
        self, response_model: str | None, model: str | None, provider: str | None
    ) -> tuple[tuple[float, Rates], ...]:
        """Those that fit, the best first."""
        names = tuple(name.casefold() for name in (response_model, model) if name)
        ranked = [(entry.rank(names, (provider or "").casefold()), entry) for entry in self._entries]
        fitting = [(rank, entry) for rank, entry in ranked if rank is not None]
        fitting.sort(key=lambda each: each[0], reverse=True)
        return tuple((entry.since_s, entry.rates) for _, entry in fitting)


class Pricing:
    """Prices calls by the list that is in force at the moment.

    Attributes:
        table: That list; None as long as there is none.
    """

    def __init__(self, table: PriceTable | None = None, clock: Callable[[], float] = time.time) -> None:
        self.table = table
        self._clock = clock
        self._warnings = WarnOnce(_MAX_WARNINGS)

    def costs(self, tokens: ModelResponse, model: str | None, provider: str | None) -> Costs | None:
        """What a call that is just over costs; None without prices, and for a call whose tokens are not known."""
        table = self.table
        if table is None or (tokens.input_tokens is None and tokens.output_tokens is None):
            return None
        rates = table.rates(tokens.model, model, provider, self._clock())
        if rates is None:
            self._warn_once(model or tokens.model, provider)
            return _UNPRICED
        return Costs({rates.currency: rates.cost(tokens)})

    def _warn_once(self, model: str | None, provider: str | None) -> None:
        if not self._warnings.is_first((model, provider)):
            return
        logger.warning(
            "LANGFLOW_OTEL_PRICES has no price for the model %r of the provider %r: its calls are in no cost, and are "
            "counted in langflow_cost_unpriced_calls_total.",
            None if model is None else without_secrets(model),
            None if provider is None else without_secrets(provider),
        )


_UNPRICED: Final = Costs({}, 1)

in_force: Pricing | None = None
"""Of this process; None without ``LANGFLOW_OTEL_PRICES``."""


def costs_of(tokens: ModelResponse, model: str | None, provider: str | None) -> Costs | None:
    """See :meth:`Pricing.costs`."""
    pricing = in_force
    return None if pricing is None else pricing.costs(tokens, model, provider)


def priced(usage: ModelUsage) -> ModelUsage:
    """The same with what it costs, where only LangFlow knows the tokens: none of them as cached or as reasoning."""
    if in_force is None or usage.costs is not None:
        return usage
    tokens = ModelResponse(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    return replace(usage, costs=costs_of(tokens, usage.model, usage.provider))


def price_table(document: object) -> PriceTable:
    """The list that a YAML or JSON document holds.

    Raises:
        ValueError: What is wrong with it, where, and what is accepted.
    """
    if not isinstance(document, Mapping):
        raise ValueError("it is no mapping; use the names prices and currency")
    for name in document:
        if name not in ("prices", "currency"):
            raise ValueError(f"{shown(name)} is not accepted; use prices and currency")
    listed = document.get("prices")
    if not isinstance(listed, list) or not listed:
        raise ValueError("prices is not there, or no list; use a list of entries, each with a model")
    currency = _currency(document.get("currency"), "currency")
    entries: dict[tuple[str, str | None, float], int] = {}
    table = []
    for number, given in enumerate(listed):
        place = f"prices[{number}]"
        entry = _entry(given, currency, place)
        first = entries.setdefault((entry.model, entry.provider, entry.since_s), number)
        if first != number:
            raise ValueError(f"{place} is for the same model, provider and time as prices[{first}]; use one of them")
        table.append(entry)
    return PriceTable(tuple(table))


def _entry(given: object, currency: str | None, place: str) -> _Entry:
    if not isinstance(given, Mapping):
        raise ValueError(f"{place} is no mapping; use {', '.join(_FIELDS)}")
    for name in given:
        if name not in _FIELDS:
            raise ValueError(f"{place}: {shown(name)} is not accepted; use {', '.join(_FIELDS)}")
    model, provider = _name(given, "model", place), _name(given, "provider", place)
    if model is None:
        raise ValueError(f"{place}.model is missing; use a name, or a pattern such as gpt-4o-mini*")
    own_currency = _currency(given.get("currency"), f"{place}.currency") or currency
    if own_currency is None:
        raise ValueError(f"{place}.currency is missing; use a code such as USD, here or for the whole list")
    is_pattern = any(sign in model for sign in "*?[")
    return _Entry(
        model,
        provider,
        _since_s(given.get("valid_from"), f"{place}.valid_from"),
        _rates(given, own_currency, place),
        re.compile(fnmatch.translate(model)).match if is_pattern else None,
        sum(sign not in "*?" for sign in model),
    )


def _rates(given: Mapping[str, Any], currency: str, place: str) -> Rates:
    price = {name: _price(given.get(name), f"{place}.{name}") for name in _PRICES}
    input_price, output_price = price["input"], price["output"]
    if input_price is None or output_price is None:
        missing = "input" if input_price is None else "output"
        raise ValueError(f"{place}.{missing} is missing; use input and output, 0 for what is free")
    return Rates(
        currency,
        input_price,
        output_price,
        input_price if price["cache_read"] is None else price["cache_read"],
        input_price if price["cache_write"] is None else price["cache_write"],
        output_price if price["reasoning"] is None else price["reasoning"],
    )


def _price(given: object, place: str) -> float | None:
    if given is None:
        return None
    if type(given) not in (int, float) or not 0 <= given <= _HIGHEST_PRICE:  # type: ignore[operator]
        raise ValueError(f"{place}: {shown(given)} is not accepted; use a price of a million tokens, 0 or more")
    return float(given)  # type: ignore[arg-type]


def _name(given: Mapping[str, Any], name: str, place: str) -> str | None:
    text = given.get(name)
    if text is None:
        return None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{place}.{name}: {shown(text)} is not accepted; use a text")
    return text.strip().casefold()


def _currency(given: object, place: str) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or _CURRENCY.fullmatch(given) is None:
        raise ValueError(f"{place}: {shown(given)} is not accepted; use a code of three capital letters, such as USD")
    return given


def _since_s(given: object, place: str) -> float:
    """Seconds since the epoch; minus infinity without a time. YAML makes a date or a time of what looks like one."""
    if given is None:
        return float("-inf")
    try:
        # Python 3.10 does not accept the Z.
        text = given.isoformat() if isinstance(given, date) else given
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))  # type: ignore[attr-defined]
        return (found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, AttributeError, TypeError, OverflowError):
        raise ValueError(f"{place}: {shown(given)} is not accepted; use a day such as 2026-01-31, or a time") from None


_show: Final = reprlib.Repr()
_show.maxlevel = 2  # A few lines of YAML with aliases can be a list of many millions.
_show.maxstring = _show.maxother = 80


def shown(given: object) -> str:
    """What stands in a file, for a log line: short, whatever it is."""
    try:
        text = _show.repr(given)
    except ValueError:  # Python writes no integer of thousands of digits.
        text = "a very large number"
    return text if len(text) <= 80 else text[:77] + "..."
