"""The parts of networks, whose costs add up to the cost of the network.

A part, such as a stem, an inverted residual or the attention of a transformer layer, is determined by a few sizes,
including that of its map. Its key contains all of them, so parts with equal keys have the same cost, wherever they are
in this or another network. Each backbone lists its parts (:meth:`HybridBackbone.parts`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Share(NamedTuple):
    """A number of items out of a whole, written ``1/3``; unlike a fraction, it is never reduced."""

    part: int
    whole: int

    def __str__(self) -> str:
        return f'{self.part}/{self.whole}'

    def __float__(self) -> float:
        return self.part / self.whole


Size = float | Share
# The name of a module or parameter in the backbone ('' is the backbone), followed by the shapes of the module's inputs
# without the batch axis. Without shapes, only its parameters are counted; a name that the backbone lacks costs nothing.
Piece = tuple[Any, ...]


@dataclass(frozen=True)
class Part:
    """A part of a network.

    Args:
        kind: Kind of part, as one word.
        sizes: Numbers that determine the cost of a part of this kind, by name.
        copies: Number of times that the network has the part.
        pieces: Modules and parameters of one copy, see :data:`Piece`.
        variant: Words that distinguish parts of the same kind and sizes.

    Attributes:
        key: Text of everything that determines its cost: kind, variant and sizes.
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
    """Return the sizes of a map or an image by name: one size if it is square, or else two."""
    return {'side': height} if height == width else {'rows': height, 'columns': width}


def strided(size: Sequence[int], stride: int) -> tuple[int, ...]:
    """Return the rows and columns of a map after a convolution with same padding."""
    return tuple(-(-side // stride) for side in size)
