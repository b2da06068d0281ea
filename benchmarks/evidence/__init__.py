"""Studies that try the papers' orderings again at small scale; ``run.py`` is the program."""
