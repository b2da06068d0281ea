"""The families of networks, each registered once, in its own file; whoever goes through all of them finds them here."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mmhybrid.archs.base import NetworkArch
from mmhybrid.models.backbones.base import HybridBackbone
from mmhybrid.utils.checks import bad_value, check_choice


@dataclass(frozen=True)
class Family:
    """A family of networks, and where to find what belongs to it.

    Args:
        backbone: Its class; the name of the family is that of the class.
        arch: The class of its architectures, with the presets.
        space: Config of one of its search spaces, which stands for them.
        released: A module with ``LAYOUTS``, how its released checkpoints are named (see :class:`Layout`); None if there
            are none. It is imported when checkpoints are converted.
        classifier: Where a classifier of MMPretrain has its linear layer.
        prefix: What the full names of its presets begin with; '' for its name in lower case and a hyphen.
        folder: Of its configs; '' for its name in lower case.
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
        """``GLNet``, for instance."""
        return self.backbone.__name__

    @property
    def config_folder(self) -> str:
        """Where its configs are within ``configs``."""
        return self.folder or self.name.lower()

    def full_name(self, preset: str) -> str:
        """The name by which a preset is known among all families, ``glnet-4g`` for instance."""
        return (self.prefix or f'{self.name.lower()}-') + preset

    def layouts(self) -> list[Any]:
        """How its released checkpoints are named."""
        return [] if self.released is None else list(import_module(self.released).LAYOUTS)


FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> Family:
    """Enter a family; ``mmhybrid.models`` registers ours, ``custom_imports`` and ``--import`` those of a user.

    Raises:
        ValueError: If another one has its name.
    """
    known = FAMILIES.setdefault(family.name, family)
    if known.backbone is not family.backbone:
        raise bad_value('family', family.name, f'a name that is not taken by {known.backbone}')
    return family


def preset_arch(name: str, field: str = 'preset') -> NetworkArch:
    """The architecture of a preset by its full name, such as ``glnet-4g``; ``field`` is what an error calls it.

    Raises:
        ValueError: If there is no such preset.
    """
    presets = {family.full_name(key): (family.arch, key) for family in FAMILIES.values() for key in family.arch.presets}
    arch, preset = presets[check_choice(field, name, tuple(presets))]
    return arch.parse(preset)
