"""Calls of embedding models: the methods of LangChain's ``Embeddings`` classes, for which it has no callbacks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import ContextVar, Token
from typing import Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel._content.limits import MAX_NAME, chosen
from langflow_otel._guard import Guard
from langflow_otel._hooks.outcomes import provider_error
from langflow_otel._hooks.subclasses import SubclassMethods, Wrapping, own_methods
from langflow_otel._runs.facts import OK, ModelInfo, ModelResponse, Outcome, token_count
from langflow_otel._runs.model_call import ModelRun
from langflow_otel._runs.model_providers import provider_of_class
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.run import adding, current_run

_START = Guard("embeddings.start")
_END = Guard("embeddings.end")
_USAGE = Guard("embeddings.usage")
_CLASS = Guard("embeddings.class")

_MODULE: Final = "langchain_core.embeddings.embeddings"
_METHODS: Final = ("embed_documents", "embed_query", "aembed_documents", "aembed_query")
_WRAPPERS: Final = frozenset({"EmbeddingsWithModels", "CacheBackedEmbeddings"})
"""Classes that delegate to other ``Embeddings``, whose call it is, or answer from a cache."""
_MODELS: Final = ("model", "model_name", "model_id", "deployment")

# Not reset by the end of a call alone: an executor's thread has the context of the call that it runs for.
_going_on: ContextVar[_Call | None] = ContextVar("langflow_otel_embeddings", default=None)


class _Call:
    """One call, whatever methods of the class it goes through."""

    __slots__ = ("all_counted", "input_tokens", "is_over", "is_query", "model", "run")

    def __init__(self, run: ModelRun, *, is_query: bool) -> None:
        self.run = run
        self.model: str | None = None
        self.is_query = is_query
        self.input_tokens: int | None = None
        self.all_counted = True
        self.is_over = False

    def used(self, model: Any, tokens: Any) -> None:
        """One request is answered. Without the tokens of each request there is no sum: a part of it would be wrong.

        Args:
            model: That answered.
            tokens: Of the input.
        """
        if type(model) is str and model:
            self.model = chosen(model)
        counted = token_count(tokens)
        with adding:
            if counted is not None and self.all_counted:
                self.input_tokens = (self.input_tokens or 0) + counted
            else:
                self.all_counted, self.input_tokens = False, None

    def answered(self, result: Any) -> None:
        vector = result if self.is_query else next(iter(result), None) if isinstance(result, (list, tuple)) else None
        if isinstance(vector, (list, tuple)) and vector:
            self.run.add({semconv.GEN_AI_EMBEDDINGS_DIMENSION: len(vector)})
        self.run.answered(ModelResponse(model=self.model, input_tokens=self.input_tokens))

    def end(self, outcome: Outcome) -> None:
        self.is_over = True
        self.run.end(outcome)


def embed(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
    """``embed_documents`` and ``embed_query``."""
    call: _Call | None = None
    with _START:
        call = _start(wrapped, instance, args, kwargs)
    if call is None:
        return wrapped(*args, **kwargs)
    token = _going_on.set(call)
    try:
        result = wrapped(*args, **kwargs)
    except BaseException as exc:
        with _END:
            call.end(Outcome.of(provider_error(exc)))
        raise
    finally:
        _leave(token)
    _finish(call, result)
    return result


async def async_embed(wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
    """``aembed_documents`` and ``aembed_query``."""
    call: _Call | None = None
    with _START:
        call = _start(wrapped, instance, args, kwargs)
    if call is None:
        return await wrapped(*args, **kwargs)
    token = _going_on.set(call)
    try:
        result = await wrapped(*args, **kwargs)
    except BaseException as exc:
        with _END:
            call.end(Outcome.of(provider_error(exc)))
        raise
    finally:
        _leave(token)
    _finish(call, result)
    return result


def _leave(token: Token[_Call | None]) -> None:
    # A coroutine that was dropped half way is closed by the garbage collector, in another context.
    with suppress(ValueError):
        _going_on.reset(token)


def _start(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> _Call | None:
    above = _going_on.get()
    if above is not None and not above.is_over:
        return None
    recorder, within = active_recorder(), current_run()
    if recorder is None or within is None:
        return None
    is_query = str(wrapped.__name__).endswith("query")
    given = args[0] if args else kwargs.get("text" if is_query else "texts")
    texts = 1 if is_query else len(given) if isinstance(given, (list, tuple)) else None
    model, provider = _model(instance), provider_of_class(type(instance))
    is_kept = model is None or len(model) <= MAX_NAME
    run = recorder.start_model(_info(model, provider) if is_kept else _new_info(model, provider), within)
    if run is None:
        return None
    if texts is not None:
        run.add({semconv.EMBEDDINGS_TEXT_COUNT: texts})
    return _Call(run, is_query=is_query)


def _new_info(model: str | None, provider: str | None) -> ModelInfo:
    return ModelInfo("embeddings", model, provider)


# The same object for each call of the same model: its attributes are found by it.
_info = functools.lru_cache(maxsize=128)(_new_info)


def _finish(call: _Call, result: Any) -> None:
    with _END:
        try:
            call.answered(result)
        finally:
            call.end(OK)


def _model(instance: Any) -> str | None:
    # Not by getattr(): an author's class may run any code for a name that it does not have.
    own = getattr(instance, "__dict__", {})
    return next((own[name] for name in _MODELS if type(own.get(name)) is str and own[name]), None)


def create(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    """``Embeddings.create`` of the openai library: LangChain does not hand on what its answers say of the call."""
    response = wrapped(*args, **kwargs)
    _note_usage(response)
    return response


async def async_create(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    """``AsyncEmbeddings.create`` of the openai library."""
    response = await wrapped(*args, **kwargs)
    _note_usage(response)
    return response


def _note_usage(response: Any) -> None:
    with _USAGE:
        call = _going_on.get()
        if call is not None and not call.is_over:
            tokens = getattr(getattr(response, "usage", None), "prompt_tokens", None)
            call.used(getattr(response, "model", None), tokens)


def _wrappings(cls: type) -> Iterator[tuple[str, Wrapping]]:
    if cls.__name__ not in _WRAPPERS:
        for name, method in own_methods(cls).items():
            if name in _METHODS:
                yield name, async_embed if inspect.iscoroutinefunction(method) else embed


class EmbeddingClasses(SubclassMethods):
    """Wraps the methods of all ``Embeddings`` classes, and puts them back. One per process."""

    def __init__(self) -> None:
        super().__init__(_MODULE, "Embeddings", _wrappings, _CLASS)


embedding_classes = EmbeddingClasses()
"""The one of this process."""
