"""Which networks to measure: a greedy optimal design.

Networks that differ from each other in many parts at once tell more about each part than networks that differ in one
(a weighing design), so the next network to measure is always the one whose latency the others leave most uncertain.
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

# Random networks among which the measured ones are chosen.
POOL_SIZE = 2000
# Relative standard deviation that a measurement is expected to have.
EXPECTED_NOISE = 0.02


def choose_in_turn(workload: Workload, plan: Plan) -> list[Arch]:
    """The networks of all resolutions to measure, in turn: whatever the machine does meanwhile meets all of them."""
    turns = zip_longest(*(choose_networks(workload, size, plan) for size in workload.sizes()))
    return [arch for turn in turns for arch in turn if arch is not None]


def choose_others(workload: Workload, size: Size, count: int, seen: Collection[Arch], seed: int) -> list[Arch]:
    """Random networks of one size of images that are not among the ``seen`` ones, to judge what was learnt of those.

    Raises:
        ValueError: If the space has not so many.
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
    """The networks of one size of images to measure.

    First the largest and the smallest; then those with the most parts that none has yet; once all parts are there,
    those whose latency the others leave most uncertain. Warns if the plan has too few networks for all parts.
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
        """Choose a network: its parts are there, and what it shares with others becomes less uncertain."""
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
