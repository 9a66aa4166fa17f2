"""Facts become spans. Knows nothing of LangFlow."""
