"""The content gate: what text is exported, of content, of errors and of log lines, and how long it may be."""
