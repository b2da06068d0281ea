"""How far a supernet's ranking can be trusted, judged on networks that were also trained by themselves."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.pareto import Objective
from mmhybrid.utils.checks import check_int
from mmhybrid.utils.statistics import bootstrap_interval, kendall_tau


def stratified(
    candidates: Sequence[Candidate], objective: Objective, count: int, rng: random.Random
) -> list[Candidate]:
    """Some of the candidates, over the whole range of their scores, from best to worst.

    The range is cut into ``count`` equal parts. Each part that is not empty gives one, drawn at random; where parts
    are empty, the others give more, in turn. So nothing is further than a part from what is chosen.

    Raises:
        ValueError: If there are fewer than ``count``.
    """
    check_int('count', count, 1, len(candidates))
    losses = {candidate.key: candidate.losses([objective])[0] for candidate in candidates}
    low, high = min(losses.values()), max(losses.values())
    parts: list[list[Candidate]] = [[] for _ in range(count)]
    for candidate in candidates:
        place = (losses[candidate.key] - low) / (high - low) if high > low else 0.0
        parts[min(int(place * count), count - 1)].append(candidate)
    for part in parts:
        rng.shuffle(part)
    longest = max(map(len, parts))
    in_turn = [part[turn] for turn in range(longest) for part in parts if turn < len(part)]
    return sorted(in_turn[:count], key=lambda candidate: losses[candidate.key])


@dataclass(frozen=True)
class Audit:
    """What the comparison of two rankings says.

    Args:
        kendall_tau: Rank correlation of the scores in the supernet and after training.
        kendall_tau_low: Lower end of its 95 % interval.
        kendall_tau_high: Upper end.
        regret: What is lost by retraining only the ``top`` best of the supernet: the distance in score of the best
            among them to the best of all, never negative.
        count: Networks compared.
        top: See ``regret``.
    """

    kendall_tau: float
    kendall_tau_low: float
    kendall_tau_high: float
    regret: float
    count: int
    top: int

    def warning(self) -> str:
        """Why the ranking is not to be trusted, in a sentence; empty if nothing speaks against it."""
        interval = f'{self.kendall_tau_low:.2f} to {self.kendall_tau_high:.2f}'
        if self.kendall_tau_high < 0:
            return (
                f'the supernet ranks these {self.count} networks the wrong way round (Kendall tau {interval}): '
                'do not choose by its scores'
            )
        if self.kendall_tau_low <= 0:
            return (
                f"the interval of Kendall's tau, {interval}, includes 0: on these {self.count} networks the supernet's "
                'ranking cannot be told from chance; audit more networks, train them longer, or train the supernet '
                'longer'
            )
        return ''


def audit(
    supernet: Sequence[float], retrained: Sequence[float], objective: Objective, top: int, seed: int = 0
) -> Audit:
    """Compare the scores of networks in the supernet with those after training.

    Args:
        supernet: A score for each network.
        retrained: The same networks' scores after training; one that is not a number counts as the worst.
        objective: Says which scores are better.
        top: How many of the supernet's best one would retrain.
        seed: Of the interval.

    Raises:
        ValueError: If ``top`` is more than there are.
    """
    count = len(retrained)
    before, after = objective.sign * np.array(supernet, float), objective.sign * np.array(retrained, float)
    after = np.nan_to_num(after, nan=np.nanmax(after) + 1)
    chosen = np.argsort(before, kind='stable')[: check_int('top', top, 1, count)]
    low, high = bootstrap_interval(lambda rows: kendall_tau(before[rows], after[rows]), count, seed)
    regret = float(after[chosen].min() - after.min())
    return Audit(kendall_tau(before, after), low, high, regret, count, top)
