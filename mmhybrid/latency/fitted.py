"""Latency from a few measured networks: what each kind of operation takes to start, per element moved and per product.

The analytic model (:mod:`~mmhybrid.latency.analytic`) measures operations alone and knows eager torch only. Here the
same features of operations get their prices from whole networks, on any backend: a network takes the sum of its
features times their prices, which are the most likely ones that are not negative. A dozen prices need a dozen networks,
where a table needs one or more for each part; they serve parts that no measured network has.
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
from mmhybrid.latency.timing import Plan, measure
from mmhybrid.models.parts import Part
from mmhybrid.space import Arch
from mmhybrid.utils.checks import bad_value, check_float, check_int, check_keys
from mmhybrid.utils.files import read_json, write_json

FORMAT = 1
STARTS = {f'{kind}.start': NOMINAL.start_ms[kind] for kind in OPERATIONS}
MOVED = {f'{kind}.element': 1 / NOMINAL.elements_per_ms for kind in OPERATIONS}
COMPUTED = {f'{kind}.mac': 1 / rate for kind, rate in NOMINAL.macs_per_ms.items()}
OUTSIDE = 'network'  # what a network takes outside its parts
# Names of the prices, and what they are in proportion on no device in particular.
PRICES = {**STARTS, **MOVED, **COMPUTED, OUTSIDE: BASE_OPERATIONS * NOMINAL.start_ms['other']}
# Standard deviations of the prior of each price, relative to it; the measurements choose.
PRICE_STDS = (0.1, 0.3, 1.0, 3.0)
# Networks that are measured where nothing else is said.
FEW = 12
# Random networks among which they are chosen, and the relative error that a measurement is expected to have.
POOL_SIZE, EXPECTED_NOISE = 500, 0.03


@dataclass(frozen=True)
class FittedLatency:
    """The latency model of a device from a few measured networks.

    Args:
        prices_ms: Milliseconds by the names of :data:`PRICES`.
        error: Relative standard deviation of measured networks around what the others say of them.
        device: Where the networks were measured.
        networks: How many they were.
    """

    prices_ms: Mapping[str, float]
    error: float
    device: Device
    networks: int

    @property
    def batch(self) -> int:
        """Images at once."""
        return self.device.batch

    def part_latency(self, part: Part, cost: PartCost) -> PartLatency:
        """Latency of a part; what it is off by is common to all parts."""
        milliseconds = float(
            part_features(part, cost, self.batch) @ np.array([self.prices_ms[name] for name in PRICES])
        )
        return PartLatency(milliseconds, 0.0, self.error * milliseconds)

    def upper(self, milliseconds: float, variance: float, shared_std: float) -> float:
        """What a network stays below with 95 % probability, if it is as the measured ones are."""
        return milliseconds + UPPER_STDS * shared_std

    def warn_if_elsewhere(self) -> None:
        """Warn if this machine is not the one that was measured."""
        self.device.warn_if_elsewhere('fitted model')

    def save(self, path: str | Path) -> None:
        """Write the model as JSON, whole or not at all."""
        write_json(path, {'format': FORMAT, **asdict(self)})

    @classmethod
    def load(cls, path: str | Path) -> 'FittedLatency':
        """Read what :meth:`save` wrote; ValueError saying what is wrong with it."""
        raw: Any = read_json(path)
        check_keys(f'{path}', raw, ('format', 'prices_ms', 'error', 'device', 'networks'))
        if raw['format'] != FORMAT:
            raise bad_value(f'{path}: format', raw['format'], str(FORMAT))
        check_keys(f'{path}: prices_ms', raw['prices_ms'], list(PRICES))
        for name, price in raw['prices_ms'].items():
            check_float(f'{path}: prices_ms.{name}', price, 0)
        error = check_float(f'{path}: error', raw['error'], 0)
        networks = check_int(f'{path}: networks', raw['networks'], 1)
        return cls(raw['prices_ms'], error, Device.parse(f'{path}: device', raw['device']), networks)


def part_features(part: Part, cost: PartCost, batch: int) -> np.ndarray:
    """(prices,) how often a part pays each of :data:`PRICES`."""
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
    """(networks, prices) how often networks pay each price."""
    keys, counts = workload.composition(archs)
    parts = [workload.known[key] for key in keys]
    rows: np.ndarray = counts @ np.array([part_features(part, workload.cost_of(part), batch) for part in parts])
    return rows


def fit_prices(features: np.ndarray, measurements: Sequence[Measurement]) -> np.ndarray:
    """(prices,) the most likely prices, under the prior that makes the measurements likeliest.

    Args:
        features: (networks, prices).
        measurements: Of these networks.
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
    """The model that follows from measured networks; its error is that of each network under the others' prices."""
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
    """Networks of all sizes of images that tell prices apart: each the one that those before leave most uncertain."""
    space, rng = workload.space, random.Random(f'fitted {seed}')
    pool = list(dict.fromkeys([space.largest(), space.smallest(), *(space.sample(rng) for _ in range(POOL_SIZE))]))
    means = np.array(list(PRICES.values()))
    features = features_of(workload, pool, batch) * means
    rows = features / features.sum(axis=1, keepdims=True)
    return [pool[index] for index in _most_uncertain(rows, np.eye(len(means)), min(count, len(pool)))]


def _most_uncertain(rows: np.ndarray, covariance: np.ndarray, count: int) -> Iterator[int]:
    """The first two rows, then always the one whose product with unknown prices is most uncertain."""
    left = np.ones(len(rows), bool)
    for number in range(count):
        uncertain = np.where(left, np.einsum('ij,jk,ik->i', rows, covariance, rows), -1.0)
        index = number if number < 2 else int(uncertain.argmax())
        left[index] = False
        gain = covariance @ rows[index]
        covariance = covariance - np.outer(gain, gain) / (rows[index] @ gain + EXPECTED_NOISE**2)
        yield index


def profile_few(workload: Workload, device: Device, plan: Plan) -> FittedLatency:
    """Measure ``plan.networks`` networks in all, and fit the model."""
    archs = choose_archs(workload, plan.networks, device.batch, plan.seed)
    return fit_model(workload, measure(workload, archs, device.open(), device.batch, plan), device)
