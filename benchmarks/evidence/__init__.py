"""Studies of the papers' orderings at small scale; ``run.py`` is the program."""
