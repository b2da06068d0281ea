"""What each choice of a search goes along with."""

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
    """How the networks with each value of a gene scored.

    Args:
        gene: Its name.
        means: Value to mean score and number of networks, in the order of the space; two values at least.
        chance: How far apart the best and the worst mean lie when scores are dealt out at random, in all but 5 % of
            the deals.
    """

    gene: str
    means: Mapping[Value, tuple[float, int]]
    chance: float

    @property
    def gap(self) -> float:
        """The best mean minus the worst."""
        means = [mean for mean, _ in self.means.values()]
        return max(means) - min(means)

    def order(self, objective: Objective) -> list[Value]:
        """The values from the best mean to the worst."""
        return sorted(self.means, key=lambda value: objective.sign * self.means[value][0])


def gene_effects(
    space: SearchSpace, candidates: Sequence[Candidate], objective: Objective, deals: int = 200, seed: int = 0
) -> list[GeneEffect]:
    """Each gene's, those first whose gap exceeds chance by most.

    Only networks in which a gene has an effect count for it; genes of which these have but one value are left out.

    Args:
        space: Of the networks.
        candidates: Evaluated, with finite scores.
        objective: The score.
        deals: How often scores are dealt out at random.
        seed: Of the deals.

    Raises:
        ValueError: If ``deals`` is no int above 0.
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
