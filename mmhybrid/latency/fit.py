"""Latencies of parts from latencies of whole networks.

Gaussian-process regression, which is Bayesian linear regression here: a network takes the sum of its parts, the parts
have a prior, and the hyper-parameters of the prior are those under which the measurements are most likely (maximum
evidence). No part takes less than nothing, so the parts are the most likely ones of those that are not negative.
"""

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.analytic import NOMINAL, NOMINAL_START_MS, AnalyticLatency
from mmhybrid.models.parts import Part

# Standard deviations of the prior, around the analytic model's latencies and relative to them: a factor that the parts
# of a kind have in common, one that parts of near sizes share (sizes are near when they differ by a factor up to e) and
# one of each part.
KIND_STD = 1.0
SIZE_STDS = (0.05, 0.1, 0.2, 0.4)
PART_STDS = (0.01, 0.03, 0.1, 0.2, 0.4)
# What each operation takes however small it is: the factor on the analytic model's start, again common to a kind.
START_STDS = (0.0, 1.0, 3.0, 10.0, 30.0)
# Of measured networks around the sum of their parts, relative.
MODEL_STDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
# The latency outside all parts, before it is known: that of so many empty operations.
BASE_OPERATIONS = 20
# Sizes below it are as near to each other as to it.
SMALLEST_SIZE = 0.5
SWEEPS = 10_000


@dataclass(frozen=True)
class Prior:
    """What is known of parts before a network is measured.

    Args:
        means: (parts,) latencies of the analytic model, right in proportion at best.
        starts: (parts,) how much of these is the start of operations.
        same_kind: (parts, parts) whether two parts are of a kind, 0 or 1.
        nearness: (parts, parts) how near the sizes of two parts of a kind are, 0 to 1.
    """

    means: np.ndarray
    starts: np.ndarray
    same_kind: np.ndarray
    nearness: np.ndarray

    @classmethod
    def of_parts(cls, workload: Workload, keys: Sequence[str], batch: int) -> 'Prior':
        """The prior of counted parts by their keys, for ``batch`` images at once."""
        model = AnalyticLatency(NOMINAL, batch)
        means, starts = np.zeros(len(keys)), np.zeros(len(keys))
        parts = [workload.known[key] for key in keys]
        for i, part in enumerate(parts):
            cost = workload.cost_of(part)
            operations = BASE_OPERATIONS if part.kind == 'network' else max(len(cost.operations), 1)
            starts[i] = operations * NOMINAL_START_MS
            means[i] = starts[i] if part.kind == 'network' else model.part_latency(part, cost).ms
        return cls(means, starts, *_likeness(parts))

    def scaled(self, factor: float) -> 'Prior':
        """The prior for a device that takes ``factor`` times as long."""
        return Prior(factor * self.means, factor * self.starts, self.same_kind, self.nearness)

    def covariance(self, size_std: float, part_std: float, start_std: float) -> np.ndarray:
        """(parts, parts) covariance of the latencies."""
        factors = KIND_STD**2 * self.same_kind + size_std**2 * self.nearness + part_std**2 * np.eye(len(self.means))
        starts = start_std**2 * self.same_kind
        covariance: np.ndarray = (
            np.outer(self.means, self.means) * factors + np.outer(self.starts, self.starts) * starts
        )
        return covariance


