"""Metrics of the default registry of ``prometheus_client``, rendered for the scrape.

Nodes use it (``Gauge("orders_open", ...)``), and so does LangFlow itself. Collectors are code of others: one that
fails, or that shows a name twice, must not cost the page its other metrics.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
import threading
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from langflow_otel._metrics.catalogue import CATALOGUE, HTTP_REQUEST_DURATION, Metric
from langflow_otel._metrics.exposition import KINDS

if TYPE_CHECKING:
    import prometheus_client

logger = logging.getLogger("langflow_otel")

MULTIPROC_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"
_ABOUT_THE_PROCESS: Final = ("process_", "python_")
"""Our own page has what is worth knowing about the process, of each worker."""
_TARGET: Final = frozenset({"target", "target_info"})
_SUFFIXES: Final = {
    "counter": ("_total", "_created"),
    "summary": ("_sum", "_count", "_created"),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
    "gaugehistogram": ("_bucket", "_gsum", "_gcount"),
    "info": ("_info",),
}
_METRIC: Final = "the metric %s of prometheus_client's default registry"
_COLLECTOR: Final = "what the collector %s in prometheus_client's default registry has"
_FOLDER: Final = "what other processes have in %s"
_EOF: Final = b"# EOF\n"

_this_thread = threading.local()


def page_is_made_here() -> bool:
    """True while this thread collects the default registry for our page: what is ours there must not be shown twice."""
    return getattr(_this_thread, "collects", False)


def family_name(metric: Metric) -> str:
    """What ``prometheus_client`` calls the metric: a counter without its suffix."""
    name = metric.prometheus_name
    return name.removesuffix("_total") if metric.kind == "counter" else name


def _names(name: str, kind: str) -> set[str]:
    """All names that a family takes on a page."""
    return {name, *(name + suffix for suffix in _SUFFIXES.get(kind, ()))}


def _own_names(metrics: Iterable[Metric]) -> set[str]:
    return set().union(*(_names(family_name(metric), KINDS[metric.kind]) for metric in metrics))


_CATALOGUE_NAMES: Final = frozenset(_own_names(CATALOGUE))


def has_no_shared_folder() -> bool:
    """True if ``PROMETHEUS_MULTIPROC_DIR`` names something that is no folder: then nothing is shared."""
    path = os.environ.get(MULTIPROC_DIR)
    return path is not None and path != "" and not os.path.isdir(path)


class DefaultRegistry:
    """Reads the default registry.

    With ``PROMETHEUS_MULTIPROC_DIR``, the files of all processes there are read instead, as ``prometheus_client`` does
    it for itself.
    """

    def __init__(self) -> None:
        self._reported: set[str] = set()
        # Now, and not with the first scrape.
        if has_no_shared_folder():
            self._report_no_folder()

    def collect(self, worker: int | None) -> list[prometheus_client.Metric]:
        """The families that collectors have at this moment. Runs code of others.

        Args:
            worker: The process id of this process where a page has several workers, for the label ``worker``.
        """
        shared = self._shared_by_processes()
        return self._collect(self._collectors(), worker) if shared is None else self._collect([shared], None)

    def slices(
        self, families: Iterable[prometheus_client.Metric], ours: Collection[Metric], *, openmetrics: bool
    ) -> Iterator[str]:
        """The text of these families, as far as they fit on a page with these metrics of ours."""
        from prometheus_client import exposition
        from prometheus_client.openmetrics import exposition as openmetrics_exposition

        render = openmetrics_exposition.generate_latest if openmetrics else exposition.generate_latest
        taken = {*_CATALOGUE_NAMES, *_own_names(ours)}
        for family in families:
            try:
                names = _names(family.name, family.type) | {sample.name for sample in family.samples}
                if not family.samples or family.name in _TARGET or family.name.startswith(_ABOUT_THE_PROCESS):
                    continue
                if names & taken:
                    if family.name != HTTP_REQUEST_DURATION.prometheus_name:  # LangFlow measures requests as well.
                        self._report(family.name, _METRIC, "its name is taken")
                    continue
                text = render(_Only(family)).removesuffix(_EOF).decode("utf-8", "replace")
            except Exception as exc:  # noqa: BLE001 - a family of others may hold anything
                name = str(getattr(family, "name", type(family).__name__))
                self._report(name, _METRIC, type(exc).__name__)
                continue
            taken |= names
            yield text

    def _collectors(self) -> list[Any]:
        client: Any = sys.modules.get("prometheus_client")
        registry: Any = getattr(client, "REGISTRY", None)
        if registry is None:  # Not imported, or another thread has not imported it to its end: it holds nothing yet.
            return []
        own = [getattr(client, name, None) for name in ("PROCESS_COLLECTOR", "PLATFORM_COLLECTOR", "GC_COLLECTOR")]
        # One by one: in the registry's own method, the first that fails ends the collection.
        each = getattr(registry, "_collector_to_names", None)
        if each is None:
            return [registry]
        return [collector for collector in tuple(each) if not any(collector is known for known in own)]

    def _shared_by_processes(self) -> Any:
        if not os.environ.get(MULTIPROC_DIR):
            return None
        from prometheus_client.multiprocess import MultiProcessCollector

        try:
            return MultiProcessCollector(None)  # type: ignore[no-untyped-call]
        except ValueError:
            self._report_no_folder()
            return None

    def _collect(self, collectors: Iterable[Any], worker: int | None) -> list[prometheus_client.Metric]:
        found: list[prometheus_client.Metric] = []
        _this_thread.collects = True
        try:
            for collector in collectors:
                try:
                    families = list(collector.collect())
                    found += families if worker is None else [_of_worker(family, worker) for family in families]
                except Exception as exc:  # noqa: BLE001 - code of others
                    name = f"{type(collector).__module__}.{type(collector).__qualname__}"
                    self._report(name, _COLLECTOR, type(exc).__name__)
        finally:
            _this_thread.collects = False
        return found

    def _report_no_folder(self) -> None:
        self._report(MULTIPROC_DIR, _FOLDER, "it is no folder")

    def _report(self, name: str, what: str, why: str) -> None:
        if name not in self._reported:
            self._reported.add(name)
            logger.warning(f"The scrape is without {what}: %s.", name, why)


class _Only:
    """A registry of one family."""

    def __init__(self, family: prometheus_client.Metric) -> None:
        self._family = family

    def collect(self) -> list[prometheus_client.Metric]:
        return [self._family]


def _of_worker(family: prometheus_client.Metric, worker: int) -> prometheus_client.Metric:
    labelled = copy.copy(family)  # The collector may keep its own.
    labelled.samples = [sample._replace(labels={"worker": str(worker), **sample.labels}) for sample in family.samples]
    return labelled
