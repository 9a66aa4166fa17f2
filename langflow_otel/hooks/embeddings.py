"""Calls of embedding models: the methods of LangChain's ``Embeddings`` classes, for which it has no callbacks.

Each class brings its own methods, so those of each class are wrapped: of the ones that exist, and of later ones by
``Embeddings.__init_subclass__``, which Python calls for each new subclass.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, Token
from types import ModuleType
from typing import Any, Final

import wrapt

from langflow_otel.hooks.versions import provider_error
from langflow_otel.recording import semconv
from langflow_otel.recording.facts import OK, ModelInfo, ModelResponse, Outcome, token_count
from langflow_otel.recording.guard import Guard
from langflow_otel.recording.model_providers import provider_name
from langflow_otel.recording.model_runs import ModelRun
from langflow_otel.recording.recorder import active_recorder
from langflow_otel.recording.runs import current_run
from langflow_otel.recording.sizes import MAX_NAME
from langflow_otel.recording.wrapper import Wrapper

_START = Guard("embeddings.start")
_END = Guard("embeddings.end")
_USAGE = Guard("embeddings.usage")
_CLASS = Guard("embeddings.class")

_MODULE: Final = "langchain_core.embeddings.embeddings"
_METHODS: Final = ("embed_documents", "embed_query", "aembed_documents", "aembed_query")
_WRAPPERS: Final = frozenset({"EmbeddingsWithModels", "CacheBackedEmbeddings"})
"""Classes that delegate to other ``Embeddings``, whose call it is, or answer from a cache."""
_MODELS: Final = ("model", "model_name", "model_id", "deployment")
_PROVIDERS: Final = {"AzureOpenAIEmbeddings": "azure.ai.openai", "BedrockEmbeddings": "aws.bedrock"}

# Not reset by the end of a call alone: an executor's thread has the context of the call that it runs for.
_going_on: ContextVar[_Call | None] = ContextVar("langflow_otel_embeddings", default=None)


class _Call:
    """One call, whatever methods of the class it goes through."""

    __slots__ = ("all_counted", "input_tokens", "is_over", "run")

    def __init__(self, run: ModelRun) -> None:
        self.run = run
        self.input_tokens: int | None = None
        self.all_counted = True
        self.is_over = False

    def used(self, tokens: Any) -> None:
        """Add one request's tokens. Without those of each request there is no sum: a part of it would be wrong."""
        counted = token_count(tokens)
        if counted is not None and self.all_counted:
            self.input_tokens = (self.input_tokens or 0) + counted
        else:
            self.all_counted, self.input_tokens = False, None

    def answered(self, result: Any, *, is_query: bool) -> None:
        vector = result if is_query else next(iter(result), None) if isinstance(result, (list, tuple)) else None
        if isinstance(vector, (list, tuple)) and vector:
            self.run.add({semconv.GEN_AI_EMBEDDINGS_DIMENSION: len(vector)})
        self.run.answered(ModelResponse(input_tokens=self.input_tokens))

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
    _finish(call, wrapped, result)
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
    _finish(call, wrapped, result)
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
    is_query = _is_query(wrapped)
    given = args[0] if args else kwargs.get("text" if is_query else "texts")
    texts = 1 if is_query else len(given) if isinstance(given, (list, tuple)) else None
    model, provider = _model(instance), _provider(type(instance))
    is_kept = model is None or len(model) <= MAX_NAME
    run = recorder.start_model(_info(model, provider) if is_kept else _new_info(model, provider), within)
    if run is None:
        return None
    if texts is not None:
        run.add({semconv.EMBEDDINGS_TEXT_COUNT: texts})
    return _Call(run)


def _new_info(model: str | None, provider: str | None) -> ModelInfo:
    return ModelInfo("embeddings", model, provider)


# The same object for each call of the same model: its attributes are found by it.
_info = functools.lru_cache(maxsize=128)(_new_info)


