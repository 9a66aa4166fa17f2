"""LangFlow's objects become facts. The only package that knows LangFlow."""
