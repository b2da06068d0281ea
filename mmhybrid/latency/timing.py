"""How long whole networks take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import Backend, ExportedBackend, Job, random_images
from mmhybrid.latency.kept import KeptNetworks
from mmhybrid.latency.on_device import add_rounds
from mmhybrid.latency.rounds import NUM_TIES, Group, Measurement, Rounds
from mmhybrid.space import Arch
from mmhybrid.utils.checks import check_int, check_keys

# Parameters of the networks that are held at once: what a machine of 8 GiB holds beside everything else.
MAX_PARAMS_IN_MEMORY = 500_000_000


@dataclass(frozen=True)
class Plan:
    """What is measured, and how.

    Args:
        networks: Measured networks of each resolution.
        repeats: Rounds, at least two, which tell the noise; each times every network once.
        warmup: Rounds before them.
        seed: Of the choice among networks of equal worth.
        held_out: Random networks of each resolution that are measured beside, of which the table does not learn.
        held_params: Parameters of the networks that are in memory at once, None for :data:`MAX_PARAMS_IN_MEMORY`.
    """

    networks: int = 90
    repeats: int = 10
    warmup: int = 1
    seed: int = 0
    held_out: int = 0
    held_params: int | None = None

    def __post_init__(self) -> None:
        check_int('networks', self.networks, 2)
        check_int('repeats', self.repeats, 2)
        check_int('warmup', self.warmup, 0)
        check_int('held_out', self.held_out, 0)
        check_int('seed', self.seed, -(2**63), 2**63 - 1)
        if self.held_params is not None:
            check_int('held_params', self.held_params, 1)

    @classmethod
    def parse(cls, name: str, raw: object) -> 'Plan':
        """A plan from JSON; ValueError saying what is wrong with it, ``name`` in front."""
        check_keys(name, raw, [field.name for field in fields(cls)])
        known: Any = raw
        try:
            return cls(**known)
        except ValueError as error:
            raise ValueError(f'{name}.{error}') from error


def measure(workload: Workload, archs: Sequence[Arch], backend: Backend, batch: int, plan: Plan) -> list[Measurement]:
    """Time whole networks, each of which is given at the machine's speed in the first group.

    Args:
        workload: The networks of the space.
        archs: Those to time.
        backend: What runs them.
        batch: Images at once.
        plan: How often.
    """
    rounds = plan_rounds(workload, archs, plan.held_params)
    run_rounds(rounds, workload, backend, batch, plan)
    return rounds.measurements()


def run_rounds(
    rounds: Rounds,
    workload: Workload,
    backend: Backend,
    batch: int,
    plan: Plan,
    tick: Callable[[], object] = lambda: None,
    kept: KeptNetworks | None = None,
) -> None:
    """Add the rounds that ``plan`` asks for and that ``rounds`` lacks; ``tick`` is called after each.

    Every round runs each network of a group, so that a change of the machine's speed meets all alike. Networks that are
    ``kept`` are not exported again.
    """
    generator = torch.Generator().manual_seed(plan.seed)
    for group in rounds.groups:
        if len(group.rounds) < plan.repeats:
            with backend.running():
                jobs = [_job(workload, arch, backend, batch, generator, kept) for arch in group.archs]
                run_round = partial(backend.time_round, jobs)
                add_rounds(group.rounds, run_round, plan.repeats, plan.warmup, tick)
                del jobs, run_round  # before the next group's networks need the memory


def plan_rounds(workload: Workload, archs: Sequence[Arch], held_params: int | None = None) -> Rounds:
    """No round yet; groups that fit into memory, the first :data:`NUM_TIES` archs in front of each.

    Args:
        workload: The networks of the space.
        archs: Those to time.
        held_params: See :class:`Plan`.
    """
    most = MAX_PARAMS_IN_MEMORY if held_params is None else held_params
    sizes = [workload.params(arch) for arch in archs]
    ties, size_of_ties = list(archs[:NUM_TIES]), sum(sizes[:NUM_TIES])
    groups, size = [list(ties)], size_of_ties
    for arch, params in zip(archs[NUM_TIES:], sizes[NUM_TIES:], strict=True):
        if size + params > most and len(groups[-1]) > len(ties):
            groups.append(list(ties))
            size = size_of_ties
        groups[-1].append(arch)
        size += params
    return Rounds([Group(group) for group in groups])


def _job(
    workload: Workload, arch: Arch, backend: Backend, batch: int, generator: torch.Generator, kept: KeptNetworks | None
) -> Job:
    images = random_images(batch, *workload.input_shape(arch), generator=generator)
    if kept is None:
        return backend.build(workload.build_network(arch), images)
    assert isinstance(backend, ExportedBackend)
    return backend.load(kept.content(arch), images)
