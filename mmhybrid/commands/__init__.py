"""The commands of ``mmhybrid COMMAND``, one module each; its ``main`` parses arguments, builds and runs.

What holds for all of them is done here, before one is imported: parts of torch choose the folder of compiled code then.
"""

from mmhybrid import compat
from mmhybrid.utils.compiled_code import keep_own_code

keep_own_code()
compat.hide_matplotlibrc_here()
