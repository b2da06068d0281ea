"""How long whole networks take."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmhybrid.counting.workload import Workload
from mmhybrid.latency.backends import Backend, Job
from mmhybrid.latency.rounds import NUM_TIES, Group, Measurement, Rounds
from mmhybrid.space import Arch
from mmhybrid.utils.checks import check_int

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
    """

    networks: int = 90
    repeats: int = 10
    warmup: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_int('networks', self.networks, 2)
        check_int('repeats', self.repeats, 2)
        check_int('warmup', self.warmup, 0)


class Network(nn.Module):
    """A backbone, and a classifier if there are classes."""

    def __init__(self, backbone: nn.Module, in_width: int, num_classes: int | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = None if num_classes is None else nn.Linear(in_width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images -> the last output, or logits."""
        x = self.backbone(x)[-1]
        if self.head is None:
            return x
        return self.head(x.mean((2, 3)) if x.ndim == 4 else x)


def build_network(workload: Workload, arch: Mapping[str, Any]) -> Network:
    """What is timed for ``arch``, in eval mode, weights at random."""
    with own_generator():
        return Network(workload.build(arch), workload.out_width(arch), workload.num_classes).eval()


@contextmanager
def own_generator() -> Iterator[None]:
    """Random numbers that are always the same, and leave torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def time_round(jobs: Sequence[Job], backend: Backend) -> list[float]:
    """Milliseconds of each job: run thrice, the first to forget the one before, then the faster of two."""
    milliseconds = []
    for job in jobs:
        job()
        milliseconds.append(min(backend.milliseconds(job) for _ in range(2)))
    return milliseconds


def measure(workload: Workload, archs: Sequence[Arch], backend: Backend, batch: int, plan: Plan) -> list[Measurement]:
    """Time whole networks, each of which is given at the machine's speed in the first group.

    Args:
        workload: The networks of the space.
        archs: Those to time.
        backend: What runs them.
        batch: Images at once.
        plan: How often.
    """
    rounds = plan_rounds(workload, archs)
    run_rounds(rounds, workload, backend, batch, plan)
    return rounds.measurements()


def run_rounds(
    rounds: Rounds,
    workload: Workload,
    backend: Backend,
    batch: int,
    plan: Plan,
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Add the rounds that ``plan`` asks for and that ``rounds`` lacks; ``tick`` is called after each.

    Every round runs each network of a group, so that a change of the machine's speed meets all alike.
    """
    generator = torch.Generator().manual_seed(plan.seed)
    for group in rounds.groups:
        if len(group.rounds) < plan.repeats:
            with backend.running():
                jobs = [_job(workload, arch, backend, batch, generator) for arch in group.archs]
                for _ in range(plan.warmup):
                    time_round(jobs, backend)
                while len(group.rounds) < plan.repeats:
                    group.rounds.append(time_round(jobs, backend))
                    tick()
                del jobs  # before the next group's networks need the memory


def plan_rounds(workload: Workload, archs: Sequence[Arch]) -> Rounds:
    """No round yet; groups that fit into memory, the first :data:`NUM_TIES` archs in front of each."""
    sizes = [sum(part.copies * workload.cost_of(part).params for part in workload.parts(arch)) for arch in archs]
    ties, size_of_ties = list(archs[:NUM_TIES]), sum(sizes[:NUM_TIES])
    groups, size = [list(ties)], size_of_ties
    for arch, params in zip(archs[NUM_TIES:], sizes[NUM_TIES:], strict=True):
        if size + params > MAX_PARAMS_IN_MEMORY and len(groups[-1]) > len(ties):
            groups.append(list(ties))
            size = size_of_ties
        groups[-1].append(arch)
        size += params
    return Rounds([Group(group) for group in groups])


def _job(workload: Workload, arch: Arch, backend: Backend, batch: int, generator: torch.Generator) -> Job:
    images = torch.rand(batch, *workload.input_shape(arch), generator=generator)
    return backend.build(build_network(workload, arch), images)
