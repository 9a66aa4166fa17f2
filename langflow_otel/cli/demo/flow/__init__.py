"""The flow of ``langflow-otel demo``: a support desk, with no network and no key.

Each component has a module of its own with plain imports, since LangFlow makes components again from
the source of their whole module.
"""
