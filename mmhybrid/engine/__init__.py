"""What MMEngine runs: loops, hooks and the tools' shared code. Importing it registers all but the search's."""

from mmhybrid.engine import checkpoint, deploy, ema, finite_loss, freezing, layer_decay, resume

__all__ = ['checkpoint', 'deploy', 'ema', 'finite_loss', 'freezing', 'layer_decay', 'resume']
