"""Mutators, which choose the architectures that a step of supernet training activates.

The choice is a pure function of the seed and the iteration, so it is the same on every rank and after a resume.
"""

import random
from typing import Protocol

from mmhybrid.registry import MUTATORS
from mmhybrid.space import Arch, SearchSpace
from mmhybrid.utils.checks import check_bool, check_int


class Mutator(Protocol):
    """The interface that :class:`OneShot` uses."""

    def archs(self, space: SearchSpace, iteration: int) -> list[Arch]:
        """Return the architectures of an iteration in the order in which they run; the first may teach the others."""


@MUTATORS.register_module()
class UniformMutator:
    """Mutator of uniform single-path training: one random architecture in each step.

    Sources: SPOS; GLiT, section 3.3; AutoViT, algorithm 1. Genes are drawn in the order of the space, each uniformly
    among the values that are compatible with the genes before; in a union of spaces, the space is drawn first
    (:meth:`SearchSpace.sample`). Architectures are therefore not equally likely. docs/spaces.md has the quartiles of
    their sizes for each shipped config, and the share of them that lies in the searched range.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = check_int('seed', seed, 0)

    def archs(self, space: SearchSpace, iteration: int) -> list[Arch]:
        """Return one random architecture."""
        return [space.sample(step_rng(self.seed, iteration))]


@MUTATORS.register_module()
class SandwichMutator:
    """Mutator of the sandwich rule: the largest, the smallest and some random architectures in each step.

    Source: "Universally Slimmable Networks" (Yu and Huang, 2019). The random architectures are drawn as in
    :class:`UniformMutator`.

    Args:
        num_random: Number of random architectures in each step.
        seed: Seed of the random architectures.
        one_resolution: Whether all architectures of a step have the same random resolution, so that their maps can be
            compared.
    """

    def __init__(self, num_random: int = 2, seed: int = 0, one_resolution: bool = False) -> None:
        self.num_random = check_int('num_random', num_random, 0)
        self.seed = check_int('seed', seed, 0)
        self.one_resolution = check_bool('one_resolution', one_resolution)

    def archs(self, space: SearchSpace, iteration: int) -> list[Arch]:
        """Return the largest, the smallest, then the random architectures."""
        rng = step_rng(self.seed, iteration)
        archs = [space.largest(), space.smallest(), *(space.sample(rng) for _ in range(self.num_random))]
        if not (self.one_resolution and space.has_resolutions):
            return archs
        side = rng.choice(space.choices['resolution'].values)
        return [space.canonical({**arch, 'resolution': side}) for arch in archs]


def step_rng(seed: int, iteration: int) -> random.Random:
    """Return a random generator that depends on the seed and the iteration alone."""
    return random.Random(f'{seed}:{iteration}')
