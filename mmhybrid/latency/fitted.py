"""A latency model whose prices per operation, per element moved and per MAC are fitted to a few measured networks.

The analytic model (:mod:`~mmhybrid.latency.analytic`) measures operations alone and knows eager torch only. This model
uses the same features of operations, but fits their prices to whole networks, on any backend. The latency of a network
is the sum of its features times their prices, which are the most likely non-negative ones. A dozen prices need only a
dozen networks, where a table needs one or more for each part. The prices also cover parts that no measured network has.
"""

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmhybrid.counting.estimator import UPPER_STDS, PartLatency
from mmhybrid.counting.operations import PartCost
from mmhybrid.counting.workload import Workload
from mmhybrid.latency.analytic import NOMINAL, OPERATIONS, PRODUCTS, operations_of
from mmhybrid.latency.devices import Device
from mmhybrid.latency.fit import BASE_OPERATIONS, MODEL_STDS, log_evidence, most_likely, updated
from mmhybrid.latency.rounds import Measurement
from mmhybrid.latency.timing import MOST_NETWORKS, Plan, measure
from mmhybrid.models.parts import Part
from mmhybrid.space import Arch
from mmhybrid.utils.checks import bad_value, check_float, check_int, check_keys
from mmhybrid.utils.files import read_json, write_json

FORMAT = 1
STARTS = {f'{kind}.start': NOMINAL.start_ms[kind] for kind in OPERATIONS}
MOVED = {f'{kind}.element': 1 / NOMINAL.elements_per_ms for kind in OPERATIONS}
COMPUTED = {f'{kind}.mac': 1 / rate for kind, rate in NOMINAL.macs_per_ms.items()}
OUTSIDE = 'network'  # the price of the time outside all parts
# Names of the prices with their prior means in milliseconds, of which only the proportions matter.
PRICES = {**STARTS, **MOVED, **COMPUTED, OUTSIDE: BASE_OPERATIONS * NOMINAL.start_ms['other']}
# Candidate standard deviations of each price's prior, relative to its mean; the evidence chooses among them.
PRICE_STDS = (0.1, 0.3, 1.0, 3.0)
# Default number of measured networks.
FEW = 12
# Number of random networks from which they are chosen, and the expected relative standard deviation of a measurement.
POOL_SIZE, EXPECTED_NOISE = 500, 0.03


