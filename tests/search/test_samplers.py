"""What the samplers propose."""

import random
import statistics

import pytest
from search_toys import AUTOVIT, TOP1, Smooth, Toy, estimate, in_memory, random_stage, settings

from mmhybrid.registry import SAMPLERS
from mmhybrid.search import (
    BlockEvolution,
    Candidate,
    Evolution,
    Objective,
    OptunaSampler,
    RandomSampler,
    Situation,
    Stage,
    hypervolume,
    ranked,
)
from mmhybrid.space import GLiTSpace

SAMPLER_KINDS = [RandomSampler(), Evolution(), BlockEvolution(), OptunaSampler(), OptunaSampler('TPESampler')]


def history_of(space, count, evaluate=None, seed=0):
    rng = random.Random(seed)
    scores = evaluate or Smooth(space)
    archs = list(dict.fromkeys(space.sample(rng) for _ in range(4 * count)))[:count]
    return [Candidate('s', 0, i, arch, estimate(arch)).evaluated(scores(arch)) for i, arch in enumerate(archs)]


def situation(space, history, generation, size, start=()):
    return Situation('s', space, history, [TOP1], start, generation, size)


@pytest.mark.parametrize('sampler', SAMPLER_KINDS)
@pytest.mark.parametrize('space', [AUTOVIT, GLiTSpace(), Toy()])
def test_draws_are_archs_of_the_space_and_one_for_each_place(sampler, space):
    history = history_of(space, 12)
    plan = sampler.plan(situation(space, history, 1, 8), random.Random(0))
    assert len(plan) == 8
    assert all(space.contains(draw()) for draw in plan)


@pytest.mark.parametrize('sampler', SAMPLER_KINDS)
def test_same_seed_same_draws_other_seed_others(sampler):
    history = history_of(AUTOVIT, 12)

    def draws(seed):
        return [draw() for draw in sampler.plan(situation(AUTOVIT, history, 1, 10), random.Random(seed))]

    assert draws(0) == draws(0)
    assert draws(0) != draws(1)


@pytest.mark.parametrize('sampler', SAMPLER_KINDS)
def test_samplers_and_registry_understand_configs(sampler):
    config = sampler.to_config()
    assert SAMPLERS.build({**config, 'type': f'mmhybrid.{config["type"]}'}) == sampler


def test_evolution_makes_the_published_shares():
    """Of 50: 25 mutations and 25 crossovers of the ten best."""
    space = GLiTSpace()
    history = history_of(space, 60)
    parents = [candidate.arch for candidate in ranked(history, [TOP1])[:10]]
    plan = Evolution().plan(situation(space, history, 3, 50), random.Random(0))
    mutated, crossed = [draw() for draw in plan[:25]], [draw() for draw in plan[25:]]
    assert len(mutated) == len(crossed) == 25
    for child in crossed:
        for name, value in child.items():
            assert any(parent.get(name) == value for parent in parents)
    # a tenth of at most 60 genes, half or more of them to another value
    for child in mutated:
        assert min(sum(child.get(n) != parent.get(n) for n in {*child, *parent}) for parent in parents) < 25


def test_evolution_without_probability_repeats_its_parents():
    history = history_of(AUTOVIT, 30)
    parents = {candidate.arch for candidate in ranked(history, [TOP1])[:4]}
    sampler = Evolution(num_parents=4, mutation_share=1, crossover_share=0, mutate_prob=0)
    plan = sampler.plan(situation(AUTOVIT, history, 1, 40), random.Random(0))
    assert {draw() for draw in plan} == parents


def test_the_first_generation_is_random_unless_there_is_a_start():
    plan = Evolution().plan(situation(AUTOVIT, [], 0, 10), random.Random(3))
    rng = random.Random(3)
    assert [draw() for draw in plan] == [AUTOVIT.sample(rng) for _ in range(10)]
    start = [AUTOVIT.smallest()]
    sampler = Evolution(mutation_share=0, crossover_share=1)
    around = sampler.plan(situation(AUTOVIT, [], 0, 10, start), random.Random(3))
    assert {draw() for draw in around} == set(start)


def test_block_evolution_keeps_depths_when_told_to():
    start = [AUTOVIT.sample(random.Random(5))]
    depths = [name for name, choice in AUTOVIT.choices.items() if choice.is_depth and name in start[0]]
    sampler = BlockEvolution(mutation_share=1, crossover_share=0, depth_prob=0)
    children = [draw() for draw in sampler.plan(situation(AUTOVIT, [], 0, 30, start), random.Random(0))]
    assert len(set(children)) > 20
    assert all([child[name] for name in depths] == [start[0][name] for name in depths] for child in children)


@pytest.mark.parametrize(
    ('build', 'options', 'named'),
    [
        (Evolution, {'num_parents': 0}, 'num_parents'),
        (Evolution, {'mutation_share': 0.7}, 'crossover_share'),
        (BlockEvolution, {'depth_prob': 2}, 'depth_prob'),
        (OptunaSampler, {'name': 'NoSampler'}, 'NSGAIISampler'),
        (OptunaSampler, {'options': {'seed': 1}}, 'seed'),
        (OptunaSampler, {'options': {'no_such_thing': 1}}, 'no_such_thing'),
    ],
)
def test_arguments_are_checked(build, options, named):
    with pytest.raises(ValueError, match=named):
        build(**options)


def best_scores(sampler, space, seeds=range(5)):
    def best(seed):
        stage = Stage(sampler=sampler, budget=200, population=25)
        history = in_memory(settings(space, [stage], seed=seed), Smooth(space, 0.9))
        return max(candidate.metrics['top1'] for candidate in history)

    return [best(seed) for seed in seeds]


def test_evolution_beats_random_search_on_every_seed():
    space = AUTOVIT
    randomly = best_scores(RandomSampler(), space)
    for sampler in (Evolution(), BlockEvolution()):
        scores = best_scores(sampler, space)
        assert all(a > b for a, b in zip(scores, randomly, strict=True))


def test_nsga2_finds_a_better_front_than_random_search():
    """NSGA-II must see its generations, although it is built anew for each."""
    space = GLiTSpace()
    objectives = [Objective('top1'), Objective('params_m', 'minimize')]

    def volume(sampler, seed):
        plan = settings(space, [Stage(sampler=sampler, budget=240, population=40)], objectives, seed=seed)
        losses = [c.losses(objectives) for c in in_memory(plan, Smooth(space, 1.0))]
        return hypervolume(losses, (1.0, 400.0))

    gains = [volume(OptunaSampler(), seed) - volume(RandomSampler(), seed) for seed in range(3)]
    assert statistics.mean(gains) > 0
    assert sum(gain > 0 for gain in gains) >= 2


def test_optuna_fits_values_to_the_earlier_genes():
    """Under the monotone rule a width below the one before becomes the nearest allowed."""
    space = AUTOVIT.restrict({'num_stages': 3})
    plan = OptunaSampler('QMCSampler').plan(situation(space, [], 0, 20), random.Random(0))
    assert all(space.contains(draw()) for draw in plan)


def test_a_sampler_of_numbers_alone_is_refused():
    with pytest.raises(ValueError, match=r"got 'CmaEsSampler', allowed: one of .*NSGAIISampler.*categorical"):
        OptunaSampler('CmaEsSampler')


def test_stages_of_random_search_differ():
    plan = settings(AUTOVIT, [random_stage(name='a'), random_stage(name='b')])
    history = in_memory(plan, Smooth(AUTOVIT))
    assert len({candidate.arch for candidate in history}) == len(history) == 80
