"""Arguments and options of the commands, by group. A command imports what it needs only when it is called."""
