"""Racing: an evaluation ends early if its candidate can hardly be among the best.

A candidate is evaluated on images in random order. The number of images that are right so far follows a hypergeometric
distribution, whose parameter is the number that would be right in the end. The evaluation stops if so low a number is
improbable even for a network that would just be among the best. This is checked after each tenth of the images but the
last.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmhybrid.search.candidate import Candidate
from mmhybrid.search.pareto import Objective
from mmhybrid.utils.checks import bad_value, check_float, check_int

# Only a stopped candidate has this metric: the number of images on which its other metrics were measured.
IMAGES_SEEN = 'images_seen'
# The images are divided into this many equal parts, and an evaluation is checked after each part but the last.
PARTS = 10


@dataclass(frozen=True)
class Racing:
    """The rule by which the evaluation of a candidate stops early.

    Args:
        metric: Name of the objective that is maximized, a percentage of images that are right, such as
            ``accuracy/top1``. All other objectives must be estimates.
        error: Largest probability of stopping a candidate that would be among the best ``keep``.
        keep: Number of a stage's best candidates that racing should not stop, judged by the earlier generations of the
            stage. It should be at least the number of parents of the sampler.

    Raises:
        ValueError: If an argument is wrong. The message names the field, its value and what is allowed.
    """

    metric: str
    error: float = 0.05
    keep: int = 10

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric:
            raise bad_value('racing.metric', self.metric, 'the name of an objective')
        check_float('racing.error', self.error, 0, 0.5)
        check_int('racing.keep', self.keep, 1)

    def floor(self, proposal: Candidate, history: Iterable[Candidate], objectives: Sequence[Objective]) -> float | None:
        """Return the score that the proposal must reach to be among the best ``keep``, or None if any score is enough.

        Args:
            proposal: The candidate, with its estimates.
            history: Evaluated candidates; those that failed or were stopped do not count.
            objectives: Objectives of the search.

        Raises:
            ValueError: If an objective other than the metric is not an estimate.
        """
        others = [objective for objective in objectives if objective.name != self.metric]
        for objective in others:
            if objective.name not in proposal.estimates:
                raise bad_value(
                    'racing', objective.name, f'one metric, {self.metric}; all other objectives are estimates'
                )
        own = proposal.losses(others)
        scores = sorted(
            (
                rival.numbers[self.metric]
                for rival in history
                if not rival.has_failed(objectives)
                and not is_stopped(rival)
                and all(loss <= most for loss, most in zip(rival.losses(others), own, strict=True))
            ),
            reverse=True,
        )
        return scores[self.keep - 1] if len(scores) >= self.keep else None

    def is_lost(self, score: float, seen: int, num_images: int, floor: float) -> bool:
        """Return whether the evaluation of a candidate stops.

        Args:
            score: Percentage of the images so far that are right.
            seen: Number of images so far.
            num_images: Number of all images.
            floor: Score from :meth:`floor` for the candidate, a percentage.

        Raises:
            ValueError: If the score is not a percentage of the images so far.
        """
        right = round(score / 100 * seen)
        # The tolerance allows for scores that are computed in float32.
        if not math.isclose(score, 100 * right / seen, rel_tol=1e-5, abs_tol=1e-5):
            raise bad_value('racing.metric', self.metric, 'a metric that is the percentage of images that are right')
        wanted = round(floor / 100 * num_images)
        return hypergeometric_cdf(right, num_images, wanted, seen) < self.error / (PARTS - 1)


def is_stopped(candidate: Candidate) -> bool:
    """Return whether the evaluation of a candidate was stopped early."""
    return candidate.metrics is not None and IMAGES_SEEN in candidate.metrics


def hypergeometric_cdf(right: int, total: int, marked: int, drawn: int) -> float:
    """Return the probability of at most ``right`` marked items among ``drawn`` items.

    Args:
        right: Largest number of marked items among the drawn ones.
        total: Number of all items.
        marked: Number of marked items.
        drawn: Number of items drawn without replacement.
    """
    least, most = max(0, drawn - (total - marked)), min(marked, drawn)
    if right < least:
        return 0.0
    if right >= most:
        return 1.0
    # The sum goes away from the mean, where terms decrease: if its first term underflows, so do all.
    is_below = right * total < drawn * marked
    counts = range(right, least - 1, -1) if is_below else range(right + 1, most + 1)
    first = counts[0]
    term = math.exp(_log_comb(marked, first) + _log_comb(total - marked, drawn - first) - _log_comb(total, drawn))
    tail = 0.0
    for count in counts:
        tail += term
        if is_below:
            term *= count * (total - marked - drawn + count) / ((marked - count + 1) * (drawn - count + 1))
        else:
            term *= (marked - count) * (drawn - count) / ((count + 1) * (total - marked - drawn + count + 1))
    return min(tail, 1.0) if is_below else max(1.0 - tail, 0.0)


def _log_comb(total: int, count: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(count + 1) - math.lgamma(total - count + 1)
