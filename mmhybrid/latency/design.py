"""The choice of the networks to measure, by a greedy optimal design.

Networks that differ from each other in many parts at once tell more about each part than networks that differ in one (a
weighing design). The next network to measure is therefore always the one whose latency is most uncertain, given the
networks chosen so far.
"""

import random
import warnings
from collections.abc import Collection
from itertools import zip_longest

import numpy as np

from mmhybrid.counting.workload import Size, Workload
from mmhybrid.latency.fit import PART_STDS, Prior
from mmhybrid.latency.timing import Plan
from mmhybrid.space import Arch

# Number of random networks from which the measured ones are chosen.
POOL_SIZE = 2000
# Expected relative standard deviation of a measurement.
EXPECTED_NOISE = 0.02


def choose_in_turn(workload: Workload, plan: Plan) -> list[Arch]:
    """Return the networks to measure, alternating between the resolutions.

    Changes of the machine's speed during the measurement then affect all resolutions alike.
    """
    turns = zip_longest(*(choose_networks(workload, size, plan) for size in workload.sizes()))
    return [arch for turn in turns for arch in turn if arch is not None]


def choose_others(workload: Workload, size: Size, count: int, seen: Collection[Arch], seed: int) -> list[Arch]:
    """Return random networks of one image size that are not among the ``seen`` ones, as held-out networks.

    Raises:
        ValueError: If ``count`` such networks are not found in the space.
    """
    space = workload.space_at(size)
    rng = random.Random(f'held out {seed} {size}')
    found: dict[Arch, None] = {}
    for _ in range(100 * count):
        arch = space.sample(rng)
        if arch not in seen:
            found[arch] = None
        if len(found) == count:
            break
    if len(found) < count:
        raise ValueError(f'held-out networks: the space has no {count} networks that were not measured for the table')
    return list(found)


def choose_networks(workload: Workload, size: Size, plan: Plan) -> list[Arch]:
    """Return the networks of one image size to measure.

    The largest and the smallest network come first. Networks with the most parts that no chosen network has follow.
    Once all parts are covered, the network whose latency is most uncertain comes next. A warning names the parts that
    stay uncovered because the plan has too few networks.
    """
    space = workload.space_at(size)
    rng = random.Random(f'{plan.seed} {size}')
    pool = list(dict.fromkeys([space.largest(), space.smallest(), *(space.sample(rng) for _ in range(POOL_SIZE))]))
    keys, counts = workload.composition(pool)
    prior = Prior.of_parts(workload, keys, 1)
    rows = counts / (counts @ prior.means)[:, None]
    covariance = prior.covariance(0, PART_STDS[-1], 0)
    chosen: list[int] = []
    covered = np.zeros(len(keys), bool)

    def add(index: int) -> None:
        """Choose a network: mark its parts as covered, and update the covariance by its expected measurement."""
        nonlocal covered, covariance
        covered = covered | (counts[index] > 0)
        gain = covariance @ rows[index]
        covariance = covariance - np.outer(gain, gain) / (max(rows[index] @ gain, 0) + EXPECTED_NOISE**2)
        chosen.append(index)

    add(0)
    add(1)
    while len(chosen) < min(plan.networks, len(pool)):
        unseen = (counts[:, ~covered] > 0).sum(axis=1)
        uncertain = np.einsum('ij,ij->i', rows @ covariance, rows)
        unseen[chosen] = -1
        uncertain[unseen < unseen.max()] = -1
        add(int(np.argmax(uncertain)))
    if not covered.all():
        missing = [key for key, found in zip(keys, covered, strict=True) if not found]
        warnings.warn(
            f'{len(missing)} of {len(keys)} parts are in none of {len(chosen)} networks of {size} px, such as '
            f'"{missing[0]}": measure more networks, or fill the table by the analytic model',
            stacklevel=2,
        )
    return [pool[i] for i in chosen]
