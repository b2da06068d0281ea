"""The association between the value of each gene and the scores of a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.pareto import Objective
from mmhybrid.space import SearchSpace, Value
from mmhybrid.utils.checks import check_int

CONFIDENCE = 0.95


@dataclass(frozen=True)
class GeneEffect:
    """The scores of the networks with each value of a gene.

    Args:
        gene: Name of the gene.
        means: Mean score and number of networks for each value, in the order of the space; there are at least two
            values.
        chance: 95th percentile of the gap between the best and the worst mean when scores are assigned to networks at
            random.
    """

    gene: str
    means: Mapping[Value, tuple[float, int]]
    chance: float

    @property
    def gap(self) -> float:
        """Largest mean minus smallest mean."""
        means = [mean for mean, _ in self.means.values()]
        return max(means) - min(means)

    def order(self, objective: Objective) -> list[Value]:
        """Return the values from the best mean to the worst."""
        return sorted(self.means, key=lambda value: objective.sign * self.means[value][0])


def gene_effects(
    space: SearchSpace, candidates: Sequence[Candidate], objective: Objective, deals: int = 200, seed: int = 0
) -> list[GeneEffect]:
    """Return the effect of each gene, with those first whose gap exceeds chance by most.

    Only the networks in which a gene has an effect count for it. A gene that takes only one value in these networks is
    left out.

    Args:
        space: Search space of the networks.
        candidates: Evaluated candidates with finite scores.
        objective: Objective that gives the score.
        deals: Number of random assignments of scores to networks.
        seed: Seed of these assignments.

    Raises:
        ValueError: If ``deals`` is not an int above 0.
    """
    check_int('deals', deals, 1)
    rng = np.random.default_rng(seed)
    effects = []
    for gene, choice in space.choices.items():
        having = [candidate for candidate in candidates if gene in candidate.arch]
        scores = np.array([candidate.numbers[objective.name] for candidate in having])
        masks = {value: np.array([c.arch[gene] == value for c in having], dtype=bool) for value in choice.values}
        masks = {value: mask for value, mask in masks.items() if mask.any()}
        if len(masks) > 1:
            means = {value: (float(scores[mask].mean()), int(mask.sum())) for value, mask in masks.items()}
            dealt = rng.permuted(np.tile(scores, (deals, 1)), axis=1)
            gaps = np.ptp([dealt[:, mask].mean(axis=1) for mask in masks.values()], axis=0)
            effects.append(GeneEffect(gene, means, float(np.quantile(gaps, CONFIDENCE))))
    return sorted(effects, key=lambda effect: effect.chance - effect.gap)
