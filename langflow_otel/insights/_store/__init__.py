"""Runs, components, model calls, retries and errors of trace files in a relational database, and daily figures of them.

Needs ``pip install 'langflow-otel[store]'``, and no LangFlow.
"""
