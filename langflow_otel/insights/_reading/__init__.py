"""Trace files as tables: OTLP JSON parsed into Arrow, cached as Parquet files, read by DuckDB."""
