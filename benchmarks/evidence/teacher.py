"""The teacher of distillation: EfficientNet-Lite0 with its weights for ten of the classes of ImageNet."""

from pathlib import Path
from typing import Any

from _imagenette import lite0_weights

from mmhybrid.models.checkpoints import write_checkpoint

CONFIG = Path(__file__).resolve().parents[2] / 'configs/efficientnet-lite/efficientnet-lite0_imagenette.py'
SIZE = 128  # at the 224 px of its weights it would take most of the time


def teacher(checkpoint: Path) -> dict[str, Any]:
    """The teacher as OneShot takes it; its weights are written to ``checkpoint`` if they are not there.

    Raises:
        ValueError: If the package of the weights is not installed.
    """
    if not checkpoint.exists():
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, {'state_dict': lite0_weights()})
    return {'config': str(CONFIG), 'checkpoint': str(checkpoint), 'size': SIZE}