def _likeness(parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Whether each two parts are of a kind, and how near their sizes are."""
    kinds = np.array([part.kind for part in parts])
    sizes = [{name: float(size) for name, size in part.sizes.items()} for part in parts]
    names = sorted({name for size in sizes for name in size})
    logs = np.log([[max(size.get(name, 1.0), SMALLEST_SIZE) for name in names] for size in sizes]).reshape(
        len(parts), -1
    )
    distances = ((logs[:, None] - logs[None]) ** 2).sum(axis=-1)
    same_kind = (kinds[:, None] == kinds[None]).astype(float)
    return same_kind, same_kind * np.exp(-distances / 2)


@dataclass(frozen=True)
class Fit:
    """What follows from measured networks.

    Args:
        latencies: (parts,) milliseconds, none of them negative.
        covariance: (parts, parts) of their errors.
        model_std: Of measured networks around the sum of their parts, relative; one of :data:`MODEL_STDS`.
    """

    latencies: np.ndarray
    covariance: np.ndarray
    model_std: float

    def shrink(self, counts: np.ndarray, squares: np.ndarray) -> float:
        """Standard deviation of a network's latency over what it were, were the errors of its parts independent.

        Parts that stand in every network are known well together and badly alone: most of their errors cancel.

        Args:
            counts: (networks, parts) how often networks have the parts.
            squares: (networks, parts) the squares of these, place by place, as the estimator adds them up.
        """
        variances = np.einsum('ij,ij->i', counts @ self.covariance, counts)
        independent = squares @ np.diag(self.covariance)
        ratios = np.maximum(variances, 0) / np.maximum(independent, np.finfo(float).tiny)
        return math.sqrt(statistics.median(ratios.tolist()))


def fit_parts(counts: np.ndarray, milliseconds: np.ndarray, stds: np.ndarray, prior: Prior) -> Fit:
    """The parts' latencies.

    Args:
        counts: (networks, parts) how often each network has each part.
        milliseconds: (networks,) measured.
        stds: (networks,) their standard deviations.
        prior: Of the parts, up to a common factor.
    """
    prior = prior.scaled(statistics.median(milliseconds / (counts @ prior.means)))
    errors = milliseconds - counts @ prior.means
    best: tuple[float, np.ndarray, np.ndarray, float] | None = None
    for *prior_stds, model_std in itertools.product(SIZE_STDS, PART_STDS, START_STDS, MODEL_STDS):
        covariance = prior.covariance(*prior_stds)
        shared = counts @ covariance
        expected = shared @ counts.T + np.diag(stds**2 + (model_std * milliseconds) ** 2)
        evidence = log_evidence(errors, expected)
        if best is None or evidence > best[0]:
            best = evidence, covariance, expected, model_std
    assert best is not None
    _, covariance, expected, model_std = best
    shift, posterior = updated(covariance, counts, errors, expected)
    return Fit(most_likely(prior.means + shift, posterior), posterior, model_std)


def log_evidence(errors: np.ndarray, expected: np.ndarray) -> float:
    """How likely (networks,) errors are of which (networks, networks) is the covariance, but for a constant."""
    return float(-0.5 * (errors @ np.linalg.solve(expected, errors) + np.linalg.slogdet(expected)[1]))


def updated(
    covariance: np.ndarray, counts: np.ndarray, errors: np.ndarray, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the errors of networks say of their parts: how far these are from their means, and their covariance now.

    Args:
        covariance: (parts, parts) before.
        counts: (networks, parts) how often each network has each part.
        errors: (networks,) measured less what the means say.
        expected: (networks, networks) covariance of these.
    """
    gain = np.linalg.solve(expected, counts @ covariance).T
    return gain @ errors, covariance - gain @ counts @ covariance


def most_likely(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The most likely values of a normal distribution among those that are not negative.

    They are ``mean + covariance @ pulls`` with pulls that are not negative and act only where a value is 0 (the
    conditions of Karush, Kuhn and Tucker); found pull by pull, each set to what its value asks for (coordinate descent
    on the dual problem).
    """
    values, pulls = mean.copy(), np.zeros(len(mean))
    variances = np.maximum(np.diag(covariance), np.finfo(float).tiny)
    tolerance = 1e-9 * np.abs(mean).max()
    for _ in range(SWEEPS):
        acting = np.flatnonzero((values < -tolerance) | ((pulls > 0) & (values > tolerance)))
        if not len(acting):
            break
        for i in acting:
            change = max(-values[i] / variances[i], -pulls[i])
            pulls[i] += change
            values += change * covariance[:, i]
    return np.maximum(values, 0)
