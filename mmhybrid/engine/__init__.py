"""What MMEngine runs: loops, hooks and the tools' shared code."""

from mmhybrid.engine import checkpoint, resume

__all__ = ['checkpoint', 'resume']
