"""The commands of ``mmhybrid COMMAND``, one module each; its ``main`` parses arguments, builds and runs."""

from mmhybrid import compat

compat.hide_matplotlibrc_here()
