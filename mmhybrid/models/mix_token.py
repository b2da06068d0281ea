"""MixToken: a rectangle of every image's tokens comes from another image of the batch.

Paper: "All Tokens Matter: Token Labeling for Training Better Vision Transformers" (Jiang et al., NeurIPS 2021),
section 3.3; image i is paired with the i-th from the end, and all images of a batch share the rectangle.
"""

import math
import random
from typing import NamedTuple

import torch
from torch import Tensor

from mmhybrid.utils.checks import check_float, check_int


class Region(NamedTuple):
    """Cells [top, bottom) x [left, right) of a map."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        """Cells inside."""
        return (self.bottom - self.top) * (self.right - self.left)

    def scaled(self, factor: int) -> 'Region':
        """This region on a map ``factor`` times as large."""
        return Region(*(factor * side for side in self))


class MixToken:
    """Draws the regions.

    A region is a function of the seed, the rank and the iteration, so it is the same after a resume.

    Args:
        alpha: Of the Beta(alpha, alpha) distribution of the share that stays; the region's sides are its complement's
            square root of the map's, around any cell, cut at the edges.
        seed: Of the choice.
    """

    def __init__(self, alpha: float = 1.0, seed: int = 0) -> None:
        self.alpha = check_float('mix_token.alpha', alpha, 0, above=True)
        self.seed = check_int('mix_token.seed', seed, 0)

    def region(self, height: int, width: int, rank: int, iteration: int) -> Region:
        """A region, which may be empty, of a map of ``height`` x ``width`` cells."""
        rng = random.Random(f'{self.seed}:{rank}:{iteration}')
        side = math.sqrt(1 - rng.betavariate(self.alpha, self.alpha))
        rows, columns = int(height * side) // 2, int(width * side) // 2
        y, x = rng.randrange(height), rng.randrange(width)
        return Region(max(y - rows, 0), max(x - columns, 0), min(y + rows, height), min(x + columns, width))


def swap_region(x: Tensor, region: Region) -> Tensor:
    """Maps (B, C, H, W) with the region taken from the batch in reverse order; doing it twice undoes it."""
    rows = torch.arange(x.shape[2], device=x.device)[:, None]
    columns = torch.arange(x.shape[3], device=x.device)
    inside = (rows >= region.top) & (rows < region.bottom) & (columns >= region.left) & (columns < region.right)
    return torch.where(inside, x.flip(0), x)
