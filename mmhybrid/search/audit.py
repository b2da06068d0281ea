"""A check of how far a supernet's ranking can be trusted, on networks that were also trained by themselves."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.pareto import Objective
from mmhybrid.utils.checks import check_int
from mmhybrid.utils.statistics import bootstrap_interval, kendall_tau


def stratified(
    candidates: Sequence[Candidate], objective: Objective, count: int, rng: random.Random
) -> list[Candidate]:
    """Draw candidates over the whole range of their scores and return them from best to worst.

    The range is cut into ``count`` parts of equal width. Each part that is not empty gives one random candidate; where
    parts are empty, the other parts give more in turn. So the score of every candidate is within one part's width of
    the score of a chosen one.

    Raises:
        ValueError: If there are fewer than ``count`` candidates.
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
    """The result of a comparison of two rankings.

    Args:
        kendall_tau: Kendall's tau-b between the scores in the supernet and the scores after training.
        kendall_tau_low: Lower end of its 95 % interval.
        kendall_tau_high: Upper end of its 95 % interval.
        regret: Loss of score from retraining only the ``top`` best networks of the supernet: the difference between the
            best of all networks and the best of these, never negative.
        count: Number of networks compared.
        top: Number of the supernet's best networks that would be retrained.
        problem: Reason why some scores do not rank; empty if all do.
    """

    kendall_tau: float
    kendall_tau_low: float
    kendall_tau_high: float
    regret: float
    count: int
    top: int
    problem: str = field(default='', compare=False)

    def warning(self) -> str:
        """Return the reasons not to trust the ranking, in sentences; empty if there are none."""
        return '; '.join(filter(None, (self.problem, self._doubt())))

    def _doubt(self) -> str:
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
    """Compare the scores of networks in the supernet with their scores after training.

    Args:
        supernet: Score of each network in the supernet; a score that is not a finite number counts as the worst.
        retrained: Score of each network after training, in the same order and by the same rule.
        objective: Objective that says which scores are better.
        top: Number of the supernet's best networks that would be retrained.
        seed: Seed of the bootstrap interval.

    Raises:
        ValueError: If ``top`` is more than the number of networks, or no score is a finite number.
    """
    count = len(retrained)
    before, before_problem = _losses('in the supernet', supernet, objective)
    after, after_problem = _losses('after training', retrained, objective)
    chosen = np.argsort(before, kind='stable')[: check_int('top', top, 1, count)]
    low, high = bootstrap_interval(lambda rows: kendall_tau(before[rows], after[rows]), count, seed)
    regret = float(after[chosen].min() - after.min())
    problem = '; '.join(filter(None, (before_problem, after_problem)))
    return Audit(kendall_tau(before, after), low, high, regret, count, top, problem)


def _losses(when: str, scores: Sequence[float], objective: Objective) -> tuple[NDArray[np.float64], str]:
    """Return the scores as finite losses, and the reason why some of them do not rank."""
    losses = objective.sign * np.array(scores, float)
    is_finite = np.isfinite(losses)
    if not is_finite.any():
        raise ValueError(f'{objective.name} {when}: none of {len(losses)} networks has a score that is a finite number')
    losses[~is_finite] = losses[is_finite].max() + 1
    if not is_finite.all():
        return losses, f'{(~is_finite).sum()} of {len(losses)} networks have no score {when} and count as the worst'
    if np.ptp(losses) == 0:
        return losses, f'all scores {when} are equal, {scores[0]:g}: they rank nothing'
    return losses, ''
