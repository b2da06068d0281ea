import random

import pytest

from mmhybrid.models.mutators import SandwichMutator, UniformMutator
from mmhybrid.space import GLiTSpace

SPACE = GLiTSpace(num_blocks=4)


@pytest.mark.parametrize('mutator', [UniformMutator, SandwichMutator])
def test_archs_are_a_function_of_seed_and_iteration(mutator: type) -> None:
    archs = {(seed, i): mutator(seed=seed).archs(SPACE, i) for seed in (0, 1) for i in range(20)}
    random.seed(5)
    again = mutator(seed=1)
    again.archs(SPACE, 3)
    assert all(again.archs(SPACE, i) == archs[1, i] for i in reversed(range(20)))
    assert len({tuple(found) for found in archs.values()}) == 40


def test_uniform_takes_one() -> None:
    (arch,) = UniformMutator().archs(SPACE, 0)
    assert SPACE.contains(arch)


def test_sandwich_takes_both_ends() -> None:
    largest, smallest, *others = SandwichMutator(num_random=3).archs(SPACE, 7)
    assert (largest, smallest) == (SPACE.largest(), SPACE.smallest())
    assert len(set(others)) == 3


@pytest.mark.parametrize('arguments', [{'seed': -1}, {'seed': 'x'}, {'num_random': -1}])
def test_refuses(arguments: dict) -> None:
    with pytest.raises(ValueError, match=f'{next(iter(arguments))}: got'):
        SandwichMutator(**arguments)