@dataclass(frozen=True)
class FittedLatency:
    """The latency model of a device, fitted to a few measured networks.

    Args:
        prices_ms: Price in milliseconds for each name in :data:`PRICES`.
        error: Relative root mean square error of each measured network's latency, as predicted from the others.
        device: The device on which the networks were measured.
        networks: Number of measured networks.
    """

    prices_ms: Mapping[str, float]
    error: float
    device: Device
    networks: int

    @property
    def batch(self) -> int:
        """Batch size."""
        return self.device.batch

    def part_latency(self, part: Part, cost: PartCost) -> PartLatency:
        """Return the latency of a part, with a standard deviation that all parts share."""
        milliseconds = float(
            part_features(part, cost, self.batch) @ np.array([self.prices_ms[name] for name in PRICES])
        )
        return PartLatency(milliseconds, 0.0, self.error * milliseconds)

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """Return the 95 % upper bound of a network's latency, provided that it resembles the measured networks."""
        return milliseconds + UPPER_STDS * shared_std

    def warn_if_elsewhere(self) -> None:
        """Warn if the networks were measured on another machine."""
        self.device.warn_if_elsewhere('fitted model')

    def save(self, path: str | Path) -> None:
        """Write the model as JSON. The file is written whole or not at all."""
        write_json(path, {'format': FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> 'FittedLatency':
        """Read a model that :meth:`save` wrote.

        Raises:
            ValueError: If the file is not valid; the message names the field.
        """
        raw: Any = read_json(path)
        check_keys(f'{path}', raw, ('format', 'prices_ms', 'error', 'device', 'networks'))
        if raw['format'] != FORMAT:
            raise bad_value(f'{path}: format', raw['format'], str(FORMAT))
        check_keys(f'{path}: prices_ms', raw['prices_ms'], list(PRICES))
        for name, price in raw['prices_ms'].items():
            check_float(f'{path}: prices_ms.{name}', price, 0)
        error = check_float(f'{path}: error', raw['error'], 0)
        networks = check_int(f'{path}: networks', raw['networks'], 1, MOST_NETWORKS)
        return cls(raw['prices_ms'], error, Device.parse(f'{path}: device', raw['device']), networks)


def part_features(part: Part, cost: PartCost, batch: int) -> np.ndarray:
    """Return how many units of each price in :data:`PRICES` a part takes (prices,)."""
    features = dict.fromkeys(PRICES, 0.0)
    if part.kind == 'network':
        features[OUTSIDE] = 1.0
    for operation in operations_of(part, cost):
        features[f'{operation.kind}.start'] += 1
        features[f'{operation.kind}.element'] += operation.activations * batch + operation.weights
        if operation.kind in PRODUCTS:
            features[f'{operation.kind}.mac'] += operation.macs * batch
    return np.array(list(features.values()))


def features_of(workload: Workload, archs: Sequence[Arch], batch: int) -> np.ndarray:
    """Return how many units of each price networks take (networks, prices)."""
    keys, counts = workload.composition(archs)
    parts = [workload.known[key] for key in keys]
    rows: np.ndarray = counts @ np.array([part_features(part, workload.cost_of(part), batch) for part in parts])
    return rows


def fit_prices(features: np.ndarray, measurements: Sequence[Measurement]) -> np.ndarray:
    """Return the most likely prices (prices,) under the prior that maximises the evidence of the measurements.

    Args:
        features: (networks, prices) units of each price.
        measurements: The measurements of these networks.
    """
    milliseconds = np.array([measurement.ms for measurement in measurements])
    spreads = np.array([measurement.spread for measurement in measurements])
    means = np.array(list(PRICES.values()))
    means *= np.median(milliseconds / (features @ means))
    errors, best = milliseconds - features @ means, (-np.inf, means)
    for price_std, model_std in itertools.product(PRICE_STDS, MODEL_STDS):
        covariance = np.diag((price_std * means) ** 2)
        expected = features @ covariance @ features.T + np.diag(spreads**2 + (model_std * milliseconds) ** 2)
        evidence = log_evidence(errors, expected)
        if evidence > best[0]:
            shift, posterior = updated(covariance, features, errors, expected)
            best = evidence, most_likely(means + shift, posterior)
    return best[1]


def fit_model(workload: Workload, measurements: Sequence[Measurement], device: Device) -> FittedLatency:
    """Fit the model to measured networks; its error is found by leave-one-out cross-validation."""
    features = features_of(workload, [Arch(measurement.arch) for measurement in measurements], device.batch)
    off = []
    for i, measurement in enumerate(measurements):
        others = [j for j in range(len(measurements)) if j != i]
        prices = fit_prices(features[others], [measurements[j] for j in others])
        off.append(features[i] @ prices / measurement.ms - 1)
    prices = fit_prices(features, measurements)
    named = dict(zip(PRICES, prices.tolist(), strict=True))
    return FittedLatency(named, float(np.sqrt(np.mean(np.square(off)))), device, len(measurements))


def choose_archs(workload: Workload, count: int, batch: int, seed: int) -> list[Arch]:
    """Return the networks of all image sizes that tell the prices apart best.

    Each network is the one whose latency is most uncertain, given those chosen before.
    """
    space, rng = workload.space, random.Random(f'fitted {seed}')
    pool = list(dict.fromkeys([space.largest(), space.smallest(), *(space.sample(rng) for _ in range(POOL_SIZE))]))
    means = np.array(list(PRICES.values()))
    features = features_of(workload, pool, batch) * means
    rows = features / features.sum(axis=1, keepdims=True)
    return [pool[index] for index in _most_uncertain(rows, np.eye(len(means)), min(count, len(pool)))]


def _most_uncertain(rows: np.ndarray, covariance: np.ndarray, count: int) -> Iterator[int]:
    """Yield the first two rows, then always the row whose product with the unknown prices is most uncertain."""
    left = np.ones(len(rows), bool)
    for number in range(count):
        uncertain = np.where(left, np.einsum('ij,jk,ik->i', rows, covariance, rows), -1.0)
        index = number if number < 2 else int(uncertain.argmax())
        left[index] = False
        gain = covariance @ rows[index]
        covariance = covariance - np.outer(gain, gain) / (rows[index] @ gain + EXPECTED_NOISE**2)
        yield index


def profile_few(workload: Workload, device: Device, plan: Plan) -> FittedLatency:
    """Measure ``plan.networks`` networks in all, and fit the model to them."""
    archs = choose_archs(workload, plan.networks, device.batch, plan.seed)
    return fit_model(workload, measure(workload, archs, device.open(), device.batch, plan), device)
