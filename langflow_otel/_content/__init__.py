"""What may leave: the content gate, errors without their messages, log lines, and the limits on any value."""
