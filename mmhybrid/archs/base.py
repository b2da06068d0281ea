"""What the architectures of all families have in common: JSON both ways, a diagram, checks of their fields."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from typing_extensions import Self

from mmhybrid.utils.checks import bad_value, check_float, check_int

# Of channels, slots, kernels and pixels, and of layers, blocks and heads. A few bytes in a file say more, and their
# lists, diagram or picture would take all memory.
LARGEST = 1_000_000
MOST_LAYERS = 1000


@dataclass(frozen=True)
class Block:
    """One block of a network, as a diagram shows it.

    Args:
        title: What it is, in words.
        width: Channels.
        local: Share of its mixing that is local, from 0 to 1.
    """

    title: str
    width: int
    local: float


@dataclass(frozen=True)
class Column:
    """Blocks that share their sizes, side by side in a picture.

    Args:
        name: Its head.
        blocks: In order.
        sizes: Name to text.
    """

    name: str
    blocks: tuple[Block, ...]
    sizes: Mapping[str, str]


@dataclass(frozen=True)
class Diagram:
    """What a picture of a network shows.

    Args:
        title: The family, and what holds for the whole network.
        unit: What a column stands for, ``stage`` or ``block``.
        columns: In order.
    """

    title: str
    unit: str
    columns: tuple[Column, ...]

    @property
    def blocks(self) -> list[Block]:
        """The blocks of all columns."""
        return [block for column in self.columns for block in column.blocks]


class NetworkArch:
    """A network of a family: what its backbone takes as ``arch``.

    Subclasses are frozen dataclasses. Their constructors check nothing: :meth:`parse` does, once, and spaces make
    architectures of values that they have checked.

    Attributes:
        presets: The family's published networks by name, as :meth:`parse` takes them.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def parse(cls, arch: object) -> Self:
        """Check an architecture and fill in its defaults.

        Args:
            arch: A preset's name, a mapping with the fields, JSON as :meth:`to_dict` has it for instance, or an
                architecture that was parsed before, which is returned as it is.

        Raises:
            ValueError: Naming the field, the value and what is allowed.
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
        """The architecture that a mapping describes; ValueError as :meth:`parse`."""
        raise NotImplementedError(f'{cls.__name__} must read a mapping')

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON, those that say nothing (None) left out."""
        described = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {name: _plain(value) for name, value in described.items() if value is not None}

    def diagram(self) -> Diagram:
        """What a picture of the network shows."""
        raise NotImplementedError(f'{type(self).__name__} has no diagram')


def plain_arch(arch: Any) -> Any:
    """An ``arch`` as a config has it: plain JSON."""
    return arch.to_dict() if isinstance(arch, NetworkArch) else arch


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def check_ratio(field: str, value: object, width: int) -> float:
    """``value`` as a ratio of hidden channels to ``width``, of one channel at least.

    Raises:
        ValueError: If it is no such number.
    """
    ratio = check_float(field, value, 0, above=True)
    if int(ratio * width) < 1:
        raise bad_value(field, value, f'a number that leaves at least one channel of {width}')
    return ratio


def check_odd(field: str, value: object) -> int:
    """``value`` as an odd positive int, the size of a kernel.

    Raises:
        ValueError: If it is no such number.
    """
    size = check_int(field, value, 1, LARGEST)
    if size % 2 == 0:
        raise bad_value(field, value, 'an odd number')
    return size
