"""MixToken, which replaces a rectangle of every image's tokens by those of another image of the batch.

Paper: "All Tokens Matter: Token Labeling for Training Better Vision Transformers" (Jiang et al., NeurIPS 2021),
section 3.3. The i-th image is paired with the i-th from the end, and all images of a batch share the rectangle.
"""

import math
import random
from typing import NamedTuple

import torch
from torch import Tensor

from mmhybrid.utils.checks import check_float, check_int


class Region(NamedTuple):
    """A rectangle of a map: the rows from ``top`` to ``bottom - 1`` and the columns from ``left`` to ``right - 1``."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """Number of cells."""
        return (self.bottom - self.top) * (self.right - self.left)

    def scaled(self, factor: int) -> 'Region':
        """Return this region on a map with ``factor`` times as many rows and columns."""
        return Region(*(factor * side for side in self))


class MixToken:
    """A sampler of regions, which depend on the seed, the rank and the iteration alone and so survive a resume.

    Args:
        alpha: Parameter of the Beta(alpha, alpha) distribution of lambda, the fraction of an image that stays. The
            ratio of the region's sides to the map's is sqrt(1 - lambda). The region lies around a cell that is drawn
            uniformly, and is clipped at the edges of the map.
        seed: Seed of the draws.
    """

    def __init__(self, alpha: float = 1.0, seed: int = 0) -> None:
        self.alpha = check_float('mix_token.alpha', alpha, 0, above=True)
        self.seed = check_int('mix_token.seed', seed, 0)

    def region(self, height: int, width: int, rank: int, iteration: int) -> Region:
        """Return a region, which may be empty, of a map of ``height`` x ``width`` cells."""
        rng = random.Random(f'{self.seed}:{rank}:{iteration}')
        side = math.sqrt(1 - rng.betavariate(self.alpha, self.alpha))
        rows, columns = int(height * side) // 2, int(width * side) // 2
        y, x = rng.randrange(height), rng.randrange(width)
        return Region(max(y - rows, 0), max(x - columns, 0), min(y + rows, height), min(x + columns, width))


def swap_region(x: Tensor, region: Region) -> Tensor:
    """Return maps (B, C, H, W) whose region comes from the batch in reverse order; a second call undoes the first."""
    rows = torch.arange(x.shape[2], device=x.device)[:, None]
    columns = torch.arange(x.shape[3], device=x.device)
    inside = (rows >= region.top) & (rows < region.bottom) & (columns >= region.left) & (columns < region.right)
    return torch.where(inside, x.flip(0), x)
