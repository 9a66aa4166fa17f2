"""Searches for documents: LangChain's vector stores and retrievers, and the stores of LangFlow's knowledge bases.

A search has no span of its own: it goes on that of the tool or component that makes it. Of calls within a search, as a
retriever's to its vector store, only the outermost is one.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from numbers import Real
from types import FunctionType
from typing import Any, Final

from langflow_otel import _semconv as semconv
from langflow_otel._content.plain_values import MAX_ITEMS
from langflow_otel._guard import Guard
from langflow_otel._hooks.component_content import may_leave_whole
from langflow_otel._hooks.subclasses import SubclassMethods, Wrapping, own_methods
from langflow_otel._runs.recorder import active_recorder
from langflow_otel._runs.run import Run, current_run

Call = Callable[..., Any]
Asked = tuple[Any, Any]
"""The query, and how many documents are asked for; either may be anything."""

_START = Guard("retrieval.start")
_END = Guard("retrieval.end")
_CONTENT = Guard("content.take")
_CLASS = Guard("retrieval.class")

_STARTS: Final = ("similarity_search", "max_marginal_relevance_search")
"""How the names of the methods begin; those of an ``a`` before it are async. Stores have more of them than the base."""
_NAMES: Final = ("search", "asearch")

# Not reset by the end of a search alone: an executor's thread, or a task, may outlive it.
_going_on: ContextVar[_Search | None] = ContextVar("langflow_otel_retrieval", default=None)


class _Search:
    """One call, with those that it makes to search.

    Args:
        run: Where it is recorded.
        query: What is searched for.
        asked: How many documents it asks for, of whatever type.
        above: The call that makes this one.
    """

    __slots__ = ("_above", "_asked", "_asked_below", "_query", "_scores", "_token", "is_over", "run")

    def __init__(self, run: Run, query: Any, asked: Any, above: _Search | None) -> None:
        self.run = run
        self.is_over = False
        self._query = query
        self._asked: int | None = asked if type(asked) is int else None
        self._asked_below: int | None = None
        self._above = above
        # With the document itself: the number that identifies it is another's once it is gone.
        self._scores: dict[int, tuple[Any, float]] = {} if above is None else above._scores
        self.enter()

    def enter(self) -> None:
        """Calls that are made from here on are a part of it; same task or thread as :meth:`leave` and :meth:`end`."""
        self._token: Token[_Search | None] = _going_on.set(self)

    def leave(self) -> None:
        _going_on.reset(self._token)

    def end(self, documents: Any = None) -> None:
        """It is over.

        Args:
            documents: What it has found; None if it failed.
        """
        self.is_over = True
        try:
            self.leave()
        except ValueError:
            # A coroutine that was dropped half way is closed wherever the garbage collector runs.
            return
        found = documents if isinstance(documents, (list, tuple)) else None
        asked = self._asked_below if self._asked is None else self._asked
        if self._above is None:
            self.run.searched(asked, None if found is None else len(found))
        elif asked is not None and self._above._asked is None:
            self._above._asked_below = (self._above._asked_below or 0) + asked
        if self.run.content is not None:
            with _CONTENT:
                self._take_content(found)

    def _take_content(self, found: Any) -> None:
        """Of several searches, those of the first that succeeds: a query and its documents."""
        for each in found or ():
            if isinstance(each, tuple) and len(each) > 1 and _is_score(each[1]):
                self._scores[id(each[0])] = (each[0], float(each[1]))
        content = self.run.content
        if self._above is not None or content is None or semconv.GEN_AI_RETRIEVAL_DOCUMENTS in content.attributes:
            return
        if not may_leave_whole(self.run):
            return
        content.add(semconv.GEN_AI_RETRIEVAL_QUERY, self._query if isinstance(self._query, str) else None)
        documents = [self._as_convention(each) for each in (found or ())[:MAX_ITEMS]]
        content.add(semconv.GEN_AI_RETRIEVAL_DOCUMENTS, [each for each in documents if each] or None)

    def _as_convention(self, found: Any) -> dict[str, Any] | None:
        document = found[0] if isinstance(found, tuple) and found else found
        # Not by getattr(): an object of another class may do anything for a name that it does not know.
        own = getattr(document, "__dict__", {})
        if not isinstance(own.get("page_content"), str):
            return None
        # The convention's schema asks for an id, and for a score: without them Phoenix takes none of the documents. An
        # empty id it leaves out, a score of our own making would be wrong.
        _, score = self._scores.get(id(document), (None, None))
        scored = {} if score is None else {"score": score}
        return {"id": str(own.get("id") or ""), **scored, "content": own["page_content"]}


def _is_score(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def invoke(wrapped: Call, retriever: Any, args: Any, kwargs: Any) -> Any:
    """``BaseRetriever.invoke``."""
    return _search(wrapped, args, kwargs, lambda: _asked_of_retriever(retriever, args, kwargs))


async def ainvoke(wrapped: Call, retriever: Any, args: Any, kwargs: Any) -> Any:
    """``BaseRetriever.ainvoke``."""
    return await _async_search(wrapped, args, kwargs, lambda: _asked_of_retriever(retriever, args, kwargs))


def _asked_of_retriever(retriever: Any, args: Any, kwargs: Any) -> Asked:
    """One over a vector store asks that for a number; others have it themselves, if at all."""
    own = getattr(retriever, "__dict__", {})
    return args[0] if args else kwargs.get("input"), own.get("k", own.get("top_k"))


def _search(wrapped: Call, args: Any, kwargs: Any, asked: Callable[[], Asked]) -> Any:
    search: _Search | None = None
    with _START:
        search = _start(asked)
    if search is None:
        return wrapped(*args, **kwargs)
    try:
        documents = wrapped(*args, **kwargs)
    except BaseException:
        with _END:
            search.end()
        raise
    if inspect.iscoroutine(documents):
        search.leave()
        return _awaited(search, documents)
    with _END:
        search.end(documents)
    return documents


async def _awaited(search: _Search, coroutine: Any) -> Any:
    """Of a plain function that returns a coroutine: it searches only when that is awaited."""
    with _START:
        search.enter()
    try:
        documents = await coroutine
    except BaseException:
        with _END:
            search.end()
        raise
    with _END:
        search.end(documents)
    return documents


async def _async_search(wrapped: Call, args: Any, kwargs: Any, asked: Callable[[], Asked]) -> Any:
    search: _Search | None = None
    with _START:
        search = _start(asked)
    if search is None:
        return await wrapped(*args, **kwargs)
    try:
        documents = await wrapped(*args, **kwargs)
    except BaseException:
        with _END:
            search.end()
        raise
    with _END:
        search.end(documents)
    return documents


def _start(asked: Callable[[], Asked]) -> _Search | None:
    within = current_run()
    if within is None or active_recorder() is None:
        return None
    # A tool's span may be that of another instrumentor.
    run = next((each for each in (within.tool, within.component) if each is not None and each.recording), None)
    if run is None:
        return None
    above = _going_on.get()
    if above is not None and (above.is_over or above.run is not run):
        above = None
    return _Search(run, *asked(), above)


def _wrappings(cls: type) -> Iterator[tuple[str, Wrapping]]:
    for name, method in own_methods(cls).items():
        # One that yields documents has no end of its own; what it calls to search is seen.
        if inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method):
            continue
        if name in _NAMES or name.startswith(_STARTS) or name[1:].startswith(_STARTS):
            yield name, _wrapping_of(method)


def _wrapping_of(method: FunctionType) -> Wrapping:
    query, number = _place_of(method, "query"), _place_of(method, "k")

    def wrapper(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
        return _search(wrapped, args, kwargs, lambda: (_value(query, args, kwargs), _value(number, args, kwargs)))

    async def async_wrapper(wrapped: Call, _: Any, args: Any, kwargs: Any) -> Any:
        return await _async_search(
            wrapped, args, kwargs, lambda: (_value(query, args, kwargs), _value(number, args, kwargs))
        )

    return async_wrapper if inspect.iscoroutinefunction(method) else wrapper


_Place = tuple[str, int | None, Any]
"""A parameter: its name, where it stands behind ``self`` (None for by name only), its default."""


def _place_of(method: FunctionType, name: str) -> _Place:
    parameters = list(inspect.signature(method).parameters.values())[1:]
    for index, parameter in enumerate(parameters):
        if parameter.name == name:
            by_place = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
            has_default = parameter.default is not inspect.Parameter.empty
            return name, index if by_place else None, parameter.default if has_default else None
    return name, None, None


def _value(place: _Place, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name, index, default = place
    if index is not None and index < len(args):
        return args[index]
    return kwargs.get(name, default)


class SearchedClasses:
    """Wraps the methods by which vector stores are searched, and puts them back. One per process."""

    def __init__(self) -> None:
        self._bases = (
            SubclassMethods("langchain_core.vectorstores.base", "VectorStore", _wrappings, _CLASS, with_base=True),
            # Not in all versions of LangFlow.
            SubclassMethods(
                "lfx.base.knowledge_bases.backends.base", "BaseVectorStoreBackend", _wrappings, _CLASS, with_base=True
            ),
        )

    def switch_on(self) -> None:
        """Wrap them now, or as soon as their modules are imported."""
        for base in self._bases:
            base.switch_on()

    def switch_off(self) -> None:
        """Put the very same functions back."""
        for base in self._bases:
            base.switch_off()


searched_classes = SearchedClasses()
"""Those of this process."""
