"""Components for test flows. One that a loop or a dump copies has a module of its own, since LangFlow
makes it again from the source of its whole module."""
