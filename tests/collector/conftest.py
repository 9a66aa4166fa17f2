from __future__ import annotations

import pytest
from collector_process import COLLECTOR, HOW_TO_GET_IT

pytest.importorskip("lfx", reason="these tests run flows on LangFlow's engine: pip install 'langflow-otel[lfx]'")


@pytest.fixture(scope="session", autouse=True)
def _collector() -> None:
    if COLLECTOR is None:
        pytest.skip(HOW_TO_GET_IT)
