"""What MMEngine runs: loops, hooks and the tools' shared code."""

from mmhybrid.engine import checkpoint, resume, subnet_val

__all__ = ['checkpoint', 'resume', 'subnet_val']
