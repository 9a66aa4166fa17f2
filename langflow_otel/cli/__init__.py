"""The command ``langflow-otel``: thin, it parses arguments and prints."""
