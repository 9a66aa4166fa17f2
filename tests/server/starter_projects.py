"""LangFlow's own starter projects, with a model that the tests answer for: :mod:`openai_server`."""

from __future__ import annotations

import copy
import importlib.util
import json
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langflow_server import Server
from openai_server import FakeOpenAI
from waiting import wait_until

MODEL = {
    "name": "gpt-4o-mini",
    "provider": "OpenAI",
    "icon": "OpenAI",
    "metadata": {
        "model_class": "ChatOpenAI",
        "model_name_param": "model",
        "api_key_param": "api_key",
        "context_length": 128000,
        "reasoning_models": [],
    },
}
NEWEST = (1, 13)
ENDPOINT = string.ascii_lowercase
HOST = "models.example"
PAGE = "http://pages.example/ships"


def environment(fake: FakeOpenAI) -> dict[str, str]:
    """Of a server whose models, and whatever else its flows ask for by HTTP, are the fake.

    It is the proxy, since in a container LangFlow replaces 127.0.0.1 in the address of a model.
    """
    proxy = fake.url.removesuffix("/v1")
    own = "127.0.0.1,localhost"
    models = f"http://{HOST}/v1"
    return {
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), proxy),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), own),
        **dict.fromkeys(("OPENAI_BASE_URL", "OPENAI_API_BASE"), models),
        "OPENAI_API_KEY": "sk-none",
        "OLLAMA_BASE_URL": f"http://{HOST}",
        "LANGFLOW_SSRF_PROTECTION_ENABLED": "false",
        "LANGFLOW_CONNECTOR_SSRF_VALIDATION_ENABLED": "false",
        "LANGFLOW_RESTRICT_LOCAL_FILE_ACCESS": "false",
    }


def fill(server: Server) -> dict[tuple[str, str], Any]:
    """Give the server a file, a knowledge base and a database; what their components are set to."""
    text = b"Ships sail. " * 20
    stored = server.browser.post("/api/v2/files", files={"file": ("ships.txt", text)})
    assert stored.status_code == 201, stored.text
    found: dict[tuple[str, str], Any] = {
        ("File", "path"): stored.json()["path"],
        ("SQLComponent", "database_url"): f"sqlite:///{server.folder / 'shop.db'}",
    }
    if server.version >= NEWEST:
        # Of OpenAI's models LangChain counts the tokens, for which it loads a file from elsewhere.
        body = {"name": "ships", "embedding_provider": "Ollama", "embedding_model": "nomic-embed-text"}
        made = server.browser.post("/api/v1/knowledge_bases", json=body)
        assert made.status_code == 201, made.text
        found["Knowledge", "knowledge_base"] = "ships"
    return found


def names() -> list[str]:
    """Those of the installed version."""
    return sorted(path.stem for path in _folder().glob("*.json"))


def create(server: Server, project: str, settings: Mapping[tuple[str, str], Any] | None = None, name: str = "") -> str:
    """Make a flow of it; its name, which is its endpoint's, too.

    Args:
        settings: Values by type of the component and name of the field, as a user fills them in.
        name: Where it is not to be the project's.
    """
    dump = json.loads((_folder() / f"{project}.json").read_text(encoding="utf-8"))
    for node in dump["data"]["nodes"]:
        template = node["data"].get("node", {}).get("template", {})
        model = template.get("model")
        if isinstance(model, dict) and model.get("type") == "model":
            model["value"] = [copy.deepcopy(MODEL)]
        elif "model_name" in template:  # LangFlow 1.7
            template["api_key"].update(value="sk-none", load_from_db=False)
            template.get("openai_api_base", {})["value"] = f"http://{HOST}/v1"
        for (component, field), value in (settings or {}).items():
            if node["data"].get("type") == component and field in template:
                template[field].update({"value": value, "file_path": [value]} if field == "path" else {"value": value})
    name = name or "".join(letter if letter in ENDPOINT else "-" for letter in project.lower())
    _wait_until_stored(server, server.create_flow(dump, name, webhook=False))
    return name


def _wait_until_stored(server: Server, flow_id: str) -> None:
    """LangFlow answers before it commits: another worker may not find the flow yet."""
    wait_until(lambda: server.browser.get(f"/api/v1/flows/{flow_id}").status_code == 200, flow_id)


def _folder() -> Path:
    spec = importlib.util.find_spec("langflow")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "initial_setup" / "starter_projects"
