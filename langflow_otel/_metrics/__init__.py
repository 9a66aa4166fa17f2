"""The catalogue of metrics, the store behind them, and the scrape. Imports neither LangFlow nor the SDK."""
