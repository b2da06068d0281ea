"""The teacher of distillation: EfficientNet-Lite0 with its published weights, for ten of ImageNet's classes."""

from pathlib import Path
from typing import Any

from _imagenette import lite0_weights

from mmhybrid.models.checkpoints import write_checkpoint

CONFIG = Path(__file__).resolve().parents[2] / 'configs/efficientnet-lite/efficientnet-lite0_imagenette.py'
SIZE = 128  # pixels; at the 224 px of its weights it would take most of a step


def teacher(checkpoint: Path) -> dict[str, Any]:
    """The config of the teacher as OneShot takes it; its weights are written to ``checkpoint`` if it does not exist.

    Raises:
        ValueError: If the package with the weights is not installed.
    """
    if not checkpoint.exists():
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, {'state_dict': lite0_weights()})
    return {'config': str(CONFIG), 'checkpoint': str(checkpoint), 'size': SIZE}
