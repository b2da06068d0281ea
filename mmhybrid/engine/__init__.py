"""What MMEngine runs: loops, hooks and the tools' shared code."""

from mmhybrid.engine import checkpoint, resume, search_loop, subnet_val

__all__ = ['checkpoint', 'resume', 'search_loop', 'subnet_val']
