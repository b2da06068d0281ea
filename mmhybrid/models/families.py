"""The families of networks; each family registers itself in its own module."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mmhybrid.archs.base import NetworkArch
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.utils.checks import bad_value, check_choice


@dataclass(frozen=True)
class Family:
    """A family of networks: its classes, presets, search space and released checkpoints.

    Args:
        backbone: Class of the backbone, whose name is the family's.
        arch: Class of its architectures, which has the presets.
        space: Config of one of its search spaces, which represents all of them.
        released: Name of a module with ``LAYOUTS``, the layouts of its released checkpoints (see :class:`Layout`); None
            if there are none. The module is imported when checkpoints are converted.
        classifier: Name of the linear layer in an MMPretrain classifier.
        prefix: Prefix of the full names of its presets; '' for the family's name in lower case and a hyphen.
        folder: Name of the folder of its configs; '' for the family's name in lower case.
    """

    backbone: type[HybridBackbone]
    arch: type[NetworkArch]
    space: Mapping[str, Any]
    released: str | None = None
    classifier: str = 'head.fc'
    prefix: str = ''
    folder: str = ''

    @property
    def name(self) -> str:
        """Name of the family, such as ``GLNet``."""
        return self.backbone.__name__

    @property
    def config_folder(self) -> str:
        """Name of the folder of its configs within ``configs``."""
        return self.folder or self.name.lower()

    def full_name(self, preset: str) -> str:
        """Return the full name of a preset, such as ``glnet-4g``, which is unique among all families."""
        return (self.prefix or f'{self.name.lower()}-') + preset

    def layouts(self) -> list[Any]:
        """Return the layouts of its released checkpoints."""
        return [] if self.released is None else list(import_module(self.released).LAYOUTS)


FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> Family:
    """Register a family and return it.

    ``mmhybrid.models`` registers the families of mmhybrid; modules in ``custom_imports`` or ``--import`` register those
    of a user.

    Raises:
        ValueError: If another family has its name.
    """
    known = FAMILIES.setdefault(family.name, family)
    if known.backbone is not family.backbone:
        raise bad_value('family', family.name, f'a name that is not taken by {known.backbone}')
    return family


def preset_arch(name: str, field: str = 'preset') -> NetworkArch:
    """Return the architecture of a preset.

    Args:
        name: Full name of the preset, such as ``glnet-4g``.
        field: Name of the field for the error message.

    Raises:
        ValueError: If there is no such preset.
    """
    presets = {family.full_name(key): (family.arch, key) for family in FAMILIES.values() for key in family.arch.presets}
    arch, preset = presets[check_choice(field, name, tuple(presets))]
    return arch.parse(preset)