def _is_query(wrapped: Any) -> bool:
    return str(wrapped.__name__).endswith("query")


def _finish(call: _Call, wrapped: Any, result: Any) -> None:
    with _END:
        try:
            call.answered(result, is_query=_is_query(wrapped))
        finally:
            call.end(OK)


def _model(instance: Any) -> str | None:
    # Not by getattr(): an author's class may run any code for a name that it does not have.
    own = getattr(instance, "__dict__", {})
    return next((own[name] for name in _MODELS if type(own.get(name)) is str and own[name]), None)


def _provider(cls: type) -> str | None:
    """By the name of LangChain's package for it, such as ``langchain_openai``."""
    known = next((_PROVIDERS[base.__name__] for base in cls.__mro__ if base.__name__ in _PROVIDERS), None)
    if known is not None:
        return known
    package, _, name = cls.__module__.partition(".")[0].partition("_")
    is_one = package == "langchain" and name not in ("", "core", "classic", "community")
    return provider_name(name) if is_one else None


def create(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
    """``Embeddings.create`` of the openai library: LangChain does not hand on the tokens that its answers name."""
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
            call.used(getattr(getattr(response, "usage", None), "prompt_tokens", None))


class _EmbeddingsWrapper(Wrapper):
    """Of one method, found again by its class: a list of what was wrapped would keep classes that the host drops."""


class EmbeddingClasses:
    """Wraps the methods of all ``Embeddings`` classes, and puts them back. One per process."""

    def __init__(self) -> None:
        self._on = False
        self._awaited = False
        self._base: Any = None
        self._init_subclass: Any = None

    def switch_on(self) -> None:
        """Wrap them now, or as soon as LangChain is imported."""
        if self._on:
            return
        self._on = True
        module = sys.modules.get(_MODULE)
        if module is not None:
            self._imported(module)
        elif not self._awaited:
            self._awaited = True
            wrapt.register_post_import_hook(self._imported, _MODULE)

    def switch_off(self) -> None:
        """Put the very same functions back."""
        self._on = False
        base, self._base = self._base, None
        if base is None:
            return
        if base.__dict__.get("__init_subclass__") is self._init_subclass:
            del base.__init_subclass__
        for cls in _subclasses(base):
            with _CLASS:
                _unwrap(cls)

    def _imported(self, module: ModuleType) -> None:
        base: Any = getattr(module, "Embeddings", None)
        if not self._on or base is None or "__init_subclass__" in base.__dict__:
            return

        def init_subclass(cls: Any, /, **kwargs: Any) -> None:
            super(base, cls).__init_subclass__(**kwargs)
            if self._on:
                with _CLASS:
                    self._wrap(cls)

        self._base = base
        self._init_subclass = base.__init_subclass__ = classmethod(init_subclass)
        with _CLASS:
            for cls in _subclasses(base):
                self._wrap(cls)

    def _wrap(self, cls: type) -> None:
        if cls.__name__ in _WRAPPERS:
            return
        for name in _METHODS:
            method = cls.__dict__.get(name)
            if inspect.isfunction(method):
                wrapper = async_embed if inspect.iscoroutinefunction(method) else embed
                setattr(cls, name, _EmbeddingsWrapper(method, wrapper, enabled=lambda: self._on))


def _unwrap(cls: type) -> None:
    for name in _METHODS:
        method = cls.__dict__.get(name)
        # By type() alone: a wrapper says that it is a function.
        if issubclass(type(method), _EmbeddingsWrapper):
            setattr(cls, name, method.__wrapped__)  # type: ignore[union-attr]


def _subclasses(base: type) -> list[type]:
    found: dict[type, None] = {}
    direct: type
    for direct in base.__subclasses__():
        found.update(dict.fromkeys([direct, *_subclasses(direct)]))
    return list(found)


embedding_classes = EmbeddingClasses()
"""The one of this process."""
