"""What ``mmhybrid COMMAND`` runs: a module each, with a ``main`` that parses arguments, builds and runs."""
