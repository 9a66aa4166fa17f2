from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _less_collection_of_garbage() -> Iterator[None]:
    """Prometheus and its tools are Go programs: with four times the memory they take a third less of the processors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOGC", "400")
        yield


# Not for the session: it would use a quarter of a processor until the last test of all folders.
@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Prometheus with our rules, over a process that runs flows; see live.py."""
    if shutil.which("prometheus") is None:
        pytest.skip("Prometheus is not installed: apt-get install prometheus")
    pytest.importorskip("lfx", reason="these are flows on LangFlow's engine: pip install 'langflow-otel[lfx]'")
    from live import living

    with living(tmp_path_factory.mktemp("live")) as found:
        yield found
