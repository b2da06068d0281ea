"""The parts that a network's cost is the sum of.

A part is what a few sizes determine, that of its map among them: a stem, an inverted residual, the attention of a
transformer layer. Its key says all of them, so parts of equal keys cost the same wherever they stand: in another
network, or a second time in this one. Backbones state theirs (:meth:`HybridBackbone.parts`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Share(NamedTuple):
    """So many of so many, written ``1/3``; unlike a fraction's, its numbers are never reduced."""

    part: int
    whole: int

    def __str__(self) -> str:
        return f'{self.part}/{self.whole}'

    def __float__(self) -> float:
        return self.part / self.whole


Size = float | Share
# The name of a module or parameter in the backbone ('' is the backbone), then the shapes of the module's inputs without
# the batch axis. Without shapes only its parameters count; a name that the backbone lacks costs nothing.
Piece = tuple[Any, ...]


@dataclass(frozen=True)
class Part:
    """A part of a network.

    Args:
        kind: What it is, one word.
        sizes: All numbers by which parts of a kind differ in their costs, by name.
        copies: How often the network has it.
        pieces: Where to find it once, see :data:`Piece`.
        variant: By what parts of a kind and of the same sizes differ, words.

    Attributes:
        key: All of these that determine its costs, as text.
    """

    kind: str
    sizes: Mapping[str, Size]
    copies: int = 1
    pieces: tuple[Piece, ...] = ()
    variant: str = ''
    key: str = field(init=False)

    def __post_init__(self) -> None:
        sizes = ''.join([f' {name}={size}' for name, size in self.sizes.items()])
        object.__setattr__(self, 'key', f'{self.kind} {self.variant}{sizes}' if self.variant else self.kind + sizes)


def sides(height: int, width: int) -> dict[str, Size]:
    """The sizes of a map or an image, one if it is square."""
    return {'side': height} if height == width else {'rows': height, 'columns': width}


def strided(size: Sequence[int], stride: int) -> tuple[int, ...]:
    """Rows and columns behind a convolution with same padding."""
    return tuple(-(-side // stride) for side in size)
