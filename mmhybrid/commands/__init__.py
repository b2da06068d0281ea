"""What ``mmhybrid COMMAND`` runs: a module each, with a ``main`` that parses arguments, builds and runs."""

from mmhybrid import compat

compat.hide_matplotlibrc_here()
