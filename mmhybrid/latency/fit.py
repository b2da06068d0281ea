"""Latencies of parts, estimated from latencies of whole networks.

The method is Gaussian-process regression, which is Bayesian linear regression here. The latency of a network is the sum
of the latencies of its parts. The parts have a prior, whose hyper-parameters maximise the marginal likelihood
(evidence) of the measurements. Latencies cannot be negative, so the estimate is the mode of the posterior among
non-negative values.
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

# Standard deviations of the prior, relative to its mean, which is the latency by the analytic model. The error of that
# mean has three components: one that all parts of a kind share, one that parts of similar size share (sizes are similar
# when they differ by a factor of up to e), and one of each part alone.
KIND_STD = 1.0
SIZE_STDS = (0.05, 0.1, 0.2, 0.4)
PART_STDS = (0.01, 0.03, 0.1, 0.2, 0.4)
# Standard deviations of a factor on the analytic model's start-up times, which all parts of a kind share too.
START_STDS = (0.0, 1.0, 3.0, 10.0, 30.0)
# Relative standard deviations of a measured network around the sum of its parts.
MODEL_STDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
# Prior mean of the latency outside all parts: the start-up time of this many empty operations.
BASE_OPERATIONS = 20
# Smaller sizes count as this size when sizes are compared.
SMALLEST_SIZE = 0.5
SWEEPS = 10_000


@dataclass(frozen=True)
class Prior:
    """The prior of the parts' latencies, before any network is measured.

    Args:
        means: (parts,) latencies of the analytic model, which are known only up to a common factor.
        starts: (parts,) the share of these latencies that is the start-up time of operations, in the same unit.
        same_kind: (parts, parts) 1 where two parts are of the same kind, else 0.
        nearness: (parts, parts) similarity of the sizes of two parts of the same kind, from 0 to 1.
    """

    means: np.ndarray
    starts: np.ndarray
    same_kind: np.ndarray
    nearness: np.ndarray

    @classmethod
    def of_parts(cls, workload: Workload, keys: Sequence[str], batch: int) -> 'Prior':
        """Return the prior of counted parts, given by their keys, for a batch size."""
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
        """Return the prior for a device on which everything takes ``factor`` times as long."""
        return Prior(factor * self.means, factor * self.starts, self.same_kind, self.nearness)

    def covariance(self, size_std: float, part_std: float, start_std: float) -> np.ndarray:
        """Return the covariance of the latencies (parts, parts)."""
        factors = KIND_STD**2 * self.same_kind + size_std**2 * self.nearness + part_std**2 * np.eye(len(self.means))
        starts = start_std**2 * self.same_kind
        covariance: np.ndarray = (
            np.outer(self.means, self.means) * factors + np.outer(self.starts, self.starts) * starts
        )
        return covariance


def _likeness(parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray]:
    """Return :attr:`Prior.same_kind` and :attr:`Prior.nearness` of the parts."""
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
    """The posterior of the parts' latencies.

    Args:
        latencies: (parts,) latencies in milliseconds, none of them negative.
        covariance: (parts, parts) covariance of their errors.
        model_std: Relative standard deviation of a measured network around the sum of its parts, one of
            :data:`MODEL_STDS`.
    """

    latencies: np.ndarray
    covariance: np.ndarray
    model_std: float

    def shrink(self, counts: np.ndarray, squares: np.ndarray) -> float:
        """Return the ratio of a network's standard deviation to that under independent errors of its parts.

        It is the median over networks. Parts that occur in every network are known well as a sum but badly one by one,
        so most of their errors cancel.

        Args:
            counts: (networks, parts) number of times that each network has each part.
            squares: (networks, parts) the squares of these numbers, taken place by place as the estimator adds them up.
        """
        variances = np.einsum('ij,ij->i', counts @ self.covariance, counts)
        independent = squares @ np.diag(self.covariance)
        ratios = np.maximum(variances, 0) / np.maximum(independent, np.finfo(float).tiny)
        return math.sqrt(statistics.median(ratios.tolist()))


def fit_parts(counts: np.ndarray, milliseconds: np.ndarray, stds: np.ndarray, prior: Prior) -> Fit:
    """Fit the latencies of parts to the latencies of networks.

    Args:
        counts: (networks, parts) number of times that each network has each part.
        milliseconds: (networks,) measured latencies.
        stds: (networks,) standard deviations of the measurements, in milliseconds.
        prior: Prior of the parts, up to a common factor.
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
    """Return the log-likelihood of errors (networks,) under a covariance (networks, networks), up to a constant."""
    return float(-0.5 * (errors @ np.linalg.solve(expected, errors) + np.linalg.slogdet(expected)[1]))


def updated(
    covariance: np.ndarray, counts: np.ndarray, errors: np.ndarray, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Update the parts by the errors of networks: return the shift of their means (parts,) and their new covariance.

    Args:
        covariance: (parts, parts) covariance before the update.
        counts: (networks, parts) number of times that each network has each part.
        errors: (networks,) measured latencies minus those under the prior means.
        expected: (networks, networks) covariance of the errors.
    """
    gain = np.linalg.solve(expected, counts @ covariance).T
    return gain @ errors, covariance - gain @ counts @ covariance


def most_likely(mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Return the mode of a normal distribution among non-negative values.

    It is ``mean + covariance @ pulls``, where the pulls (Lagrange multipliers) are non-negative and differ from 0 only
    where a value is 0 (Karush-Kuhn-Tucker conditions). Coordinate descent on the dual problem finds the pulls.
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
