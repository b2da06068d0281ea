"""The base of the architectures of all families: conversion from and to JSON, a diagram, and checks of their fields."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from typing_extensions import Self

from mmhybrid.utils.checks import bad_value, check_float, check_int

# LARGEST limits channels, slots, kernels and pixels, and MOST_LAYERS limits layers, blocks and heads. Without limits, a
# few bytes in a file could describe a network whose lists, diagram or picture take all memory.
LARGEST = 1_000_000
MOST_LAYERS = 1000


@dataclass(frozen=True)
class Block:
    """One block of a network, as a diagram shows it.

    Args:
        title: Description of the block in words.
        width: Number of channels.
        local: Share of the block's mixing that is local, from 0 to 1.
    """

    title: str
    width: int
    local: float


@dataclass(frozen=True)
class Column:
    """Blocks of a picture that stand side by side and share their sizes.

    Args:
        name: Heading of the column.
        blocks: Blocks in the order of the network.
        sizes: Mapping from the name of a size to its text.
    """

    name: str
    blocks: tuple[Block, ...]
    sizes: Mapping[str, str]


@dataclass(frozen=True)
class Diagram:
    """The content of a picture of a network.

    Args:
        title: Name of the family, and properties of the whole network.
        unit: Kind of thing that a column stands for, ``stage`` or ``block``.
        columns: Columns in the order of the network.
    """

    title: str
    unit: str
    columns: tuple[Column, ...]

    @property
    def blocks(self) -> list[Block]:
        """Blocks of all columns."""
        return [block for column in self.columns for block in column.blocks]


class NetworkArch:
    """The architecture of a network, which its backbone takes as ``arch``.

    Subclasses are frozen dataclasses, one for each family. Their constructors check nothing, because :meth:`parse`
    checks once, and search spaces make architectures only of values that they have checked.

    Attributes:
        presets: Published networks of the family by name, as :meth:`parse` takes them.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def parse(cls, arch: object) -> Self:
        """Check an architecture and fill in its defaults.

        Args:
            arch: Name of a preset, mapping with the fields (for instance JSON from :meth:`to_dict`), or parsed
                architecture, which is returned as it is.

        Raises:
            ValueError: If ``arch`` is wrong. The message names the field, its value and what is allowed.
        """
        if isinstance(arch, cls):
            return arch
        if isinstance(arch, str) and arch in cls.presets:
            return cls.read(cls.presets[arch])
        if not isinstance(arch, Mapping):
            family = cls.__name__.removesuffix('Arch')
            raise bad_value(f'{family} arch', arch, f'one of {sorted(cls.presets)}, or a dict')
        return cls.read(arch)

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """Return the architecture that a mapping describes; raises ValueError as :meth:`parse` does."""
        raise NotImplementedError(f'{cls.__name__} must read a mapping')

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON, without those that are None."""
        described = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: _plain(value) for name, value in described.items() if value is not None}

    def diagram(self) -> Diagram:
        """Return the content of a picture of the network."""
        raise NotImplementedError(f'{type(self).__name__} has no diagram')


def plain_arch(arch: Any) -> Any:
    """Return an ``arch`` as plain JSON, as it stands in a config."""
    return arch.to_dict() if isinstance(arch, NetworkArch) else arch


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def check_ratio(field: str, value: object, width: int) -> float:
    """Return ``value`` as a ratio of hidden channels to ``width`` that leaves at least one channel.

    Raises:
        ValueError: If it is not such a number.
    """
    ratio = check_float(field, value, 0, above=True)
    if int(ratio * width) < 1:
        raise bad_value(field, value, f'a number that leaves at least one channel of {width}')
    return ratio


def check_odd(field: str, value: object) -> int:
    """Return ``value`` as an odd positive int, the size of a kernel.

    Raises:
        ValueError: If it is not such a number.
    """
    size = check_int(field, value, 1, LARGEST)
    if size % 2 == 0:
        raise bad_value(field, value, 'an odd number')
    return size
