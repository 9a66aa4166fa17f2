"""The arguments of a tool, from the signature of its function: a schema for the client, and the checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from langflow_otel.cli.mcp.answers import AnswerError, cut


def arguments_model(function: Callable[..., object]) -> type[BaseModel]:
    """A model of the function's parameters after the first, which accepts no others."""
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())[1:]
    fields: dict[str, Any] = {
        each.name: (hints[each.name], ... if each.default is inspect.Parameter.empty else each.default)
        for each in parameters
    }
    return create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Its JSON schema, as short as it can be, since a model reads it: without titles, and without null where an
    argument may be left out."""
    schema: dict[str, Any] = _shorter(model.model_json_schema())
    return schema


def _shorter(value: Any) -> Any:
    if isinstance(value, list):
        return [_shorter(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {name: _shorter(each) for name, each in value.items() if not (name == "title" and isinstance(each, str))}
    if kept.get("default", "") is None:
        del kept["default"]
        (given,) = (each for each in kept.pop("anyOf") if each != {"type": "null"})
        return {**given, **kept}
    return kept


def checked(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with their defaults.

    Raises:
        AnswerError: One of them is not accepted; the message names it, what is accepted, and what there is.
    """
    try:
        accepted = model.model_validate(dict(given))
    except ValidationError as exc:
        problems = [
            f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {_problem(each['type'], each['msg'])}"
            for each in exc.errors(include_url=False, include_context=False, include_input=False)
        ]
        names = ", ".join(model.model_fields) or "none"
        raise AnswerError(f"{cut('; '.join(problems[:5]), 500)}. Arguments of this tool: {names}") from None
    return {name: getattr(accepted, name) for name in model.model_fields}


def _problem(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such argument"
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
