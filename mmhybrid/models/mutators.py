"""Which architectures a step of supernet training activates.

The answer is a pure function of the seed and the iteration, so it is the same on every rank and after a resume.
"""

import random
from typing import Protocol

from mmhybrid.registry import MUTATORS
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import check_bool, check_int


class Mutator(Protocol):
    """What :class:`OneShot` asks."""

    def archs(self, space: SearchSpace, iteration: int) -> list[Arch]:
        """Architectures of an iteration, in the order in which they run; the first one may teach the others."""


@MUTATORS.register_module()
class UniformMutator:
    """Uniform single path: one random architecture a step (SPOS; GLiT section 3.3; AutoViT algorithm 1).

    What is uniform are the values of each gene, in the order of the space, among those that go with the earlier ones;
    in a union of spaces the space before them (:meth:`SearchSpace.sample`). The archs are not equally likely, nor are
    their sizes: docs/spaces.md has the quartiles for each shipped space, and what share a search would look at.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = check_int('seed', seed, 0)

    def archs(self, space: SearchSpace, iteration: int) -> list[Arch]:
        """One random architecture."""
        return [space.sample(step_rng(self.seed, iteration))]


@MUTATORS.register_module()
class SandwichMutator:
    """The sandwich rule: the largest, the smallest and some random ones (Yu & Huang, "Universally Slimmable", 2019).

    The random ones are drawn as :class:`UniformMutator` draws its own.

    Args:
        num_random: Random architectures a step.
        seed: Of the random ones.
        one_resolution: Whether all architectures of a step have the same resolution, drawn at random, so that their
            maps can be compared.
    """

    def __init__(self, num_random: int = 2, seed: int = 0, one_resolution: bool = False) -> None:
        self.num_random = check_int('num_random', num_random, 0)
        self.seed = check_int('seed', seed, 0)
        self.one_resolution = check_bool('one_resolution', one_resolution)

    def archs(self, space: SearchSpace, iteration: int) -> list[Arch]:
        """The largest, the smallest, then the random ones."""
        rng = step_rng(self.seed, iteration)
        archs = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(self.num_random))]
        if not (self.one_resolution and space.has_resolutions):
            return archs
        side = rng.choice(space.choices['resolution'].values)
        return [space.canonical({**arch, 'resolution': side}) for arch in archs]


def step_rng(seed: int, iteration: int) -> random.Random:
    """A generator that depends on the seed and the iteration alone."""
    return random.Random(f'{seed}:{iteration}')
