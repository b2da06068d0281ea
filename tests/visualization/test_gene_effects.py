"""How scores go along with genes."""

import random

import pytest
from search_toys import AUTOVIT, TOP1, Toy

from mmhybrid.search import Candidate, Objective
from mmhybrid.visualization.gene_effects import gene_effects


def candidates(space, score, count, seed=0):
    rng = random.Random(seed)
    archs = [space.sample(rng) for _ in range(count)]
    return [Candidate('a', 0, i, arch, {}, {'top1': score(arch)}) for i, arch in enumerate(archs)]


def test_means_are_those_of_the_networks_that_have_the_value():
    found = candidates(AUTOVIT, lambda arch: random.Random(arch.to_json()).random(), 60)
    for effect in gene_effects(AUTOVIT, found, TOP1):
        for value, (mean, count) in effect.means.items():
            scores = [c.metrics['top1'] for c in found if effect.gene in c.arch and c.arch[effect.gene] == value]
            assert (mean, count) == (pytest.approx(sum(scores) / len(scores)), len(scores))
        means = [mean for mean, _ in effect.means.values()]
        assert effect.gap == max(means) - min(means)


def test_the_gene_that_decides_comes_first_with_its_values_in_order():
    found = candidates(AUTOVIT, lambda arch: arch['conv.1.width'] + random.Random(arch.to_json()).random(), 60)
    first = gene_effects(AUTOVIT, found, TOP1)[0]
    values = AUTOVIT.choices['conv.1.width'].values
    assert first.gene == 'conv.1.width'
    assert first.order(TOP1) == list(reversed(values))
    assert first.order(Objective('top1', 'minimize')) == list(values)
    assert first.gap > first.chance


def test_noise_rarely_exceeds_chance():
    space = Toy(genes=40, values=3)
    found = candidates(space, lambda arch: random.Random(arch.to_json()).gauss(0, 1), 200)
    effects = gene_effects(space, found, TOP1)
    assert len(effects) == 40
    assert sum(effect.gap > effect.chance for effect in effects) <= 6  # 2 are expected; more has odds of 1 in 100


def test_genes_of_one_value_are_left_out():
    found = candidates(AUTOVIT.restrict({'conv.*.depth': 2, 'conv.*.kernel': 3}), lambda arch: 1.0, 20)
    genes = {effect.gene for effect in gene_effects(AUTOVIT, found, TOP1)}
    assert not any(gene.endswith('kernel') or gene.startswith('conv.1.depth') for gene in genes)
    assert gene_effects(AUTOVIT, found[:1], TOP1) == []


def test_the_same_each_time():
    found = candidates(AUTOVIT, lambda arch: float(len(arch)), 30)
    assert gene_effects(AUTOVIT, found, TOP1) == gene_effects(AUTOVIT, found, TOP1)
    with pytest.raises(ValueError, match='deals'):
        gene_effects(AUTOVIT, found, TOP1, deals=0)
