"""Custom components of the flows that are made in a real server. One for each file: LangFlow takes a component's
code from its whole module, and its class is the first one there."""
