"""The analysis of traces as tools of a Model Context Protocol server."""
